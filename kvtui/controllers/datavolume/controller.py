"""Reconciles DataVolumes: makes the claim, then the worker, and writes what has become of them."""

from __future__ import annotations

from collections.abc import Iterable

from kvtui.api.cdi.config import CDIConfig
from kvtui.api.cdi.datavolume import DataVolume, DataVolumeSource, DataVolumeSourcePVC
from kvtui.api.cdi.profile import StorageProfile
from kvtui.api.cdi.sources import DataSource
from kvtui.api.core.pod import Pod
from kvtui.api.core.storage import PersistentVolume, PersistentVolumeClaim, StorageClass
from kvtui.api.times import from_time
from kvtui.api.wire import ObjectKey, evolve
from kvtui.controllers import indices
from kvtui.controllers.context import ControllerContext
from kvtui.controllers.datavolume import claim as claims
from kvtui.controllers.datavolume import names, status, uploads, worker
from kvtui.controllers.patches import write_changes
from kvtui.controlloop.controller import DONE, Controller, Result
from kvtui.errors import AlreadyExists, ApiError, NotFound
from kvtui.virtapi.admission.cdi_clone import CLONES_FROM

COMPONENT = "datavolume-controller"
SOURCE, NAMED = "clone source", "data source"
_BACKOFF_FIRST, _BACKOFF_MAX = 10.0, 300.0
_RETRY = 5.0
INSTANCETYPE = "instancetype.kubevirt.io/default-"
_IMPORT = {"ImportScheduled": "Import into {} scheduled", "ImportInProgress": "Import into {} in progress"}
_IMPORTED = ("ImportSucceeded", "Successfully imported into PVC {}")
_WORDS = {
    "clone": {"CloneScheduled": "Cloning into {} scheduled", "CloneInProgress": "Cloning into {} in progress"},
    "upload": {"UploadScheduled": "Upload into {} scheduled", "UploadReady": "Upload into {} ready"},
}
_SUCCEEDED = {
    "clone": ("CloneSucceeded", "Successfully cloned into {}"),
    "upload": ("UploadSucceeded", "Successfully uploaded into {}"),
}


def _clone_source(dv: DataVolume) -> list[str]:
    source = dv.spec.source.pvc if dv.spec.source is not None else None
    return [f"{source.namespace or dv.metadata.namespace}/{source.name}"] if source is not None else []


def _named_source(dv: DataVolume) -> list[str]:
    ref = dv.spec.source_ref
    return [f"{ref.namespace or dv.metadata.namespace}/{ref.name}"] if ref is not None else []


def _may_clone(dv: DataVolume, source: DataVolumeSourcePVC) -> bool:
    """Only what admission has seen, where that is another namespace."""
    return source.namespace in (None, "", dv.metadata.namespace, dv.metadata.annotations.get(CLONES_FROM))


class DataVolumeController:
    """One key is one DataVolume; its claim has the same name, its worker is owned by the claim."""

    def __init__(self, context: ControllerContext) -> None:
        self.context = context
        informers = context.informers
        self.dvs = informers.index(DataVolume, SOURCE, _clone_source)
        informers.index(DataVolume, NAMED, _named_source)
        self.sources = informers.of(DataSource)
        self.claims = indices.claims(informers)
        self.pods = indices.pods(informers)
        self.classes = informers.of(StorageClass)
        self.volumes = informers.of(PersistentVolume)
        self.config = informers.of(CDIConfig, optional=True)
        self.profiles = informers.of(StorageProfile, optional=True)
        self.recorder = context.recorders.of(COMPONENT)
        self.controller: Controller[ObjectKey] = Controller(
            "datavolume",
            self.reconcile,
            informers=[
                self.dvs,
                self.claims,
                self.pods,
                self.classes,
                self.volumes,
                self.config,
                self.sources,
                self.profiles,
            ],
            settings=context.settings.loop,
        )
        queue = self.controller.queue
        self.dvs.subscribe(lambda old, new: queue.add_change(_key(new or old), new=old is None))
        self.claims.subscribe(lambda old, new: self._claim_changed(new or old))
        self.pods.subscribe(lambda old, new: self._pod_changed(new or old))
        self.classes.subscribe(lambda old, new: self._waiting())
        self.profiles.subscribe(lambda old, new: self._waiting())
        self.sources.subscribe(lambda old, new: self._source_changed(new or old))

    async def run(self) -> None:
        await self.controller.run()

    def _claim_changed(self, claim: PersistentVolumeClaim | None) -> None:
        if claim is None:
            return
        self.controller.queue.add(claim.key)
        for dv in self.dvs.store.by_index(SOURCE, str(claim.key)):
            self.controller.queue.add(dv.key)

    def _source_changed(self, source: DataSource | None) -> None:
        if source is not None:
            for dv in self.dvs.store.by_index(NAMED, str(source.key)):
                self.controller.queue.add(dv.key)

    def _pod_changed(self, pod: Pod | None) -> None:
        owner = pod.metadata.controller if pod is not None else None
        if pod is not None and owner is not None and owner.kind == "PersistentVolumeClaim":
            self.controller.queue.add(ObjectKey(pod.metadata.namespace, owner.name))

    def _waiting(self) -> None:
        """Classes have changed: whoever could not be rendered may be now."""
        for dv in self.dvs.all():
            if not dv.status.phase:
                self.controller.queue.add(dv.key)

    async def reconcile(self, key: ObjectKey) -> Result:
        dv, claim, refusal = self.dvs.get(key), self.claims.get(key), None
        if claim is not None and claim.metadata.deletion_timestamp:
            await self._give_up(claim)
        if dv is None and claim is not None and uploads.is_bare(claim):
            return await self._upload_to(claim)
        if dv is None or dv.metadata.deletion_timestamp:
            return DONE
        dv = self._resolved(dv)
        kind = worker.kind_of(dv) if dv.spec.source_ref is None or dv.spec.source is not None else "clone"
        if claim is not None and not _owns(dv, claim) and not self._adopts(dv, claim):
            self.recorder.warning(
                dv, "ErrResourceExists", f'Resource "{key.name}" already exists and is not managed by DataVolume'
            )
            refusal, claim = status.Refusal("ErrResourceExists", f"PVC {key.name} is not managed by DataVolume"), None
        elif claim is None and dv.status.phase != "Succeeded" and names.PREPOPULATED not in dv.metadata.annotations:
            claim, refusal = await self._make_claim(dv)
        if claim is None:
            await self._write(status.View(dv, None, None, None, kind, self.context.clock(), refusal))
            return Result(requeue_after=_RETRY) if refusal is not None else DONE
        pod = self._worker_of(dv, claim)
        storage_class = self.classes.get(("", claim.spec.storage_class_name or ""))
        view = status.View(dv, claim, pod, storage_class, kind, self.context.clock())
        claim = await self._note(view)
        view = evolve_view(view, claim=claim)
        wait, refusal = await self._work(view)
        await self._write(evolve_view(view, refusal=refusal))
        return Result(requeue_after=wait) if wait else DONE

    async def _upload_to(self, claim: PersistentVolumeClaim) -> Result:
        """A claim that waits for an upload and has no DataVolume."""
        dv = uploads.stand_in(claim)
        storage_class = self.classes.get(("", claim.spec.storage_class_name or ""))
        pod = self._worker_of(dv, claim)
        view = status.View(dv, claim, pod, storage_class, "upload", self.context.clock())
        wait, _ = await self._work(evolve_view(view, claim=await self._note(view)))
        return Result(requeue_after=wait) if wait else DONE

    async def _give_up(self, claim: PersistentVolumeClaim) -> None:
        """A claim that is to go: its worker would hold it."""
        for pod in self.pods.store.by_index(indices.CLAIM, str(claim.key)):
            if names.is_worker(pod) and any(o.uid == claim.metadata.uid for o in pod.metadata.owner_references):
                await self._delete(pod)

    def _worker_of(self, dv: DataVolume, claim: PersistentVolumeClaim) -> Pod | None:
        pod = self.pods.get((dv.metadata.namespace, worker.pod_name(dv)))
        if pod is None or all(o.uid != claim.metadata.uid for o in pod.metadata.owner_references):
            return None
        return pod

    # Steps

    async def _make_claim(self, dv: DataVolume) -> tuple[PersistentVolumeClaim | None, status.Refusal | None]:
        source = self._clone_claim(dv)
        if dv.spec.source is None and dv.spec.source_ref is not None:
            return None, self._without_named_source(dv)
        if dv.spec.source is not None and dv.spec.source.pvc is not None and source is None:
            return None, self._without_source(dv)
        dv = await self._with_defaults(dv, source)
        size = claims.requested(source) if source is not None else None
        try:
            claim = claims.render(dv, self._classes(), size)
        except claims.ClaimNotValid as error:
            if not any(c.reason == error.reason and c.message == str(error) for c in dv.status.conditions):
                self.recorder.warning(dv, error.reason, str(error))
            return None, status.Refusal(error.reason, str(error))
        try:
            return await self.context.client.create(claim), None
        except AlreadyExists:
            return None, None
        except ApiError as error:
            quota = "exceeded quota" in str(error)
            reason = "ErrExceededQuota" if quota else "ErrClaimNotValid"
            self.recorder.warning(dv, reason, str(error))
            return None, status.Refusal(reason, str(error))

    def _resolved(self, dv: DataVolume) -> DataVolume:
        """With the source that its DataSource stands for at present, if that may be cloned; this is not stored."""
        named = self._named(dv)
        if named is None or not _may_clone(dv, named):
            return dv
        return evolve(dv, spec=evolve(dv.spec, source=DataVolumeSource(pvc=named)))

    def _named(self, dv: DataVolume) -> DataVolumeSourcePVC | None:
        for name in _named_source(dv):
            found = self.sources.get(ObjectKey.parse(name))
            claim = found.status.source.pvc if found is not None and found.status.source is not None else None
            if found is not None and claim is not None:
                return evolve(claim, namespace=claim.namespace or found.metadata.namespace)
        return None

    def _without_named_source(self, dv: DataVolume) -> status.Refusal:
        name, named = _named_source(dv)[0], self._named(dv)
        if named is None:
            return status.Refusal("CloneWithoutSource", f"DataSource {name} is not ready")
        message = (
            f"DataSource {name} stands for a claim of namespace {named.namespace}, from which this DataVolume was not "
            "allowed to be cloned when it was created; create it again"
        )
        return status.Refusal("CloneUnauthorized", message)

    async def _with_defaults(self, dv: DataVolume, source: PersistentVolumeClaim | None) -> DataVolume:
        """Labels of what it is cloned from say which instancetype fits."""
        labels: dict[str, str] = {}
        named = [self.sources.get(ObjectKey.parse(n)) for n in _named_source(dv)]
        for obj in (source, *named):
            if obj is not None:
                labels |= {k: v for k, v in obj.metadata.labels.items() if k.startswith(INSTANCETYPE)}
        labelled = evolve(dv, metadata=evolve(dv.metadata, labels={**labels, **dv.metadata.labels}))
        if labelled.metadata.labels == dv.metadata.labels:
            return dv
        written = await write_changes(self.context.client, dv, labelled)
        return evolve(labelled, metadata=written.metadata)

    async def _note(self, view: status.View) -> PersistentVolumeClaim:
        """Keeps the claim's annotations in step with the worker: virtctl and KubeVirt read them."""
        claim, pod = view.claim, view.pod
        assert claim is not None
        annotations = dict(claim.metadata.annotations)
        labels = dict(claim.metadata.labels)
        if view.kind == "external" or annotations.get(names.POD_PHASE) == "Succeeded":
            return claim
        running = status.running_of(pod, claim, view.kind)
        if view.kind == "upload":
            annotations[names.POD_READY] = "true" if pod is not None and status.is_ready(pod) else "false"
        if pod is not None:
            annotations |= {
                names.POD_PHASE: pod.status.phase or "Pending",
                names.UPLOAD_POD if view.kind == "upload" else names.IMPORT_POD: pod.metadata.name,
                names.RUNNING: "true" if running.status == "True" else "false",
                names.RUNNING_REASON: running.reason,
                names.RUNNING_MESSAGE: running.message,
            }
            container = status.container(pod)
            known = int(annotations.get(names.POD_RESTARTS, "0") or 0)
            if container is not None and container.restart_count > known:
                annotations[names.POD_RESTARTS] = str(container.restart_count)
            if status.is_fatal(pod):
                annotations[names.FATAL] = "true"
            if (outcome := status.outcome_of(pod)) is not None and pod.status.phase == "Succeeded":
                labels = {**outcome.labels, **labels}
                if view.kind == "clone":
                    annotations[names.CLONE_OF] = "true"
        metadata = evolve(claim.metadata, annotations=annotations, labels=labels)
        failed = (
            running.reason not in ("", "Completed", "Pod is running", "Unschedulable") and running.status == "False"
        )
        if failed and claim.metadata.annotations.get(names.RUNNING_MESSAGE) != running.message:
            self.recorder.warning(
                claim, "ErrUploadFailed" if view.kind == "upload" else "ErrImportFailed", running.message
            )
        return await write_changes(self.context.client, claim, evolve(claim, metadata=metadata))

    async def _work(self, view: status.View) -> tuple[float | None, status.Refusal | None]:
        """Makes, retries or removes the worker. Returns when to look again, and why nothing can be done."""
        dv, claim, pod = view.dv, view.claim, view.pod
        assert claim is not None
        phase = status.phase_of(view)
        if pod is not None:
            if phase in ("Succeeded", "Failed") and "cdi.kubevirt.io/storage.pod.retainAfterCompletion" not in (
                dv.metadata.annotations
            ):
                await self._delete(pod)
            elif pod.status.phase == "Failed":
                return await self._retry(claim, pod), None
            return None, None
        if view.kind == "external" or phase in ("Succeeded", "Failed") or claim.metadata.deletion_timestamp:
            return None, None
        if claim.status.phase != "Bound" and status.waits_for_consumer(view):
            return None, None
        source = worker.source_of(dv)
        node = ""
        if source == "pvc":
            refusal, node = self._clone_ready(dv, claim)
            if refusal is not None:
                return _RETRY, refusal
        classes = self._classes()
        job = worker.job_of(dv, claim, classes.config, classes.overhead(claim.spec.storage_class_name or ""))
        try:
            await self.context.client.create(worker.render(dv, claim, job, node=node))
        except AlreadyExists:
            return _RETRY, None
        except ApiError as error:
            bare = dv.metadata.uid == claim.metadata.uid
            self.recorder.warning(claim if bare else dv, "ErrStartingPod", str(error))
            return _RETRY, None
        return None, None

    async def _retry(self, claim: PersistentVolumeClaim, pod: Pod) -> float | None:
        """A worker that ended in failure is replaced after a pause that doubles each time."""
        restarts = int(claim.metadata.annotations.get(names.POD_RESTARTS, "0") or 0)
        pause = min(_BACKOFF_MAX, _BACKOFF_FIRST * 2.0 ** min(restarts, 10))
        container = status.container(pod)
        ended = container.state.terminated if container is not None else None
        since = from_time(ended.finished_at) if ended is not None and ended.finished_at else self.context.clock()
        left = pause - (self.context.clock() - since).total_seconds()
        if left > 0:
            return left
        counted = {"metadata": {"annotations": {names.POD_RESTARTS: str(restarts + 1)}}}
        await self.context.client.patch(PersistentVolumeClaim, claim.key, counted)
        await self._delete(pod)
        return None

    async def _delete(self, pod: Pod) -> None:
        if pod.metadata.deletion_timestamp:
            return
        try:
            await self.context.client.delete(Pod, pod.key, uid=pod.metadata.uid)
        except NotFound:
            return

    async def _write(self, view: status.View) -> None:
        dv = view.dv
        wanted = status.next_status(view)
        if wanted == dv.status:
            return
        await write_changes(self.context.client, dv, evolve(dv, status=wanted))
        self._tell(dv, evolve(dv, status=wanted), view.kind)

    def _tell(self, old: DataVolume, new: DataVolume, kind: str) -> None:
        """Events of transitions. Source: cdi facts 3.6."""
        name, phase = new.metadata.name, new.status.phase or ""
        if phase != (old.status.phase or ""):
            words = _WORDS.get(kind, _IMPORT)
            if phase in words:
                self.recorder.normal(new, phase, words[phase].format(name))
            elif phase == "Succeeded" and kind != "external":
                self.recorder.normal(new, *(text.format(name) for text in _SUCCEEDED.get(kind, _IMPORTED)))
            elif phase == "Failed":
                word = {"clone": "Clone", "upload": "Upload"}.get(kind, "Import")
                self.recorder.warning(new, f"{word}Failed", f"Failed to import into PVC {name}")
        before = {c.type: c for c in old.status.conditions}
        for condition in new.status.conditions:
            changed = before.get(condition.type) != condition
            if condition.type == "Bound" and changed and condition.reason in ("Bound", "Pending"):
                self.recorder.normal(new, condition.reason or "", condition.message or "")
            if condition.type == "Running" and changed and condition.status == "False":
                reason = condition.reason or ""
                if reason and reason not in ("Completed",):
                    self.recorder.warning(new, reason, condition.message or "")

    # Clones

    def _clone_claim(self, dv: DataVolume) -> PersistentVolumeClaim | None:
        for name in _clone_source(dv):
            return self.claims.get(ObjectKey.parse(name))
        return None

    def _without_source(self, dv: DataVolume) -> status.Refusal:
        source = dv.spec.source.pvc if dv.spec.source is not None else None
        message = f"The source pvc {source.name if source is not None else ''} doesn't exist"
        if not any(c.reason == "CloneWithoutSource" for c in dv.status.conditions):
            self.recorder.warning(dv, "CloneWithoutSource", message)
        return status.Refusal("CloneWithoutSource", message)

    def _clone_ready(self, dv: DataVolume, target: PersistentVolumeClaim) -> tuple[status.Refusal | None, str]:
        """Why the copy cannot start, and the node that can read the source (empty: any)."""
        source = self._clone_claim(dv)
        if source is None:
            return self._without_source(dv), ""
        origin = self.dvs.get(source.key)
        if origin is not None and origin.status.phase != "Succeeded":
            return status.Refusal("ImportPVCNotReady", f"The source {source.key} is not ready yet"), ""
        if names.PERMISSIVE_CLONE not in dv.metadata.annotations and claims.requested(target) < claims.requested(
            source
        ):
            message = (
                "target resources requests storage size is smaller than the source "
                f"{claims.requested(target)} < {claims.requested(source)}"
            )
            return status.Refusal("CloneValidationFailed", message), ""
        for pod in self.pods.store.by_index(indices.CLAIM, str(source.key)):
            if pod.status.phase not in ("Succeeded", "Failed") and not _reads_only(pod, source.metadata.name):
                message = f"pod {pod.key} using PersistentVolumeClaim {source.metadata.name}"
                if not any(c.message == message for c in dv.status.conditions):
                    self.recorder.warning(dv, "CloneSourceInUse", message)
                return status.Refusal("CloneSourceInUse", message), ""
        volume = self.volumes.get(("", source.spec.volume_name or ""))
        return None, next(iter(nodes_of(volume)), "")

    def _classes(self) -> claims.Classes:
        return claims.Classes(tuple(self.classes.all()), self.config.get(("", "config")), tuple(self.profiles.all()))

    def _adopts(self, dv: DataVolume, claim: PersistentVolumeClaim) -> bool:
        return status.already_filled(dv, claim) or (
            claim.metadata.controller is None and dv.metadata.annotations.get(names.ADOPT) == "true"
        )


def evolve_view(
    view: status.View,
    *,
    claim: PersistentVolumeClaim | None = None,
    refusal: status.Refusal | None = None,
) -> status.View:
    return status.View(
        view.dv, claim or view.claim, view.pod, view.storage_class, view.kind, view.now, refusal or view.refusal
    )


def nodes_of(volume: PersistentVolume | None) -> Iterable[str]:
    """Host names to which a volume is tied."""
    affinity = volume.spec.node_affinity if volume is not None else None
    for term in affinity.required.node_selector_terms if affinity is not None and affinity.required is not None else []:
        for expression in term.match_expressions:
            if expression.key == "kubernetes.io/hostname" and expression.operator == "In":
                yield from expression.values


def _owns(dv: DataVolume, claim: PersistentVolumeClaim) -> bool:
    owner = claim.metadata.controller
    return owner is not None and owner.uid == dv.metadata.uid


def _reads_only(pod: Pod, claim: str) -> bool:
    return all(
        bool(v.persistent_volume_claim.get("readOnly"))
        for v in pod.spec.volumes
        if v.persistent_volume_claim is not None and v.persistent_volume_claim.get("claimName") == claim
    )


def _key(dv: DataVolume | None) -> ObjectKey:
    assert dv is not None
    return dv.key
