"""Whose domain it is: our element in <metadata>, by which alone the agent knows its domains.

libvirt keeps it through restarts of agent and daemon, and hands it to the target of a migration.
Source: https://libvirt.org/formatdomain.html#general-metadata
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from kvtui.api.wire import ObjectKey
from kvtui.domainxml.elements import Element, element, group

if TYPE_CHECKING:
    from kvtui.api.kubevirt.vmi import VirtualMachineInstance

NAMESPACE = "https://kvtui.io/domain"
"""URI for virDomainSetMetadata and virDomainGetMetadata."""
PREFIX = "kvtui"
"""Prefix for virDomainSetMetadata."""
ROOT = "vmi"
GRACE_SECONDS = 30
"""For a VMI that names no terminationGracePeriodSeconds."""

ElementTree.register_namespace(PREFIX, NAMESPACE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ownership:
    """The VMI behind a domain, and what the agent must not forget about it."""

    uid: str
    namespace: str
    name: str
    grace_seconds: int = GRACE_SECONDS
    """Seconds between the ACPI signal and the end."""
    paused: bool = False
    """A user or the start strategy paused it, so nobody but a user resumes it."""
    stopping_since: str = ""
    """When shutdown was first asked for, RFC 3339."""
    migration: str = ""
    """UID of the migration that moved it here or moves it away."""

    @property
    def key(self) -> ObjectKey:
        return ObjectKey(self.namespace, self.name)


def ownership_of(vmi: VirtualMachineInstance) -> Ownership:
    """What a new domain of this VMI starts with."""
    grace = vmi.spec.termination_grace_period_seconds
    return Ownership(
        uid=vmi.metadata.uid,
        namespace=vmi.metadata.namespace,
        name=vmi.metadata.name,
        grace_seconds=GRACE_SECONDS if grace is None else max(grace, 0),
        paused=vmi.spec.start_strategy == "Paused",
    )


def to_element(ownership: Ownership, *, qualified: bool = True) -> Element:
    """Our element; virDomainSetMetadata wants it unqualified, since it adds the prefix itself."""
    rows = {field.name: getattr(ownership, field.name) for field in fields(Ownership)}
    children = [element(name, _text(value)) for name, value in rows.items() if value is not False and value != ""]
    return group(f"{{{NAMESPACE}}}{ROOT}" if qualified else ROOT, children)


def _text(value: object) -> str:
    return "true" if value is True else str(value)


def from_element(found: Element) -> Ownership | None:
    """What our element says; None if it names no VMI."""
    rows = {child.tag.rpartition("}")[2]: child.text or "" for child in found}
    if not rows.get("uid"):
        return None
    grace = rows.get("grace_seconds", "")
    return Ownership(
        uid=rows["uid"],
        namespace=rows.get("namespace", ""),
        name=rows.get("name", ""),
        grace_seconds=int(grace) if grace.isascii() and grace.isdigit() else GRACE_SECONDS,
        paused=rows.get("paused") == "true",
        stopping_since=rows.get("stopping_since", ""),
        migration=rows.get("migration", ""),
    )


def read(domain: Element) -> Ownership | None:
    """Whose domain this is; None for a domain that is not ours."""
    found = domain.find(f"metadata/{{{NAMESPACE}}}{ROOT}")
    return None if found is None else from_element(found)
