"""Probes of a VMI: exactly one handler each, and a pod network where the handler needs one.

Source: control plane facts 5.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.virtapi.admission.causes import Path, invalid, required

if TYPE_CHECKING:
    from kvtui.api.kubevirt.vmi import Probe, VirtualMachineInstanceSpec
    from kvtui.errors import Cause


def validate_probes(spec: VirtualMachineInstanceSpec, field: Path) -> list[Cause]:
    probes = (
        (field.child("readinessProbe"), spec.readiness_probe),
        (field.child("livenessProbe"), spec.liveness_probe),
    )
    found = [cause for own, probe in probes for cause in _handlers(probe, own)]
    if not any(network.pod is not None for network in spec.networks):
        found += [cause for own, probe in probes for cause in _network(probe, own)]
    return found


def _handlers(probe: Probe | None, own: Path) -> list[Cause]:
    if probe is None:
        return []
    handlers = (probe.http_get, probe.tcp_socket, probe.exec, probe.guest_agent_ping)
    count = sum(handler is not None for handler in handlers)
    if count > 1:
        return [invalid(f"{own} must have exactly one probe type set", own)]
    if not count:
        return [
            required(
                f"either {own.child('tcpSocket')}, {own.child('exec')} or {own.child('httpGet')} must be set if a "
                f"{own} is specified",
                own,
            )
        ]
    return []


def _network(probe: Probe | None, own: Path) -> list[Cause]:
    if probe is None:
        return []
    return [
        invalid(f"{own.child(name)} is only allowed if the Pod Network is attached", own.child(name))
        for name, handler in (("httpGet", probe.http_get), ("tcpSocket", probe.tcp_socket))
        if handler is not None
    ]
