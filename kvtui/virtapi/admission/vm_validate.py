"""All rules for a VirtualMachine. It passes in stages; the first stage with findings answers alone.

Source: control plane facts 5.1 and 5.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.api.wire import evolve
from kvtui.virtapi.admission import hotplug_memory, vm_instancetype
from kvtui.virtapi.admission.causes import Path, invalid, not_supported
from kvtui.virtapi.admission.defaults import shared_defaults
from kvtui.virtapi.admission.same import same
from kvtui.virtapi.admission.text import quoted
from kvtui.virtapi.admission.view import cluster_config
from kvtui.virtapi.admission.vm_datavolumes import validate_namespaces, validate_templates
from kvtui.virtapi.admission.vm_requests import validate_requests
from kvtui.virtapi.admission.vmi_cpu import validate_sockets
from kvtui.virtapi.admission.vmi_network import validate_discontinued_gates, validate_network_creation
from kvtui.virtapi.admission.vmi_spec import validate_metadata, validate_spec

if TYPE_CHECKING:
    from kvtui.api.kubevirt.vm import VirtualMachine, VirtualMachineSpec
    from kvtui.api.kubevirt.vmi import VirtualMachineInstanceSpec
    from kvtui.errors import Cause
    from kvtui.virtapi.admission.config import ClusterConfig
    from kvtui.virtapi.admission.view import ClusterView

RUN_STRATEGIES = ("Halted", "Manual", "Always", "RerunOnFailure", "Once", "WaitAsReceiver")
RUNNING_DEPRECATED = "spec.running is deprecated, please use spec.runStrategy instead."


def validate_vm(
    vm: VirtualMachine, old: VirtualMachine | None, namespace: str, view: ClusterView, *, by_component: bool
) -> list[Cause]:
    """`old` is None on create. Raises Denied (400) when defaults cannot be made."""
    config = cluster_config(view)
    chosen, found = vm_instancetype.find(vm, namespace, view)
    if found:
        return found
    copy, found = vm_instancetype.applied(vm, chosen)
    if found:
        return found
    spec = shared_defaults(copy.spec.template.spec, config)
    copy = evolve(copy, spec=evolve(copy.spec, template=evolve(copy.spec.template, spec=spec)))
    found = vm_instancetype.demands(chosen, spec)
    if found:
        return found
    if old is None:
        found = validate_discontinued_gates(vm.spec.template.spec, config) or validate_network_creation(
            spec, Path("spec")
        )
        if found:
            return found
    return (
        validate_vm_spec(copy.spec, Path("spec"), config, by_component=by_component)
        or validate_namespaces(vm, old, namespace)
        or validate_locks(vm, old)
        or validate_requests(vm, namespace, view, config)
    )


def validate_vm_spec(
    spec: VirtualMachineSpec, field: Path, config: ClusterConfig, *, by_component: bool
) -> list[Cause]:
    """The rules that a pool's template is also held to."""
    template = spec.template
    own = field.child("template")
    return [
        *validate_metadata(template.metadata, own.child("metadata"), config, by_component=by_component),
        *validate_spec(template.spec, own.child("spec"), config),
        *validate_templates(spec, field),
        *validate_run_strategy(spec, field, config),
        *_validate_live_update(template.spec, own.child("spec"), config),
    ]


def validate_run_strategy(spec: VirtualMachineSpec, field: Path, config: ClusterConfig) -> list[Cause]:
    if spec.running is not None and spec.run_strategy is not None:
        message = (
            "Running and RunStrategy are mutually exclusive. Note that Running is deprecated, "
            "please use RunStrategy instead"
        )
        return [invalid(message, field.child("running"))]
    if spec.running is None and spec.run_strategy is None:
        return [invalid("RunStrategy must be specified", field.child("running"))]
    if spec.run_strategy is None:
        return []
    own, strategy = field.child("runStrategy"), spec.run_strategy
    if strategy not in RUN_STRATEGIES:
        return [invalid(f"Invalid RunStrategy ({strategy})", own)]
    if strategy == "WaitAsReceiver" and not config.gate("DecentralizedLiveMigration"):
        gate = "DecentralizedLiveMigration feature gate is not enabled in kubevirt resource"
        return [invalid(f"Invalid RunStrategy ({strategy}), {gate}", own)]
    return []


def _validate_live_update(spec: VirtualMachineInstanceSpec, field: Path, config: ClusterConfig) -> list[Cause]:
    if not config.live_update:
        return []
    found = validate_sockets(spec.domain.cpu, field.child("domain", "cpu"))
    if spec.domain.memory is not None and spec.domain.memory.max_guest is not None:
        problem = hotplug_memory.obstacle(spec.domain, spec.architecture or "")
        if problem:
            found.append(invalid(problem, field.child("domain", "memory", "guest")))
    return found


def validate_locks(new: VirtualMachine, old: VirtualMachine | None) -> list[Cause]:
    """What a snapshot or restore under way forbids."""
    if old is None:
        return []
    snapshot, restore = new.status.snapshot_in_progress, new.status.restore_in_progress
    if snapshot is not None:
        if not same(old.spec.template.spec.volumes, new.spec.template.spec.volumes):
            message = f"Cannot update vm disks or volumes until snapshot {quoted(snapshot)} completes"
            return [not_supported(message, "spec")]
        if not _runs_alike(old.spec, new.spec):
            message = f"Cannot update vm running state until snapshot {quoted(snapshot)} completes"
            return [not_supported(message, "spec")]
    if restore is not None and not same(old.spec, new.spec) and run_strategy(new.spec) != "Halted":
        return [not_supported(f"Cannot start VM until restore {quoted(restore)} completes", "spec")]
    return []


def run_strategy(spec: VirtualMachineSpec) -> str:
    """The strategy, whichever way it is written."""
    if spec.running is not None:
        return "Always" if spec.running else "Halted"
    return spec.run_strategy or "Halted"


def _runs_alike(old: VirtualMachineSpec, new: VirtualMachineSpec) -> bool:
    """A switch between the two ways of writing counts as a change."""
    if old.running is not None and new.running is not None:
        return old.running == new.running
    if old.run_strategy is not None and new.run_strategy is not None:
        return old.run_strategy == new.run_strategy
    return False
