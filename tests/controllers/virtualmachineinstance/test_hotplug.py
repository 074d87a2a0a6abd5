"""Changes of a running instance become conditions, and only real changes do."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from kvtui.api.core.pod import Pod
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.wire import from_wire
from kvtui.controllers import conditions
from kvtui.controllers.virtualmachineinstance.hotplug import with_changes

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def running(cpu: dict[str, Any], topology: dict[str, int]) -> VirtualMachineInstance:
    status = {"phase": "Running", "currentCPUTopology": topology}
    return from_wire(
        {"metadata": {"name": "v"}, "spec": {"domain": {"cpu": cpu}}, "status": status}, VirtualMachineInstance
    )


@pytest.mark.parametrize(
    ("cpu", "changed"),
    [
        ({"cores": 1}, False),
        ({"cores": 2, "threads": 2}, False),
        ({"sockets": 1}, False),
        ({"sockets": 2}, True),
    ],
)
def test_only_another_number_of_sockets_is_a_change(cpu: dict[str, Any], changed: bool) -> None:
    seen = with_changes(running(cpu, {"sockets": 1, "cores": 1, "threads": 1}), Pod(), NOW)
    assert conditions.is_true(seen.status.conditions, "HotVCPUChange") is changed
