"""The KubeVirt resource: the place of configuration.

Source: kubevirt.io/api/core/v1, KubeVirtConfiguration.
"""

from __future__ import annotations

from typing import Annotated

from kvtui.api.core.parts import Affinity, LocalObjectReference, Toleration
from kvtui.api.meta import LabelSelector, Resource
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
    list_map,
    named,
    one_of,
    schema,
)


class CertConfig(Wire, frozen=True):
    """Cert config."""

    duration: str | None = None
    renew_before: str | None = None


class KubeVirtSelfSignConfiguration(Wire, frozen=True):
    """Kube virt self sign configuration."""

    ca: CertConfig | None = None
    ca_overlap_interval: str | None = None
    ca_rotate_interval: str | None = None
    cert_rotate_interval: str | None = None
    server: CertConfig | None = None


class KubeVirtCertificateRotateStrategy(Wire, frozen=True):
    """Kube virt certificate rotate strategy."""

    self_signed: KubeVirtSelfSignConfiguration | None = None


class TokenBucketRateLimiter(Wire, frozen=True):
    """Token bucket rate limiter."""

    burst: Annotated[int, REQUIRED, INT32] = 0
    qps: Annotated[float | None, REQUIRED] = None


class RateLimiter(Wire, frozen=True):
    """Rate limiter."""

    token_bucket_rate_limiter: TokenBucketRateLimiter | None = None


class RESTClientConfiguration(Wire, frozen=True):
    """REST client configuration."""

    rate_limiter: RateLimiter | None = None


class ReloadableComponentConfiguration(Wire, frozen=True):
    """Reloadable component configuration."""

    rest_client: RESTClientConfiguration | None = None


class ArchSpecificConfiguration(Wire, frozen=True):
    """Arch specific configuration."""

    emulated_machines: Annotated[list[str], ATOMIC] = []
    machine_type: str | None = None
    ovmf_path: str | None = None


class ArchConfiguration(Wire, frozen=True):
    """Arch configuration."""

    amd64: ArchSpecificConfiguration | None = None
    arm64: ArchSpecificConfiguration | None = None
    default_architecture: str | None = None
    ppc64le: ArchSpecificConfiguration | None = None
    s390x: ArchSpecificConfiguration | None = None


class ChangedBlockTrackingSelectors(Wire, frozen=True):
    """Changed block tracking selectors."""

    namespace_label_selector: LabelSelector | None = None
    virtual_machine_label_selector: LabelSelector | None = None


class CommonInstancetypesDeployment(Wire, frozen=True):
    """Common instancetypes deployment."""

    enabled: bool | None = None


class TDXAttestationConfiguration(Wire, frozen=True):
    """TDX attestation configuration."""

    enforced: bool | None = None
    qgs_socket_path: str | None = None


class TDXConfiguration(Wire, frozen=True):
    """TDX configuration."""

    attestation: TDXAttestationConfiguration | None = None


class ConfidentialComputeConfiguration(Wire, frozen=True):
    """Confidential compute configuration."""

    tdx: TDXConfiguration | None = None


class DiskVerification(Wire, frozen=True):
    """Disk verification."""

    memory_limit: Annotated[Quantity, REQUIRED] = "0"


class LogVerbosity(Wire, frozen=True):
    """Log verbosity."""

    node_verbosity: dict[str, int] = {}
    virt_api: Annotated[int | None, INT32] = named("virtAPI", None)
    virt_controller: Annotated[int | None, INT32] = None
    virt_handler: Annotated[int | None, INT32] = None
    virt_launcher: Annotated[int | None, INT32] = None
    virt_operator: Annotated[int | None, INT32] = None
    virt_synchronization_controller: Annotated[int | None, INT32] = None


class DeveloperConfiguration(Wire, frozen=True):
    """Developer configuration."""

    cluster_profiler: bool | None = None
    cpu_allocation_ratio: Annotated[int | None, INT32] = None
    disabled_feature_gates: Annotated[list[str], ATOMIC] = []
    disk_verification: DiskVerification | None = None
    feature_gates: Annotated[list[str], ATOMIC] = []
    log_verbosity: LogVerbosity | None = None
    memory_overcommit: Annotated[int | None, INT32] = None
    minimum_cluster_tsc_frequency: Annotated[int | None, INT64] = named("minimumClusterTSCFrequency", None)
    minimum_reserve_pvc_bytes: Annotated[int | None, INT64] = named("minimumReservePVCBytes", None)
    node_selectors: dict[str, str] = {}
    pvc_tolerate_less_space_up_to_percent: Annotated[int | None, INT32] = None
    use_emulation: bool | None = None


class HypervisorConfiguration(Wire, frozen=True):
    """Hypervisor configuration."""

    name: str | None = None


class InstancetypeConfiguration(Wire, frozen=True):
    """Instancetype configuration."""

    reference_policy: str | None = None


class KSMConfiguration(Wire, frozen=True):
    """KSM configuration."""

    node_label_selector: LabelSelector | None = None


class LiveUpdateConfiguration(Wire, frozen=True):
    """Live update configuration."""

    max_cpu_sockets: Annotated[int | None, INT32] = None
    max_guest: Quantity | None = None
    max_hotplug_ratio: Annotated[int | None, INT32] = None


class NodeMediatedDeviceTypesConfig(Wire, frozen=True):
    """Node mediated device types config."""

    mediated_device_types: Annotated[list[str], ATOMIC] = []
    mediated_devices_types: Annotated[list[str], ATOMIC] = []
    node_selector: Annotated[dict[str, str], REQUIRED] = {}


class MediatedDevicesConfiguration(Wire, frozen=True):
    """Mediated devices configuration."""

    enabled: bool | None = None
    mediated_device_types: Annotated[list[str], ATOMIC] = []
    mediated_devices_types: Annotated[list[str], ATOMIC] = []
    node_mediated_device_types: Annotated[list[NodeMediatedDeviceTypesConfig], ATOMIC] = []


class MigrationConfiguration(Wire, frozen=True):
    """Migration configuration."""

    allow_auto_converge: bool | None = None
    allow_post_copy: bool | None = None
    allow_workload_disruption: bool | None = None
    bandwidth_per_migration: Quantity | None = None
    completion_timeout_per_gi_b: Annotated[int | None, INT64] = None
    disable_tls: bool | None = named("disableTLS", None)
    match_se_linux_level_on_migration: bool | None = named("matchSELinuxLevelOnMigration", None)
    max_downtime_ms: Annotated[int | None, INT64, schema(minimum=1, maximum=2000000)] = None
    network: str | None = None
    node_drain_taint_key: str | None = None
    parallel_migrations_per_cluster: Annotated[int | None, INT32] = None
    parallel_outbound_migrations_per_node: Annotated[int | None, INT32] = None
    progress_timeout: Annotated[int | None, INT64] = None
    unsafe_migration_override: bool | None = None
    utility_volumes_timeout: Annotated[int | None, INT64] = None


class ResourceRequirementsWithoutClaims(Wire, frozen=True):
    """Resource requirements without claims."""

    limits: dict[str, Quantity] = {}
    requests: dict[str, Quantity] = {}


class InterfaceBindingMigration(Wire, frozen=True):
    """Interface binding migration."""

    method: str | None = None


class InterfaceBindingPlugin(Wire, frozen=True):
    """Interface binding plugin."""

    compute_resource_overhead: ResourceRequirementsWithoutClaims | None = None
    domain_attachment_type: str | None = None
    downward_api: str | None = named("downwardAPI", None)
    migration: InterfaceBindingMigration | None = None
    network_attachment_definition: str | None = None
    sidecar_image: str | None = None


class NetworkConfiguration(Wire, frozen=True):
    """Network configuration."""

    binding: dict[str, InterfaceBindingPlugin] = {}
    default_network_interface: str | None = None
    permit_bridge_interface_on_pod_network: bool | None = None
    permit_slirp_interface: bool | None = None


class MediatedHostDevice(Wire, frozen=True):
    """Mediated host device."""

    external_resource_provider: bool | None = None
    mdev_name_selector: Annotated[str, REQUIRED] = ""
    resource_name: Annotated[str, REQUIRED] = ""


class PciHostDevice(Wire, frozen=True):
    """Pci host device."""

    external_resource_provider: bool | None = None
    pci_vendor_selector: Annotated[str, REQUIRED] = ""
    resource_name: Annotated[str, REQUIRED] = ""


class USBSelector(Wire, frozen=True):
    """USB selector."""

    product: Annotated[str, REQUIRED] = ""
    vendor: Annotated[str, REQUIRED] = ""


class USBHostDevice(Wire, frozen=True):
    """USB host device."""

    external_resource_provider: bool | None = None
    resource_name: Annotated[str, REQUIRED] = ""
    selectors: Annotated[list[USBSelector], ATOMIC] = []


class PermittedHostDevices(Wire, frozen=True):
    """Permitted host devices."""

    mediated_devices: Annotated[list[MediatedHostDevice], ATOMIC] = []
    pci_host_devices: Annotated[list[PciHostDevice], ATOMIC] = []
    usb: Annotated[list[USBHostDevice], ATOMIC] = []


class PersistentReservationConfiguration(Wire, frozen=True):
    """Persistent reservation configuration."""

    enabled: bool | None = None


class CustomProfile(Wire, frozen=True):
    """Custom profile."""

    localhost_profile: str | None = None
    runtime_default_profile: bool | None = None


class VirtualMachineInstanceProfile(Wire, frozen=True):
    """Virtual machine instance profile."""

    custom_profile: CustomProfile | None = None


class SeccompConfiguration(Wire, frozen=True):
    """Seccomp configuration."""

    virtual_machine_instance_profile: VirtualMachineInstanceProfile | None = None


class SMBiosConfiguration(Wire, frozen=True):
    """SM bios configuration."""

    family: str | None = None
    manufacturer: str | None = None
    product: str | None = None
    sku: str | None = None
    version: str | None = None


class SupportContainerResources(Wire, frozen=True):
    """Support container resources."""

    resources: Annotated[ResourceRequirementsWithoutClaims, REQUIRED] = ResourceRequirementsWithoutClaims()
    type: Annotated[str, REQUIRED] = ""


class TLSConfiguration(Wire, frozen=True):
    """TLS configuration."""

    ciphers: Annotated[list[str], SET] = []
    min_tls_version: str | None = named("minTLSVersion", None)


class VirtTemplateDeployment(Wire, frozen=True):
    """Virt template deployment."""

    enabled: bool | None = None


class DisableFreePageReporting(Wire, frozen=True):
    """Disable free page reporting."""


class DisableSerialConsoleLog(Wire, frozen=True):
    """Disable serial console log."""


class VirtualMachineOptions(Wire, frozen=True):
    """Virtual machine options."""

    disable_free_page_reporting: DisableFreePageReporting | None = None
    disable_serial_console_log: DisableSerialConsoleLog | None = None


class KubeVirtConfiguration(Wire, frozen=True):
    """Kube virt configuration."""

    additional_guest_memory_overhead_ratio: str | None = None
    api_configuration: ReloadableComponentConfiguration | None = None
    architecture_configuration: ArchConfiguration | None = None
    auto_cpu_limit_namespace_label_selector: LabelSelector | None = named("autoCPULimitNamespaceLabelSelector", None)
    changed_block_tracking_label_selectors: ChangedBlockTrackingSelectors | None = None
    common_instancetypes_deployment: CommonInstancetypesDeployment | None = None
    confidential_compute: ConfidentialComputeConfiguration | None = None
    controller_configuration: ReloadableComponentConfiguration | None = None
    cpu_model: str | None = None
    cpu_request: Quantity | None = None
    default_runtime_class: str | None = None
    developer_configuration: DeveloperConfiguration | None = None
    emulated_machines: list[str] = []
    eviction_strategy: str | None = None
    handler_configuration: ReloadableComponentConfiguration | None = None
    hypervisors: Annotated[list[HypervisorConfiguration], ATOMIC] = []
    image_pull_policy: Annotated[str | None, one_of("Always", "IfNotPresent", "Never")] = None
    instancetype: InstancetypeConfiguration | None = None
    ksm_configuration: KSMConfiguration | None = None
    live_update_configuration: LiveUpdateConfiguration | None = None
    machine_type: str | None = None
    mediated_devices_configuration: MediatedDevicesConfiguration | None = None
    mem_balloon_stats_period: Annotated[int | None, INT32] = None
    migrations: MigrationConfiguration | None = None
    min_cpu_model: str | None = named("minCPUModel", None)
    network: NetworkConfiguration | None = None
    obsolete_cpu_models: dict[str, bool] = named("obsoleteCPUModels", {})
    ovmf_path: str | None = None
    permitted_host_devices: PermittedHostDevices | None = None
    persistent_reservation_configuration: PersistentReservationConfiguration | None = None
    role_aggregation_strategy: str | None = None
    seccomp_configuration: SeccompConfiguration | None = None
    selinux_launcher_type: str | None = None
    smbios: SMBiosConfiguration | None = None
    support_container_resources: Annotated[list[SupportContainerResources], list_map("type")] = []
    supported_guest_agent_versions: list[str] = []
    tls_configuration: TLSConfiguration | None = None
    virt_template_deployment: VirtTemplateDeployment | None = None
    virtual_machine_instances_per_node: Annotated[int | None, INT32] = None
    virtual_machine_options: VirtualMachineOptions | None = None
    vm_rollout_strategy: str | None = None
    vm_state_storage_class: str | None = None
    webhook_configuration: ReloadableComponentConfiguration | None = None


class Flags(Wire, frozen=True):
    """Flags."""

    api: dict[str, str] = {}
    controller: dict[str, str] = {}
    handler: dict[str, str] = {}


class CustomizeComponentsPatch(Wire, frozen=True):
    """Customize components patch."""

    patch: Annotated[str, REQUIRED] = ""
    resource_name: Annotated[str, REQUIRED] = ""
    resource_type: Annotated[str, REQUIRED] = ""
    type: Annotated[str, REQUIRED] = ""


class CustomizeComponents(Wire, frozen=True):
    """Customize components."""

    flags: Flags | None = None
    patches: Annotated[list[CustomizeComponentsPatch], ATOMIC] = []


class NodePlacement(Wire, frozen=True):
    """Node placement."""

    affinity: Affinity | None = None
    node_selector: dict[str, str] = {}
    tolerations: list[Toleration] = []


class ComponentConfig(Wire, frozen=True):
    """Component config."""

    node_placement: NodePlacement | None = None
    replicas: int | None = None


class KubeVirtWorkloadUpdateStrategy(Wire, frozen=True):
    """Kube virt workload update strategy."""

    batch_eviction_interval: str | None = None
    batch_eviction_size: Annotated[int | None, INT32] = None
    workload_update_methods: Annotated[list[str], ATOMIC] = []


class KubeVirtSpec(Wire, frozen=True):
    """Kube virt spec."""

    certificate_rotate_strategy: KubeVirtCertificateRotateStrategy | None = None
    configuration: KubeVirtConfiguration | None = None
    customize_components: CustomizeComponents | None = None
    image_pull_policy: Annotated[str | None, one_of("Always", "IfNotPresent", "Never")] = None
    image_pull_secrets: Annotated[list[LocalObjectReference], ATOMIC] = []
    image_registry: str | None = None
    image_tag: str | None = None
    infra: ComponentConfig | None = None
    monitor_account: str | None = None
    monitor_namespace: str | None = None
    product_component: str | None = None
    product_name: str | None = None
    product_version: str | None = None
    service_monitor_namespace: str | None = None
    synchronization_port: str | None = None
    uninstall_strategy: str | None = None
    workload_update_strategy: KubeVirtWorkloadUpdateStrategy | None = None
    workloads: ComponentConfig | None = None


class KubeVirtCondition(Wire, frozen=True):
    """Kube virt condition."""

    last_probe_time: Annotated[Time | None, NULLABLE] = None
    last_transition_time: Annotated[Time | None, NULLABLE] = None
    message: str | None = None
    reason: str | None = None
    status: Annotated[str, REQUIRED] = ""
    type: Annotated[str, REQUIRED] = ""


class GenerationStatus(Wire, frozen=True):
    """Generation status."""

    group: Annotated[str, REQUIRED] = ""
    hash: str | None = None
    last_generation: Annotated[int, REQUIRED, INT64] = 0
    name: Annotated[str, REQUIRED] = ""
    namespace: str | None = None
    resource: Annotated[str, REQUIRED] = ""


class KubeVirtStatus(Wire, frozen=True):
    """Kube virt status."""

    conditions: list[KubeVirtCondition] = []
    default_architecture: str | None = None
    generations: Annotated[list[GenerationStatus], ATOMIC] = []
    observed_deployment_config: str | None = None
    observed_deployment_id: str | None = named("observedDeploymentID", None)
    observed_generation: Annotated[int | None, INT64] = None
    observed_kube_virt_registry: str | None = None
    observed_kube_virt_version: str | None = None
    operator_version: str | None = None
    outdated_virtual_machine_instance_workloads: Annotated[int | None, INT32] = None
    phase: str | None = None
    synchronization_addresses: Annotated[list[str], ATOMIC] = []
    target_deployment_config: str | None = None
    target_deployment_id: str | None = named("targetDeploymentID", None)
    target_kube_virt_registry: str | None = None
    target_kube_virt_version: str | None = None


class KubeVirt(Resource, frozen=True):
    """Kube virt."""

    spec: Annotated[KubeVirtSpec, REQUIRED] = KubeVirtSpec()
    status: KubeVirtStatus = KubeVirtStatus()
