"""VirtualMachinePool: N like VMs.

Source: kubevirt.io/api/pool/v1beta1.
"""

from __future__ import annotations

from typing import Annotated

from kvtui.api.core.parts import NodeSelectorRequirement
from kvtui.api.kubevirt.vm import VirtualMachineSpec
from kvtui.api.meta import LabelSelector, ObjectMeta, Resource
from kvtui.api.wire import ATOMIC, INT32, INT64, NULLABLE, REQUIRED, IntOrString, Time, Wire


class VirtualMachinePoolAutohealingStrategy(Wire, frozen=True):
    """Virtual machine pool autohealing strategy."""

    min_failing_to_start_duration: str | None = None
    start_up_failure_threshold: Annotated[int | None, INT64] = None


class VirtualMachinePoolNameGeneration(Wire, frozen=True):
    """Virtual machine pool name generation."""

    append_index_to_config_map_refs: bool | None = None
    append_index_to_secret_refs: bool | None = None


class VirtualMachinePoolOpportunisticScaleInStrategy(Wire, frozen=True):
    """Virtual machine pool opportunistic scale in strategy."""

    state_preservation: str | None = None


class VirtualMachinePoolSelectors(Wire, frozen=True):
    """Virtual machine pool selectors."""

    label_selector: LabelSelector | None = None
    node_selector_requirement_matcher: list[NodeSelectorRequirement] = []


class VirtualMachinePoolSelectionPolicy(Wire, frozen=True):
    """Virtual machine pool selection policy."""

    selectors: VirtualMachinePoolSelectors | None = None
    sort_policy: str | None = None


class VirtualMachinePoolProactiveScaleInStrategy(Wire, frozen=True):
    """Virtual machine pool proactive scale in strategy."""

    selection_policy: VirtualMachinePoolSelectionPolicy | None = None
    state_preservation: str | None = None


class VirtualMachinePoolUnmanagedStrategy(Wire, frozen=True):
    """Virtual machine pool unmanaged strategy."""


class VirtualMachinePoolScaleInStrategy(Wire, frozen=True):
    """Virtual machine pool scale in strategy."""

    opportunistic: VirtualMachinePoolOpportunisticScaleInStrategy | None = None
    proactive: VirtualMachinePoolProactiveScaleInStrategy | None = None
    unmanaged: VirtualMachinePoolUnmanagedStrategy | None = None


class VirtualMachineOpportunisticUpdateStrategy(Wire, frozen=True):
    """Virtual machine opportunistic update strategy."""


class VirtualMachinePoolProactiveUpdateStrategy(Wire, frozen=True):
    """Virtual machine pool proactive update strategy."""

    selection_policy: VirtualMachinePoolSelectionPolicy | None = None


class VirtualMachinePoolUpdateStrategy(Wire, frozen=True):
    """Virtual machine pool update strategy."""

    opportunistic: VirtualMachineOpportunisticUpdateStrategy | None = None
    proactive: VirtualMachinePoolProactiveUpdateStrategy | None = None
    unmanaged: VirtualMachinePoolUnmanagedStrategy | None = None


class VirtualMachineTemplateSpec(Wire, frozen=True):
    """Virtual machine template spec."""

    metadata: ObjectMeta | None = None
    spec: VirtualMachineSpec | None = None


class VirtualMachinePoolSpec(Wire, frozen=True):
    """Virtual machine pool spec."""

    autohealing: VirtualMachinePoolAutohealingStrategy | None = None
    max_unavailable: IntOrString | None = None
    name_generation: VirtualMachinePoolNameGeneration | None = None
    paused: bool | None = None
    replicas: Annotated[int | None, INT32] = None
    scale_in_strategy: VirtualMachinePoolScaleInStrategy | None = None
    selector: Annotated[LabelSelector | None, REQUIRED] = None
    update_strategy: VirtualMachinePoolUpdateStrategy | None = None
    virtual_machine_template: Annotated[VirtualMachineTemplateSpec | None, REQUIRED] = None


class VirtualMachinePoolCondition(Wire, frozen=True):
    """Virtual machine pool condition."""

    last_probe_time: Annotated[Time | None, NULLABLE] = None
    last_transition_time: Annotated[Time | None, NULLABLE] = None
    message: str | None = None
    reason: str | None = None
    status: Annotated[str, REQUIRED] = ""
    type: Annotated[str, REQUIRED] = ""


class VirtualMachinePoolStatus(Wire, frozen=True):
    """Virtual machine pool status."""

    conditions: Annotated[list[VirtualMachinePoolCondition], ATOMIC] = []
    label_selector: str | None = None
    ready_replicas: Annotated[int | None, INT32] = None
    replicas: Annotated[int | None, INT32] = None


class VirtualMachinePool(Resource, frozen=True):
    """Virtual machine pool."""

    spec: Annotated[VirtualMachinePoolSpec, REQUIRED] = VirtualMachinePoolSpec()
    status: VirtualMachinePoolStatus = VirtualMachinePoolStatus()
