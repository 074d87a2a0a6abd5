"""Worker Pods: imports, clones and uploads as supervised subprocesses.

The work goes to the process by standard input, progress comes by lines on standard output, words for people by
standard error into a file that serves `kubectl logs`. A worker that an earlier agent left behind is ended before its
Pod is started anew, because nobody would hear its outcome.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog

from kvtui.api.core.config import ConfigMap, Secret
from kvtui.api.core.pod import Pod
from kvtui.api.times import to_time
from kvtui.api.wire import ObjectKey, evolve, from_json, to_json, to_wire
from kvtui.api.worker import JOB_ANNOTATION, PROGRESS_ANNOTATION, Credentials, Job, Outcome, Work, WorkerLine
from kvtui.client.rest import Client, Patch
from kvtui.controlloop.backoff import Backoff
from kvtui.controlloop.recorder import EventRecorder
from kvtui.errors import InvalidObject, KvtuiError, NotFound, Permanent
from kvtui.node import podstatus
from kvtui.node.layout import Layout
from kvtui.node.pids import Pid
from kvtui.node.uploads import Door
from kvtui.node.volumes import claims

log = structlog.get_logger()
STOP_GRACE = 5.0
"""Seconds between the request to end and the end."""
PROGRESS_EVERY = 1.0
LONGEST_WORD = 4096
"""Characters of a termination message."""
CDI_NAMESPACE = "cdi"
"""Where the configuration of imports is, with the authorities that it names."""


def last_word(outcome: Outcome) -> str:
    """The container's termination message: everything about a success, one line of text about a failure."""
    text = json.dumps(to_wire(outcome)) if outcome.ok else " ".join(outcome.message.split())
    return text[:LONGEST_WORD]


class Workers:
    """All workers of a node; `run` owns their tasks."""

    def __init__(
        self,
        *,
        client: Client,
        layout: Layout,
        recorder: EventRecorder,
        clock: Callable[[], datetime],
        address: str,
        registries_conf: str = "",
    ) -> None:
        self._client = client
        self._layout = layout
        self._recorder = recorder
        self._clock = clock
        self._address = address
        self._registries_conf = registries_conf
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None
        self._doors: dict[str, Door] = {}

    @property
    def _directory(self) -> Path:
        return self._layout.node / "workers"

    def log_path(self, pod_uid: str) -> Path:
        return self._directory / pod_uid / "log"

    def door(self, pod: Pod) -> Door | None:
        """Where the worker of an upload listens; None while it does not run."""
        return self._doors.get(pod.metadata.uid)

    async def run(self) -> None:
        await asyncio.to_thread(self._reap)
        async with asyncio.TaskGroup() as group:
            self._group = group
            await asyncio.get_running_loop().create_future()

    def _reap(self) -> None:
        """Ends the processes of an earlier agent; a number that was given to somebody else since is left alone."""
        for path in self._directory.glob("*/pid"):
            process = Pid.from_text(path.read_text())
            if process is not None and process.alive:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.number, signal.SIGKILL)
            path.unlink()

    async def ensure(self, pod: Pod) -> None:
        """Has the worker of a Pod run."""
        uid = pod.metadata.uid
        task = self._tasks.get(uid)
        if (task is None or task.done()) and self._group is not None:
            self._tasks[uid] = self._group.create_task(self._supervise(pod), name=f"worker {pod.key}")

    async def stop(self, pod: Pod) -> None:
        """Ends the worker and removes what it left."""
        task = self._tasks.pop(pod.metadata.uid, None)
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await asyncio.to_thread(shutil.rmtree, self._directory / pod.metadata.uid, True)

    async def _supervise(self, pod: Pod) -> None:
        try:
            outcome = await self._work(pod)
        except KvtuiError as error:
            outcome = Outcome(ok=False, message=str(error), reason="Error", fatal=isinstance(error, Permanent))
        except Exception as error:
            log.exception("worker broke", pod=str(pod.key))
            outcome = Outcome(ok=False, message=str(error), reason="Error")
        log.info("worker ended", pod=str(pod.key), ok=outcome.ok, message=outcome.message)
        body = podstatus.ended(
            await self._fresh(pod),
            exit_code=0 if outcome.ok else 1,
            reason=outcome.reason or ("Completed" if outcome.ok else "Error"),
            message=last_word(outcome),
            host=self._address,
            now=self._now(),
        )
        await self._persist(pod, body)

    async def _persist(self, pod: Pod, body: dict[str, Any] | None) -> None:
        """Writes the end until it is written: the process is gone, so nobody else could tell."""
        backoff = Backoff(0.2, 10.0)
        while body is not None:
            try:
                await self._patch(pod, body)
                return
            except Permanent as error:
                log.warning("the end of a worker cannot be reported", pod=str(pod.key), error=str(error))
                return
            except KvtuiError:
                await backoff.pause()

    async def _fresh(self, pod: Pod) -> Pod:
        try:
            return await self._client.get(Pod, pod.key)
        except KvtuiError:
            return pod

    async def _work(self, pod: Pod) -> Outcome:
        job = from_json(pod.metadata.annotations.get(JOB_ANNOTATION, "{}"), Job)
        work = await self.resolve(pod, job)
        directory = self._directory / pod.metadata.uid
        await asyncio.to_thread(directory.mkdir, 0o700, True, True)
        environment = {k: v for k, v in os.environ.items() if k in ("PATH", "LANG", "TMPDIR", "PYTHONPATH")}
        door = await asyncio.to_thread(Door, directory) if job.upload is not None else None
        if door is not None:
            work = evolve(work, listen=door.listener)
        descriptor = os.open(directory / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "kvtui.importer"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=descriptor,
                start_new_session=True,
                env=environment,
                pass_fds=(door.listener,) if door is not None else (),
                limit=2**20,
            )
        except BaseException:
            if door is not None:
                door.close()
            raise
        finally:
            os.close(descriptor)
        try:
            if door is not None:
                self._doors[pod.metadata.uid] = door
            (directory / "pid").write_text(str(Pid.of(process.pid) or ""))
            await self._patch(
                await self._fresh(pod),
                podstatus.running(pod, (self._address,), host=self._address, now=self._now()),
            )
            assert process.stdin is not None
            with contextlib.suppress(ConnectionError):
                process.stdin.write(to_json(work) + b"\n")
                await process.stdin.drain()
            process.stdin.close()
            outcome = await self._listen(pod, process)
            status = await process.wait()
        finally:
            self._doors.pop(pod.metadata.uid, None)
            if door is not None:
                door.close()
            await _end(process)
            with contextlib.suppress(FileNotFoundError):
                (directory / "pid").unlink()
        if outcome is None:
            return Outcome(ok=False, message=f"the worker ended without a word (status {status})", reason="Error")
        return outcome

    async def _listen(self, pod: Pod, process: asyncio.subprocess.Process) -> Outcome | None:
        assert process.stdout is not None
        loop = asyncio.get_running_loop()
        outcome, told, stage = None, -PROGRESS_EVERY, ""
        async for line in process.stdout:
            try:
                heard = from_json(line, WorkerLine)
            except InvalidObject:
                continue
            if heard.outcome is not None:
                outcome = heard.outcome
            elif heard.progress is not None and (heard.progress.stage != stage or loop.time() - told >= PROGRESS_EVERY):
                told, stage = loop.time(), heard.progress.stage
                note = {"metadata": {"annotations": {PROGRESS_ANNOTATION: to_json(heard.progress).decode()}}}
                with contextlib.suppress(KvtuiError):
                    await self._client.patch(Pod, pod.key, note)
        return outcome

    async def resolve(self, pod: Pod, job: Job) -> Work:
        """Names become paths and values. Raises NotFound, ClaimPending, InvalidObject."""
        namespace = pod.metadata.namespace
        target = await claims.resolve(self._client, self._layout, namespace, job.claim)
        if not target.block and target.ours:
            await asyncio.to_thread(target.path.mkdir, 0o711, True, True)
        source = ""
        if job.clone is not None:
            found = await claims.resolve(self._client, self._layout, job.clone.namespace or namespace, job.clone.claim)
            source = str(found.path)
        return Work(
            job=job,
            target=str(target.path),
            source=source,
            credentials=await self._credentials(namespace, job),
            registries_conf=self._registries_conf,
        )

    async def _credentials(self, namespace: str, job: Job) -> Credentials:
        access = secret = ""
        if job.secret:
            data = await self._secret(namespace, job.secret)
            access, secret = data.get("accessKeyId", ""), data.get("secretKey", "")
        bundle: list[str] = []
        if job.cert_config_map:
            config = await self._client.get(ConfigMap, ObjectKey(namespace, job.cert_config_map))
            bundle += config.data.values()
        if job.trusted_ca_config_map:
            bundle += await self._authorities_of_proxy(job.trusted_ca_config_map, namespace)
        headers: list[str] = []
        for name in job.http.secret_extra_headers if job.http else []:
            headers += (await self._secret(namespace, name)).values()
        return Credentials(access_key=access, secret_key=secret, ca_bundle="\n".join(bundle), header_lines=headers)

    async def _authorities_of_proxy(self, name: str, namespace: str) -> list[str]:
        """The config map is CDI's, like the configuration that names it; a copy beside the import serves as well."""
        for place in (CDI_NAMESPACE, namespace):
            found = await self._client.find(ConfigMap, ObjectKey(place, name))
            if found is not None:
                return list(found.data.values())
        return []

    async def _secret(self, namespace: str, name: str) -> dict[str, str]:
        found = await self._client.get(Secret, ObjectKey(namespace, name))
        return {key: base64.b64decode(text).decode(errors="replace") for key, text in found.data.items()}

    async def _patch(self, pod: Pod, body: dict[str, Any] | None) -> None:
        if body is None:
            return
        guarded = {**body, "metadata": {"uid": pod.metadata.uid}}
        with contextlib.suppress(NotFound):
            await self._client.patch(Pod, pod.key, guarded, how=Patch.STRATEGIC, subresource="status")

    def _now(self) -> str:
        return to_time(self._clock())


async def _end(process: asyncio.subprocess.Process) -> None:
    """Asks the process to end, then ends its whole session."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(STOP_GRACE):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
