"""The volumes of a VMI on this node: images before its Pod is ready, disks before its domain starts.

What survives what: claims and hostDisks belong to their owners; overlays, emptyDisks and ISOs live in the VMI's state
directory, so they survive a guest's reboot and an agent's restart and go with the VMI.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kvtui.api import quantity
from kvtui.api.kubevirt.domain import Disk
from kvtui.api.kubevirt.vmi import VirtualMachineInstance, VirtualMachineInstanceSpec, Volume
from kvtui.client.rest import Client
from kvtui.errors import InvalidObject, NotFound
from kvtui.node import downwardmetrics, identity
from kvtui.node.identity import QemuUser
from kvtui.node.layout import DomainPaths, Layout, VmDirectory
from kvtui.node.volumes import bootfiles, claims, cloudinit, configfiles, growth, iso, persistentstate, qemuimg
from kvtui.node.volumes.images import CachedImage, ImageCache, Wanted

MIB = 2**20
KERNEL = "kernel boot"
"""Key of the kernel-boot image among the images of a VMI."""
UNREACHABLE = ("Pending", "Bound")
"""Phases of volumes to plug in that no node has yet."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the converter has to know about the volumes."""

    paths: DomainPaths
    block_volumes: frozenset[str]
    formats: Mapping[str, str]
    """Image format by containerDisk volume."""
    claims: Mapping[str, claims.Claim] = field(default_factory=dict)
    user: QemuUser | None = None
    """The VM's own user; None where QEMU runs as libvirt says."""
    kept_state: Path | None = None
    """Directory of the claim with firmware variables and TPM state that outlive the VMI."""


Note = Callable[[str, str], None]
"""Records a Normal event on the VMI: reason, message."""


class Volumes:
    """Makes and finds the files of VMIs. All methods may be called again."""

    def __init__(self, client: Client, layout: Layout, cache: ImageCache, user: Callable[[str], QemuUser]) -> None:
        """`user` tells whom the QEMU of the VMI with that UID runs as."""
        self._client = client
        self._layout = layout
        self._cache = cache
        self.user = user

    # Images

    async def pull(self, vmi: VirtualMachineInstance, pinned: Mapping[str, str]) -> dict[str, str]:
        """Pulls all images; digest by volume. `pinned` are digests that must be used. Raises what the cache raises."""
        digests = {}
        for name, image in (await self._images(vmi, pinned)).items():
            digests[name] = image.digest
        return digests

    async def _images(self, vmi: VirtualMachineInstance, pinned: Mapping[str, str]) -> dict[str, CachedImage]:
        spec = _spec(vmi)
        found = {}
        for volume in spec.volumes:
            if (disk := volume.container_disk) is None:
                continue
            found[volume.name] = await self._cache.get(
                disk.image,
                Wanted(paths=(disk.path,)) if disk.path else Wanted(),
                policy=disk.image_pull_policy or "",
                credentials=await self._credentials(vmi, disk.image_pull_secret),
                digest=pinned.get(volume.name, ""),
            )
        boot = spec.domain.firmware.kernel_boot if spec.domain.firmware else None
        if boot is not None and (container := boot.container) is not None:
            paths = tuple(p for p in (container.kernel_path, container.initrd_path) if p)
            found[KERNEL] = await self._cache.get(
                container.image,
                Wanted(directory="/", paths=paths),
                policy=container.image_pull_policy or "",
                credentials=await self._credentials(vmi, container.image_pull_secret),
                digest=pinned.get(KERNEL, ""),
                disk=False,
            )
        return found

    async def _credentials(self, vmi: VirtualMachineInstance, secret: str | None) -> bytes | None:
        if not secret:
            return None
        try:
            data = await configfiles.secret_data(self._client, vmi.metadata.namespace, secret)
        except NotFound:
            return None  # as kubelet: pulling goes on without, and its failure tells
        return data.get(".dockerconfigjson") or data.get(".dockercfg")

    # Disks

    def make_directory(self, uid: str) -> VmDirectory:
        """The state directory with the rights that QEMU needs: to pass, and to make sockets in one place."""
        directory, user = self._layout.vm(uid), self.user(uid)
        for path, rights in (
            (directory.own, 0o1),
            (directory.disks, 0o1),
            (directory.console, 0o1),
            (directory.own / "nvram", 0o7),
            (directory.sockets, 0o7),
        ):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            identity.let_in(path, user, rights)
        return directory

    async def prepare(
        self, vmi: VirtualMachineInstance, pinned: Mapping[str, str], note: Note, state_claim: str = ""
    ) -> Prepared:
        """Everything but the ISOs. `state_claim` is for state that outlives the VMI, where it is not the VMI's yet.

        Raises Transient while something is missing, Permanent when the spec is wrong.
        """
        directory = await asyncio.to_thread(self.make_directory, vmi.metadata.uid)
        images = await self._images(vmi, pinned)
        found: dict[str, claims.Claim] = {}
        volumes: dict[str, str] = {}
        waiting = {s.name for s in vmi.status.volume_status if s.hotplug_volume is not None and s.phase in UNREACHABLE}
        for volume in _spec(vmi).volumes:
            if volume.name in waiting:
                continue
            if name := claims.claim_name(volume):
                claim = await self._claim(vmi, volume, name, note)
                found[volume.name] = claim
                volumes[volume.name] = str(self._layout.seen(claim.image))
            elif volume.host_disk is not None:
                volumes[volume.name] = str(self._layout.seen(await claims.ensure_host_disk(volume.host_disk)))
        user = self.user(vmi.metadata.uid)
        kept = await persistentstate.prepare(self._client, self._layout, vmi, user, state_claim)
        kernel = images.pop(KERNEL, None)
        paths = DomainPaths(
            directory=directory,
            images={name: str(self._layout.seen(image.files[0])) for name, image in images.items()},
            volumes=volumes,
            kernel={f.name: str(self._layout.seen(f)) for f in kernel.files} if kernel else {},
            kept_variables=persistentstate.variables(self._layout, kept) if kept is not None else "",
        )
        formats = {name: image.format for name, image in images.items()}
        await self._own_disks(vmi, paths, formats)
        own = user if user.own else None
        return Prepared(paths, frozenset(n for n, c in found.items() if c.block), formats, found, own, kept)

    async def image_of(self, vmi: VirtualMachineInstance, volume: Volume) -> str:
        """Image or device of a claim's volume, as QEMU sees it. Raises what `claims.resolve` raises."""
        claim = await claims.resolve(self._client, self._layout, vmi.metadata.namespace, claims.claim_name(volume))
        return str(self._layout.seen(claim.image))

    async def grow(self, vmi: VirtualMachineInstance, prepared: Prepared) -> None:
        """Lets the images of a guest that does not run yet grow with their claims."""
        infos = {s.name: s.persistent_volume_claim_info for s in vmi.status.volume_status}
        written = _written(vmi)
        for volume in vmi.spec.volumes:
            claim = prepared.claims.get(volume.name)
            source = volume.persistent_volume_claim or volume.data_volume
            if claim is not None and source is not None and not claim.block and volume.name in written:
                await growth.at_start(claim.image, infos.get(volume.name))

    async def _claim(self, vmi: VirtualMachineInstance, volume: Volume, name: str, note: Note) -> claims.Claim:
        claim = await claims.resolve(self._client, self._layout, vmi.metadata.namespace, name)
        source = volume.persistent_volume_claim
        untouched = volume.ephemeral is not None or bool(source and source.read_only)
        if volume.name in {f.name for f in vmi.spec.domain.devices.filesystems}:
            await claims.ensure_directory(claim)
        elif untouched:
            if volume.ephemeral is None and volume.name in _written(vmi):
                raise InvalidObject(
                    f"persistentVolumeClaim.readOnly of volume {volume.name} wants its disk to be readonly too"
                )
            if not claim.image.exists():
                raise claims.ClaimPending(f"PersistentVolumeClaim {name} has no {claims.DISK} yet")
        elif volume.memory_dump is None:
            created = await claims.ensure_image(claim)
            if created is not None and created.tolerated:
                note("ToleratedSmallPV", f"PV size too small: expected {claim.size} B, using {created.size} B")
        return claim

    async def _own_disks(self, vmi: VirtualMachineInstance, paths: DomainPaths, formats: Mapping[str, str]) -> None:
        for volume in _spec(vmi).volumes:
            if volume.container_disk is not None or volume.ephemeral is not None:
                target = self._own(paths, paths.overlay(volume.name))
                backing = paths.images.get(volume.name) or paths.volumes[volume.name]
                if not target.exists():
                    await qemuimg.create_overlay(target, backing, formats.get(volume.name, "raw"))
            elif volume.empty_disk is not None:
                target = self._own(paths, paths.empty_disk(volume.name))
                size = quantity.value(volume.empty_disk.capacity) // MIB * MIB
                if size <= 0:
                    raise InvalidObject(f"the size for volume {volume.name} is too low")
                if not target.exists():
                    await qemuimg.create_empty(target, size)
            elif volume.downward_metrics is not None:
                await asyncio.to_thread(downwardmetrics.create, self._own(paths, paths.downward_metrics_disk()))

    async def build_isos(self, vmi: VirtualMachineInstance, prepared: Prepared, uuid: str) -> dict[str, int]:
        """cloud-init and configuration disks, anew for each start of a domain; sizes in bytes by volume."""
        paths, spec = prepared.paths, _spec(vmi)
        sizes = await self.build_cloud_init(vmi, prepared, uuid)
        used = {disk.name for disk in spec.domain.devices.disks}
        for volume in spec.volumes:
            if volume.name not in used:
                continue
            disk = await configfiles.read(self._client, vmi, volume)
            if disk is not None:
                target = self._own(paths, paths.config_disk(volume.name, disk.kind))
                sizes[volume.name] = await iso.build(target, disk.label, disk.files)
        await self._write_boot_files(vmi, paths)
        return sizes

    async def build_cloud_init(
        self, vmi: VirtualMachineInstance, prepared: Prepared, uuid: str, devices: Sequence[cloudinit.Device] = ()
    ) -> dict[str, int]:
        """The first cloud-init volume alone, with what is known of devices; its size in bytes by its name."""
        first = cloudinit.first_volume(_spec(vmi).volumes)
        if first is None:
            return {}
        built = cloudinit.build(vmi, first, uuid, await self._cloud_init_secrets(vmi, first), devices)
        target = self._own(prepared.paths, prepared.paths.cloud_init(first.name, built.file))
        return {first.name: await iso.build(target, built.label, built.files)}

    async def _write_boot_files(self, vmi: VirtualMachineInstance, paths: DomainPaths) -> None:
        """ACPI tables out of Secrets, and an Ignition configuration."""
        files = await bootfiles.acpi_tables(self._client, vmi, paths)
        if (configuration := bootfiles.ignition(vmi)) is not None:
            files[paths.ignition()] = configuration
        user = self.user(vmi.metadata.uid)
        for seen, data in files.items():
            await asyncio.to_thread(bootfiles.write, self._own(paths, seen), data, user)

    async def _cloud_init_secrets(self, vmi: VirtualMachineInstance, volume: Volume) -> cloudinit.Secrets:
        source = volume.cloud_init_no_cloud or volume.cloud_init_config_drive
        assert source is not None
        namespace = vmi.metadata.namespace
        user = network = None
        if source.secret_ref is not None:
            user = await configfiles.secret_data(self._client, namespace, source.secret_ref.name or "")
        if source.network_data_secret_ref is not None:
            network = await configfiles.secret_data(self._client, namespace, source.network_data_secret_ref.name or "")
        keys: list[str] = []
        for credential in _spec(vmi).access_credentials:
            key = credential.ssh_public_key
            if key is None or key.source.secret is None:
                continue
            method = key.propagation_method
            wanted = method.no_cloud if volume.cloud_init_no_cloud is not None else method.config_drive
            if wanted is None:
                continue
            data = await configfiles.secret_data(self._client, namespace, key.source.secret.secret_name)
            keys += [text.decode(errors="replace").strip() for _, text in sorted(data.items()) if text.strip()]
        return cloudinit.Secrets(user, network, tuple(keys))

    def _own(self, paths: DomainPaths, seen: str) -> Path:
        return paths.directory.own_of(seen)


def _written(vmi: VirtualMachineInstance) -> set[str]:
    """Disks into which the guest may write."""
    return {disk.name for disk in _spec(vmi).domain.devices.disks if not _is_read_only(disk)}


def _is_read_only(disk: Disk) -> bool:
    if disk.cdrom is not None:
        return disk.cdrom.readonly is not False
    target = disk.lun or disk.disk
    return bool(target and target.readonly)


def _spec(vmi: VirtualMachineInstance) -> VirtualMachineInstanceSpec:
    if vmi.spec is None:
        raise InvalidObject("the VirtualMachineInstance has no spec")
    return vmi.spec
