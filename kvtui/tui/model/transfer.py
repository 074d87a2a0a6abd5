"""The progress of one migration as it was watched: samples, averages, verdict, time left; pure.

Samples come from the annotation kvtui.io/migration-progress of the migration, about one a second.
"""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass, replace
from typing import Any

from kvtui.api.kubevirt.migration import VirtualMachineInstanceMigration
from kvtui.tui.columns.cell import moment

ANNOTATION = "kvtui.io/migration-progress"
_KEPT = 120
_AVERAGED = 10.0
"""Seconds."""
_STALLED = 30.0
"""Seconds without a better remaining amount."""
_LOSING = 10.0
"""Seconds during which the guest wrote at least as fast as we copied."""


class Verdict(enum.StrEnum):
    """How it goes."""

    NONE = ""
    CONVERGING = "CONVERGING"
    SLOW = "SLOW"
    NOT_CONVERGING = "NOT CONVERGING"
    STALLED = "STALLED"
    SWITCHING = "SWITCHING"
    POST_COPY = "POST-COPY"


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at the hypervisor. Bytes, bytes per second, milliseconds where named so."""

    at: float
    """POSIX seconds."""
    elapsed_ms: float
    total: float
    remaining: float
    processed: float
    rate: float
    dirty_rate: float
    iteration: int
    downtime_ms: float | None
    mode: str


@dataclass(frozen=True, slots=True)
class Transfer:
    """Samples of one migration, oldest first."""

    samples: tuple[Sample, ...] = ()
    best: float | None = None
    """Least remaining bytes so far."""
    best_at: float = 0.0

    @property
    def last(self) -> Sample | None:
        return self.samples[-1] if self.samples else None

    def seen(self, sample: Sample) -> Transfer:
        """With one more sample; one that is not newer than the last changes nothing."""
        if self.last is not None and sample.at <= self.last.at:
            return self
        better = self.best is None or sample.remaining < self.best
        return replace(
            self,
            samples=(*self.samples, sample)[-_KEPT:],
            best=sample.remaining if better else self.best,
            best_at=sample.at if better else self.best_at,
        )

    def _recent(self) -> tuple[Sample, ...]:
        last = self.last
        return tuple(s for s in self.samples if last is not None and last.at - s.at < _AVERAGED)

    @property
    def copy_rate(self) -> float:
        """Bytes per second, averaged over the last ten."""
        recent = self._recent()
        return sum(s.rate for s in recent) / len(recent) if recent else 0.0

    @property
    def write_rate(self) -> float:
        recent = self._recent()
        return sum(s.dirty_rate for s in recent) / len(recent) if recent else 0.0

    @property
    def share(self) -> float | None:
        """How much of the memory is over, from 0 to 1."""
        last = self.last
        return 1 - last.remaining / last.total if last is not None and last.total > 0 else None

    @property
    def best_share(self) -> float | None:
        last = self.last
        if last is None or last.total <= 0 or self.best is None:
            return None
        return 1 - self.best / last.total

    @property
    def verdict(self) -> Verdict:
        last = self.last
        if last is None:
            return Verdict.NONE
        if "post" in last.mode.lower():
            return Verdict.POST_COPY
        if "switch" in last.mode.lower() or (last.remaining <= 0 and last.total > 0):
            return Verdict.SWITCHING
        if last.at - self.best_at >= _STALLED:
            return Verdict.STALLED
        copied, written = self.copy_rate, self.write_rate
        if copied <= written and copied > 0 and self._losing_for() >= _LOSING:
            return Verdict.NOT_CONVERGING
        return Verdict.CONVERGING if copied > 1.5 * written else Verdict.SLOW

    def _losing_for(self) -> float:
        since = None
        for sample in reversed(self.samples):
            if sample.rate > sample.dirty_rate:
                break
            since = sample.at
        last = self.last
        return last.at - since if last is not None and since is not None else 0.0

    @property
    def seconds_left(self) -> float | None:
        """None when it cannot be told."""
        last, gain = self.last, self.copy_rate - self.write_rate
        return last.remaining / gain if last is not None and gain > 0 else None


def sample_of(migration: VirtualMachineInstanceMigration) -> Sample | None:
    """The sample that the object carries now; None where there is none or it makes no sense."""
    text = migration.metadata.annotations.get(ANNOTATION)
    if not text:
        return None
    try:
        data = json.loads(text)
        return _sample(data) if isinstance(data, dict) else None
    except (ValueError, TypeError):
        return None


def _sample(data: dict[str, Any]) -> Sample | None:
    def number(*names: str) -> float:
        return next((float(data[n]) for n in names if isinstance(data.get(n), int | float)), 0.0)

    stamp = data.get("timestamp")
    then = moment(stamp) if isinstance(stamp, str) else None
    at = then.timestamp() if then is not None else number("timestamp")
    if at <= 0:
        return None
    downtime = number("downtimeMs", "downtime")
    return Sample(
        at=at,
        elapsed_ms=number("elapsedMs", "elapsed"),
        total=number("totalBytes", "total"),
        remaining=number("remainingBytes", "remaining"),
        processed=number("processedBytes", "processed"),
        rate=number("rateBytesPerSecond", "rate"),
        dirty_rate=number("dirtyRateBytesPerSecond", "dirtyRate"),
        iteration=int(number("iteration")),
        downtime_ms=downtime or None,
        mode=str(data.get("mode") or ""),
    )
