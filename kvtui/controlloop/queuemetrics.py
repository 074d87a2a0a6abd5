"""How the queues of this process do, under upstream's names.

Source: k8s.io/client-go/util/workqueue/metrics.go; kubevirt docs/observability/metrics.md
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kvtui.controlloop.controller import Controller
from kvtui.controlloop.exposition import Family, Histogram, Sample, counter, gauge, joined, labels
from kvtui.controlloop.workqueue import QueueCounts


def queue_families(controllers: Sequence[Controller[Any]]) -> list[Family]:
    """Of all queues at this moment."""
    queues = [({"name": c.name}, c.queue) for c in controllers]
    working = [(name, q.working()) for name, q in queues]
    return [
        gauge("kubevirt_workqueue_depth", "Keys that wait.", ((name, len(q)) for name, q in queues)),
        counter("kubevirt_workqueue_adds_total", "Keys that were added.", ((n, q.counts.adds) for n, q in queues)),
        counter("kubevirt_workqueue_retries_total", "Failures.", ((n, q.counts.retries) for n, q in queues)),
        _histogram(
            "kubevirt_workqueue_queue_duration_seconds", "How long keys waited.", controllers, lambda c: c.waited
        ),
        _histogram(
            "kubevirt_workqueue_work_duration_seconds", "How long work on a key took.", controllers, lambda c: c.worked
        ),
        gauge(
            "kubevirt_workqueue_unfinished_work_seconds",
            "Time spent so far on what is being worked on.",
            ((name, sum(seconds)) for name, seconds in working),
        ),
        gauge(
            "kubevirt_workqueue_longest_running_processor_seconds",
            "Time spent so far on what has been worked on for longest.",
            ((name, max(seconds, default=0.0)) for name, seconds in working),
        ),
    ]


def _histogram(
    name: str, help_: str, controllers: Sequence[Controller[Any]], of: Callable[[QueueCounts], Histogram]
) -> Family:
    samples: list[Sample] = []
    for controller in controllers:
        own = labels({"name": controller.name})
        for family in of(controller.queue.counts).families():
            samples += [(suffix, joined(own, more), value) for suffix, more, value in family.samples]
    return Family(name, help_, "histogram", samples)
