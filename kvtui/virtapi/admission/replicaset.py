"""Replica sets of instances.

Source: control plane facts 5.7.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.api.selectors import from_object
from kvtui.errors import InvalidSelector
from kvtui.virtapi.admission.causes import Path, invalid
from kvtui.virtapi.admission.vmi_network import validate_discontinued_gates
from kvtui.virtapi.admission.vmi_spec import validate_spec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kvtui.api.kubevirt.replicaset import VirtualMachineInstanceReplicaSet
    from kvtui.api.meta import LabelSelector
    from kvtui.errors import Cause
    from kvtui.virtapi.admission.config import ClusterConfig


def validate(replica_set: VirtualMachineInstanceReplicaSet, config: ClusterConfig, *, creates: bool) -> list[Cause]:
    """The template's spec as it stands, without defaults, and the selector; of new sets also gates that are gone."""
    template = replica_set.spec.template
    return [
        *validate_spec(template.spec, Path("spec.template.spec"), config),
        *validate_selector(replica_set.spec.selector, template.metadata.labels, Path("spec.selector")),
        *(validate_discontinued_gates(template.spec, config) if creates else ()),
    ]


def validate_selector(selector: LabelSelector | None, labels: Mapping[str, str], field: Path) -> list[Cause]:
    """A selector must be sound and choose what the template makes."""
    try:
        chosen = from_object(selector).matches(labels)
    except InvalidSelector as error:
        return [invalid(str(error), field)]
    return [] if chosen else [invalid("selector does not match labels.", field)]
