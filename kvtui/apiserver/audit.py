"""The audit log: one line of JSON per request, without bodies.

Source: https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from kvtui.api.admission import UserInfo
from kvtui.api.times import to_micro_time
from kvtui.apiserver.router import Target

_MAX_BYTES = 64 * 2**20


class Audit:
    """Appends to a file of mode 0600, which is turned over once when it is large."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: int | None = None

    def open(self) -> None:
        if self._path is not None:
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def record(
        self, audit_id: str, request: web.Request, target: Target, user: UserInfo, code: int, seconds: float
    ) -> None:
        if self._file is None or self._path is None:
            return
        now = datetime.now(UTC)
        entry: dict[str, Any] = {
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": "Metadata",
            "auditID": audit_id,
            "stage": "ResponseComplete",
            "requestURI": request.raw_path.partition("?")[0],
            "verb": target.verb,
            "user": {"username": user.username, "groups": list(user.groups)},
            "sourceIPs": [request.remote or ""],
            "userAgent": request.headers.get("User-Agent", "")[:200],
            "responseStatus": {"code": code},
            "requestReceivedTimestamp": to_micro_time(now - timedelta(seconds=seconds)),
            "stageTimestamp": to_micro_time(now),
        }
        if target.is_resource:
            entry["objectRef"] = {
                "resource": target.resource,
                "namespace": target.namespace,
                "name": target.name,
                "apiGroup": target.group,
                "apiVersion": target.version,
                "subresource": target.subresource,
            }
        os.write(self._file, msgspec.json.encode(entry) + b"\n")
        if os.fstat(self._file).st_size > _MAX_BYTES:
            self.close()
            self._path.replace(self._path.with_name(self._path.name + ".1"))
            self.open()
