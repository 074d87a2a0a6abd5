"""The domain as the target is to define it, and which of its disks have to be copied. Pure.

Only what belongs to the host may differ: bridges and taps, CPUs, and paths below the run directory.

Source: https://libvirt.org/html/libvirt-libvirt-domain.html#VIR_MIGRATE_PARAM_DEST_XML
"""

from __future__ import annotations

from collections.abc import Mapping
from xml.etree.ElementTree import Element, SubElement

from kvtui.api.kubevirt.vmi import VirtualMachineInstance, Volume
from kvtui.api.wire import Wire
from kvtui.node.migration import placement
from kvtui.node.migration.placement import TargetCpus
from kvtui.node.observe import alias


class TargetNic(Wire, frozen=True):
    """A NIC of the guest on the target."""

    name: str = ""
    bridge: str = ""
    tap: str = ""
    mtu: int = 0


class TargetFacts(Wire, frozen=True):
    """What a source has to know of a prepared target."""

    run: str = ""
    """Run directory under which the target's QEMU finds its files."""
    nics: list[TargetNic] = []
    libvirt: str = ""
    """URI of the target's libvirt, such as qemu:///system."""
    cpus: TargetCpus = TargetCpus()
    """On which CPUs the guest runs there."""
    variables: str = ""
    """File of firmware variables that outlive the guest; empty where the guest has none."""
    user: str = ""
    """Whom the guest's QEMU runs as there, as libvirt's DAC model writes it; empty for libvirt's own choice."""


def for_target(domain: Element, facts: TargetFacts, run: str) -> None:
    """Rewrites a migratable description in place; `run` is the source's run directory."""
    nics = {n.name: n for n in facts.nics}
    for interface in domain.findall("devices/interface"):
        nic = nics.get(alias(interface))
        source, target, mtu = interface.find("source"), interface.find("target"), interface.find("mtu")
        if nic is None or source is None:
            continue
        source.set("bridge", nic.bridge)
        if target is not None:
            target.set("dev", nic.tap)
        if mtu is not None and nic.mtu:
            mtu.set("size", str(nic.mtu))
    if facts.variables and (variables := domain.find("os/nvram")) is not None:
        variables.text = facts.variables
    _run_as(domain, facts.user)
    placement.move(domain, facts.cpus)
    if facts.run and facts.run != run:
        _move_paths(domain, f"{run}/", f"{facts.run}/")


def _run_as(domain: Element, user: str) -> None:
    label = domain.find("seclabel[@model='dac']")
    if not user:
        if label is not None:
            domain.remove(label)
        return
    if label is None:
        label = SubElement(domain, "seclabel", model="dac")
    label.attrib |= {"type": "static", "relabel": "yes"}
    for old in list(label):
        label.remove(old)
    SubElement(label, "label").text = user


def _move_paths(node: Element, old: str, new: str) -> None:
    for key, value in node.attrib.items():
        if value.startswith(old):
            node.set(key, new + value.removeprefix(old))
    if node.text and node.text.startswith(old):
        node.text = new + node.text.removeprefix(old)
    for child in node:
        _move_paths(child, old, new)


def disks_to_copy(vmi: VirtualMachineInstance, domain: Element) -> list[str]:
    """Target names of disks whose bytes are on the source only."""
    volumes: Mapping[str, Volume] = {v.name: v for v in vmi.spec.volumes}
    migrated = {v.volume_name for v in vmi.status.migrated_volumes} if vmi.status else set()
    found = []
    for disk in domain.findall("devices/disk"):
        if disk.get("device", "disk") == "cdrom":
            continue
        name, target, source = alias(disk), disk.find("target"), disk.find("source")
        volume = volumes.get(name)
        if target is None or source is None or volume is None or not (source.get("file") or source.get("dev")):
            continue
        if _shared(volume) and name not in migrated:
            continue
        if disk.find("readonly") is not None and not _generated(volume):
            continue
        found.append(target.get("dev", ""))
    return found


def _shared(volume: Volume) -> bool:
    disk = volume.host_disk
    return bool(volume.persistent_volume_claim or volume.data_volume or (disk is not None and disk.shared))


def _generated(volume: Volume) -> bool:
    return any(
        (
            volume.config_map,
            volume.secret,
            volume.downward_api,
            volume.service_account,
            volume.cloud_init_no_cloud,
            volume.cloud_init_config_drive,
            volume.container_disk,
        )
    )


def has_shared_writable(vmi: VirtualMachineInstance, domain: Element) -> bool:
    """Whether a writable disk stays where it is; libvirt does not recognise our shared directories as safe."""
    volumes = {v.name: v for v in vmi.spec.volumes}
    return any(
        disk.find("readonly") is None and (volume := volumes.get(alias(disk))) is not None and _shared(volume)
        for disk in domain.findall("devices/disk")
    )
