"""The cluster's configuration as rules ask for it: KubeVirt.spec.configuration with the defaults filled in.

Source: control plane facts, KubeVirt CR; machine types and patterns per architecture.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kvtui.api.kubevirt.config import KubeVirtConfiguration
from kvtui.virtapi.admission import amounts, gates

if TYPE_CHECKING:
    from kvtui.api.kubevirt.config import ArchSpecificConfiguration
    from kvtui.api.wire import Quantity

MACHINE_TYPES = {"amd64": "q35", "arm64": "virt", "s390x": "s390-ccw-virtio"}
MACHINE_PATTERNS = {"amd64": ["q35*", "pc-q35*"], "arm64": ["virt*"], "s390x": ["s390-ccw-virtio*"]}
DEFAULT_CPU_REQUEST = "100m"
DEFAULT_HOTPLUG_RATIO = 4


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """Effective configuration. Empty fields mean upstream's defaults."""

    configuration: KubeVirtConfiguration = field(default_factory=KubeVirtConfiguration)
    namespace: str = "kubevirt"
    """Where the KubeVirt resource lives, and with it the components' accounts."""

    def gate(self, name: str) -> bool:
        developer = self.configuration.developer_configuration
        if developer is None:
            return gates.is_on(name, (), ())
        return gates.is_on(name, developer.feature_gates, developer.disabled_feature_gates)

    @property
    def listed_gates(self) -> list[str]:
        developer = self.configuration.developer_configuration
        return developer.feature_gates if developer else []

    @property
    def default_architecture(self) -> str:
        architectures = self.configuration.architecture_configuration
        return (architectures.default_architecture if architectures else None) or "amd64"

    def _architecture(self, name: str) -> ArchSpecificConfiguration | None:
        architectures = self.configuration.architecture_configuration
        match name:
            case "arm64":
                return architectures.arm64 if architectures else None
            case "s390x":
                return architectures.s390x if architectures else None
            case _:
                return architectures.amd64 if architectures else None

    def machine_type(self, architecture: str) -> str:
        own = self._architecture(architecture)
        configured = own.machine_type if own else None
        if not configured and architecture not in ("arm64", "s390x"):
            configured = self.configuration.machine_type
        return configured or MACHINE_TYPES.get(architecture, "q35")

    def machine_patterns(self, architecture: str) -> list[str]:
        """Shell patterns of the machine types that guests of this architecture may ask for."""
        own = self._architecture(architecture)
        configured = own.emulated_machines if own else []
        if not configured and architecture not in ("arm64", "s390x"):
            configured = self.configuration.emulated_machines
        return list(configured or MACHINE_PATTERNS.get(architecture, MACHINE_PATTERNS["amd64"]))

    @property
    def cpu_request(self) -> Quantity | None:
        """The request for VMs that name none; None when it is the built-in 100m."""
        request = self.configuration.cpu_request
        if request is None or amounts.exact(request) == amounts.exact(DEFAULT_CPU_REQUEST):
            return None
        return request

    @property
    def live_update(self) -> bool:
        return (self.configuration.vm_rollout_strategy or "LiveUpdate") == "LiveUpdate"

    @property
    def max_cpu_sockets(self) -> int:
        live = self.configuration.live_update_configuration
        return (live.max_cpu_sockets if live else None) or 0

    @property
    def max_guest(self) -> Quantity | None:
        live = self.configuration.live_update_configuration
        return live.max_guest if live else None

    @property
    def hotplug_ratio(self) -> int:
        live = self.configuration.live_update_configuration
        return (live.max_hotplug_ratio if live else None) or DEFAULT_HOTPLUG_RATIO

    @property
    def default_interface(self) -> str:
        network = self.configuration.network
        return (network.default_network_interface if network else None) or "bridge"

    @property
    def bridge_on_pod_network(self) -> bool:
        network = self.configuration.network
        permitted = network.permit_bridge_interface_on_pod_network if network else None
        return True if permitted is None else permitted

    @property
    def persistent_reservation(self) -> bool:
        """Though GA, the feature must be asked for: by its configuration field or by listing the gate."""
        own = self.configuration.persistent_reservation_configuration
        return bool(own and own.enabled) or "PersistentReservation" in self.listed_gates

    @property
    def quote_generation_socket(self) -> str:
        tdx = self.configuration.confidential_compute.tdx if self.configuration.confidential_compute else None
        attestation = tdx.attestation if tdx else None
        return (attestation.qgs_socket_path if attestation else None) or "/var/run/tdx-qgs/qgs.socket"
