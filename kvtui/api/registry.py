"""Every kind that has a class: its group, names, scope, subresources and printer columns.

One line here makes a kind known to the client, the CRD generator and the tables. A new kind is one class and one entry.

Source: control plane facts of kubevirt.io/api and containerized-data-importer-api (CRD definitions), k8s.io/api.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

from kvtui.api.cdi.config import CDI, CDIConfig
from kvtui.api.cdi.datavolume import DataVolume
from kvtui.api.cdi.populators import (
    OpenstackVolumePopulator,
    OvirtVolumePopulator,
    VolumeCloneSource,
    VolumeImportSource,
    VolumeUploadSource,
)
from kvtui.api.cdi.profile import ObjectTransfer, StorageProfile
from kvtui.api.cdi.sources import DataImportCron, DataSource
from kvtui.api.core.config import (
    ConfigMap,
    ControllerRevision,
    Event,
    Namespace,
    NetworkAttachmentDefinition,
    PodDisruptionBudget,
    PriorityClass,
    ResourceQuota,
    Secret,
    ServiceAccount,
)
from kvtui.api.core.network import Endpoints, EndpointSlice, NetworkPolicy, Service
from kvtui.api.core.node import Lease, Node
from kvtui.api.core.pod import Pod
from kvtui.api.core.storage import ObjectReference, PersistentVolume, PersistentVolumeClaim, StorageClass
from kvtui.api.kubevirt.backup import VirtualMachineBackup, VirtualMachineBackupTracker
from kvtui.api.kubevirt.clone import VirtualMachineClone
from kvtui.api.kubevirt.config import KubeVirt
from kvtui.api.kubevirt.export import VirtualMachineExport
from kvtui.api.kubevirt.instancetype import (
    VirtualMachineClusterInstancetype,
    VirtualMachineClusterPreference,
    VirtualMachineInstancetype,
    VirtualMachinePreference,
)
from kvtui.api.kubevirt.migration import MigrationPolicy, VirtualMachineInstanceMigration
from kvtui.api.kubevirt.pool import VirtualMachinePool
from kvtui.api.kubevirt.replicaset import VirtualMachineInstanceReplicaSet
from kvtui.api.kubevirt.snapshot import (
    VirtualMachineRestore,
    VirtualMachineSnapshot,
    VirtualMachineSnapshotContent,
)
from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.kubevirt.vmi import VirtualMachineInstance, VirtualMachineInstancePreset
from kvtui.api.meta import OwnerReference, Resource


@dataclass(frozen=True, slots=True)
class Column:
    """A printer column of a custom kind."""

    name: str
    type: str
    json_path: str
    description: str = ""
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Scale:
    """Paths of the scale subresource."""

    spec_replicas: str = ".spec.replicas"
    status_replicas: str = ".status.replicas"
    label_selector: str = ".status.labelSelector"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Where a class lives on the wire."""

    type: type[Resource]
    group: str
    version: str
    """The version that kvtui speaks and, for custom kinds, stores."""
    plural: str
    kind: str = ""
    namespaced: bool = True
    custom: bool = False
    """Served from a CustomResourceDefinition."""
    other_versions: tuple[str, ...] = ()
    """Served too, deprecated, with the same schema."""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    status: bool = True
    scale: Scale | None = None
    columns: tuple[Column, ...] = field(default=())

    @property
    def singular(self) -> str:
        return self.kind.lower()

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def crd_name(self) -> str:
        return f"{self.plural}.{self.group}"

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The URL path, such as /apis/kubevirt.io/v1/namespaces/default/virtualmachines/web."""
        parts = ["/apis", self.group] if self.group else ["/api"]
        parts.append(self.version)
        if namespace and self.namespaced:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        if name:
            parts.append(name)
        if subresource:
            parts.append(subresource)
        return "/".join(parts)


def _kind(type_: type[Resource], group_version: str, plural: str, **options: object) -> Kind:
    group, _, version = group_version.rpartition("/")
    return Kind(type=type_, group=group, version=version, plural=plural, kind=type_.__name__, **options)  # type: ignore[arg-type]


def _custom(type_: type[Resource], group_version: str, plural: str, **options: object) -> Kind:
    return _kind(type_, group_version, plural, custom=True, **options)


_AGE = Column("Age", "date", ".metadata.creationTimestamp")
_ALL = ("all",)


def _condition(name: str, type_: str, priority: int = 0) -> Column:
    return Column(name, "string", f".status.conditions[?(@.type=='{type_}')].status", priority=priority)


CUSTOM: tuple[Kind, ...] = (
    _custom(
        VirtualMachine,
        "kubevirt.io/v1",
        "virtualmachines",
        other_versions=("v1alpha3",),
        short_names=("vm", "vms"),
        categories=_ALL,
        columns=(
            _AGE,
            Column("Status", "string", ".status.printableStatus", "Human Readable Status"),
            _condition("Ready", "Ready"),
        ),
    ),
    _custom(
        VirtualMachineInstance,
        "kubevirt.io/v1",
        "virtualmachineinstances",
        other_versions=("v1alpha3",),
        short_names=("vmi", "vmis"),
        categories=_ALL,
        status=False,
        columns=(
            _AGE,
            Column("Phase", "string", ".status.phase"),
            Column("IP", "string", ".status.interfaces[0].ipAddress"),
            Column("NodeName", "string", ".status.nodeName"),
            _condition("Ready", "Ready"),
            _condition("Live-Migratable", "LiveMigratable", 1),
            _condition("Paused", "Paused", 1),
        ),
    ),
    _custom(
        VirtualMachineInstanceReplicaSet,
        "kubevirt.io/v1",
        "virtualmachineinstancereplicasets",
        other_versions=("v1alpha3",),
        short_names=("vmirs", "vmirss"),
        categories=_ALL,
        scale=Scale(),
        columns=(
            Column("Desired", "integer", ".spec.replicas", "Number of desired VirtualMachineInstances"),
            Column("Current", "integer", ".status.replicas", "Number of managed and not final or deleted instances"),
            Column("Ready", "integer", ".status.readyReplicas", "Number of managed instances which are ready"),
            _AGE,
        ),
    ),
    _custom(
        VirtualMachineInstanceMigration,
        "kubevirt.io/v1",
        "virtualmachineinstancemigrations",
        other_versions=("v1alpha3",),
        short_names=("vmim", "vmims"),
        categories=_ALL,
        columns=(Column("Phase", "string", ".status.phase"), Column("VMI", "string", ".spec.vmiName")),
    ),
    _custom(
        VirtualMachineInstancePreset,
        "kubevirt.io/v1",
        "virtualmachineinstancepresets",
        other_versions=("v1alpha3",),
        short_names=("vmipreset", "vmipresets"),
        categories=_ALL,
        status=False,
    ),
    _custom(
        KubeVirt,
        "kubevirt.io/v1",
        "kubevirts",
        other_versions=("v1alpha3",),
        short_names=("kv", "kvs"),
        categories=_ALL,
        columns=(_AGE, Column("Phase", "string", ".status.phase")),
    ),
    _custom(MigrationPolicy, "migrations.kubevirt.io/v1alpha1", "migrationpolicies", namespaced=False),
    _custom(
        VirtualMachineInstancetype,
        "instancetype.kubevirt.io/v1beta1",
        "virtualmachineinstancetypes",
        short_names=("vminstancetype", "vminstancetypes", "vmf", "vmfs"),
        categories=_ALL,
        status=False,
    ),
    _custom(
        VirtualMachineClusterInstancetype,
        "instancetype.kubevirt.io/v1beta1",
        "virtualmachineclusterinstancetypes",
        short_names=("vmclusterinstancetype", "vmclusterinstancetypes", "vmcf", "vmcfs"),
        namespaced=False,
        status=False,
    ),
    _custom(
        VirtualMachinePreference,
        "instancetype.kubevirt.io/v1beta1",
        "virtualmachinepreferences",
        short_names=("vmpref", "vmprefs", "vmp", "vmps"),
        categories=_ALL,
        status=False,
    ),
    _custom(
        VirtualMachineClusterPreference,
        "instancetype.kubevirt.io/v1beta1",
        "virtualmachineclusterpreferences",
        short_names=("vmcp", "vmcps"),
        namespaced=False,
        status=False,
    ),
    _custom(
        VirtualMachinePool,
        "pool.kubevirt.io/v1beta1",
        "virtualmachinepools",
        other_versions=("v1alpha1",),
        short_names=("vmpool", "vmpools"),
        categories=_ALL,
        scale=Scale(),
        columns=(
            Column("Desired", "integer", ".spec.replicas", "Number of desired VirtualMachines"),
            Column(
                "Current", "integer", ".status.replicas", "Number of managed and not final or deleted VirtualMachines"
            ),
            Column("Ready", "integer", ".status.readyReplicas", "Number of managed VirtualMachines which are ready"),
            _AGE,
        ),
    ),
    _custom(
        VirtualMachineSnapshot,
        "snapshot.kubevirt.io/v1beta1",
        "virtualmachinesnapshots",
        other_versions=("v1alpha1",),
        short_names=("vmsnapshot", "vmsnapshots"),
        categories=_ALL,
        columns=(
            Column("SourceKind", "string", ".spec.source.kind"),
            Column("SourceName", "string", ".spec.source.name"),
            Column("Phase", "string", ".status.phase"),
            Column("ReadyToUse", "boolean", ".status.readyToUse"),
            Column("CreationTime", "date", ".status.creationTime"),
            Column("Error", "string", ".status.error.message"),
        ),
    ),
    _custom(
        VirtualMachineSnapshotContent,
        "snapshot.kubevirt.io/v1beta1",
        "virtualmachinesnapshotcontents",
        other_versions=("v1alpha1",),
        short_names=("vmsnapshotcontent", "vmsnapshotcontents"),
        categories=_ALL,
    ),
    _custom(
        VirtualMachineRestore,
        "snapshot.kubevirt.io/v1beta1",
        "virtualmachinerestores",
        other_versions=("v1alpha1",),
        short_names=("vmrestore", "vmrestores"),
        categories=_ALL,
        columns=(
            Column("TargetKind", "string", ".spec.target.kind"),
            Column("TargetName", "string", ".spec.target.name"),
            Column("Complete", "boolean", ".status.complete"),
            Column("RestoreTime", "date", ".status.restoreTime"),
        ),
    ),
    _custom(
        VirtualMachineClone,
        "clone.kubevirt.io/v1beta1",
        "virtualmachineclones",
        other_versions=("v1alpha1",),
        short_names=("vmclone", "vmclones"),
        categories=_ALL,
    ),
    _custom(
        VirtualMachineExport,
        "export.kubevirt.io/v1",
        "virtualmachineexports",
        other_versions=("v1beta1",),
        short_names=("vmexport", "vmexports"),
        categories=_ALL,
    ),
    _custom(
        VirtualMachineBackup,
        "backup.kubevirt.io/v1alpha1",
        "virtualmachinebackups",
        short_names=("vmbackup", "vmbackups"),
        categories=_ALL,
    ),
    _custom(
        VirtualMachineBackupTracker,
        "backup.kubevirt.io/v1alpha1",
        "virtualmachinebackuptrackers",
        short_names=("vmbackuptracker", "vmbackuptrackers"),
        categories=_ALL,
    ),
    _custom(
        DataVolume,
        "cdi.kubevirt.io/v1beta1",
        "datavolumes",
        short_names=("dv", "dvs"),
        categories=_ALL,
        columns=(
            Column("Phase", "string", ".status.phase", "The phase the data volume is in"),
            Column("Progress", "string", ".status.progress", "Transfer progress in percentage if known"),
            Column(
                "Restarts", "integer", ".status.restartCount", "The number of times the transfer has been restarted"
            ),
            _AGE,
        ),
    ),
    _custom(
        CDI,
        "cdi.kubevirt.io/v1beta1",
        "cdis",
        other_versions=("v1alpha1",),
        short_names=("cdi", "cdis"),
        namespaced=False,
        status=False,
        columns=(_AGE, Column("Phase", "string", ".status.phase")),
    ),
    _custom(CDIConfig, "cdi.kubevirt.io/v1beta1", "cdiconfigs", namespaced=False, status=False),
    _custom(DataSource, "cdi.kubevirt.io/v1beta1", "datasources", short_names=("das",), categories=_ALL, status=False),
    _custom(
        DataImportCron,
        "cdi.kubevirt.io/v1beta1",
        "dataimportcrons",
        short_names=("dic", "dics"),
        categories=_ALL,
        status=False,
        columns=(Column("Format", "string", ".status.sourceFormat"),),
    ),
    _custom(StorageProfile, "cdi.kubevirt.io/v1beta1", "storageprofiles", namespaced=False),
    _custom(
        ObjectTransfer,
        "cdi.kubevirt.io/v1beta1",
        "objecttransfers",
        short_names=("ot", "ots"),
        namespaced=False,
        columns=(_AGE, Column("Phase", "string", ".status.phase", "The phase of the transfer")),
    ),
    _custom(VolumeImportSource, "cdi.kubevirt.io/v1beta1", "volumeimportsources", status=False),
    _custom(VolumeUploadSource, "cdi.kubevirt.io/v1beta1", "volumeuploadsources", status=False),
    _custom(VolumeCloneSource, "cdi.kubevirt.io/v1beta1", "volumeclonesources", status=False),
    _custom(
        OvirtVolumePopulator,
        "forklift.cdi.kubevirt.io/v1beta1",
        "ovirtvolumepopulators",
        short_names=("ovvp", "ovvps"),
    ),
    _custom(
        OpenstackVolumePopulator,
        "forklift.cdi.kubevirt.io/v1beta1",
        "openstackvolumepopulators",
        short_names=("osvp", "osvps"),
    ),
    _custom(
        NetworkAttachmentDefinition,
        "k8s.cni.cncf.io/v1",
        "network-attachment-definitions",
        short_names=("net-attach-def",),
        status=False,
    ),
)

BUILTIN: tuple[Kind, ...] = (
    _kind(Namespace, "v1", "namespaces", short_names=("ns",), namespaced=False),
    _kind(Node, "v1", "nodes", short_names=("no",), namespaced=False),
    _kind(Pod, "v1", "pods", short_names=("po",), categories=_ALL),
    _kind(PersistentVolumeClaim, "v1", "persistentvolumeclaims", short_names=("pvc",)),
    _kind(PersistentVolume, "v1", "persistentvolumes", short_names=("pv",), namespaced=False),
    _kind(StorageClass, "storage.k8s.io/v1", "storageclasses", short_names=("sc",), namespaced=False, status=False),
    _kind(Secret, "v1", "secrets", status=False),
    _kind(ConfigMap, "v1", "configmaps", short_names=("cm",), status=False),
    _kind(ServiceAccount, "v1", "serviceaccounts", short_names=("sa",), status=False),
    _kind(Event, "v1", "events", short_names=("ev",), status=False),
    _kind(Lease, "coordination.k8s.io/v1", "leases", status=False),
    _kind(ControllerRevision, "apps/v1", "controllerrevisions", status=False),
    _kind(
        PriorityClass, "scheduling.k8s.io/v1", "priorityclasses", short_names=("pc",), namespaced=False, status=False
    ),
    _kind(ResourceQuota, "v1", "resourcequotas", short_names=("quota",)),
    _kind(PodDisruptionBudget, "policy/v1", "poddisruptionbudgets", short_names=("pdb",)),
    _kind(Service, "v1", "services", short_names=("svc",), categories=_ALL),
    _kind(Endpoints, "v1", "endpoints", short_names=("ep",), status=False),
    _kind(EndpointSlice, "discovery.k8s.io/v1", "endpointslices", status=False),
    _kind(NetworkPolicy, "networking.k8s.io/v1", "networkpolicies", short_names=("netpol",), status=False),
)


@cache
def _by_type() -> dict[type[Resource], Kind]:
    return {kind.type: kind for kind in (*BUILTIN, *CUSTOM)}


def kind_of(type_: type[Resource]) -> Kind:
    """Where this class lives. Raises KeyError for a class that is not registered."""
    return _by_type()[type_]


def owner_reference(owner: Resource, *, controller: bool = True) -> OwnerReference:
    """A reference that makes the owner the controller of the object that carries it."""
    kind = kind_of(type(owner))
    return OwnerReference(
        api_version=kind.api_version,
        kind=kind.kind,
        name=owner.metadata.name,
        uid=owner.metadata.uid,
        controller=controller or None,
        block_owner_deletion=controller or None,
    )


def object_reference(obj: Resource) -> ObjectReference:
    """A reference as Events carry it."""
    kind = kind_of(type(obj))
    return ObjectReference(
        api_version=kind.api_version,
        kind=kind.kind,
        namespace=obj.metadata.namespace,
        name=obj.metadata.name,
        uid=obj.metadata.uid,
        resource_version=obj.metadata.resource_version,
    )
