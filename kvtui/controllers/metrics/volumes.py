"""Metrics about what fills volumes, under the names of KubeVirt's data importer, from the caches at each scrape.

Source: containerized-data-importer doc/metrics.md; CDI facts 9
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from kvtui.api.cdi.config import CDI
from kvtui.api.cdi.datavolume import DataVolume
from kvtui.api.cdi.profile import StorageProfile
from kvtui.api.core.pod import Pod
from kvtui.api.core.storage import StorageClass
from kvtui.controllers.datavolume.names import DEFAULT_VIRT_CLASS
from kvtui.controlloop.exposition import Family, counter, gauge

DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
WORKER = "kvtui.io/worker"
MANY = 3
"""Restarts of a worker beyond which it is told."""
PROGRESS = {"import": ("ImportInProgress",), "clone": ("CloneInProgress", "CSICloneInProgress")}


def volume_families(
    volumes: Iterable[DataVolume],
    classes: Iterable[StorageClass],
    profiles: Iterable[StorageProfile],
    pods: Iterable[Pod],
    installed: Iterable[CDI],
) -> Iterator[Family]:
    """`pods` are workers among others."""
    known, storage = list(volumes), {c.metadata.name: c for c in classes}
    for kind, phases in PROGRESS.items():
        yield counter(
            f"kubevirt_cdi_{kind}_progress_total",
            f"How much of a volume's {kind} is done, in percent.",
            (({"ownerUID": v.metadata.uid}, _percent(v.status.progress)) for v in known if v.status.phase in phases),
        )
    marked = any(_marks(c, DEFAULT_CLASS) or _marks(c, DEFAULT_VIRT_CLASS) for c in storage.values())
    waiting = 0 if marked else sum(v.status.phase in (None, "", "Pending") and not _class_of(v) for v in known)
    text = "How many volumes wait for a default storage class."
    yield gauge("kubevirt_cdi_datavolume_pending", text, [({}, waiting)])
    yield gauge(
        "kubevirt_cdi_storageprofile_info",
        "What is known of a storage class.",
        ((_profile(p, storage), 1) for p in profiles),
    )
    deployed = any(c.status.phase == "Deployed" for c in installed)
    yield gauge("kubevirt_cdi_cr_ready", "Whether the importer is set up.", [({}, deployed)])
    workers = list(pods)
    for kind in ("import", "upload", "clone"):
        count = sum(p.metadata.labels.get(WORKER) == kind and _restarts(p) > MANY for p in workers)
        for name in (f"cluster:kubevirt_cdi_{kind}_pods_high_restart:count", f"kubevirt_cdi_{kind}_pods_high_restart"):
            yield gauge(name, "How many workers have been restarted too often.", [({}, count)])


def _percent(progress: str | None) -> float:
    try:
        return float((progress or "").removesuffix("%"))
    except ValueError:
        return 0.0


def _class_of(volume: DataVolume) -> str:
    asked = volume.spec.storage or volume.spec.pvc
    return (asked.storage_class_name if asked is not None else None) or ""


def _marks(storage: StorageClass | None, annotation: str) -> bool:
    return storage is not None and storage.metadata.annotations.get(annotation) == "true"


def _profile(profile: StorageProfile, classes: Mapping[str, StorageClass]) -> dict[str, str]:
    name, status = profile.metadata.name, profile.status
    sets = status.claim_property_sets if status is not None else []
    shared = any("ReadWriteMany" in s.access_modes for s in sets)
    smart = status is not None and status.clone_strategy in ("snapshot", "csi-clone")
    words = {
        "complete": bool(sets),
        "default": _marks(classes.get(name), DEFAULT_CLASS),
        "virtdefault": _marks(classes.get(name), DEFAULT_VIRT_CLASS),
        "rwx": shared,
        "smartclone": smart,
        "degraded": not (shared and smart),
    }
    provisioner = (status.provisioner if status is not None else None) or ""
    return {"storageclass": name, "provisioner": provisioner} | {k: str(v).lower() for k, v in words.items()}


def _restarts(pod: Pod) -> int:
    return max((c.restart_count or 0 for c in pod.status.container_statuses), default=0)
