"""Which objects of a resource a list, watch or deletecollection is about."""

from __future__ import annotations

from dataclasses import dataclass

from kvtui.apiserver import selectors, status
from kvtui.apiserver.record import Record
from kvtui.apiserver.resources import ResourceInfo
from kvtui.errors import InvalidSelector

_MAX_REQUIREMENTS = 1000


@dataclass(frozen=True, slots=True)
class Selection:
    """A namespace (None: all), labels and fields; everything must hold."""

    namespace: str | None
    labels: selectors.LabelSelector
    fields: selectors.FieldSelector

    @property
    def selective(self) -> bool:
        """There is a selector, beyond the namespace."""
        return not (self.labels.empty and self.fields.empty)

    @property
    def name(self) -> str | None:
        """The only name that can match, if the selector gives one."""
        return self.fields.exact("metadata.name")

    def matches(self, record: Record) -> bool:
        if self.namespace is not None and record.namespace != self.namespace:
            return False
        if not self.labels.empty and not self.labels.matches(record.labels):
            return False
        return self.fields.empty or self.fields.matches(record.field)


def parse(info: ResourceInfo, namespace: str | None, labels: str, fields: str) -> Selection:
    """From the query parameters. Raises Failure 400."""
    if labels.count(",") > _MAX_REQUIREMENTS or fields.count(",") > _MAX_REQUIREMENTS:
        raise status.bad_request(f"a selector may have at most {_MAX_REQUIREMENTS} requirements")
    try:
        label_selector = selectors.parse_label_selector(labels) if labels else selectors.EVERYTHING
        field_selector = selectors.parse_fields(
            fields, info.group, info.plural, namespaced=info.namespaced, selectable=info.selectable
        )
    except InvalidSelector as error:
        raise status.bad_request(str(error)) from error
    return Selection(namespace, label_selector, field_selector)
