"""The audit log: one line of JSON for each request that changes, opens or was refused something, without bodies.

Reads are left out, apart from those of Secrets: informers would fill the log with them. Lines are collected and
written by a thread, so that no request waits for the disk, and a full disk costs lines and nothing else.

Source: https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/.
"""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import msgspec
import structlog
from aiohttp import web

from kvtui.api.admission import UserInfo
from kvtui.api.times import to_micro_time
from kvtui.apiserver.router import Target

Stage = Literal["RequestReceived", "ResponseComplete"]
log = structlog.get_logger()
_MAX_BYTES = 64 * 2**20
_MAX_WAITING = 20_000
_EVERY = 0.5
_READS = ("get", "list", "watch", "head")
_REFUSED = (401, 403)


def is_audited(target: Target, code: int) -> bool:
    """Whether a request leaves a line. Consoles, screens and ports of machines are opened with GET."""
    if target.resource == "leases" and code not in _REFUSED:
        return False  # heartbeats
    return (
        target.verb not in _READS
        or code in _REFUSED
        or target.resource == "secrets"
        or (bool(target.subresource) and target.group == "subresources.kubevirt.io")
    )


class Audit:
    """Appends to a file of mode 0600, which is turned over once when it is large."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: int | None = None
        self._waiting: list[bytes] = []
        self.dropped = 0
        """Lines that could not be kept."""

    def open(self) -> None:
        if self._path is not None:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def close(self) -> None:
        """Writes what is left."""
        self._flush()
        if self._file is not None:
            os.close(self._file)
            self._file = None

    async def run(self) -> None:
        while True:
            await asyncio.sleep(_EVERY)
            if self._waiting:
                await asyncio.to_thread(self._flush)

    def record(
        self,
        audit_id: str,
        request: web.Request,
        target: Target,
        actor: UserInfo,
        user: UserInfo,
        code: int,
        seconds: float,
        stage: Stage = "ResponseComplete",
    ) -> None:
        """`actor` is who sent the request, `user` whom it was sent for."""
        if self._file is None or not is_audited(target, code):
            return
        now = datetime.now(UTC)
        entry: dict[str, Any] = {
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": "Metadata",
            "auditID": audit_id,
            "stage": stage,
            "requestURI": request.raw_path.partition("?")[0],
            "verb": target.verb,
            "user": _shown(actor),
            "sourceIPs": [request.remote or ""],
            "userAgent": request.headers.get("User-Agent", "")[:200],
            "requestReceivedTimestamp": to_micro_time(now - timedelta(seconds=seconds)),
            "stageTimestamp": to_micro_time(now),
        }
        if user is not actor:
            entry["impersonatedUser"] = _shown(user)
        if code:
            entry["responseStatus"] = {"code": code}
        if target.is_resource:
            entry["objectRef"] = {
                "resource": target.resource,
                "namespace": target.namespace,
                "name": target.name,
                "apiGroup": target.group,
                "apiVersion": target.version,
                "subresource": target.full_subresource,
            }
        if len(self._waiting) >= _MAX_WAITING:
            self.dropped += 1
            return
        self._waiting.append(msgspec.json.encode(entry) + b"\n")

    def _flush(self) -> None:
        lines, self._waiting = self._waiting, []
        if self._file is None or self._path is None or not lines:
            return
        try:
            os.write(self._file, b"".join(lines))
            if os.fstat(self._file).st_size > _MAX_BYTES:
                os.close(self._file)
                self._file = None
                self._path.replace(self._path.with_name(self._path.name + ".1"))
                self.open()
        except OSError as error:
            self.dropped += len(lines)
            log.warning("audit lines are lost", lines=len(lines), error=str(error))


def _shown(user: UserInfo) -> dict[str, Any]:
    return {"username": user.username, "groups": list(user.groups), **({"uid": user.uid} if user.uid else {})}
