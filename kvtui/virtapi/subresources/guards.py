"""What must hold before a request goes on to the node of an instance. Pure.

Source: control plane facts 6.3 and 6.5.
"""

from __future__ import annotations

from kvtui.api.kubevirt.domain import SEV
from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.virtapi.subresources.refusals import VM, VMI, Refused, bad_request, conflict, forbidden

NOT_RUNNING, VM_NOT_RUNNING = "VMI is not running", "VM is not running"


def _refused(vmi: VirtualMachineInstance, cause: str) -> Refused:
    return conflict(VMI, vmi.metadata.name, cause)


def has_condition(vmi: VirtualMachineInstance, type_: str) -> bool:
    return any(condition.type == type_ and condition.status == "True" for condition in vmi.status.conditions)


def is_paused(vmi: VirtualMachineInstance) -> bool:
    return has_condition(vmi, "Paused")


def on_node(vmi: VirtualMachineInstance) -> None:
    """It must have got as far as a node. Raises Refused (400)."""
    phase = vmi.status.phase or ""
    if phase not in ("Running", "Scheduled"):
        raise bad_request(f"Unable to connect to VirtualMachineInstance because phase is {phase} instead of Running")


def running(vmi: VirtualMachineInstance, text: str = VM_NOT_RUNNING) -> None:
    if vmi.status.phase != "Running":
        raise _refused(vmi, text)


def pause(vmi: VirtualMachineInstance) -> None:
    running(vmi)
    probe = vmi.spec.liveness_probe
    if probe is not None and probe.guest_agent_ping is None:
        cause = "Pausing VMIs with LivenessProbe is currently not supported"
        raise forbidden(VMI, vmi.metadata.name, cause)
    if is_paused(vmi):
        raise _refused(vmi, "VMI is already paused")


def unpause(vmi: VirtualMachineInstance, vm: VirtualMachine | None) -> None:
    if vm is not None and vm.status.snapshot_in_progress is not None:
        raise _refused(vmi, "VM snapshot is in progress")
    running(vmi)
    if not is_paused(vmi):
        raise _refused(vmi, "VMI is not paused")


def softreboot(vmi: VirtualMachineInstance) -> None:
    running(vmi)
    if is_paused(vmi):
        raise _refused(vmi, "VMI is paused")
    features = vmi.spec.domain.features
    acpi_off = features is not None and features.acpi is not None and features.acpi.enabled is False
    if acpi_off and not has_condition(vmi, "AgentConnected"):
        raise _refused(vmi, "VMI neither have the agent connected nor the ACPI feature enabled")


def reset(vmi: VirtualMachineInstance) -> None:
    if vmi.status.phase != "Running":
        phase = vmi.status.phase or ""
        raise _refused(vmi, f"Failed to reset non-running VMI with phase {phase}")


def guest_agent(vmi: VirtualMachineInstance) -> None:
    running(vmi, NOT_RUNNING)
    if not has_condition(vmi, "AgentConnected"):
        raise _refused(vmi, "VMI does not have guest agent connected")


def _streams(vmi: VirtualMachineInstance) -> None:
    if vmi.status.phase == "Failed":
        raise _refused(vmi, "VMI is in failed status")
    if vmi.status.phase != "Running":
        raise bad_request(NOT_RUNNING)


def console(vmi: VirtualMachineInstance) -> None:
    if vmi.spec.domain.devices.autoattach_serial_console is False:
        raise bad_request("No serial consoles are present.")
    _streams(vmi)


def vnc(vmi: VirtualMachineInstance) -> None:
    if vmi.spec.domain.devices.autoattach_graphics_device is False:
        raise bad_request("No graphics devices are present.")
    if vmi.status.phase != "Running":
        raise bad_request(NOT_RUNNING)


def usbredir(vmi: VirtualMachineInstance) -> None:
    if vmi.spec.architecture == "s390x":
        raise _refused(vmi, "USB redirection is not supported on s390x")
    if vmi.spec.domain.devices.client_passthrough is None:
        raise _refused(vmi, "Not configured with USB Redirection")
    if vmi.status.phase != "Running":
        raise bad_request(NOT_RUNNING)


def vsock(vmi: VirtualMachineInstance) -> None:
    if not vmi.spec.domain.devices.autoattach_vsock:
        raise bad_request("VSOCK is not attached.")
    if vmi.status.phase != "Running":
        raise bad_request(NOT_RUNNING)


def portforward(vmi: VirtualMachineInstance) -> None:
    if vmi.status.phase != "Running":
        raise bad_request(NOT_RUNNING)
    if is_paused(vmi):
        raise _refused(vmi, "VMI is paused")
    if not vmi.status.interfaces:
        raise bad_request("no network interfaces are present")


def started(vm: VirtualMachine) -> None:
    if not vm.status.created:
        raise conflict(VM, vm.metadata.name, "VMI is not started")


def sev_setup(vmi: VirtualMachineInstance) -> None:
    """A session comes before the guest runs. Raises Refused."""
    if vmi.status.phase != "Scheduled":
        raise _refused(vmi, "VMI is not in Scheduled phase")
    sev = _attested(vmi)
    if sev.session or sev.dh_cert:
        raise _refused(vmi, "Session already defined")


def sev_secret(vmi: VirtualMachineInstance) -> None:
    running(vmi, NOT_RUNNING)
    _attested(vmi)
    if not is_paused(vmi):
        raise _refused(vmi, "VMI is not paused")


def sev_read(vmi: VirtualMachineInstance) -> None:
    _attested(vmi)


def _attested(vmi: VirtualMachineInstance) -> SEV:
    security = vmi.spec.domain.launch_security
    sev = security.sev if security is not None else None
    if sev is None or sev.attestation is None:
        raise _refused(vmi, "Attestation not requested for VMI")
    return sev


def tracked(vmi: VirtualMachineInstance) -> None:
    """Backups need changed block tracking."""
    tracking = vmi.status.changed_block_tracking
    if tracking is None or tracking.state != "Enabled":
        raise _refused(vmi, "ChangedBlockTracking is not enabled for this VMI")
