"""Memory dumps of a running guest: the file, what the volume's status says, and failures that leave nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kvtui.api.core.storage import PersistentVolume, PersistentVolumeClaim
from kvtui.api.kubevirt.vmi import VirtualMachineInstance, VolumeStatus
from kvtui.api.wire import from_wire, to_wire
from kvtui.node.hypervisor import HypervisorRefused
from tests.node.builders import vmi
from tests.node.conftest import Bench, key


async def claim(bench: Bench) -> Path:
    """A bound claim; its directory."""
    directory = bench.layout.shared / "volume"
    capacity = {"storage": "1Gi"}
    volume = {
        "metadata": {"name": "v"},
        "spec": {
            "capacity": capacity,
            "accessModes": ["ReadWriteMany"],
            "hostPath": {"path": str(directory)},
            "claimRef": {"namespace": "default", "name": "dump"},
        },
    }
    wanted = {
        "metadata": {"name": "dump", "namespace": "default"},
        "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": capacity}, "volumeName": "v"},
    }
    await bench.client.create(from_wire(volume, PersistentVolume))
    await bench.client.create(from_wire(wanted, PersistentVolumeClaim))
    status = {"phase": "Bound", "capacity": capacity}
    await bench.client.patch_status(PersistentVolumeClaim, ("default", "dump"), status)
    return directory


async def asked(bench: Bench, found: VirtualMachineInstance) -> None:
    """The controllers put the volume into the spec, and say that it can be reached."""
    volumes = [to_wire(v) for v in found.spec.volumes]
    dump = {"name": "dump", "memoryDump": {"claimName": "dump", "hotpluggable": True}}
    status = {"name": "dump", "target": "", "phase": "AttachedToNode", "hotplugVolume": {"attachPodName": "p"}}
    body: dict[str, Any] = {"spec": {"volumes": [*volumes, dump]}, "status": {"volumeStatus": [status]}}
    await bench.client.patch(VirtualMachineInstance, found.key, body)


async def told(bench: Bench, phase: str) -> VolumeStatus:
    """The volume's status once it is in this phase."""

    def status(instance: VirtualMachineInstance | None) -> VolumeStatus | None:
        known = instance.status.volume_status if instance is not None else []
        return next((s for s in known if s.name == "dump" and s.phase == phase), None)

    found = status(await bench.until(VirtualMachineInstance, key(), status))
    assert found is not None
    return found


async def test_a_dump_replaces_the_one_before_and_the_volume_leaves(bench: Bench) -> None:
    directory = await claim(bench)
    directory.mkdir(parents=True)
    (directory / "vm1-dump-20200101-000000.memory.dump").write_bytes(b"old")
    (directory / "notes").write_bytes(b"kept")
    found, _ = await bench.run(vmi())
    await asked(bench, found)
    info = (await told(bench, "MemoryDumpCompleted")).memory_dump_volume
    assert info is not None
    assert info.claim_name == "dump"
    assert info.start_timestamp
    assert info.end_timestamp
    name = info.target_file_name or ""
    assert name.startswith("vm1-dump-")
    assert name.endswith(".memory.dump")
    assert sorted(p.name for p in directory.iterdir()) == sorted(["notes", name])
    assert (directory / name).read_bytes() == b"\x7fELF"
    await bench.client.patch(
        VirtualMachineInstance, found.key, {"spec": {"volumes": [to_wire(v) for v in found.spec.volumes]}}
    )
    await told(bench, "UnMountedFromPod")
    assert (directory / name).exists()


async def test_a_dump_that_fails_says_why_and_leaves_nothing(bench: Bench) -> None:
    directory = await claim(bench)
    found, _ = await bench.run(vmi())
    bench.hypervisor.refusals["core_dump"] = HypervisorRefused("the guest is being migrated")
    await asked(bench, found)
    assert (await told(bench, "MemoryDumpFailed")).message == "the guest is being migrated"
    assert list(directory.iterdir()) == []
