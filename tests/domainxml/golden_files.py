"""Golden domains: golden/<name>.yaml is a VMI and its node, golden/<name>.xml the domain we define for it.

`KVTUI_UPDATE_GOLDEN=1 pytest tests/domainxml` writes the XML anew; read the diff.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.wire import from_wire
from kvtui.domainxml import (
    Attachment,
    Bridged,
    Context,
    DiskFacts,
    HostCell,
    Placement,
    convert,
    finish,
    ownership_of,
    placeholder_count,
    pretty,
)
from kvtui.domainxml.architecture import arch_of
from kvtui.domainxml.firmware import Firmware, upstream_firmware

from .layout import NodePaths

DIRECTORY = Path(__file__).parent / "golden"
NAMES = sorted(path.stem for path in DIRECTORY.glob("*.yaml"))
STATE, SOCKETS = "/var/lib/kvtui/vms/0", "/run/kvtui/0/0"


@dataclass(frozen=True, slots=True)
class Golden:
    """One input."""

    vmi: VirtualMachineInstance
    context: Context
    placement: Placement

    def domain(self) -> str:
        return pretty(finish(convert(self.vmi, self.context), self.placement))


def load(name: str, *, state: str = STATE, sockets: str = SOCKETS, firmware: Firmware | None = None) -> Golden:
    document = yaml.safe_load((DIRECTORY / f"{name}.yaml").read_text())
    vmi, node = from_wire(document["vmi"], VirtualMachineInstance), document["node"]
    return Golden(vmi, _context(vmi, node, state, sockets, firmware), _placement(vmi, state))


def _context(
    vmi: VirtualMachineInstance, node: dict[str, Any], state: str, sockets: str, firmware: Firmware | None
) -> Context:
    claims = {volume.name: f"{state}/claims/{volume.name}" for volume in vmi.spec.volumes}
    return Context(
        kvm=node["kvm"],
        allow_emulation=True,
        cpu_set=tuple(node.get("cpu_set", ())),
        numa=tuple(
            HostCell(cell["id"], tuple(tuple(core) for core in cell["cores"]), cell["distances"])
            for cell in node.get("numa", ())
        ),
        firmware=firmware or upstream_firmware(arch_of(vmi.spec.architecture)),
        block_volumes=frozenset(node.get("block_volumes", ())),
        preallocated_volumes=frozenset(node.get("preallocated_volumes", ())),
        container_disk_formats=node.get("container_disk_formats", {}),
        device_env=node.get("device_env", {}),
        sriov_addresses=node.get("sriov_addresses", {}),
        paths=NodePaths(state, sockets, claims),
    )


def _placement(vmi: VirtualMachineInstance, state: str) -> Placement:
    devices = vmi.spec.domain.devices
    interfaces: dict[str, Attachment] = {
        interface.name: Bridged("kvb0", f"kvt{n}", f"02:00:00:00:00:{n:02x}", 1450)
        for n, interface in enumerate(devices.interfaces)
    }
    return Placement(
        ownership=ownership_of(vmi),
        interfaces=interfaces,
        disks={disk.name: DiskFacts(direct_io=True, allocated=disk.name == "raw") for disk in devices.disks},
        serial_log=f"{state}/serial.log",
        placeholders=placeholder_count(vmi),
        unconfined=True,
        partition="/machine/kvtui",
    )
