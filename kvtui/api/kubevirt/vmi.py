"""VirtualMachineInstance: the running thing, with its volumes, networks and status.

Source: kubevirt.io/api/core/v1.
"""

from __future__ import annotations

from typing import Annotated

from kvtui.api.core.parts import (
    Affinity,
    ClaimVolumeSource,
    DownwardAPIVolumeFile,
    ExecAction,
    HTTPGetAction,
    LocalObjectReference,
    PodDNSConfig,
    TCPSocketAction,
    Toleration,
    TopologySpreadConstraint,
)
from kvtui.api.kubevirt.domain import DomainSpec, Machine
from kvtui.api.meta import LabelSelector, ObjectMeta, Resource
from kvtui.api.wire import (
    ATOMIC,
    INT32,
    INT64,
    NULLABLE,
    REQUIRED,
    SET,
    Quantity,
    Time,
    Wire,
    always,
    list_map,
    named,
    one_of,
    schema,
)

UP_TO_256 = schema(maxItems=256)


class ConfigDriveSSHPublicKeyAccessCredentialPropagation(Wire, frozen=True):
    """Config drive SSH public key access credential propagation."""


class NoCloudSSHPublicKeyAccessCredentialPropagation(Wire, frozen=True):
    """No cloud SSH public key access credential propagation."""


class QemuGuestAgentSSHPublicKeyAccessCredentialPropagation(Wire, frozen=True):
    """Which users of the guest get the keys."""

    users: Annotated[list[str], REQUIRED, SET] = []


class SSHPublicKeyAccessCredentialPropagationMethod(Wire, frozen=True):
    """How keys reach the guest."""

    config_drive: ConfigDriveSSHPublicKeyAccessCredentialPropagation | None = None
    no_cloud: NoCloudSSHPublicKeyAccessCredentialPropagation | None = None
    qemu_guest_agent: QemuGuestAgentSSHPublicKeyAccessCredentialPropagation | None = None


class AccessCredentialSecretSource(Wire, frozen=True):
    """Access credential secret source."""

    secret_name: Annotated[str, REQUIRED] = ""


class SSHPublicKeyAccessCredentialSource(Wire, frozen=True):
    """SSH public key access credential source."""

    secret: AccessCredentialSecretSource | None = None


class SSHPublicKeyAccessCredential(Wire, frozen=True):
    """Public keys, and how they reach the guest."""

    propagation_method: Annotated[SSHPublicKeyAccessCredentialPropagationMethod, REQUIRED] = (
        SSHPublicKeyAccessCredentialPropagationMethod()
    )
    source: Annotated[SSHPublicKeyAccessCredentialSource, REQUIRED] = SSHPublicKeyAccessCredentialSource()


class QemuGuestAgentUserPasswordAccessCredentialPropagation(Wire, frozen=True):
    """Qemu guest agent user password access credential propagation."""


class UserPasswordAccessCredentialPropagationMethod(Wire, frozen=True):
    """User password access credential propagation method."""

    qemu_guest_agent: QemuGuestAgentUserPasswordAccessCredentialPropagation | None = None


class UserPasswordAccessCredentialSource(Wire, frozen=True):
    """User password access credential source."""

    secret: AccessCredentialSecretSource | None = None


class UserPasswordAccessCredential(Wire, frozen=True):
    """Passwords, and how they reach the guest."""

    propagation_method: Annotated[UserPasswordAccessCredentialPropagationMethod, REQUIRED] = (
        UserPasswordAccessCredentialPropagationMethod()
    )
    source: Annotated[UserPasswordAccessCredentialSource, REQUIRED] = UserPasswordAccessCredentialSource()


class AccessCredential(Wire, frozen=True):
    """Credentials that are put into the guest: keys or passwords."""

    ssh_public_key: SSHPublicKeyAccessCredential | None = None
    user_password: UserPasswordAccessCredential | None = None


class GuestAgentPing(Wire, frozen=True):
    """Guest agent ping."""


class Probe(Wire, frozen=True):
    """A check that is made again and again: by command, request, connection or guest agent."""

    exec: ExecAction | None = None
    failure_threshold: Annotated[int | None, INT32] = None
    guest_agent_ping: GuestAgentPing | None = None
    http_get: HTTPGetAction | None = None
    initial_delay_seconds: Annotated[int | None, INT32] = None
    period_seconds: Annotated[int | None, INT32] = None
    success_threshold: Annotated[int | None, INT32] = None
    tcp_socket: TCPSocketAction | None = None
    timeout_seconds: Annotated[int | None, INT32] = None


class MultusNetwork(Wire, frozen=True):
    """A network of a NetworkAttachmentDefinition."""

    default: bool | None = None
    network_name: Annotated[str, REQUIRED] = ""


class PodNetwork(Wire, frozen=True):
    """The network that every Pod has."""

    vm_ipv6_network_cidr: str | None = named("vmIPv6NetworkCIDR", None)
    vm_network_cidr: str | None = named("vmNetworkCIDR", None)


class ClaimRequest(Wire, frozen=True):
    """Claim request."""

    claim_name: str | None = None
    request_name: str | None = None


class Network(Wire, frozen=True):
    """A network that an interface of the same name is connected to."""

    multus: MultusNetwork | None = None
    name: Annotated[str, REQUIRED] = ""
    pod: PodNetwork | None = None
    resource_claim: ClaimRequest | None = None


class VirtualMachineInstanceResourceClaim(Wire, frozen=True):
    """Virtual machine instance resource claim."""

    name: Annotated[str, REQUIRED] = ""
    resource_claim_name: str | None = None
    resource_claim_template_name: str | None = None


class UtilityVolume(Wire, frozen=True):
    """Utility volume."""

    claim_name: Annotated[str, REQUIRED] = ""
    name: Annotated[str, REQUIRED] = ""
    read_only: bool | None = None
    type: str | None = None


class CloudInitConfigDriveSource(Wire, frozen=True):
    """Configuration for the first boot, as an OpenStack configuration drive."""

    network_data: str | None = None
    network_data_base64: str | None = None
    network_data_secret_ref: LocalObjectReference | None = None
    secret_ref: LocalObjectReference | None = None
    user_data: str | None = None
    user_data_base64: str | None = None


class CloudInitNoCloudSource(Wire, frozen=True):
    """Configuration for the first boot, as a NoCloud drive."""

    network_data: str | None = None
    network_data_base64: str | None = None
    network_data_secret_ref: LocalObjectReference | None = None
    secret_ref: LocalObjectReference | None = None
    user_data: str | None = None
    user_data_base64: str | None = None


class ConfigMapVolumeSource(Wire, frozen=True):
    """A disk or file system with the content of a ConfigMap."""

    name: str | None = None
    optional: bool | None = None
    volume_label: str | None = None


class ContainerDiskSource(Wire, frozen=True):
    """A disk image in a container image; changes are lost when the machine stops."""

    image: Annotated[str, REQUIRED] = ""
    image_pull_policy: Annotated[str | None, one_of("Always", "IfNotPresent", "Never")] = None
    image_pull_secret: str | None = None
    path: str | None = None


class ContainerPathVolumeSource(Wire, frozen=True):
    """A directory of the launcher, shared with the guest."""

    path: Annotated[
        str,
        REQUIRED,
        schema(
            minLength=1,
            maxLength=4096,
            x_kubernetes_validations=[
                {"rule": "self.startsWith('/')", "message": "path must be absolute"},
                {
                    "rule": "self != '..' && !self.contains('/../') && !self.endsWith('/..')",
                    "message": "path must not contain '..'",
                },
            ],
        ),
    ] = ""
    read_only: Annotated[
        bool | None,
        schema(default=True, x_kubernetes_validations=[{"rule": "self", "message": "readOnly must be true"}]),
    ] = None


class DataVolumeSource(Wire, frozen=True):
    """The claim of a DataVolume of this namespace."""

    hotpluggable: bool | None = None
    name: Annotated[str, REQUIRED] = ""


class DownwardAPIVolumeSource(Wire, frozen=True):
    """A disk with fields of the instance as files."""

    fields: list[DownwardAPIVolumeFile] = []
    volume_label: str | None = None


class DownwardMetricsVolumeSource(Wire, frozen=True):
    """A disk on which the guest reads metrics of its node."""


class EmptyDiskSource(Wire, frozen=True):
    """An empty disk that is thrown away when the machine stops."""

    capacity: Annotated[Quantity, REQUIRED] = "0"


class EphemeralVolumeSource(Wire, frozen=True):
    """A claim that is read only; changes are lost when the machine stops."""

    persistent_volume_claim: ClaimVolumeSource | None = None


class HostDisk(Wire, frozen=True):
    """A disk image in a directory of the node."""

    capacity: Quantity | None = None
    path: Annotated[str, REQUIRED] = ""
    shared: bool | None = None
    type: Annotated[str, REQUIRED] = ""


class MemoryDumpVolumeSource(Wire, frozen=True):
    """A claim that takes memory dumps."""

    claim_name: Annotated[str, REQUIRED] = ""
    hotpluggable: bool | None = None
    read_only: bool | None = None


class PersistentVolumeClaimVolumeSource(Wire, frozen=True):
    """A claim of this namespace."""

    claim_name: Annotated[str, REQUIRED] = ""
    hotpluggable: bool | None = None
    read_only: bool | None = None


class SecretVolumeSource(Wire, frozen=True):
    """A disk or file system with the content of a Secret."""

    optional: bool | None = None
    secret_name: str | None = None
    volume_label: str | None = None


class ServiceAccountVolumeSource(Wire, frozen=True):
    """A disk with the token of a ServiceAccount."""

    service_account_name: str | None = None


class SysprepSource(Wire, frozen=True):
    """Answer files for the setup of Windows."""

    config_map: LocalObjectReference | None = None
    secret: LocalObjectReference | None = None


class Volume(Wire, frozen=True):
    """A volume, to which the disk or file system of the same name is connected. Exactly one source is set."""

    cloud_init_config_drive: CloudInitConfigDriveSource | None = None
    cloud_init_no_cloud: CloudInitNoCloudSource | None = None
    config_map: ConfigMapVolumeSource | None = None
    container_disk: ContainerDiskSource | None = None
    container_path: ContainerPathVolumeSource | None = None
    data_volume: DataVolumeSource | None = None
    downward_api: DownwardAPIVolumeSource | None = named("downwardAPI", None)
    downward_metrics: DownwardMetricsVolumeSource | None = None
    empty_disk: EmptyDiskSource | None = None
    ephemeral: EphemeralVolumeSource | None = None
    host_disk: HostDisk | None = None
    memory_dump: MemoryDumpVolumeSource | None = None
    name: Annotated[str, REQUIRED] = ""
    persistent_volume_claim: PersistentVolumeClaimVolumeSource | None = None
    secret: SecretVolumeSource | None = None
    service_account: ServiceAccountVolumeSource | None = None
    sysprep: SysprepSource | None = None


class VirtualMachineInstanceSpec(Wire, frozen=True):
    """The machine as it runs: hardware, volumes, networks and where it may run."""

    access_credentials: Annotated[list[AccessCredential], ATOMIC, UP_TO_256] = []
    affinity: Affinity | None = None
    architecture: str | None = None
    dns_config: PodDNSConfig | None = None
    dns_policy: Annotated[str | None, one_of("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")] = None
    domain: Annotated[DomainSpec, REQUIRED] = DomainSpec()
    eviction_strategy: str | None = None
    hostname: str | None = None
    liveness_probe: Probe | None = None
    networks: Annotated[list[Network], UP_TO_256] = []
    node_selector: dict[str, str] = {}
    priority_class_name: str | None = None
    readiness_probe: Probe | None = None
    resource_claims: Annotated[list[VirtualMachineInstanceResourceClaim], list_map("name")] = []
    scheduler_name: str | None = None
    service_account_name: str | None = None
    start_strategy: str | None = None
    subdomain: str | None = None
    termination_grace_period_seconds: Annotated[int | None, INT64] = None
    tolerations: list[Toleration] = []
    topology_spread_constraints: Annotated[
        list[TopologySpreadConstraint], list_map("topologyKey", "whenUnsatisfiable")
    ] = []
    utility_volumes: Annotated[list[UtilityVolume], list_map("name"), UP_TO_256] = []
    volumes: Annotated[list[Volume], UP_TO_256] = []


class VirtualMachineInstanceTemplateSpec(Wire, frozen=True):
    """The instance that is started: its labels, annotations and spec."""

    metadata: ObjectMeta = ObjectMeta()
    spec: VirtualMachineInstanceSpec = VirtualMachineInstanceSpec()


class VirtualMachineInstanceBackupVolumeInfo(Wire, frozen=True):
    """Virtual machine instance backup volume info."""

    volume_name: Annotated[str, REQUIRED] = ""


class VirtualMachineInstanceBackupStatus(Wire, frozen=True):
    """Virtual machine instance backup status."""

    backup_msg: str | None = None
    backup_name: str | None = None
    checkpoint_name: str | None = None
    completed: bool | None = None
    end_timestamp: Time | None = None
    failed: bool | None = None
    quiesce_status: str | None = None
    start_timestamp: Time | None = None
    volumes: Annotated[list[VirtualMachineInstanceBackupVolumeInfo], ATOMIC] = []


class ChangedBlockTrackingStatus(Wire, frozen=True):
    """Changed block tracking status."""

    backup_status: VirtualMachineInstanceBackupStatus | None = None
    state: Annotated[str, REQUIRED] = ""


class VirtualMachineInstanceCondition(Wire, frozen=True):
    """One condition of an instance: Ready, LiveMigratable, Paused, AgentConnected, ..."""

    last_probe_time: Annotated[Time | None, NULLABLE] = None
    last_transition_time: Annotated[Time | None, NULLABLE] = None
    message: str | None = None
    reason: str | None = None
    status: Annotated[str, REQUIRED] = ""
    type: Annotated[str, REQUIRED] = ""


class CPUTopology(Wire, frozen=True):
    """Sockets, cores and threads that the guest has."""

    cores: Annotated[int | None, INT32] = None
    sockets: Annotated[int | None, INT32] = None
    threads: Annotated[int | None, INT32] = None


class VirtualMachineInstanceGuestOSInfo(Wire, frozen=True):
    """The guest's operating system, as its agent tells it."""

    id: str | None = None
    kernel_release: str | None = None
    kernel_version: str | None = None
    machine: str | None = None
    name: str | None = None
    pretty_name: str | None = None
    version: str | None = None
    version_id: str | None = None


class VirtualMachineInstanceNetworkInterface(Wire, frozen=True):
    """A network interface, as the node or the guest agent sees it."""

    info_source: str | None = None
    interface_name: str | None = None
    ip_address: str | None = None
    ip_addresses: list[str] = []
    link_state: str | None = None
    mac: str | None = None
    name: str | None = None
    pod_interface_name: str | None = None
    queue_count: Annotated[int | None, INT32] = None


class InitrdInfo(Wire, frozen=True):
    """Initrd info."""

    checksum: Annotated[int | None, INT64] = None


class KernelInfo(Wire, frozen=True):
    """Kernel info."""

    checksum: Annotated[int | None, INT64] = None


class KernelBootStatus(Wire, frozen=True):
    """Kernel boot status."""

    initrd_info: InitrdInfo | None = None
    kernel_info: KernelInfo | None = None


class MemoryStatus(Wire, frozen=True):
    """Memory of the guest."""

    guest_at_boot: Quantity | None = None
    guest_current: Quantity | None = None
    guest_requested: Quantity | None = None
    memory_overhead: Quantity | None = None


class PersistentVolumeClaimInfo(Wire, frozen=True):
    """Persistent volume claim info."""

    access_modes: Annotated[list[str], ATOMIC] = []
    capacity: dict[str, Quantity] = {}
    claim_name: str | None = None
    filesystem_overhead: str | None = None
    preallocated: bool | None = None
    requests: dict[str, Quantity] = {}
    volume_mode: Annotated[str | None, one_of("Block", "Filesystem", "FromStorageProfile")] = None


class StorageMigratedVolumeInfo(Wire, frozen=True):
    """Storage migrated volume info."""

    destination_pvc_info: PersistentVolumeClaimInfo | None = named("destinationPVCInfo", None)
    source_pvc_info: PersistentVolumeClaimInfo | None = named("sourcePVCInfo", None)
    volume_name: Annotated[str, REQUIRED] = ""


class DowntimeTuningOptions(Wire, frozen=True):
    """Downtime tuning options."""

    cooldown_seconds: Annotated[int | None, INT32] = None
    initial_ms: Annotated[int | None, INT64] = None
    start_after_iteration: Annotated[int | None, INT64] = None
    steps: Annotated[int | None, INT32] = None


class StallDetectorOptions(Wire, frozen=True):
    """Stall detector options."""

    completion_timeout_factor: str | None = None
    ewma_alpha: str | None = None
    patience_window_decay_factor: str | None = None
    precopy_possible_factor: str | None = None
    search_local_minima: bool | None = None
    stall_margin: Annotated[int | None, INT64] = None
    stall_progress_timeout: Annotated[int | None, INT64] = None
    switchover_timeout: Annotated[int | None, INT64] = None


class ExperimentalMigrationOptions(Wire, frozen=True):
    """Tuning of migrations that may change."""

    compression: Annotated[str | None, schema(enum=["none", "zstd"])] = None
    downtime_tuning: DowntimeTuningOptions | None = None
    stall_detector: StallDetectorOptions | None = None


class VMIMConfigurationOptions(Wire, frozen=True):
    """VMIM configuration options."""

    allow_auto_converge: bool | None = None
    allow_post_copy: bool | None = None
    allow_workload_disruption: bool | None = None
    bandwidth_per_migration: Quantity | None = None
    completion_timeout_per_gi_b: Annotated[int | None, INT64] = None
    disable_tls: bool | None = named("disableTLS", None)
    experimental: ExperimentalMigrationOptions | None = None
    match_se_linux_level_on_migration: bool | None = named("matchSELinuxLevelOnMigration", None)
    max_downtime_ms: Annotated[int | None, INT64, schema(minimum=1, maximum=2000000)] = None
    network: str | None = None
    node_drain_taint_key: str | None = None
    parallel_migrations_per_cluster: Annotated[int | None, INT32] = None
    parallel_outbound_migrations_per_node: Annotated[int | None, INT32] = None
    progress_timeout: Annotated[int | None, INT64] = None
    unsafe_migration_override: bool | None = None
    utility_volumes_timeout: Annotated[int | None, INT64] = None


class VirtualMachineInstanceMigrationSourceState(Wire, frozen=True):
    """Virtual machine instance migration source state."""

    domain_name: str | None = None
    domain_namespace: str | None = None
    migration_uid: str | None = named("migrationUID", None)
    node: str | None = None
    node_selectors: dict[str, str] = {}
    persistent_state_pvc_name: str | None = named("persistentStatePVCName", None)
    pod: str | None = None
    selinux_context: str | None = None
    sync_address: str | None = None
    virtual_machine_instance_uid: str | None = named("virtualMachineInstanceUID", None)


class VirtualMachineInstanceMigrationTargetState(Wire, frozen=True):
    """Virtual machine instance migration target state."""

    attachment_pod_uid: str | None = named("attachmentPodUID", None)
    cpu_set: Annotated[list[int], ATOMIC] = []
    direct_migration_node_ports: dict[str, int] = {}
    domain_detected: bool | None = None
    domain_name: str | None = None
    domain_namespace: str | None = None
    domain_ready_timestamp: Time | None = None
    migration_uid: str | None = named("migrationUID", None)
    node: str | None = None
    node_address: str | None = None
    node_topology: str | None = None
    persistent_state_pvc_name: str | None = named("persistentStatePVCName", None)
    pod: str | None = None
    selinux_context: str | None = None
    sync_address: str | None = None
    virtual_machine_instance_uid: str | None = named("virtualMachineInstanceUID", None)


class VirtualMachineInstanceMigrationState(Wire, frozen=True):
    """The migration that is going on or was the last."""

    abort_requested: bool | None = None
    abort_status: str | None = None
    completed: bool | None = None
    end_timestamp: Time | None = None
    failed: bool | None = None
    failure_reason: str | None = None
    migration_configuration: VMIMConfigurationOptions | None = None
    migration_network_type: str | None = None
    migration_policy_name: str | None = None
    migration_uid: str | None = None
    mode: str | None = None
    source_node: str | None = None
    source_persistent_state_pvc_name: str | None = named("sourcePersistentStatePVCName", None)
    source_pod: str | None = None
    source_state: VirtualMachineInstanceMigrationSourceState | None = None
    start_timestamp: Time | None = None
    target_attachment_pod_uid: str | None = named("targetAttachmentPodUID", None)
    target_cpu_set: Annotated[list[int], ATOMIC] = named("targetCPUSet", [])
    target_direct_migration_node_ports: dict[str, int] = {}
    target_memory_overhead: Quantity | None = None
    target_node: str | None = None
    target_node_address: str | None = None
    target_node_domain_detected: bool | None = None
    target_node_domain_ready_timestamp: Time | None = None
    target_node_topology: str | None = None
    target_persistent_state_pvc_name: str | None = named("targetPersistentStatePVCName", None)
    target_pod: str | None = None
    target_state: VirtualMachineInstanceMigrationTargetState | None = None


class VirtualMachineInstancePhaseTransitionTimestamp(Wire, frozen=True):
    """Virtual machine instance phase transition timestamp."""

    phase: str | None = None
    phase_transition_timestamp: Time | None = None


class TopologyHints(Wire, frozen=True):
    """Topology hints."""

    tsc_frequency: Annotated[int | None, INT64] = None


class ContainerDiskInfo(Wire, frozen=True):
    """Container disk info."""

    checksum: Annotated[int | None, INT64] = None


class HotplugVolumeStatus(Wire, frozen=True):
    """Hotplug volume status."""

    attach_pod_name: str | None = None
    attach_pod_uid: str | None = named("attachPodUID", None)


class DomainMemoryDumpInfo(Wire, frozen=True):
    """Domain memory dump info."""

    claim_name: str | None = None
    end_timestamp: Time | None = None
    start_timestamp: Time | None = None
    target_file_name: str | None = None


class VolumeStatus(Wire, frozen=True):
    """State of a volume."""

    container_disk_volume: ContainerDiskInfo | None = None
    hotplug_volume: HotplugVolumeStatus | None = None
    memory_dump_volume: DomainMemoryDumpInfo | None = None
    message: str | None = None
    name: Annotated[str, REQUIRED] = ""
    persistent_volume_claim_info: PersistentVolumeClaimInfo | None = None
    phase: str | None = None
    reason: str | None = None
    size: Annotated[int | None, INT64] = None
    target: Annotated[str, REQUIRED] = always(str)


class VirtualMachineInstanceStatus(Wire, frozen=True):
    """What the instance does at the moment."""

    vsockcid: Annotated[int | None, INT64] = named("VSOCKCID", None)
    active_pods: dict[str, str] = {}
    changed_block_tracking: ChangedBlockTrackingStatus | None = None
    conditions: list[VirtualMachineInstanceCondition] = []
    current_cpu_topology: CPUTopology | None = named("currentCPUTopology", None)
    evacuation_node_name: str | None = None
    fs_freeze_status: str | None = None
    guest_os_info: VirtualMachineInstanceGuestOSInfo | None = named("guestOSInfo", None)
    interfaces: list[VirtualMachineInstanceNetworkInterface] = []
    kernel_boot_status: KernelBootStatus | None = None
    launcher_container_image_version: str | None = None
    machine: Machine | None = None
    memory: MemoryStatus | None = None
    migrated_volumes: Annotated[list[StorageMigratedVolumeInfo], ATOMIC] = []
    migration_method: str | None = None
    migration_state: VirtualMachineInstanceMigrationState | None = None
    migration_transport: str | None = None
    node_name: str | None = None
    phase: str | None = None
    phase_transition_timestamps: Annotated[list[VirtualMachineInstancePhaseTransitionTimestamp], ATOMIC] = []
    qos_class: Annotated[str | None, one_of("BestEffort", "Burstable", "Guaranteed")] = None
    reason: str | None = None
    runtime_user: Annotated[int | None, INT64] = None
    selinux_context: str | None = None
    topology_hints: TopologyHints | None = None
    virtual_machine_revision_name: str | None = None
    volume_status: Annotated[list[VolumeStatus], ATOMIC] = []


class VirtualMachineInstance(Resource, frozen=True):
    """A machine that runs, or is about to: gone when it stops."""

    spec: Annotated[VirtualMachineInstanceSpec, REQUIRED] = VirtualMachineInstanceSpec()
    status: VirtualMachineInstanceStatus = VirtualMachineInstanceStatus()


class VirtualMachineInstancePresetSpec(Wire, frozen=True):
    """Virtual machine instance preset spec."""

    domain: DomainSpec | None = None
    selector: Annotated[LabelSelector, REQUIRED] = LabelSelector()


class VirtualMachineInstancePreset(Resource, frozen=True):
    """Deprecated: settings for instances with certain labels."""

    spec: VirtualMachineInstancePresetSpec = VirtualMachineInstancePresetSpec()
