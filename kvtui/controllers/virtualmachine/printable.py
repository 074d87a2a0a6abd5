"""status.printableStatus: one word for people; the first rule that holds gives it.

Source: kubevirt pkg/virt-controller/watch/vm/vm.go (setPrintableStatus); control plane facts 2.6.
"""

from __future__ import annotations

from collections.abc import Callable

from kvtui.controllers import conditions
from kvtui.controllers.virtualmachine.strategy import set_to_start
from kvtui.controllers.virtualmachine.view import BACKOFF_STRATEGIES, View, is_final, is_migrating

DV_ERRORS = ("Error", "ImagePullFailed")
STARTING_PHASES = ("", "Pending", "Scheduling", "Scheduled")


def _stopping(view: View) -> bool:
    vmi = view.vmi
    return vmi is not None and not is_final(vmi) and (bool(vmi.metadata.deletion_timestamp) or view.deleting)


def _migrating(view: View) -> bool:
    return view.vmi is not None and is_migrating(view.vmi, view.now)


def _running(view: View) -> bool:
    return view.vmi is not None and view.vmi.status.phase == "Running"


def _paused(view: View) -> bool:
    return _running(view) and view.vmi is not None and conditions.is_true(view.vmi.status.conditions, "Paused")


def _synchronized_false(reason: str) -> Callable[[View], bool]:
    def holds(view: View) -> bool:
        found = conditions.find(view.vmi.status.conditions, "Synchronized") if view.vmi else None
        return found is not None and found.status == "False" and found.reason == reason

    return holds


def _data_volume_error(view: View) -> bool:
    for volume in view.data_volumes.values():
        running = conditions.find(volume.status.conditions, "Running")
        broken = running is not None and running.status == "False" and (running.reason or "") in DV_ERRORS
        if volume.status.phase == "Failed" or broken:
            return True
    return False


def _unschedulable(view: View) -> bool:
    found = conditions.find(view.vmi.status.conditions, "PodScheduled") if view.vmi else None
    return found is not None and found.status == "False" and found.reason == "Unschedulable"


def _provisioning(view: View) -> bool:
    for name, volume in view.data_volumes.items():
        phase = volume.status.phase or ""
        if phase in ("Succeeded", "PendingPopulation"):
            continue
        claim = view.claims.get(name)
        bound = claim is not None and claim.status.phase == "Bound"
        if phase == "WaitForFirstConsumer" and not bound:
            continue
        return True
    return False


def _waiting_for_binding(view: View) -> bool:
    if not set_to_start(view):
        return False
    templates = (t.metadata.name for t in view.vm.spec.data_volume_templates if t.metadata)
    return any(name in view.claims and view.claims[name].status.phase != "Bound" for name in templates)


def _starting(view: View) -> bool:
    if view.vmi is None:
        return view.creating
    return (view.vmi.status.phase or "") in STARTING_PHASES


def _ended(view: View) -> bool:
    return (view.vmi is None and not view.creating) or (view.vmi is not None and is_final(view.vmi))


def _crash_loop(view: View) -> bool:
    failure = view.vm.status.start_failure
    counted = failure is not None and (failure.consecutive_fail_count or 0) > 0
    return _ended(view) and counted and view.strategy in BACKOFF_STRATEGIES


def _waiting_for_receiver(view: View) -> bool:
    if view.strategy != "WaitAsReceiver":
        return False
    return view.vmi is None or view.vmi.status.phase == "WaitingForSync"


RULES: tuple[tuple[str, Callable[[View], bool]], ...] = (
    ("Terminating", lambda view: bool(view.vm.metadata.deletion_timestamp)),
    ("Stopping", _stopping),
    ("Migrating", _migrating),
    ("Paused", _paused),
    ("Running", _running),
    ("ErrorPvcNotFound", _synchronized_false("FailedPvcNotFound")),
    ("DataVolumeError", _data_volume_error),
    ("ErrorUnschedulable", _unschedulable),
    ("Provisioning", _provisioning),
    ("WaitingForVolumeBinding", _waiting_for_binding),
    ("ErrImagePull", _synchronized_false("ErrImagePull")),
    ("ImagePullBackOff", _synchronized_false("ImagePullBackOff")),
    ("Starting", _starting),
    ("CrashLoopBackOff", _crash_loop),
    ("Stopped", _ended),
    ("WaitingForReceiver", _waiting_for_receiver),
)


def printable_status(view: View) -> str:
    """`view.vm` carries the start failure of this pass already."""
    return next((word for word, holds in RULES if holds(view)), "Unknown")
