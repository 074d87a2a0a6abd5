"""A scraper: reads metrics with Prometheus' own parser and insists on what the format demands."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from kvtui.controlloop.exposition import Family, text

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
Samples = list[tuple[dict[str, str], float]]


@dataclass
class Scrape:
    """What was read: samples by name, types by metric."""

    samples: dict[str, Samples] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Samples:
        return self.samples[name]

    def __contains__(self, name: str) -> bool:
        return name in self.samples

    def one(self, metric: str, /, **labels: str) -> float:
        """The value of the one sample with these labels, among others."""
        found = [v for own, v in self.samples.get(metric, []) if labels.items() <= own.items()]
        assert len(found) == 1, f"{metric} {labels}: {self.samples.get(metric)}"
        return found[0]


def scrape(source: str | Iterable[Family]) -> Scrape:
    """Fails the test for what a server would refuse: metrics without type, and what is told twice."""
    body = source if isinstance(source, str) else text(source)
    declared = re.findall(r"^# TYPE (\S+) (\S+)$", body, re.MULTILINE)
    assert len(declared) == len({name for name, _ in declared}), "a metric has several types"
    helped = re.findall(r"^# HELP (\S+) ", body, re.MULTILINE)
    assert sorted(helped) == sorted(name for name, _ in declared), "HELP and TYPE go together"
    found = Scrape(types=dict(declared))
    seen: set[tuple[str, frozenset[tuple[str, str]]]] = set()
    for family in text_string_to_metric_families(body):
        for sample in family.samples:
            assert _NAME.fullmatch(sample.name), sample.name
            assert all(_LABEL.fullmatch(label) for label in sample.labels), sample.labels
            assert family.type != "unknown", sample.name
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in seen, key
            seen.add(key)
            # The parser gives counters the end that OpenMetrics wants.
            name = (
                sample.name if family.type != "counter" or sample.name in found.types else sample.name[: -len("_total")]
            )
            found.samples.setdefault(name, []).append((dict(sample.labels), sample.value))
    return found
