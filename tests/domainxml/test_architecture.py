"""What one architecture has and another has not."""

from __future__ import annotations

from typing import Any

import pytest

from kvtui.domainxml import ConversionError

from .builders import NAT, domain_of


def _disk(logical: int, physical: int) -> dict[str, Any]:
    sizes = {"logical": logical, "physical": physical}
    return {"disks": [{"name": "d", "disk": {"bus": "virtio"}, "blockSize": {"custom": sizes}}]}


@pytest.mark.parametrize("arch", ["amd64", "arm64"])
def test_blocks_may_be_large_on_pci(arch: str) -> None:
    domain = domain_of(devices=_disk(8192, 8192), spec={"architecture": arch})
    assert domain.find("devices/disk/blockio[@logical_block_size='8192']") is not None


def test_a_block_of_a_channel_device_is_a_page_at_most() -> None:
    domain_of(devices=_disk(512, 4096), spec={"architecture": "s390x"})
    with pytest.raises(ConversionError, match=r"^custom block size \(logical=4096, physical=8192\) exceeds") as refusal:
        domain_of(devices=_disk(4096, 8192), spec={"architecture": "s390x"})
    assert refusal.value.field == "spec.domain.devices.disks[0].blockSize.custom"


@pytest.mark.parametrize(("arch", "placed"), [("amd64", True), ("arm64", True), ("s390x", False)])
def test_only_machines_with_a_pci_root_place_devices_on_it(arch: str, placed: bool) -> None:
    annotations = {"kubevirt.io/placePCIDevicesOnRootComplex": "true"}
    domain = domain_of(devices=NAT, spec={"architecture": arch}, annotations=annotations)
    assert (domain.find("devices/interface/address") is not None) is placed


@pytest.mark.parametrize(
    ("arch", "model", "off"),
    [
        ("amd64", "Skylake-Server", True),
        ("amd64", "", True),
        ("amd64", "host-model", False),
        ("amd64", "host-passthrough", False),
        ("s390x", "z14", False),
    ],
)
def test_a_withdrawn_feature_is_off_in_named_models_of_its_architecture(arch: str, model: str, off: bool) -> None:
    domain = domain_of(domain={"cpu": {"sockets": 1, "model": model}}, spec={"architecture": arch})
    assert (domain.find("cpu/feature[@name='mpx']") is not None) is off
