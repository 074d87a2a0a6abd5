"""Memory dumps of VMs: checks and patches. Pure.

Source: control plane facts 6.2; life-cycle facts 6.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

from kvtui.api.core.storage import PersistentVolumeClaim
from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.virtapi.admission import amounts
from kvtui.virtapi.subresources.refusals import VM, Refused, bad_request, conflict

Patch = list[dict[str, Any]]
OVERHEAD_BYTES = 100 * 2**20
"""Beyond the guest's memory."""
FILESYSTEM_OVERHEAD = Decimal("0.055")
"""Without CDI's word on it."""
MEBIBYTE = 2**20
DONE = ("Completed", "Failed")


def claim_of(vm: VirtualMachine, wanted: str) -> str:
    """The claim to dump into: the named one, or that of before. Raises Refused."""
    present = vm.status.memory_dump_request
    if not wanted:
        if present is None:
            raise bad_request("Memory dump requires claim name to be set")
        return present.claim_name
    if present is not None and present.claim_name != wanted:
        raise _refused(
            vm,
            f"can't request memory dump for pvc [{wanted}] while pvc [{present.claim_name}] is still associated as "
            "the memory dump pvc",
        )
    return wanted


def _refused(vm: VirtualMachine, cause: str) -> Refused:
    return conflict(VM, vm.metadata.name, cause)


def needed(vmi: VirtualMachineInstance, filesystem_overhead: Decimal = FILESYSTEM_OVERHEAD) -> int:
    """Bytes that the claim must have."""
    resources, memory = vmi.spec.domain.resources, vmi.spec.domain.memory
    asked = resources.requests.get("memory") if resources is not None else None
    if asked is None and memory is not None:
        asked = memory.guest
    plain = math.ceil(Decimal(amounts.value(asked) + OVERHEAD_BYTES) / MEBIBYTE) * MEBIBYTE
    return math.ceil(plain * (1 + filesystem_overhead))


def check(
    vm: VirtualMachine,
    vmi: VirtualMachineInstance | None,
    claim: PersistentVolumeClaim,
    filesystem_overhead: Decimal = FILESYSTEM_OVERHEAD,
) -> None:
    """Raises Refused (409)."""
    if vmi is None or vmi.status.phase != "Running":
        raise _refused(vm, "VMI is not running")
    spec = claim.spec
    if spec.volume_mode == "Block":
        raise _refused(vm, "pvc should be filesystem pvc")
    if spec.access_modes == ["ReadOnlyMany"]:
        raise _refused(vm, "pvc access mode can't be read only")
    size = spec.resources.requests.get("storage") if spec.resources is not None else None
    least = needed(vmi, filesystem_overhead)
    if amounts.value(size) < least:
        raise _refused(vm, f"pvc size [{amounts.shown(size)}] should be bigger then [{least}]")
    present = vm.status.memory_dump_request
    if present is not None and present.phase not in DONE:
        raise _refused(vm, f"memory dump request for pvc [{claim.metadata.name}] already in progress")


def request(raw: dict[str, Any], claim: str) -> Patch:
    """Starts a dump; `raw` is the VM as stored."""
    return _write(raw, {"claimName": claim, "phase": "Associating"})


def removal(vm: VirtualMachine, raw: dict[str, Any]) -> Patch:
    """Ends the association of a claim. Raises Refused (409)."""
    present = vm.status.memory_dump_request
    if present is None:
        raise _refused(vm, f"can't remove memory dump association for vm {vm.metadata.name}, no association found")
    if present.remove:
        raise _refused(vm, f"memory dump remove request for pvc [{present.claim_name}] already exists")
    stored = (raw.get("status") or {}).get("memoryDumpRequest") or {}
    return _write(raw, {**stored, "phase": "Dissociating", "remove": True})


def _write(raw: dict[str, Any], value: dict[str, Any]) -> Patch:
    status = raw.get("status") or {}
    if not status:
        return [{"op": "add", "path": "/status", "value": {"memoryDumpRequest": value}}]
    path, present = "/status/memoryDumpRequest", status.get("memoryDumpRequest")
    return [
        {"op": "test", "path": path, "value": present},
        {"op": "replace" if present is not None else "add", "path": path, "value": value},
    ]
