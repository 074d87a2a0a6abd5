"""The KubeVirt custom resource as live configuration: every look reads the informer, so a change counts at once.

Where an object cannot be understood the informer keeps the last good one in force.

Source: kubevirt pkg/virt-config (defaults of configuration and feature gates); control plane facts 9 and 12.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation

from kvtui.api.kubevirt.config import (
    DeveloperConfiguration,
    KubeVirt,
    KubeVirtConfiguration,
    MigrationConfiguration,
    NetworkConfiguration,
)
from kvtui.controlloop.informer import Informer
from kvtui.virtapi.admission import gates

DEFAULT_ARCHITECTURE = "amd64"
CPU_ALLOCATION_RATIO = 10
MEMORY_OVERCOMMIT = 100


@dataclass(frozen=True, slots=True)
class Configuration:
    """spec.configuration of one moment, with defaults filled in; plain data for pure functions."""

    configuration: KubeVirtConfiguration = field(default_factory=KubeVirtConfiguration)
    default_architecture: str = DEFAULT_ARCHITECTURE
    """Observed, for VMIs that name none where the configuration does not either."""

    @property
    def developer(self) -> DeveloperConfiguration:
        return self.configuration.developer_configuration or DeveloperConfiguration()

    @property
    def network(self) -> NetworkConfiguration:
        return self.configuration.network or NetworkConfiguration()

    @property
    def migrations(self) -> MigrationConfiguration:
        return self.configuration.migrations or MigrationConfiguration()

    def gate(self, name: str) -> bool:
        developer = self.developer
        return gates.is_on(name, developer.feature_gates, developer.disabled_feature_gates)

    @property
    def live_update(self) -> bool:
        """Whether changes of a running VM's template are rolled out at once."""
        return (self.configuration.vm_rollout_strategy or "LiveUpdate") == "LiveUpdate"

    @property
    def use_emulation(self) -> bool:
        return bool(self.developer.use_emulation)

    @property
    def architecture(self) -> str:
        """For VMIs that name none."""
        settings = self.configuration.architecture_configuration
        return (settings.default_architecture if settings else None) or self.default_architecture

    @property
    def overhead_ratio(self) -> Decimal | None:
        """additionalGuestMemoryOverheadRatio; None when unset or not a number."""
        text = self.configuration.additional_guest_memory_overhead_ratio
        try:
            return Decimal(text) if text else None
        except InvalidOperation:
            return None

    @property
    def eviction_strategy(self) -> str:
        return self.configuration.eviction_strategy or "None"


class ClusterConfig:
    """The configuration in force, read when asked."""

    def __init__(self, informer: Informer[KubeVirt]) -> None:
        self._informer = informer

    @property
    def kubevirt(self) -> KubeVirt | None:
        """The one that counts: the oldest, by name when equally old; None before it exists."""
        found = list(self._informer.all())
        if not found:
            return None
        return min(
            found, key=lambda kv: (kv.metadata.creation_timestamp or "", kv.metadata.namespace, kv.metadata.name)
        )

    @property
    def now(self) -> Configuration:
        kubevirt = self.kubevirt
        if kubevirt is None:
            return Configuration()
        observed = kubevirt.status.default_architecture
        return Configuration(kubevirt.spec.configuration or KubeVirtConfiguration(), observed or DEFAULT_ARCHITECTURE)

    @property
    def configuration(self) -> KubeVirtConfiguration:
        return self.now.configuration

    def gate(self, name: str) -> bool:
        return self.now.gate(name)
