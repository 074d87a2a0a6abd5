"""The cells of a Pod: its status in one word is the longest story of all kinds.

Source: kube-apiserver's Pod printer; https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from kvtui.apiserver.schema.cells import NONE, Object, age, condition, created, meta, moment, spec, status


def pod_cells(obj: Object, now: datetime) -> list[Any]:
    """Ready, Status, Restarts, Age, IP, Node, Nominated Node, Readiness Gates."""
    containers = spec(obj).get("containers") or []
    sidecars = {c.get("name") for c in spec(obj).get("initContainers") or () if c.get("restartPolicy") == "Always"}
    reason, ready, initializing = _init_reason(obj, sidecars)
    if not initializing:
        reason, more = _container_reason(obj, reason)
        ready += more
    if meta(obj).get("deletionTimestamp"):
        if status(obj).get("reason") == "NodeLost":
            reason = "Unknown"
        elif status(obj).get("phase") not in ("Succeeded", "Failed"):
            reason = "Terminating"
    ips = status(obj).get("podIPs") or []
    return [
        f"{ready}/{len(containers) + len(sidecars)}",
        reason,
        _restarts(obj, sidecars, now, initializing=initializing),
        created(obj, now),
        (ips[0].get("ip") if ips else "") or status(obj).get("podIP") or NONE,
        spec(obj).get("nodeName") or NONE,
        status(obj).get("nominatedNodeName") or NONE,
        _gates(obj),
    ]


def _phase(obj: Object) -> str:
    for entry in status(obj).get("conditions") or ():
        if entry.get("type") == "PodScheduled" and entry.get("reason") == "SchedulingGated":
            return "SchedulingGated"
    return status(obj).get("reason") or status(obj).get("phase") or ""


def _init_reason(obj: Object, sidecars: set[Any]) -> tuple[str, int, bool]:
    """Status while init containers run, ready sidecars, and whether they still run."""
    reason, ready = _phase(obj), 0
    total = len(spec(obj).get("initContainers") or ())
    for index, entry in enumerate(status(obj).get("initContainerStatuses") or ()):
        state = entry.get("state") or {}
        terminated, waiting = state.get("terminated"), state.get("waiting")
        if terminated and terminated.get("exitCode", 0) == 0:
            continue
        if entry.get("name") in sidecars and entry.get("started"):
            ready += bool(entry.get("ready"))
            continue
        if terminated:
            return f"Init:{_ended(terminated)}", ready, True
        if waiting and waiting.get("reason") and waiting["reason"] != "PodInitializing":
            return f"Init:{waiting['reason']}", ready, True
        return f"Init:{index}/{total}", ready, True
    return reason, ready, False


def _ended(terminated: Object) -> str:
    if terminated.get("reason"):
        return str(terminated["reason"])
    if terminated.get("signal"):
        return f"Signal:{terminated['signal']}"
    return f"ExitCode:{terminated.get('exitCode', 0)}"


def _container_reason(obj: Object, reason: str) -> tuple[str, int]:
    running, ready = False, 0
    for entry in reversed(status(obj).get("containerStatuses") or []):
        state = entry.get("state") or {}
        if (state.get("waiting") or {}).get("reason"):
            reason = state["waiting"]["reason"]
        elif state.get("terminated") is not None:
            reason = _ended(state["terminated"])
        elif entry.get("ready") and state.get("running") is not None:
            running = True
            ready += 1
    if reason == "Completed" and running:
        reason = "Running" if condition(obj, "Ready") == "True" else "NotReady"
    return reason, ready


def _restarts(obj: Object, sidecars: set[Any], now: datetime, *, initializing: bool) -> str:
    """How often containers were restarted, and how long ago the last time was."""
    init = status(obj).get("initContainerStatuses") or []
    main = status(obj).get("containerStatuses") or []
    counted = init if initializing else [*(e for e in init if e.get("name") in sidecars), *main]
    total = sum(entry.get("restartCount", 0) for entry in counted)
    ends = [((entry.get("lastState") or {}).get("terminated") or {}).get("finishedAt") for entry in counted]
    times = [end for end in ends if moment(end)]
    if not total or not times:
        return str(total)
    return f"{total} ({age(max(times, key=lambda end: moment(end) or now), now)} ago)"


def _gates(obj: Object) -> str:
    gates = spec(obj).get("readinessGates") or []
    if not gates:
        return NONE
    return f"{sum(condition(obj, g.get('conditionType', '')) == 'True' for g in gates)}/{len(gates)}"
