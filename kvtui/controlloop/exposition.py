"""Counters, gauges and histograms, and their Prometheus text.

What follows from objects is computed when it is asked for: a collector reads the caches at scrape time, so nothing has
to be kept in step. A node with hundreds of guests has tens of thousands of samples, so the labels of one guest are
written once, as text, and shared by all samples that carry them.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/ (text format 0.0.4).
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Literal, NewType

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Labels = NewType("Labels", str)
"""Names and escaped values, as they stand between the braces."""
NO_LABELS = Labels("")
Key = tuple[tuple[str, str], ...]
Sample = tuple[str, Labels, float]
"""Suffix of the name, labels, value."""
_ODD = re.compile(r"[^a-zA-Z0-9_]")


def label_name(text: str, prefix: str = "") -> str:
    """The name of a label that stands for a key of Kubernetes: what Prometheus does not take becomes `_`."""
    name = prefix + _ODD.sub("_", text)
    return f"_{name}" if not name or name[0].isdigit() else name


def labels(values: Mapping[str, str]) -> Labels:
    """An empty value is the same as no label, so it is left out."""
    return Labels(",".join([f'{name}="{_escape(text)}"' for name, text in values.items() if text]))


def joined(first: Labels, second: Labels) -> Labels:
    return Labels(f"{first},{second}") if first and second else first or second


@dataclass(frozen=True, slots=True)
class Family:
    """One metric with all its samples."""

    name: str
    help: str
    type: Literal["counter", "gauge", "histogram"]
    samples: Iterable[Sample]


Collector = Callable[[], Iterable[Family]]
"""Called where things change, so it copies what may change; what it returns may be gone through in a thread."""


def gauge(name: str, help_: str, samples: Iterable[tuple[Mapping[str, str], float]]) -> Family:
    return Family(name, help_, "gauge", [("", labels(values), value) for values, value in samples])


def counter(name: str, help_: str, samples: Iterable[tuple[Mapping[str, str], float]]) -> Family:
    return Family(name, help_, "counter", [("", labels(values), value) for values, value in samples])


@dataclass(slots=True)
class Counter:
    """Only goes up."""

    name: str
    help: str
    values: dict[Key, float] = field(default_factory=dict)

    def add(self, amount: float = 1.0, /, **values: str) -> None:
        key = tuple(values.items())
        self.values[key] = self.values.get(key, 0.0) + amount

    def forget(self, **values: str) -> None:
        """What it counted is gone."""
        self.values.pop(tuple(values.items()), None)

    def families(self) -> list[Family]:
        return [counter(self.name, self.help, ((dict(key), value) for key, value in self.values.items()))]


@dataclass(slots=True)
class Buckets:
    """How many values fell between two bounds, and their sum."""

    counts: list[int]
    total: float = 0.0


@dataclass(slots=True)
class Histogram:
    """How often a value fell below each bound."""

    name: str
    help: str
    bounds: tuple[float, ...]
    values: dict[Key, Buckets] = field(default_factory=dict)

    def observe(self, value: float, /, **values: str) -> None:
        buckets = self.values.setdefault(tuple(values.items()), Buckets([0] * (len(self.bounds) + 1)))
        buckets.counts[bisect_left(self.bounds, value)] += 1
        buckets.total += value

    def families(self) -> list[Family]:
        samples: list[Sample] = []
        for key, buckets in self.values.items():
            own, running = labels(dict(key)), 0
            for bound, count in zip((*self.bounds, math.inf), buckets.counts, strict=True):
                running += count
                samples.append(("_bucket", joined(own, labels({"le": number(bound)})), running))
            samples += [("_sum", own, buckets.total), ("_count", own, running)]
        return [Family(self.name, self.help, "histogram", samples)]


class Metrics:
    """Everything this process measures."""

    def __init__(self) -> None:
        self._collectors: list[Collector] = []

    def counter(self, name: str, help_: str) -> Counter:
        made = Counter(name, help_)
        self._collectors.append(made.families)
        return made

    def histogram(self, name: str, help_: str, bounds: tuple[float, ...]) -> Histogram:
        made = Histogram(name, help_, bounds)
        self._collectors.append(made.families)
        return made

    def collect(self, collector: Collector) -> None:
        """Asks this function at each scrape."""
        self._collectors.append(collector)

    def text(self) -> str:
        return text(self.families())

    def families(self) -> Iterator[Family]:
        """A snapshot of now, to be gone through at any time and in any thread."""
        return chain.from_iterable([collector() for collector in self._collectors])


def text(families: Iterable[Family]) -> str:
    """What a scraper reads. A metric without samples is not mentioned."""
    return "".join([_lines(family) for family in families])


def _lines(family: Family) -> str:
    name = family.name
    lines = [
        f"{name}{suffix}{{{values}}} {number(value)}\n" if values else f"{name}{suffix} {number(value)}\n"
        for suffix, values, value in family.samples
    ]
    if not lines:
        return ""
    help_ = family.help.replace("\\", r"\\").replace("\n", r"\n")
    return f"# HELP {name} {help_}\n# TYPE {name} {family.type}\n" + "".join(lines)


def _escape(value: str) -> str:
    if "\\" in value or "\n" in value or '"' in value:
        value = value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    # A lone surrogate, as broken UTF-8 leaves it, cannot be sent.
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def number(value: float) -> str:
    """As Go reads it."""
    if math.isfinite(value):
        return str(int(value)) if value == int(value) else repr(float(value))
    if math.isnan(value):
        return "NaN"
    return "+Inf" if value > 0 else "-Inf"
