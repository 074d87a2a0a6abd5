"""Metadata that every object carries, and the generic objects of meta.k8s.io.

Source: k8s.io/apimachinery/pkg/apis/meta/v1.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from kvtui.api.wire import ATOMIC, INT32, INT64, REQUIRED, ObjectKey, Time, Wire, list_map, named


class OwnerReference(Wire, frozen=True):
    """The object that this one belongs to; when the owner goes, the garbage collector deletes this one."""

    api_version: Annotated[str, REQUIRED] = ""
    kind: Annotated[str, REQUIRED] = ""
    name: Annotated[str, REQUIRED] = ""
    uid: Annotated[str, REQUIRED] = ""
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class ManagedFieldsEntry(Wire, frozen=True):
    """Which manager owns which fields."""

    manager: str = ""
    operation: str = ""
    api_version: str = ""
    time: Time | None = None
    fields_type: str = ""
    fields_v1: dict[str, Any] = named("fieldsV1", {})
    subresource: str = ""


class ObjectMeta(Wire, frozen=True):
    """Standard object metadata."""

    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    self_link: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: Annotated[int, INT64] = 0
    creation_timestamp: Time | None = None
    deletion_timestamp: Time | None = None
    deletion_grace_period_seconds: Annotated[int | None, INT64] = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    owner_references: Annotated[list[OwnerReference], list_map("uid")] = []
    finalizers: list[str] = []
    managed_fields: Annotated[list[ManagedFieldsEntry], ATOMIC] = []

    @property
    def controller(self) -> OwnerReference | None:
        """The owner that controls this object, if any."""
        return next((o for o in self.owner_references if o.controller), None)


class Resource(Wire, frozen=True):
    """Base of every kind. Where a class lives on the wire stands in `kvtui.api.registry`."""

    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()

    is_resource: ClassVar[bool] = True

    @property
    def key(self) -> ObjectKey:
        return ObjectKey(self.metadata.namespace, self.metadata.name)


class ListMeta(Wire, frozen=True):
    """Metadata of a list."""

    resource_version: str = ""
    continue_: str = named("continue", "")
    remaining_item_count: Annotated[int | None, INT64] = None
    self_link: str = ""


class LabelSelectorRequirement(Wire, frozen=True):
    """One expression of a label selector: In, NotIn, Exists or DoesNotExist."""

    key: Annotated[str, REQUIRED] = ""
    operator: Annotated[str, REQUIRED] = ""
    values: Annotated[list[str], ATOMIC] = []


class LabelSelector(Wire, frozen=True):
    """Labels and expressions, all of which must hold; empty matches everything."""

    match_labels: dict[str, str] = {}
    match_expressions: Annotated[list[LabelSelectorRequirement], ATOMIC] = []


class Condition(Wire, frozen=True):
    """metav1.Condition."""

    type: Annotated[str, REQUIRED] = ""
    status: Annotated[str, REQUIRED] = ""
    reason: str = ""
    message: str = ""
    last_transition_time: Time | None = None
    observed_generation: Annotated[int | None, INT64] = None


class Preconditions(Wire, frozen=True):
    """What must hold before a deletion."""

    uid: str | None = None
    resource_version: str | None = None


class DeleteOptions(Wire, frozen=True):
    """Body of a DELETE."""

    api_version: str = ""
    kind: str = ""
    grace_period_seconds: Annotated[int | None, INT64] = None
    preconditions: Preconditions | None = None
    orphan_dependents: bool | None = None
    propagation_policy: str | None = None
    dry_run: Annotated[list[str], ATOMIC] = []


class StatusCause(Wire, frozen=True):
    """One cause of a failure."""

    reason: str = ""
    message: str = ""
    field: str = ""


class StatusDetails(Wire, frozen=True):
    """About what a Status speaks."""

    name: str = ""
    group: str = ""
    kind: str = ""
    uid: str = ""
    causes: Annotated[list[StatusCause], ATOMIC] = []
    retry_after_seconds: Annotated[int, INT32] = 0


class Status(Wire, frozen=True):
    """The answer of an API server that is not an object."""

    api_version: str = "v1"
    kind: str = "Status"
    metadata: ListMeta = ListMeta()
    status: str = ""
    message: str = ""
    reason: str = ""
    details: StatusDetails | None = None
    code: Annotated[int, INT32] = 0
