"""What upstream answered to admission requests (shared admission cases), and how ours is compared with it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kvtui.api.admission import AdmissionRequest, Denied, Operation, UserInfo
from kvtui.virtapi.admission.call import Chance
from kvtui.virtapi.readers import RawReader, group_of, plural_of
from kvtui.virtapi.review import VirtAdmission

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kvtui.virtapi.admission.view import Right

SHARED = Path(os.environ.get("KVTUI_SHARED", Path(__file__).parents[3] / "shared"))
CASES = Path(os.environ.get("KVTUI_ADMISSION_CASES", SHARED / "data" / "admission-cases"))

CHANCE = Chance(
    ("5d307ca9-b3ef-428c-8861-06e72d69f223", "c6a5ca8f-1d12-4cd5-8a36-6f5ac0c14b8e"), "abcde", "2026-11-24T08:00:00Z"
)
CLUSTER_SCOPED = {"StorageClass", "PriorityClass", "Node", "Namespace", "MigrationPolicy"}


@dataclass
class Cluster:
    """Objects as lists of JSON values: the RawObjects of tests. Everybody may everything but what is `refused`."""

    objects: Sequence[Mapping[str, Any]] = ()
    refused: set[Right] = field(default_factory=set)

    def _of(self, group: str, plural: str, namespace: str) -> Iterator[Mapping[str, Any]]:
        for item in self.objects:
            if group_of(item["apiVersion"]) != group or plural_of(item["kind"]) != plural:
                continue
            if not namespace or item["metadata"].get("namespace") == namespace:
                yield item

    async def get(self, group: str, plural: str, namespace: str, name: str) -> Mapping[str, Any] | None:
        return next((i for i in self._of(group, plural, namespace) if i["metadata"]["name"] == name), None)

    async def list(self, group: str, plural: str, namespace: str) -> Sequence[Mapping[str, Any]]:
        return list(self._of(group, plural, namespace))

    async def may(self, right: Right) -> bool:
        return right not in self.refused


def kubevirt(configuration: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "KubeVirt",
        "metadata": {"name": "kubevirt", "namespace": "kubevirt"},
        "spec": {"configuration": configuration},
    }


@dataclass
class Answer:
    """What one request came to."""

    mutated: dict[str, Any] | None = None
    warnings: list[str] = field(default_factory=list)
    denied: Denied | None = None
    stage: str = ""

    @property
    def causes(self) -> set[tuple[str, str]]:
        return {(cause.reason, cause.field) for cause in self.denied.causes} if self.denied else set()


def request_of(case: Mapping[str, Any]) -> AdmissionRequest:
    item, user = case["object"], case.get("user") or {}
    group, _, version = item["apiVersion"].rpartition("/")
    operation: Operation = case["operation"]
    return AdmissionRequest(
        operation=operation,
        group=group,
        version=version,
        resource=plural_of(item["kind"]),
        subresource=case.get("subresource", ""),
        namespace=item["metadata"].get("namespace", ""),
        name=item["metadata"].get("name", ""),
        object=item,
        old_object=case.get("oldObject"),
        user=UserInfo(user.get("username", "jane"), groups=tuple(user.get("groups", ())), extra=user.get("extra", {})),
    )


def admission_of(case: Mapping[str, Any]) -> VirtAdmission:
    cluster = Cluster([*case.get("existing", ()), kubevirt(case.get("config") or {})])
    return VirtAdmission(RawReader(cluster), chance=lambda: CHANCE)


async def ask(admission: VirtAdmission, request: AdmissionRequest) -> Answer:
    """Mutation, then validation of the result."""
    answer = Answer(stage="mutating")
    try:
        answer.mutated, answer.warnings = await admission.mutate(request)
        answer.stage = "validating"
        changed = AdmissionRequest(
            **{name: getattr(request, name) for name in request.__slots__} | {"object": answer.mutated}
        )
        answer.warnings += await admission.validate(changed)
    except Denied as denied:
        answer.denied = denied
    return answer


def load(directory: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for path in sorted(directory.glob("*.jsonl")):
        found += [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    return found


def differences(case: Mapping[str, Any], answer: Answer, expected: Mapping[str, Any]) -> list[str]:
    """How the answer differs from one that upstream gave."""
    denied = answer.denied
    if expected["allowed"] != (denied is None):
        return [f"allowed: {denied is None}" + (f" ({denied.code}: {denied})" if denied else "")]
    found: list[str] = []
    if denied is not None:
        if denied.code != expected["code"]:
            found.append(f"code {denied.code}")
        if answer.stage != expected["stage"]:
            found.append(f"stage {answer.stage}")
        if denied.reason != expected.get("reason", ""):
            found.append(f"reason {denied.reason!r}")
        causes = {(c.get("type", ""), c.get("field", "")) for c in expected.get("causes", ())}
        if case["topic"] != "vmi-schema" and answer.causes != causes:
            found.append(f"causes {sorted(answer.causes)} instead of {sorted(causes)}")
        if not same_message(case, str(denied), expected["message"]):
            found.append(f"message {str(denied)!r}\n       instead of {expected['message']!r}")
    mutated = case.get("mutated", case["object"])
    if answer.stage == "validating" and anonymous(answer.mutated) != mutated:
        found.append(f"mutated {json.dumps(answer.mutated)}\n   instead of {json.dumps(mutated)}")
    if answer.warnings != expected.get("warnings", []):
        found.append(f"warnings {answer.warnings}")
    return found


def anonymous(data: Any) -> Any:
    """The value with this request's chance replaced by what cases write for it."""
    text = json.dumps(data)
    for drawn in CHANCE.uuids:
        text = text.replace(drawn, "<random-uuid>")
    return json.loads(text.replace(CHANCE.now, "<now>").replace(f"-{CHANCE.suffix}", "-<random>"))


def same_message(case: Mapping[str, Any], ours: str, theirs: str) -> bool:
    if case.get("messageOrderVaries"):
        return sorted(ours) == sorted(theirs)
    return ours == theirs
