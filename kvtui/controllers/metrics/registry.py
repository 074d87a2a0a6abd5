"""Counters, gauges and histograms, and their Prometheus text.

Gauges that follow from objects are computed when they are asked for: a collector reads the listers at scrape time, so
nothing has to be kept in step.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/ (text format 0.0.4).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric with all its samples."""

    name: str
    help: str
    type: Literal["counter", "gauge", "histogram"]
    samples: tuple[tuple[str, Labels, float], ...]
    """(suffix of the name, labels, value)."""


Collector = Callable[[], Iterable[Family]]


def labels_of(values: Mapping[str, str]) -> Labels:
    return tuple(values.items())


def gauge(name: str, help_: str, samples: Iterable[tuple[Mapping[str, str], float]]) -> Family:
    return Family(name, help_, "gauge", tuple(("", labels_of(labels), value) for labels, value in samples))


@dataclass(slots=True)
class Counter:
    """Only goes up."""

    name: str
    help: str
    values: dict[Labels, float] = field(default_factory=dict)

    def add(self, amount: float = 1.0, **labels: str) -> None:
        key = labels_of(labels)
        self.values[key] = self.values.get(key, 0.0) + amount

    def families(self) -> Iterator[Family]:
        yield Family(self.name, self.help, "counter", tuple(("", k, v) for k, v in self.values.items()))


@dataclass(slots=True)
class _Buckets:
    counts: list[int]
    total: float = 0.0


@dataclass(slots=True)
class Histogram:
    """How often a value fell below each bound."""

    name: str
    help: str
    bounds: tuple[float, ...]
    values: dict[Labels, _Buckets] = field(default_factory=dict)

    def observe(self, value: float, **labels: str) -> None:
        buckets = self.values.setdefault(labels_of(labels), _Buckets([0] * (len(self.bounds) + 1)))
        buckets.counts[bisect_left(self.bounds, value)] += 1
        buckets.total += value

    def families(self) -> Iterator[Family]:
        samples: list[tuple[str, Labels, float]] = []
        for labels, buckets in self.values.items():
            running = 0
            for bound, count in zip((*self.bounds, float("inf")), buckets.counts, strict=True):
                running += count
                samples.append(("_bucket", (*labels, ("le", _number(bound))), running))
            samples += [("_sum", labels, buckets.total), ("_count", labels, running)]
        yield Family(self.name, self.help, "histogram", tuple(samples))


class Metrics:
    """Everything this process measures."""

    def __init__(self) -> None:
        self._collectors: list[Collector] = []

    def counter(self, name: str, help_: str) -> Counter:
        counter = Counter(name, help_)
        self._collectors.append(counter.families)
        return counter

    def histogram(self, name: str, help_: str, bounds: tuple[float, ...]) -> Histogram:
        histogram = Histogram(name, help_, bounds)
        self._collectors.append(histogram.families)
        return histogram

    def collect(self, collector: Collector) -> None:
        """Asks this function at each scrape."""
        self._collectors.append(collector)

    def text(self) -> str:
        return "".join(_lines(family) for collector in self._collectors for family in collector())


def _lines(family: Family) -> str:
    lines = [f"# HELP {family.name} {_escape(family.help)}\n# TYPE {family.name} {family.type}\n"]
    for suffix, labels, value in family.samples:
        inner = ",".join(f'{name}="{_escape(text, quotes=True)}"' for name, text in labels)
        lines.append(f"{family.name}{suffix}{'{' + inner + '}' if inner else ''} {_number(value)}\n")
    return "".join(lines)


def _escape(text: str, *, quotes: bool = False) -> str:
    text = text.replace("\\", r"\\").replace("\n", r"\n")
    return text.replace('"', r"\"") if quotes else text


def _number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if value == int(value) else repr(float(value))
