"""From a VMI to the domain that this node defines: gathers the node's facts and calls the pure converter."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

from kvtui.api.kubevirt.config import KubeVirtConfiguration
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.domainxml import Context, cluster_of, convert, matching_sources, tuning_xml
from kvtui.domainxml.architecture import Arch, arch_of
from kvtui.domainxml.finish import finish
from kvtui.domainxml.firmware import FIRMWARE_DIRECTORIES, Firmware, inventory
from kvtui.domainxml.hostdevices import check_claims
from kvtui.domainxml.metadata import ownership_of
from kvtui.domainxml.placement import Attachment, Bridged, DiskFacts, Placement, UserMode
from kvtui.domainxml.ports import placeholder_count
from kvtui.domainxml.vintage import NEWEST, Version, version_of
from kvtui.node import identity, owner
from kvtui.node.capabilities import GO_ARCH, Guests, Host
from kvtui.node.hypervisor import Owner
from kvtui.node.network.types import Nic, PodNetwork
from kvtui.node.network.usermode import USER
from kvtui.node.volumes import blocks
from kvtui.node.volumes.room import Prepared


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeTraits:
    """What every conversion on this node shares."""

    engine: str
    kvm: bool
    host: Host
    guests: Guests
    firmware: Firmware
    vhost_net: bool
    own_users: bool = False
    """Each VM's QEMU may run as a user of its own."""
    libvirt: Version = NEWEST
    """Version of the daemon."""


def traits(
    engine: str, host: Host, guests: Guests, *, kvm: bool, libvirt: str = "", state: Path | None = None
) -> NodeTraits:
    """Looks at the files of the node once. `state` is where the directories of VMs are, `libvirt` a version."""
    files = [str(path) for name in FIRMWARE_DIRECTORIES if Path(name).is_dir() for path in Path(name).iterdir()]
    return NodeTraits(
        engine=engine,
        kvm=kvm,
        host=host,
        guests=guests,
        firmware=inventory(arch_of(GO_ARCH.get(host.arch, "amd64")), files),
        vhost_net=Path("/dev/vhost-net").exists(),
        own_users=state is not None and not identity.hindrance(host.user, state),
        libvirt=version_of(libvirt),
    )


class Builder:
    """Makes domain descriptions for one node."""

    def __init__(
        self,
        node: Callable[[], NodeTraits],
        configuration: Callable[[], KubeVirtConfiguration | None],
        *,
        allow_emulation: bool,
        cpus: Callable[[str], tuple[int, ...]] = lambda _: (),
        allowed: Callable[[str], str] = lambda _: "",
    ) -> None:
        """By UID of a VMI: `cpus` are its own alone, `allowed` is the list of those that its whole domain keeps to."""
        self._node = node
        self._configuration = configuration
        self._allow_emulation = allow_emulation
        self._cpus = cpus
        self._allowed = allowed

    @property
    def vhost_net(self) -> bool:
        return self._node().vhost_net

    @property
    def own_users(self) -> bool:
        return self._node().own_users

    def context(self, vmi: VirtualMachineInstance, prepared: Prepared) -> Context:
        """The surroundings of a conversion, with the block sizes that disks ask for. Blocks. Raises ConversionError."""
        context = self._context(vmi, prepared)
        sources = matching_sources(vmi, context)
        return dataclasses.replace(context, block_sizes=blocks.measure(sources)) if sources else context

    def tuning(self, vmi: VirtualMachineInstance) -> Element | None:
        """The <cputune> of a guest with CPUs of its own. Raises ConversionError."""
        node = self._node()
        cpus = self._cpus(vmi.metadata.uid)
        arch = Arch(GO_ARCH.get(node.host.arch, "amd64"))
        return tuning_xml(vmi, Context(host_arch=arch, cpu_set=cpus, numa=node.host.cells))

    def _context(self, vmi: VirtualMachineInstance, prepared: Prepared) -> Context:
        node, configuration = self._node(), self._configuration()
        developer = configuration.developer_configuration if configuration else None
        return Context(
            kvm=node.kvm,
            allow_emulation=self._allow_emulation or bool(developer and developer.use_emulation),
            host_arch=Arch(GO_ARCH.get(node.host.arch, "amd64")),
            cpu_set=self._cpus(vmi.metadata.uid),
            numa=node.host.cells,
            firmware=node.firmware,
            block_volumes=prepared.block_volumes,
            container_disk_formats=prepared.formats,
            libvirt=node.libvirt,
            cluster=cluster_of(configuration),
            paths=prepared.paths,
        )

    async def domain(self, vmi: VirtualMachineInstance, prepared: Prepared, network: PodNetwork | None) -> Element:
        """The description to define. Raises ConversionError."""
        node = self._node()
        check_claims(vmi.spec.domain.devices)
        converted = convert(vmi, await asyncio.to_thread(self.context, vmi, prepared))
        placement = Placement(
            ownership=ownership_of(vmi),
            interfaces=attachments(network),
            disks=await asyncio.to_thread(disk_facts, converted),
            serial_log=prepared.paths.serial_log() if converted.find("devices/serial") is not None else "",
            placeholders=placeholder_count(vmi),
            host_model=bool(node.guests.host_model),
            vhost_net=node.vhost_net,
            libvirt=node.libvirt,
            cpus=self._allowed(vmi.metadata.uid),
            user=prepared.user.label if prepared.user is not None else "",
        )
        domain = finish(converted, placement)
        meta = vmi.metadata
        owner.put(domain, Owner(node.engine, meta.namespace, meta.name, meta.uid))
        return domain


def attachments(network: PodNetwork | None) -> dict[str, Attachment]:
    """How each interface reaches its network."""
    if network is None:
        return {}
    return {n.name: attachment(n) for n in network.nics}


def attachment(nic: Nic) -> Attachment:
    if nic.binding == USER:
        return UserMode(mac=nic.mac)
    return Bridged(bridge=nic.bridge, device=nic.tap, mac=nic.mac, mtu=nic.mtu)


def disk_facts(domain: Element) -> dict[str, DiskFacts]:
    """What can be seen of the files behind disks; those that are not there yet are left out. Blocks."""
    found = {}
    for disk in domain.findall("devices/disk"):
        alias, source, driver = disk.find("alias"), disk.find("source"), disk.find("driver")
        path = "" if source is None else source.get("file") or source.get("dev") or ""
        if alias is None or not path or not Path(path).exists():
            continue
        backing = disk.find("backingStore/source")
        below = "" if backing is None else backing.get("file") or backing.get("dev") or ""
        direct = _direct(path) and (not below or not Path(below).exists() or _direct(below))
        allocated = _allocated(path, driver.get("type", "raw") if driver is not None else "raw")
        found[alias.get("name", "").removeprefix("ua-")] = DiskFacts(direct_io=direct, allocated=allocated)
    return found


def _direct(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC))
    except OSError as error:
        return error.errno not in (errno.EINVAL, errno.EOPNOTSUPP)
    return True


def _allocated(path: str, image_format: str) -> bool:
    """Every block that the guest can write to is there."""
    status = os.stat(path)
    if not os.path.isfile(path):
        return True
    size = status.st_size if image_format == "raw" else _virtual_size(path)
    return size > 0 and status.st_blocks * 512 >= size


def _virtual_size(path: str) -> int:
    """Bytes that the guest of a qcow2 image sees; 0 if it cannot be told."""
    try:
        with open(path, "rb") as image:
            header = image.read(32)
    except OSError:
        return 0
    return int.from_bytes(header[24:32], "big") if header[:4] == b"QFI\xfb" else 0
