"""What was done for a sandbox, on disk before and after it is done, so that any crash can be cleaned up."""

from __future__ import annotations

import os
import re
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from kvtui.node.network.types import PodNetwork

_UID = re.compile(r"^[A-Za-z0-9-]{1,64}\Z")


class Phase(StrEnum):
    """Started means: half-made until proven otherwise."""

    STARTED = "Started"
    FINISHED = "Finished"


class Attachment(msgspec.Struct, kw_only=True):
    """One network of a sandbox."""

    network: str
    interface: str
    """Of the VMI."""
    pod_interface: str
    config: str
    """CNI configuration as JSON."""
    default_name: str
    mac: str = ""
    index: int = 0
    """Unlike those of the sandbox's other networks."""
    result: dict[str, Any] = {}
    dhcp: list[str] = []
    """Command line of the DHCP server; empty when there is none."""


class Sandbox(msgspec.Struct, kw_only=True):
    """Everything known of one Pod's networks."""

    uid: str
    namespace: str
    pod_name: str
    netns: str
    phase: Phase
    attachments: list[Attachment] = []
    network: PodNetwork | None = None


class StateDirectory:
    """One JSON file per sandbox, replaced atomically."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def load(self, uid: str) -> Sandbox | None:
        """None when nothing is known, also when the file is damaged (it is replaced atomically, so it is not ours)."""
        try:
            return msgspec.json.decode(self._path(uid).read_bytes(), type=Sandbox)
        except (FileNotFoundError, msgspec.MsgspecError):
            return None

    def save(self, sandbox: Sandbox) -> None:
        path = self._path(sandbox.uid)
        temporary = path.with_suffix(".new")
        with temporary.open("wb") as file:
            file.write(msgspec.json.encode(sandbox))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)

    def remove(self, uid: str) -> None:
        self._path(uid).unlink(missing_ok=True)

    def known(self) -> list[str]:
        return sorted(path.stem for path in self._directory.glob("*.json"))

    def _path(self, uid: str) -> Path:
        return self._directory / f"{checked(uid)}.json"


def checked(uid: str) -> str:
    """The uid, if it can be part of a file's name. Raises ValueError."""
    if not _UID.match(uid):
        raise ValueError(f"not a uid: {uid!r}")
    return uid
