"""VMIs for which upstream makes no Pod say what upstream's say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from kvtui.api.core.config import Namespace
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.meta import ObjectMeta
from kvtui.api.wire import from_wire
from tests.controllers.plane import control_plane
from tests.controllers.shared import needs, observed

CASES = [case for case in observed("data", "pod-cases", "pods.jsonl") if case["pod"] is None]


def said(conditions: list[dict[str, Any]]) -> set[tuple[str, str, str, str]]:
    text = re.sub(r"virt-launcher-(\w+)-[a-z0-9]{5}", r"virt-launcher-\1-<rnd>", json.dumps(conditions))
    return {(c["type"], c["status"], c.get("reason", ""), c.get("message", "")) for c in json.loads(text)}


@needs("data", "pod-cases", "pods.jsonl")
@pytest.mark.parametrize("case", CASES, ids=[c["name"] for c in CASES])
async def test_conditions_are_as_observed(tmp_path: Path, case: dict[str, Any]) -> None:
    async with control_plane(tmp_path) as plane:
        await plane.client.create(Namespace(metadata=ObjectMeta(name="pods")))
        vmi = await plane.client.create(from_wire(case["vmi"], VirtualMachineInstance))
        wanted = said(case["conditions"])

        def holds(found: VirtualMachineInstance | None) -> bool:
            if found is None:
                return False
            present = [
                {"type": c.type, "status": c.status, "reason": c.reason or "", "message": c.message or ""}
                for c in found.status.conditions
            ]
            return said(present) == wanted

        try:
            await plane.until(VirtualMachineInstance, vmi.key, holds)
        except TimeoutError:
            found = await plane.client.get(VirtualMachineInstance, vmi.key)
            assert [(c.type, c.status, c.reason, c.message) for c in found.status.conditions] == sorted(wanted)


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"priorityClassName": "high"}, "no PriorityClass with name high was found"),
        (
            {"serviceAccountName": "robot"},
            'error looking up service account pods/robot: serviceaccount "robot" not found',
        ),
    ],
)
async def test_what_forbids_a_pod_before_it_has_a_name(tmp_path: Path, spec: dict[str, Any], why: str) -> None:
    async with control_plane(tmp_path) as plane:
        await plane.client.create(Namespace(metadata=ObjectMeta(name="pods")))
        domain = {"memory": {"guest": "64Mi"}, "devices": {}}
        whole = {"metadata": {"name": "web", "namespace": "pods"}, "spec": {"domain": domain, **spec}}
        vmi = await plane.client.create(from_wire(whole, VirtualMachineInstance))
        wanted = f'failed to create virtual machine pod: pods "virt-launcher-web-" is forbidden: {why}'
        await plane.until(
            VirtualMachineInstance,
            vmi.key,
            lambda found: found is not None and any(c.message == wanted for c in found.status.conditions),
        )
