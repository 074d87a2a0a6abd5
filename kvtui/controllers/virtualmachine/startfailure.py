"""Crash-loop back-off: instances that end before they ever ran.

Source: kubevirt pkg/virt-controller/watch/vm/vm.go (syncStartFailureStatus); control plane facts 2.5.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from kvtui.api.kubevirt.vm import VirtualMachineStartFailure
from kvtui.api.times import to_time
from kvtui.controllers.virtualmachine.view import BACKOFF_STRATEGIES, View, has_run, is_final

Jitter = Callable[[float], float]
"""Something between 0 and its argument, in seconds."""


def delay(failures: int, *, step: float, limit: float, jitter: Jitter) -> float:
    """Seconds before the next try after so many failures in a row."""
    base = step * failures * failures
    return min(limit, base + jitter(base / 2))


def next_failure(view: View, *, step: float, limit: float, jitter: Jitter) -> VirtualMachineStartFailure | None:
    """status.startFailure as it should be now."""
    present, vmi = view.vm.status.start_failure, view.vmi
    if view.strategy not in BACKOFF_STRATEGIES or (vmi is not None and has_run(vmi)):
        return None
    if vmi is None or not is_final(vmi):
        return present
    if present is not None and present.last_failed_vmiuid == vmi.metadata.uid:
        return present
    failures = (present.consecutive_fail_count or 0 if present else 0) + 1
    retry = view.now + timedelta(seconds=delay(failures, step=step, limit=limit, jitter=jitter))
    return VirtualMachineStartFailure(
        consecutive_fail_count=failures,
        last_failed_vmiuid=vmi.metadata.uid,
        retry_after_timestamp=to_time(retry),
    )
