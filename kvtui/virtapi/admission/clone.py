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
    for text in filters:
        problem = _filter_problem(text)
        if text == "!":
            yield invalid("a negation character is not a valid filter", field)
        elif problem:
            yield invalid(f"{field} filter {text} is invalid: {problem}", field)


def _filter_problem(text: str) -> str:
    body = text.removeprefix("!")
    if "!" in body:
        return (
            "cannot contain a negation character (!); FilterRules: NegationChar can be only used at the beginning "
            "of the filter"
        )
    if "*" in body.removesuffix("*"):
        return "cannot contain a wildcard character (*); FilterRules: WildcardChar can be only at the end of the filter"
    return ""


def _source(spec: VirtualMachineCloneSpec) -> Iterator[Cause]:
    source, field = spec.source, Path("spec.Source")
    if source is None:
        yield invalid("Source cannot be nil", field)
        return
    yield from _filled(source, field, "Source")
    if source.kind and source.api_group and source.kind not in GROUPS:
        yield invalid("Source kind is not supported", field.child("Kind"))


def _target(spec: VirtualMachineCloneSpec) -> Iterator[Cause]:
    source, target = spec.source, spec.target
    if target is None:
        return
    if target.kind != VM:
        yield invalid("Target kind is not supported", "spec.Target.Kind")
    if source is not None and source.kind == VM and target.kind == VM and source.name == target.name:
        message = "Target name cannot be equal to source name when both are VirtualMachines"
        yield invalid(message, "spec.target.name")


def _filled(reference: TypedLocalObjectReference, field: Path, what: str) -> Iterator[Cause]:
    if not reference.api_group:
        yield invalid(f"{what}'s APIGroup cannot be empty", field.child("APIGroup"))
    if not reference.kind:
        yield invalid(f"{what}'s Kind cannot be empty", field.child("Kind"))
    if not reference.name:
        yield invalid(f"{what}'s name cannot be empty", field.child("Name"))


def _macs(spec: VirtualMachineCloneSpec) -> Iterator[Cause]:
    for interface, address in spec.new_mac_addresses.items():
        if not mac_octets(address):
            message = f"interface {interface} has malformed MAC address ({address})."
            yield invalid(message, f"spec.newMacAddresses.{interface}")


def _patches(spec: VirtualMachineCloneSpec) -> Iterator[Cause]:
    for position, patch in enumerate(spec.patches):
        try:
            json.loads(patch)
        except ValueError:
            yield invalid(f"patch is not valid JSON ({patch})", f"spec.patches[{position}]")
