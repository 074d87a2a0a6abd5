"""Clones of VMs.

Source: life-cycle facts 3.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from kvtui.api.core.parts import TypedLocalObjectReference
from kvtui.api.wire import evolve
from kvtui.virtapi.admission.causes import Path, invalid
from kvtui.virtapi.admission.text import mac_octets

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kvtui.api.kubevirt.clone import VirtualMachineClone, VirtualMachineCloneSpec
    from kvtui.errors import Cause

VM, VM_GROUP = "VirtualMachine", "kubevirt.io"
SNAPSHOT, SNAPSHOT_GROUP = "VirtualMachineSnapshot", "snapshot.kubevirt.io"
GROUPS = {VM: VM_GROUP, SNAPSHOT: SNAPSHOT_GROUP}
ETHERNET_OCTETS = 6
"""Longer addresses are malformed ones, too."""


def with_target(clone: VirtualMachineClone, suffix: str) -> VirtualMachineClone:
    """A target without a name, or none at all, gets one made of the source's."""
    source, target = clone.spec.source, clone.spec.target
    if source is None or (target is not None and target.name):
        return clone
    target = target or TypedLocalObjectReference(api_group=VM_GROUP, kind=VM)
    target = evolve(target, name=f"clone-{source.name}-{suffix}")
    return evolve(clone, spec=evolve(clone.spec, target=target))


def validate(clone: VirtualMachineClone) -> list[Cause]:
    return [
        *_filters(clone.spec),
        *_kinds(clone.spec),
        *_source(clone.spec),
        *_target(clone.spec),
        *_macs(clone.spec),
        *_patches(clone.spec),
    ]


def _filters(spec: VirtualMachineCloneSpec) -> Iterator[Cause]:
    yield from _filter_list(spec.annotation_filters, Path("spec.annotations"))
    yield from _filter_list(spec.label_filters, Path("spec.labels"))
    if spec.template is not None:
        yield from _filter_list(spec.template.annotation_filters, Path("spec.template.annotations"))
        yield from _filter_list(spec.template.label_filters, Path("spec.template.labels"))


def _filter_list(filters: list[str], field: Path) -> Iterator[Cause]:
    """A filter is a key, "!" may lead it, "*" may end it; one character alone is not looked into."""
    for text in filters:
        if text == "!":
            yield invalid("a negation character is not a valid filter", field)
        if len(text) == 1:
            continue
        start = f"{field} filter {text} is invalid: cannot contain a"
        if "!" in text[1:]:
            rule = "NegationChar can be only used at the beginning of the filter"
            yield invalid(f"{start} negation character (!); FilterRules: {rule}", field)
        if "*" in text[:-1]:
            rule = "WildcardChar can be only at the end of the filter"
            yield invalid(f"{start} wildcard character (*); FilterRules: {rule}", field)


def _kinds(spec: VirtualMachineCloneSpec) -> Iterator[Cause]:
    if spec.source is not None and spec.source.kind not in GROUPS:
        yield invalid("Source kind is not supported", "spec.Source.Kind")
    if spec.target is not None and spec.target.kind != VM:
        yield invalid("Target kind is not supported", "spec.Target.Kind")


def _source(spec: VirtualMachineCloneSpec) -> Iterator[Cause]:
    source, field = spec.source, Path("spec.Source")
    if source is None:
        yield invalid("Source cannot be nil", field)
        return
    if not source.api_group:
        yield invalid("Source's APIGroup cannot be empty", field.child("APIGroup"))
    if not source.kind:
        yield invalid("Source's Kind cannot be empty", field)
    if not source.name:
        yield invalid("Source's name cannot be empty", field.child("Name"))


def _target(spec: VirtualMachineCloneSpec) -> Iterator[Cause]:
    source, target = spec.source, spec.target
    if source is None or target is None:
        return
    if source.kind == VM and target.kind == VM and source.name == target.name:
        message = "Target name cannot be equal to source name when both are VirtualMachines"
        yield invalid(message, "spec.target.name")


def _macs(spec: VirtualMachineCloneSpec) -> Iterator[Cause]:
    for interface, address in spec.new_mac_addresses.items():
        if address and mac_octets(address) != ETHERNET_OCTETS:
            message = f"interface {interface} has malformed MAC address ({address})."
            yield invalid(message, f"spec.newMacAddresses.{interface}")


def _patches(spec: VirtualMachineCloneSpec) -> Iterator[Cause]:
    for position, patch in enumerate(spec.patches):
        try:
            json.loads(patch)
        except ValueError:
            yield invalid(f"patch is not valid JSON ({patch})", f"spec.patches[{position}]")
