"""Status of PodDisruptionBudgets, on which evictions depend.

Source: k8s.io/kubernetes/pkg/controller/disruption.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from kvtui.api import selectors
from kvtui.api.core.config import PodDisruptionBudget, PodDisruptionBudgetStatus
from kvtui.api.core.pod import Pod
from kvtui.api.meta import Condition
from kvtui.api.times import from_time, to_time
from kvtui.api.wire import IntOrString, ObjectKey, evolve
from kvtui.controllers import indices
from kvtui.controllers.context import ControllerContext
from kvtui.controllers.patches import write_changes
from kvtui.controllers.virtualmachineinstance.pods import is_final
from kvtui.controlloop.controller import DONE, Controller, Result
from kvtui.errors import NotFound

NAMESPACE = "namespace"
DISRUPTED_FOR = 120.0
"""Seconds for which an evicted Pod counts as gone although it is still there."""


def scaled(value: IntOrString, total: int) -> int:
    """A number, or a share of the total, rounded up."""
    if isinstance(value, int):
        return value
    if value.endswith("%") and value[:-1].isdigit():
        return -(-int(value[:-1]) * total // 100)
    return int(value) if value.isdigit() else 0


def is_healthy(pod: Pod) -> bool:
    return any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions)


def next_status(budget: PodDisruptionBudget, pods: Sequence[Pod], now: datetime) -> PodDisruptionBudgetStatus:
    """`pods`: those that the selector matches."""
    alive = [p for p in pods if not is_final(p)]
    disrupted = {
        name: time
        for name, time in budget.status.disrupted_pods.items()
        if any(p.metadata.name == name and not p.metadata.deletion_timestamp for p in alive)
        and from_time(time) + timedelta(seconds=DISRUPTED_FOR) > now
    }
    healthy = sum(
        is_healthy(p) and not p.metadata.deletion_timestamp and p.metadata.name not in disrupted for p in alive
    )
    expected = len(alive)
    spec = budget.spec
    if spec.max_unavailable is not None:
        desired = max(0, expected - scaled(spec.max_unavailable, expected))
    else:
        desired = scaled(spec.min_available if spec.min_available is not None else 1, expected)
    allowed = max(0, healthy - desired) if expected else 0
    return evolve(
        budget.status,
        observed_generation=budget.metadata.generation,
        disruptions_allowed=allowed,
        current_healthy=healthy,
        desired_healthy=desired,
        expected_pods=expected,
        disrupted_pods=disrupted,
        conditions=_conditions(budget, allowed, now),
    )


def _conditions(budget: PodDisruptionBudget, allowed: int, now: datetime) -> list[Condition]:
    wanted = ("True", "SufficientPods") if allowed > 0 else ("False", "InsufficientPods")
    present = next((c for c in budget.status.conditions if c.type == "DisruptionAllowed"), None)
    if (
        present is not None
        and (present.status, present.reason) == wanted
        and present.observed_generation == budget.metadata.generation
    ):
        return budget.status.conditions
    made = Condition(
        type="DisruptionAllowed",
        status=wanted[0],
        reason=wanted[1],
        observed_generation=budget.metadata.generation,
        last_transition_time=to_time(now),
    )
    return [*(c for c in budget.status.conditions if c.type != "DisruptionAllowed"), made]


class DisruptionController:
    """Keeps every budget's status true."""

    def __init__(self, context: ControllerContext) -> None:
        self.context = context
        self.pods = indices.pods(context.informers)
        context.informers.index(Pod, NAMESPACE, lambda p: [p.metadata.namespace])
        self.budgets = context.informers.index(PodDisruptionBudget, NAMESPACE, lambda b: [b.metadata.namespace])
        self.controller: Controller[ObjectKey] = Controller(
            "disruption",
            self.reconcile,
            informers=[self.pods, self.budgets],
            settings=context.settings.loop,
            workers=1,
        )
        self.budgets.subscribe(lambda old, new: self.controller.queue.add((new or old or PodDisruptionBudget()).key))
        self.pods.subscribe(self._pod_changed)

    async def run(self) -> None:
        await self.controller.run()

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        pod = new or old
        assert pod is not None
        for budget in self.budgets.store.by_index(NAMESPACE, pod.metadata.namespace):
            matching = selectors.from_object(budget.spec.selector)
            if any(p is not None and matching.matches(p.metadata.labels) for p in (old, new)):
                self.controller.queue.add(budget.key)

    async def reconcile(self, key: ObjectKey) -> Result:
        budget = self.budgets.get(key)
        if budget is None:
            return DONE
        matching = selectors.from_object(budget.spec.selector)
        pods = [p for p in self.pods.store.by_index(NAMESPACE, key.namespace) if matching.matches(p.metadata.labels)]
        status = next_status(budget, pods, self.context.clock())
        try:
            await write_changes(self.context.client, budget, evolve(budget, status=status))
        except NotFound:
            return DONE
        return Result(requeue_after=DISRUPTED_FOR) if status.disrupted_pods else DONE
