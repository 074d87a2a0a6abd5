"""Probes of a VMI as probes of its Pod.

Commands and agent pings run inside the guest, so they are wrapped; starting the domain takes its time, so the first
look is later.

Source: kubevirt pkg/virt-controller/services/template.go (wrapExecProbeWithVirtProbe, wrapGuestAgentPing...).
"""

from __future__ import annotations

from typing import Any

from kvtui.api.kubevirt.vmi import Probe, VirtualMachineInstance
from kvtui.api.wire import to_wire

STARTUP_DELAY = 10
"""Seconds added to the first look."""
WRAPPER = "virt-probe"


def pod_probe(vmi: VirtualMachineInstance, probe: Probe | None) -> dict[str, Any] | None:
    if probe is None:
        return None
    timeout = probe.timeout_seconds or 1
    rendered: dict[str, Any] = {
        "initialDelaySeconds": (probe.initial_delay_seconds or 0) + STARTUP_DELAY,
        "timeoutSeconds": probe.timeout_seconds,
        "periodSeconds": probe.period_seconds,
        "successThreshold": probe.success_threshold,
        "failureThreshold": probe.failure_threshold,
    }
    domain = f"{vmi.metadata.namespace}_{vmi.metadata.name}"
    wrapped = [WRAPPER, "--domainName", domain, "--timeoutSeconds", str(timeout)]
    if probe.guest_agent_ping is not None:
        rendered["exec"] = {"command": [*wrapped, "--guestAgentPing"]}
        rendered["timeoutSeconds"] = timeout + 1
    elif probe.exec is not None:
        command = probe.exec.command
        if command[:1] != [WRAPPER]:
            command = [*wrapped, "--command", *command[:1], "--", *command[1:]]
        rendered["exec"] = {"command": command}
        rendered["timeoutSeconds"] = timeout + 1
    elif probe.http_get is not None:
        rendered["httpGet"] = {"path": "/", "scheme": "HTTP", **to_wire(probe.http_get)}
    elif probe.tcp_socket is not None:
        rendered["tcpSocket"] = to_wire(probe.tcp_socket)
    return {key: value for key, value in rendered.items() if value is not None}
