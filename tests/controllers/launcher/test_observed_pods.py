"""The Pods that we make of VMIs are those that were observed of upstream, apart from DIFFERENCES."""

from __future__ import annotations

from typing import Any

import pytest

from kvtui.api.kubevirt.config import DeveloperConfiguration, KubeVirtConfiguration
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.wire import from_wire, to_wire
from kvtui.controllers.clusterconfig import Configuration
from kvtui.controllers.launcher.render import Surroundings, render
from tests.controllers.shared import needs, observed

CASES = [case for case in observed("data", "pod-cases", "pods.jsonl") if case["pod"] is not None]
EMULATED = Configuration(KubeVirtConfiguration(developer_configuration=DeveloperConfiguration(use_emulation=True)))


def comparable(pod: dict[str, Any]) -> dict[str, Any]:
    """In the observed form: containers without images, volumes by name and kind."""
    spec = dict(pod["spec"])
    metadata = {k: pod["metadata"][k] for k in ("generateName", "labels", "annotations")}
    for part in ("containers", "initContainers"):
        spec[part] = [{k: v for k, v in c.items() if k != "image"} for c in spec.get(part, [])]
        if not spec[part]:
            del spec[part]
    spec["volumes"] = [{"name": v["name"], "kind": next(k for k in v if k != "name")} for v in spec.get("volumes", [])]
    return {"metadata": metadata, "spec": spec}


@needs("data", "pod-cases", "pods.jsonl")
@pytest.mark.parametrize("case", CASES, ids=[c["name"] for c in CASES])
def test_launcher_is_as_observed(case: dict[str, Any]) -> None:
    vmi = from_wire(
        {**case["vmi"], "metadata": {**case["vmi"]["metadata"], "uid": "<vmi-uid>"}}, VirtualMachineInstance
    )
    got = comparable(to_wire(render(vmi, Surroundings(config=EMULATED))))
    want = case["pod"]
    # Images are never pulled, so the volumes that hold them do not exist.
    want["spec"]["volumes"] = [v for v in want["spec"]["volumes"] if v["kind"] != "image"]
    for side in (got, want):
        side["spec"]["volumes"].sort(key=lambda v: v["name"])
    assert got == want
