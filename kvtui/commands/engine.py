"""An engine of this machine as a directory: what it consists of, where things are, and its record `engine.json`.

The record is written by the supervisor (and by `start` before there is one), replaced atomically, and read by
everybody. Whether an engine runs is told by its supervisor's identity, never by the record alone.
"""

from __future__ import annotations

import enum
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from platformdirs import user_cache_path, user_data_path

from kvtui.commands.processes import ProcessId
from kvtui.errors import Unsupported


class EngineKind(enum.StrEnum):
    LOCAL = "local"
    LAB = "lab"


class NodeRecord(msgspec.Struct, frozen=True, rename="camel"):
    """A node that this engine runs the agent of."""

    name: str
    address: str
    pods: str
    """Network of the pods on this node."""
    bridge: str = "kvtui0"
    """Bridge of the pod network; engines that share a network namespace need different ones."""


class ProcessRecord(msgspec.Struct, frozen=True, rename="camel"):
    pid: int
    started: int

    @property
    def identity(self) -> ProcessId:
        return ProcessId(self.pid, self.started)


class EngineRecord(msgspec.Struct, frozen=True, rename="camel"):
    """engine.json"""

    kind: EngineKind
    port: int
    """Of the API server."""
    host_address: str
    """Where nodes and guests reach this machine."""
    nodes: list[NodeRecord] = []
    reserved_cpus: str = ""
    """CPUs of each node that no VM gets for itself alone; see NodeSettings."""
    supervisor: ProcessRecord | None = None
    processes: dict[str, ProcessRecord] = {}
    ready: bool = False
    """The API answers and every node was ready once since the supervisor started."""

    @property
    def running(self) -> bool:
        return self.supervisor is not None and self.supervisor.identity.is_alive()


@dataclass(frozen=True, slots=True)
class EngineDirectory:
    """Paths of one engine."""

    data: Path

    @property
    def record(self) -> Path:
        return self.data / "engine.json"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.data / "kubeconfig"

    @property
    def controllers_kubeconfig(self) -> Path:
        return self.data / "pki" / "controllers.kubeconfig"

    @property
    def pki(self) -> Path:
        return self.data / "pki"

    @property
    def apiserver(self) -> Path:
        return self.data / "apiserver"

    @property
    def shared(self) -> Path:
        return self.data / "shared"

    @property
    def registries(self) -> Path:
        """Mirrors for container images, over the machine's own."""
        return self.data / "registries.conf"

    def node(self, name: str) -> Path:
        return self.data / "nodes" / name

    @property
    def controllers_socket(self) -> Path:
        """Where the API server asks the controllers for their metrics."""
        return self.data / "controllers.sock"

    def log(self, process: str) -> Path:
        return self.data / "logs" / f"{process}.log"

    @property
    def lock(self) -> Path:
        """Held by whoever starts or stops this engine."""
        return self.data / ".lock"

    def read(self) -> EngineRecord | None:
        """Raises Unsupported for a record of another version."""
        try:
            return msgspec.json.decode(self.record.read_bytes(), type=EngineRecord)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError as error:
            raise Unsupported(f"{self.record} is not an engine record of this version: {error}") from error

    def write(self, record: EngineRecord) -> None:
        """Atomically."""
        self.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        new = self.record.with_name(".engine.json.new")
        new.write_bytes(msgspec.json.format(msgspec.json.encode(record)) + b"\n")
        new.chmod(0o600)
        new.replace(self.record)


OWN_ENTRIES = (
    *("apiserver", "engine.json", "kubeconfig", "lab.json", "logs", "nodes", "pki", "registries.conf", "shared"),
    *(".engine.json.new", ".lab.json.new", ".lock", "controllers.sock"),
)
"""What an engine keeps in its data directory; nothing else there is ever removed."""


def default_data(kind: EngineKind) -> Path:
    """/var/lib/kvtui for root, else the user's data directory; a lab's ends in -lab."""
    suffix = "" if kind is EngineKind.LOCAL else "-lab"
    if os.geteuid() == 0:
        return Path(f"/var/lib/kvtui{suffix}")
    return user_data_path(f"kvtui{suffix}")


def cache_directory() -> Path:
    """What can be made again: guest images, libvirt's answers, kernels."""
    return Path("/var/cache/kvtui") if os.geteuid() == 0 else user_cache_path("kvtui")


def free_port() -> int:
    """A TCP port of the loopback that nobody uses now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def port_is_free(address: str, port: int) -> bool:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((address, port))
        except OSError:
            return False
        return True


def as_json(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
