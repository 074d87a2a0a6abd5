"""Manifests that users have: each instance of the example directory converts, and so does its Windows preference."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.wire import from_wire
from kvtui.domainxml import Bridged, Context, Placement, convert, finish, ownership_of, pretty

from .builders import UID, UUID, only, vmi

SHARED = Path(os.environ.get("KVTUI_SHARED") or Path(__file__).parents[2].parent / "shared")
EXAMPLES = SHARED / "data" / "kubevirt-examples"
DEVICES = {
    "PCI_RESOURCE_NVIDIA_COM_GP102GL_TESLA_P40": "0000:01:00.0,0000:02:00.0,0000:03:00.0",
    "USB_RESOURCE_KUBEVIRT_IO_STORAGE": "1:2",
}
"""What device plugins hand over for the devices that the examples ask for."""


def _documents(file: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(file.read_text()) if document]


def _instances() -> list[Any]:
    found = []
    for file in sorted(EXAMPLES.glob("*.yaml")):
        for document in _documents(file):
            if document["kind"] == "VirtualMachineInstance":
                found.append(pytest.param(document, id=file.stem))
            elif document["kind"] == "VirtualMachine":
                template = document["spec"]["template"]
                metadata = {**document["metadata"], **template.get("metadata", {})}
                found.append(pytest.param({"metadata": metadata, "spec": template["spec"]}, id=file.stem))
    return found


@pytest.mark.parametrize("document", _instances() or [None])
def test_an_example_converts_before_any_default_is_filled_in(document: dict[str, Any] | None) -> None:
    if document is None:
        pytest.skip(f"no examples in {EXAMPLES}; set KVTUI_SHARED")
    meta = {"name": "vm", "namespace": "ns", "uid": UID, **document["metadata"]}
    instance = from_wire({**document, "metadata": {**meta, "namespace": "ns", "uid": UID}}, VirtualMachineInstance)
    domain = convert(instance, Context(cpu_set=tuple(range(8)), device_env=DEVICES))
    assert only(domain, "devices").find("channel") is not None


def test_the_windows_preference_becomes_a_windows_machine() -> None:
    if not (EXAMPLES / "windows.yaml").exists():
        pytest.skip(f"no {EXAMPLES}/windows.yaml; set KVTUI_SHARED")
    (preference,) = _documents(EXAMPLES / "windows.yaml")
    wish = preference["spec"]
    features = {name.removeprefix("preferred").lower(): value for name, value in wish["features"].items()}
    bus, model = wish["devices"]["preferredDiskBus"], wish["devices"]["preferredInterfaceModel"]
    instance = vmi(
        domain={
            "clock": {**wish["clock"]["preferredClockOffset"], "timer": wish["clock"]["preferredTimer"]},
            "features": features,
            "firmware": {"uuid": UUID, "bootloader": {"efi": wish["firmware"]["preferredEfi"]}},
            "memory": {"guest": "4Gi"},
        },
        devices={
            "disks": [
                {"name": "system", "disk": {"bus": bus}},
                {"name": "drivers", "cdrom": {"bus": bus}},
                {"name": "answers", "cdrom": {"bus": bus}},
            ],
            "interfaces": [{"name": "default", "masquerade": {}, "model": model}],
            "tpm": wish["devices"]["preferredTPM"],
        },
        spec={
            "volumes": [
                {"name": "system", "dataVolume": {"name": "system"}},
                {"name": "drivers", "containerDisk": {"image": "registry.example/virtio-win:1"}},
                {"name": "answers", "sysprep": {"secret": {"name": "unattend"}}},
            ]
        },
    )
    placement = Placement(ownership=ownership_of(instance), interfaces={"default": Bridged("b", "t")})
    domain = finish(convert(instance, Context(kvm=False, allow_emulation=True)), placement)
    text = pretty(domain)
    assert only(domain, "os/loader").get("secure") == "yes"
    assert domain.find("features/smm") is not None
    assert domain.find("devices/tpm") is not None
    assert only(domain, "features/hyperv/spinlocks").get("retries") == "8191"
    assert only(domain, "clock/timer[@name='hpet']").get("present") == "no"
    assert "sysprep-disks/answers.iso" in text
    assert only(domain, "devices/interface/model").get("type") == "e1000"
