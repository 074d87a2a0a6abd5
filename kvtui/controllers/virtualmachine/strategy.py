"""Run strategies: what a VM's strategy, requests and instance ask for now.

Source: kubevirt pkg/virt-controller/watch/vm/vm.go (syncRunStrategy); control plane facts 2.4.
"""

from __future__ import annotations

from dataclasses import dataclass

from kvtui.controllers import names
from kvtui.controllers.virtualmachine.view import View, is_final

RECEIVER_RECHECK = 2.0
"""Seconds."""


@dataclass(frozen=True, slots=True)
class Start:
    """Make the VMI."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Delete the VMI; `rerun` asks for a new start afterwards."""

    rerun: bool = False


@dataclass(frozen=True, slots=True)
class SetStrategy:
    """Rewrite the spec, in whichever of its two fields it uses."""

    strategy: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Look again after some seconds, or at the next change."""

    seconds: float | None = None


Decision = Start | Stop | SetStrategy | Wait


def decide(view: View) -> Decision:
    match view.strategy:
        case "Always":
            return _always(view)
        case "RerunOnFailure":
            return _rerun_on_failure(view)
        case "Manual":
            if view.vmi is not None:
                return Stop() if view.stop_requested else Wait()
            return Start() if view.start_requested else Wait()
        case "Halted":
            if view.vmi is not None:
                return Stop()
            return SetStrategy("Always") if view.start_requested else Wait()
        case "Once":
            return Start() if view.vmi is None else Wait()
        case "WaitAsReceiver":
            return _receiver(view)
    return Wait()


def _start_after_backoff(view: View) -> Decision:
    left = view.backoff_left
    return Wait(left) if left > 0 else Start()


def _moved_away(view: View) -> bool:
    """Whether the VMI has gone to another cluster or namespace."""
    state = view.vmi.status.migration_state if view.vmi is not None else None
    return state is not None and state.source_state is not None and bool(state.source_state.sync_address)


def _always(view: View) -> Decision:
    if view.vmi is None:
        return _start_after_backoff(view)
    if _moved_away(view) and is_final(view.vmi):
        state = view.vmi.status.migration_state
        done = state is not None and state.completed and not state.failed
        return SetStrategy("Halted") if done else Wait(RECEIVER_RECHECK)
    return Stop() if view.stop_requested or is_final(view.vmi) else Wait()


def _rerun_on_failure(view: View) -> Decision:
    if view.vmi is None:
        fresh = view.vm.status.run_strategy != "RerunOnFailure"
        return _start_after_backoff(view) if view.start_requested or fresh else Wait()
    if view.stop_requested:
        return Stop()
    if is_final(view.vmi):
        return Stop(rerun=view.vmi.status.phase == "Failed")
    return Wait()


def _receiver(view: View) -> Decision:
    if view.vmi is None:
        return Start()
    state = view.vmi.status.migration_state
    if state is not None and state.completed and not state.failed:
        return SetStrategy(view.vm.metadata.annotations.get(names.RESTORE_RUN_STRATEGY) or "Always")
    return Wait()


def set_to_start(view: View) -> bool:
    """Whether a VMI is wanted; printableStatus asks this for volumes that are not bound yet."""
    match view.strategy:
        case "Always":
            return True
        case "Manual":
            return not view.stop_requested if view.vmi is not None else view.start_requested
        case "RerunOnFailure":
            if view.vmi is not None:
                return view.vmi.status.phase != "Succeeded"
            return view.start_requested or view.vm.status.run_strategy != "RerunOnFailure"
        case "Once":
            return view.vmi is None
    return False
