"""What is known of storage classes: access modes, volume modes and ways to clone, by provisioner; pure.

Source: containerized-data-importer pkg/storagecapabilities, pkg/controller/storageprofile-controller.go; cdi facts 7.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from kvtui.api.cdi.profile import (
    ClaimPropertySet,
    StorageProfile,
    StorageProfileCondition,
    StorageProfileSpec,
    StorageProfileStatus,
)
from kvtui.api.core.storage import PersistentVolume, StorageClass
from kvtui.api.times import to_time

CLONE_STRATEGY = "cdi.kubevirt.io/clone-strategy"
NO_PROVISIONER = "kubernetes.io/no-provisioner"
IGNORED = ("noobaa.io/obc", "ceph.rook.io/bucket", "stork-snapshot")
Sets = tuple[tuple[tuple[str, ...], str], ...]

_RWO, _RWX, _ROX = ("ReadWriteOnce",), ("ReadWriteMany",), ("ReadOnlyMany",)
_F, _B = "Filesystem", "Block"
_ONE: Sets = ((_RWO, _F),)
_SHARED: Sets = ((_RWX, _F),)
_BOTH: Sets = ((_RWO, _B), (_RWO, _F))
_BLOCK_FIRST: Sets = ((_RWX, _B), (_RWO, _B), (_RWO, _F))
_FILES: Sets = ((_RWX, _F), (_RWO, _F))

ADVICE: Mapping[str, tuple[Sets, str | None]] = {
    "kvtui.io/local": (_ONE, None),
    "kvtui.io/shared": (_FILES, None),
    "rancher.io/local-path": (_ONE, None),
    "kubevirt.io.hostpath-provisioner": (_ONE, None),
    "kubevirt.io/hostpath-provisioner": (_ONE, None),
    "k8s.io/minikube-hostpath": (_ONE, None),
    "directpv-min-io": (_ONE, None),
    "storageos": (_ONE, None),
    "nfs.csi.k8s.io": (_SHARED, None),
    "k8s-sigs.io/nfs-subdir-external-provisioner": (_SHARED, None),
    "kubernetes.io/rbd": (_BLOCK_FIRST, None),
    "driver.longhorn.io": (((_RWO, _B),), None),
    "topolvm.io": (_BOTH, "copy"),
    "topolvm.cybozu.com": (_BOTH, "copy"),
    "linstor.csi.linbit.com": ((*_BLOCK_FIRST, (_ROX, _B), (_ROX, _F)), None),
    "ebs.csi.aws.com": (((_RWO, _B),), None),
    "efs.csi.aws.com": (_FILES, None),
    "disk.csi.azure.com": (((_RWO, _B),), None),
    "file.csi.azure.com": (_SHARED, None),
    "pd.csi.storage.gke.io": (_BOTH, "snapshot"),
    "csi.vsphere.vmware.com": (_BOTH, None),
    "pxd.portworx.com": (((_RWX, _B), (_RWX, _F), (_RWO, _B), (_RWO, _F)), "csi-clone"),
    "csi.hpe.com": (_BLOCK_FIRST, "csi-clone"),
    "hspc.csi.hitachi.com": (_BLOCK_FIRST, "csi-clone"),
    "block.csi.ibm.com": (_BLOCK_FIRST, "csi-clone"),
    "blockvolume.csi.oraclecloud.com": (_BLOCK_FIRST, "csi-clone"),
    "csi.san.synology.com": (_BLOCK_FIRST, "csi-clone"),
    "cinder.csi.openstack.org": (_BOTH, None),
    "csi.ovirt.org": (_BOTH, None),
    "manila.csi.openstack.org": (_SHARED, None),
}
"""Provisioner -> claim property sets, the first being the default, and how it clones best."""


def _known(provisioner: str) -> tuple[Sets, str | None] | None:
    found = ADVICE.get(provisioner)
    if found is None and provisioner.endswith("rbd.csi.ceph.com"):
        return _BLOCK_FIRST, "csi-clone"
    if found is None and provisioner.endswith("cephfs.csi.ceph.com"):
        return _FILES, "csi-clone"
    return found


def _longhorn(parameters: Mapping[str, str]) -> Sets:
    if parameters.get("migratable") == "true":
        return (_RWX, _B), (_RWO, _B)
    if "nfsOptions" in parameters:
        return _FILES
    return _ONE if "fsType" in parameters else ((_RWO, _B),)


def advised(storage_class: StorageClass, volumes: Sequence[PersistentVolume] = ()) -> Sets | None:
    """None for a provisioner that nobody knows."""
    provisioner = storage_class.provisioner
    if provisioner == NO_PROVISIONER:
        own = [v for v in volumes if v.spec.storage_class_name == storage_class.metadata.name]
        return tuple(dict.fromkeys((tuple(v.spec.access_modes), v.spec.volume_mode or _F) for v in own))
    if provisioner == "driver.longhorn.io":
        return _longhorn(storage_class.parameters)
    if provisioner == "kubevirt.io.hostpath-provisioner" and "overlayCSI" in storage_class.parameters:
        return _SHARED
    found = _known(provisioner)
    return found[0] if found is not None else None


def resolved(
    spec: StorageProfileSpec,
    old: StorageProfileStatus | None,
    storage_class: StorageClass,
    volumes: Sequence[PersistentVolume],
    now: datetime,
) -> StorageProfileStatus:
    """What an administrator has set, else what is known. No class here can take snapshots."""
    sets = advised(storage_class, volumes)
    found = _known(storage_class.provisioner)
    strategy = spec.clone_strategy or storage_class.metadata.annotations.get(CLONE_STRATEGY)
    if strategy is None:
        strategy = found[1] if found is not None and found[1] not in (None, "snapshot") else "copy"
    given = [s for s in spec.claim_property_sets if s.access_modes and s.volume_mode]
    if not given:
        given = [ClaimPropertySet(access_modes=list(modes), volume_mode=mode) for modes, mode in sets or ()]
    return StorageProfileStatus(
        claim_property_sets=given,
        clone_strategy=strategy,
        conditions=[_recognized(old, known=sets is not None, now=now)],
        data_import_cron_source_format=spec.data_import_cron_source_format or "pvc",
        provisioner=storage_class.provisioner,
        snapshot_class=spec.snapshot_class,
        storage_class=storage_class.metadata.name,
    )


def _recognized(old: StorageProfileStatus | None, *, known: bool, now: datetime) -> StorageProfileCondition:
    status = "True" if known else "False"
    for condition in old.conditions if old is not None else ():
        if condition.type == "Recognized" and condition.status == status:
            return condition
    return StorageProfileCondition(
        type="Recognized",
        status=status,
        reason="RecognizedProvisioner" if known else "UnrecognizedProvisioner",
        last_heartbeat_time=to_time(now),
        last_transition_time=to_time(now),
    )


def sets_of(profile: StorageProfile | None, storage_class: StorageClass) -> Sets:
    """What counts for a claim of this class now."""
    if profile is not None:
        given = profile.spec.claim_property_sets or (profile.status.claim_property_sets if profile.status else [])
        usable = tuple((tuple(s.access_modes), s.volume_mode) for s in given if s.access_modes and s.volume_mode)
        if usable:
            return usable
    return advised(storage_class) or ()
