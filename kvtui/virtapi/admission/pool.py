"""Pools of virtual machines.

Source: life-cycle facts 7.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kvtui.virtapi.admission.causes import Path, invalid, required
from kvtui.virtapi.admission.replicaset import validate_selector
from kvtui.virtapi.admission.same import same
from kvtui.virtapi.admission.text import quoted
from kvtui.virtapi.admission.vm_validate import validate_vm_spec
from kvtui.virtapi.admission.vmi_network import validate_discontinued_gates

if TYPE_CHECKING:
    from kvtui.api.kubevirt.pool import (
        VirtualMachinePool,
        VirtualMachinePoolScaleInStrategy,
        VirtualMachinePoolUpdateStrategy,
    )
    from kvtui.api.wire import IntOrString
    from kvtui.errors import Cause
    from kvtui.virtapi.admission.config import ClusterConfig

_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)


def validate(
    pool: VirtualMachinePool, old: VirtualMachinePool | None, config: ClusterConfig, *, by_component: bool
) -> list[Cause]:
    """`old` is None on create."""
    spec = pool.spec
    template = spec.virtual_machine_template
    if template is None or template.spec is None:
        return [required("missing virtual machine template.", "spec.template")]
    labels = template.metadata.labels if template.metadata is not None else {}
    root = Path("spec.virtualMachineTemplate.spec")
    found = [
        *validate_vm_spec(template.spec, root, config, by_component=by_component),
        *validate_selector(spec.selector, labels, Path("spec.selector")),
    ]
    if old is not None and not same(spec.selector, old.spec.selector):
        found.append(invalid("selector is immutable after creation.", "spec.selector"))
    if old is None:
        found += validate_discontinued_gates(template.spec.template.spec, config)
    return [
        *found,
        *_max_unavailable(spec.max_unavailable),
        *_one_of(spec.scale_in_strategy, "spec.scaleInStrategy"),
        *_one_of(spec.update_strategy, "spec.updateStrategy"),
    ]


def _max_unavailable(value: IntOrString | None) -> list[Cause]:
    field = "spec.maxUnavailable"
    if value is None:
        return []
    if isinstance(value, int):
        return [] if value > 0 else [invalid("maxUnavailable must be greater than 0", field)]
    if not value.endswith("%"):
        return [invalid("maxUnavailable percentage must end with %", field)]
    number = value.removesuffix("%")
    if not _INTEGER.fullmatch(number):
        text = quoted(number)
        problem = f"strconv.Atoi: parsing {text}: invalid syntax"
        return [invalid(f"maxUnavailable percentage value {text} is invalid: {problem}", field)]
    if not 1 <= int(number) <= 100:
        return [invalid(f"maxUnavailable percentage value {int(number)} must be between 1 and 100", field)]
    return []


def _one_of(
    strategy: VirtualMachinePoolScaleInStrategy | VirtualMachinePoolUpdateStrategy | None, field: str
) -> list[Cause]:
    if strategy is None:
        return []
    names = [name for name in ("proactive", "opportunistic", "unmanaged") if getattr(strategy, name) is not None]
    if len(names) < 2:
        return []
    return [
        invalid(
            f"only one strategy can be configured at a time: but found {', '.join(names)} strategies",
            field,
        )
    ]
