"""The virtual kubelet: realises launchers and workers that are bound to this node and refuses every other Pod.

A launcher is set up by a task of its own (network and images), which tries again until it succeeds or the Pod is
deleted; its domain is the domain room's business. A worker is handed to the worker room whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import structlog

from kvtui.api.core.config import NetworkAttachmentDefinition
from kvtui.api.core.pod import Pod
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.times import to_time
from kvtui.api.wire import ObjectKey
from kvtui.client.rest import Client, Patch
from kvtui.controlloop.backoff import Backoff
from kvtui.controlloop.controller import Result
from kvtui.controlloop.informer import Informer
from kvtui.controlloop.recorder import EventRecorder
from kvtui.errors import InvalidObject, KvtuiError, NotFound, Transient, Unsupported
from kvtui.node import podstatus
from kvtui.node.cpus import CpusTaken, NeverEnoughCpus
from kvtui.node.network.sandbox import Networks
from kvtui.node.network.types import NetworkRequest
from kvtui.node.state import Record, Records, Stage
from kvtui.node.volumes.images import pull_reason
from kvtui.node.volumes.room import Volumes
from kvtui.node.workers import Workers

log = structlog.get_logger()
_RECORD_GOES = 0.5
"""Seconds between looks at an ended launcher whose record is still being cleared away."""
IMAGES = "kvtui.io/images"
"""Annotation of a launcher: digest by containerDisk volume."""


class Pods:
    """Reconciles one Pod at a time; `run` owns the tasks that set launchers up."""

    def __init__(
        self,
        *,
        client: Client,
        informer: Informer[Pod],
        records: Records,
        networks: Networks,
        volumes: Volumes,
        workers: Workers,
        recorder: EventRecorder,
        clock: Callable[[], datetime],
        address: str,
        lock: Callable[[str], asyncio.Lock],
        look: Callable[[str], None],
        ready: Callable[[str], bool],
        admit: Callable[[Pod, VirtualMachineInstance], tuple[int, ...]],
        refusal: Callable[[VirtualMachineInstance], str],
        pull_backoff: float = 10.0,
    ) -> None:
        """`look` has the domain room look at a UID, `ready` is what its readiness probe says, `admit` gives a launcher
        CPUs of its own, `refusal` says why this node can never run a VMI."""
        self._client = client
        self._informer = informer
        self._records = records
        self._networks = networks
        self._volumes = volumes
        self._workers = workers
        self._recorder = recorder
        self._clock = clock
        self._address = address
        self._lock = lock
        self._look = look
        self._ready = ready
        self._admit = admit
        self._refusal = refusal
        self._pull_backoff = pull_backoff
        self._tasks: asyncio.TaskGroup | None = None
        self._setups: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            await asyncio.get_running_loop().create_future()

    async def reconcile(self, key: ObjectKey) -> Result | None:
        pod = self._informer.get(key)
        if pod is None:
            return None
        if not podstatus.is_launcher(pod) and not podstatus.is_worker(pod):
            return await self._refuse(pod)
        if podstatus.is_worker(pod):
            return await self._worker(pod)
        if podstatus.is_final(pod):
            return await self._finish(pod)
        if podstatus.is_provisional(pod):
            return await self._provisional(pod)
        if pod.metadata.deletion_timestamp is not None:
            return await self._ending(pod)
        return await self._launcher(pod)

    async def _refuse(self, pod: Pod) -> Result | None:
        if not podstatus.is_final(pod):
            await self._patch(pod, podstatus.refused(pod, now=self._now()))
            self._recorder.warning(pod, "UnsupportedPod", "this node runs launchers and workers only")
        return await self._finish(pod)

    async def _worker(self, pod: Pod) -> Result | None:
        if podstatus.is_final(pod):
            return await self._finish(pod)
        if pod.metadata.deletion_timestamp is not None:
            await self._workers.stop(pod)
            await self._delete(pod)
            return None
        await self._workers.ensure(pod)
        return None

    async def _provisional(self, pod: Pod) -> Result | None:
        """A launcher that only makes its claims bind on this node: nothing runs in it, so nothing is set up."""
        if pod.metadata.deletion_timestamp is not None:
            await self._delete(pod)
        else:
            await self._patch(pod, podstatus.running(pod, (), host=self._address, now=self._now()))
        return None

    async def _finish(self, pod: Pod) -> Result | None:
        """A Pod whose end is reported: it goes when it is asked to."""
        record = self._records.of_pod(pod.metadata.uid)
        if record is not None:
            self._look(record.uid)
            # A wish to go that came between the report of the end and the end of the record is seen here only.
            return Result(requeue_after=_RECORD_GOES) if pod.metadata.deletion_timestamp is not None else None
        if pod.metadata.deletion_timestamp is not None:
            await self._delete(pod)
        return None

    async def _delete(self, pod: Pod) -> None:
        with contextlib.suppress(NotFound):
            await self._client.delete(Pod, pod.key, grace=0, uid=pod.metadata.uid)

    # Launchers

    async def _launcher(self, pod: Pod) -> Result | None:
        uid = pod.metadata.labels.get(podstatus.CREATED_BY, "")
        record = self._records.of_pod(pod.metadata.uid)
        if record is not None and record.stage is not Stage.PREPARING:
            if record.stage is not Stage.ENDED:
                await self._report_running(pod)
            self._look(uid)
            return None
        if record is None and pod.status.phase == "Running":
            # Its state directory is gone, so nothing of it can be trusted to be there.
            await self._patch(pod, self._ended(pod, 1, "Lost", "the node lost the state of this launcher"))
            return None
        task = self._setups.get(pod.metadata.uid)
        if (task is None or task.done()) and self._tasks is not None:
            task = self._tasks.create_task(self._set_up(pod), name=f"set up {pod.key}")
            self._setups[pod.metadata.uid] = task
            task.add_done_callback(lambda _: self._setups.pop(pod.metadata.uid, None))
        return None

    async def _report_running(self, pod: Pod) -> None:
        network = self._networks.get(pod.metadata.uid)
        ips = network.ips if network is not None else ()
        ready = self._ready(pod.metadata.labels.get(podstatus.CREATED_BY, ""))
        await self._patch(pod, podstatus.running(pod, ips, host=self._address, now=self._now(), ready=ready))

    async def _set_up(self, pod: Pod) -> None:
        backoff = Backoff(min(1.0, self._pull_backoff), 300.0)
        while True:
            try:
                await self._set_up_once(pod)
                self._look(pod.metadata.labels[podstatus.CREATED_BY])
                return
            except KvtuiError as error:
                pause = backoff.next()
                log.info("launcher is not ready", pod=str(pod.key), error=str(error), seconds=round(pause, 1))
                await asyncio.sleep(pause)
            except Exception:
                log.exception("setting up a launcher broke", pod=str(pod.key))
                await asyncio.sleep(backoff.next())

    async def _set_up_once(self, pod: Pod) -> None:
        uid = pod.metadata.labels.get(podstatus.CREATED_BY, "")
        name = pod.metadata.annotations.get(podstatus.DOMAIN, "")
        vmi = await self._client.find(VirtualMachineInstance, ObjectKey(pod.metadata.namespace, name))
        if vmi is None or vmi.metadata.uid != uid:
            raise NotFound(f"the VirtualMachineInstance {name} of this launcher does not exist")
        await self._step(pod, "CreateContainerConfigError", "Failed", self._possible(vmi))
        record = self._records.get(uid)
        if record is not None and record.pod_uid != pod.metadata.uid:
            raise Transient("an earlier launcher of this VirtualMachineInstance is still being removed")
        if record is None:
            try:
                cpus = self._admit(pod, vmi)
            except NeverEnoughCpus as error:
                await self._patch(pod, podstatus.not_admitted(pod, str(error), now=self._now()))
                self._recorder.warning(pod, podstatus.NOT_ADMITTED, str(error))
                return
            except CpusTaken as error:
                await self._waiting(pod, "ContainerCreating", str(error))
                raise
            # No wait lies between: nobody else is admitted meanwhile.
            record = await self._records.save(
                Record(
                    uid=uid,
                    namespace=vmi.metadata.namespace,
                    name=vmi.metadata.name,
                    pod=pod.metadata.name,
                    pod_uid=pod.metadata.uid,
                    incoming=pod.metadata.labels.get(podstatus.MIGRATION_JOB, ""),
                    cpus=cpus,
                )
            )
        await self._step(pod, "ContainerCreating", "FailedCreatePodSandBox", self._attach(pod, vmi))
        try:
            digests = await self._volumes.pull(vmi, record.images or await self._pinned(pod))
        except KvtuiError as error:
            await self._waiting(pod, pull_reason(error), str(error))
            self._recorder.warning(pod, "Failed", f"Failed to pull image: {error}")
            raise
        if digests:
            note = {"metadata": {"uid": pod.metadata.uid, "annotations": {IMAGES: json.dumps(digests)}}}
            await self._client.patch(Pod, pod.key, note)
        async with self._lock(uid):
            current = self._records.get(uid)
            if current is None or current.pod_uid != pod.metadata.uid or current.stage is not Stage.PREPARING:
                return
            await self._records.change(current, stage=Stage.READY, images=digests)
        fresh = self._informer.get(pod.key)
        await self._report_running(fresh if fresh is not None and fresh.metadata.uid == pod.metadata.uid else pod)

    async def _pinned(self, pod: Pod) -> dict[str, str]:
        """The digests that the source of a migration uses: an overlay only fits the very same image."""
        if podstatus.MIGRATION_JOB not in pod.metadata.labels:
            return {}
        selector = f"{podstatus.CREATED_BY}={pod.metadata.labels.get(podstatus.CREATED_BY, '')}"
        others = await self._client.list(Pod, pod.metadata.namespace, label_selector=selector)
        known = [p for p in others.items if p.metadata.uid != pod.metadata.uid and IMAGES in p.metadata.annotations]
        newest = max(known, key=lambda p: p.metadata.creation_timestamp or "", default=None)
        return dict(json.loads(newest.metadata.annotations[IMAGES])) if newest is not None else {}

    async def _step(self, pod: Pod, waiting: str, failed: str, work: Any) -> None:
        try:
            await work
        except KvtuiError as error:
            self._recorder.warning(pod, failed, str(error))
            await self._waiting(pod, waiting, str(error))
            raise

    async def _possible(self, vmi: VirtualMachineInstance) -> None:
        if reason := self._refusal(vmi):
            error = Unsupported(f"without root this node cannot run it: {reason}")
            self._recorder.warning(vmi, "Impossible", str(error))
            raise error

    async def _attach(self, pod: Pod, vmi: VirtualMachineInstance) -> None:
        attachments = {}
        for network in vmi.spec.networks if vmi.spec else []:
            if network.multus is not None:
                attachments[network.name] = await self.attachment(vmi.metadata.namespace, network.multus.network_name)
        request = NetworkRequest(
            uid=pod.metadata.uid,
            namespace=pod.metadata.namespace,
            pod_name=pod.metadata.name,
            vmi=vmi,
            attachments=attachments,
        )
        await self._networks.attach(request)

    async def attachment(self, namespace: str, name: str) -> str:
        """The CNI configuration of a NetworkAttachmentDefinition, by name or namespace/name."""
        key = ObjectKey.parse(name)
        found = await self._client.get(NetworkAttachmentDefinition, ObjectKey(key.namespace or namespace, key.name))
        if not found.spec.config:
            raise InvalidObject(f"NetworkAttachmentDefinition {name} has no config")
        return found.spec.config

    async def _ending(self, pod: Pod) -> Result | None:
        task = self._setups.get(pod.metadata.uid)
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        record = self._records.of_pod(pod.metadata.uid)
        if record is None:
            if not podstatus.is_final(pod):
                await self._patch(pod, self._ended(pod, 0, "Completed", ""))
            await self._delete(pod)
            return None
        if record.stage in (Stage.PREPARING, Stage.READY):
            async with self._lock(record.uid):
                record = self._records.get(record.uid)
                if record is not None and record.stage in (Stage.PREPARING, Stage.READY) and not record.domain:
                    await self._networks.detach(record.pod_uid)
                    await self.ended(record)
                    await self._records.drop(record.uid)
                    await self._delete(pod)
                    return None
        if record is not None:
            self._look(record.uid)
        return None

    async def ended(self, record: Record) -> None:
        """Reports the end of a launcher's container and lets a deleted Pod go."""
        pod = self._informer.get(ObjectKey(record.namespace, record.pod))
        if pod is None or pod.metadata.uid != record.pod_uid:
            return
        if not podstatus.is_final(pod):
            exit_code, reason = (1, "Error") if record.failed else (0, "Completed")
            await self._patch(pod, self._ended(pod, exit_code, reason, record.message))
        if pod.metadata.deletion_timestamp is not None:
            await self._delete(pod)

    def _ended(self, pod: Pod, exit_code: int, reason: str, message: str) -> dict[str, Any] | None:
        return podstatus.ended(
            pod, exit_code=exit_code, reason=reason, message=message, host=self._address, now=self._now()
        )

    async def _waiting(self, pod: Pod, reason: str, message: str) -> None:
        fresh = self._informer.get(pod.key) or pod
        with contextlib.suppress(KvtuiError):
            await self._patch(fresh, podstatus.waiting(fresh, reason, message, host=self._address, now=self._now()))

    async def _patch(self, pod: Pod, body: dict[str, Any] | None) -> None:
        if body is None:
            return
        guarded = {**body, "metadata": {"uid": pod.metadata.uid}}
        with contextlib.suppress(NotFound):
            await self._client.patch(Pod, pod.key, guarded, how=Patch.STRATEGIC, subresource="status")

    def _now(self) -> str:
        return to_time(self._clock())
