"""Feature gates: which exist, in which state, and when one is on.

GA is always on; listed in featureGates is on; listed in disabledFeatureGates is off; Beta is on; the rest is off.
Source: control plane facts, feature gates (release line 1.9).
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection


class GateState(Enum):
    GA = "GA"
    BETA = "Beta"
    ALPHA = "Alpha"
    DEPRECATED = "Deprecated"
    DISCONTINUED = "Discontinued"


_NAMES: dict[GateState, tuple[str, ...]] = {
    GateState.GA: (
        "LiveMigration",
        "SRIOVLiveMigration",
        "NonRoot",
        "PSA",
        "CPUNodeDiscovery",
        "NUMA",
        "CommonInstancetypesDeploymentGate",
        "GPU",
        "HotplugNICs",
        "BochsDisplayForEFIGuests",
        "VMLiveUpdateFeatures",
        "NetworkBindingPlugins",
        "DynamicPodInterfaceNaming",
        "VolumesUpdateStrategy",
        "VolumeMigration",
        "DisableCustomSELinuxPolicy",
        "AutoResourceLimitsGate",
        "ClusterProfiler",
        "VMPersistentState",
        "VMExport",
        "PersistentReservation",
        "InstancetypeReferencePolicy",
        "EnableVirtioFsConfigVolumes",
        "ExpandDisks",
        "PanicDevices",
        "LiveUpdateNADRef",
        "VideoConfig",
        "SecureExecution",
        "MigrationPriorityQueue",
    ),
    GateState.BETA: (
        "ImageVolume",
        "Snapshot",
        "WorkloadEncryptionSEV",
        "KubevirtSeccompProfile",
        "NodeRestriction",
        "GPUsWithDRA",
        "HostDevicesWithDRA",
        "DeclarativeHotplugVolumes",
        "DecentralizedLiveMigration",
        "PasstBinding",
        "PodSecondaryInterfaceNamingUpgrade",
        "ExternalNetResourceInjection",
        "RebootPolicy",
        "Template",
        "OptOutRoleAggregation",
    ),
    GateState.ALPHA: (
        "CPUManager",
        "ExperimentalIgnitionSupport",
        "HypervStrictCheck",
        "Sidecar",
        "HostDevices",
        "HostDisk",
        "DownwardMetrics",
        "Root",
        "WorkloadEncryptionTDX",
        "VSOCK",
        "AlignCPUs",
        "EnableVirtioFsStorageVolumes",
        "PCINUMAAwareTopology",
        "NetworkDevicesWithDRA",
        "ObjectGraph",
        "UtilityVolumes",
        "ConfigurableHypervisor",
        "IncrementalBackup",
        "ContainerPathVolumes",
        "ReservedOverheadMemlock",
        "VGPULiveMigration",
        "VMStatsCollector",
        "OCIExport",
        "Plugins",
        "GraceIOVirtualization",
        "IOMMUFD",
        "FirmwareAutoSelection",
        "MigrationStallDetection",
        "MigrationDowntimeTuning",
        "CrossArchitectureVirtualization",
        "PortRangesSpec",
    ),
    GateState.DEPRECATED: (
        "HotplugVolumes",
        "DockerSELinuxMCSWorkaround",
        "MultiArchitecture",
        "DisableMDEVConfiguration",
    ),
    GateState.DISCONTINUED: ("ExperimentalVirtiofsSupport", "Passt", "Macvtap", "PasstIPStackMigration"),
}
STATES: dict[str, GateState] = {name: state for state, names in _NAMES.items() for name in names}


def is_on(gate: str, enabled: Collection[str], disabled: Collection[str]) -> bool:
    """Whether the gate is in force."""
    state = STATES.get(gate)
    if state is GateState.GA:
        return True
    if gate in enabled:
        return state is not None and state is not GateState.DISCONTINUED
    if gate in disabled:
        return False
    return state is GateState.BETA


def deprecation(gate: str) -> str:
    """The warning for a listed gate that is deprecated or gone; empty otherwise."""
    match STATES.get(gate):
        case GateState.DEPRECATED:
            return f"feature gate {gate} is deprecated, but will be honored for now."
        case GateState.DISCONTINUED:
            return f"feature gate {gate} is discontinued and has no effect."
        case GateState.GA:
            return f"feature gate {gate} is graduated (GA), enabled by default and can be removed."
        case _:
            return ""
