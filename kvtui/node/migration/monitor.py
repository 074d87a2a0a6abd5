"""When a running migration is left alone, switched to post-copy, paused or given up. Pure.

Source: KubeVirt's migration configuration (completionTimeoutPerGiB, progressTimeout, allowPostCopy, ...).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import Enum

from kvtui.api.kubevirt.vmi import VMIMConfigurationOptions
from kvtui.node.hypervisor import JobStats

POLL = 0.4
"""Seconds between samples."""
PUBLISH = 1.0
"""Seconds between published samples."""
COMPLETION_PER_GIB, PROGRESS = 150, 150
MAX_DOWNTIME = 2_000_000
"""Milliseconds, the most that QEMU takes."""


class Verdict(Enum):
    """What to do after a sample."""

    GO_ON = "go on"
    POST_COPY = "post-copy"
    PAUSE = "pause"
    ABORT = "abort"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The effective configuration."""

    post_copy: bool = False
    auto_converge: bool = False
    disruption: bool = False
    """The guest may be stopped to get it over."""
    unsafe: bool = False
    bandwidth: int = 0
    """Bytes per second; 0 is unlimited."""
    progress_timeout: float = PROGRESS
    """Seconds without progress; 0 waits for ever."""
    deadline: float = 0.0
    """Seconds for the whole; 0 waits for ever."""


def rules(options: VMIMConfigurationOptions | None, size: int, bandwidth: int) -> Rules:
    """`size` is the bytes to move, `bandwidth` the parsed limit."""
    given = options or VMIMConfigurationOptions()
    per_gib = COMPLETION_PER_GIB if given.completion_timeout_per_gi_b is None else given.completion_timeout_per_gi_b
    post_copy = bool(given.allow_post_copy)
    disruption = given.allow_workload_disruption
    return Rules(
        post_copy=post_copy,
        auto_converge=bool(given.allow_auto_converge),
        disruption=post_copy if disruption is None else disruption,
        unsafe=bool(given.unsafe_migration_override),
        bandwidth=bandwidth,
        progress_timeout=PROGRESS if given.progress_timeout is None else given.progress_timeout,
        deadline=per_gib * math.ceil(size / 10**9),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What the monitor remembers between samples; seconds since the start."""

    rules: Rules
    deadline: float
    last_progress: float = 0.0
    last_remaining: int | None = None
    mode: str = "PreCopy"

    @classmethod
    def start(cls, chosen: Rules) -> Watch:
        return cls(rules=chosen, deadline=chosen.deadline)


def judge(watch: Watch, sample: JobStats, elapsed: float) -> tuple[Watch, Verdict, str]:
    """The next memory, the verdict, and words for an abort."""
    if sample.active:
        if watch.last_remaining is None or sample.data_remaining < watch.last_remaining:
            watch = replace(watch, last_progress=elapsed)
        watch = replace(watch, last_remaining=sample.data_remaining)
    if watch.mode == "PostCopy":
        return watch, Verdict.GO_ON, ""
    late = 0 < watch.deadline < elapsed
    chosen = watch.rules
    if late and chosen.disruption and watch.mode != "Paused":
        if chosen.post_copy:
            return replace(watch, mode="PostCopy"), Verdict.POST_COPY, ""
        return replace(watch, mode="Paused", deadline=watch.deadline * 2), Verdict.PAUSE, ""
    if 0 < chosen.progress_timeout < elapsed - watch.last_progress:
        return (
            watch,
            Verdict.ABORT,
            f"Live migration stuck for {elapsed - watch.last_progress:.0f} seconds and has been aborted",
        )
    if late:
        return (
            watch,
            Verdict.ABORT,
            f"Live migration is not completed after {elapsed:.0f} seconds and has been aborted",
        )
    return watch, Verdict.GO_ON, ""


def progress(sample: JobStats, mode: str, moment: str) -> dict[str, object]:
    """What the screen shows of a migration; bytes, bytes per second, milliseconds."""
    return {
        "timestamp": moment,
        "elapsed": sample.elapsed,
        "total": sample.data_total,
        "remaining": sample.data_remaining,
        "processed": sample.data_processed,
        "rate": sample.memory_rate,
        "dirtyRate": sample.dirty_rate,
        "iteration": sample.iteration,
        "downtime": sample.downtime,
        "mode": mode,
    }
