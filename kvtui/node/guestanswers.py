"""Answers of guest agents as values. Whoever rules a guest writes them, so nothing here is believed: an answer has a
size, a shape and bounds, words lose what is not printable, and whatever does not fit is no answer at all. Pure.

Source: https://www.qemu.org/docs/master/interop/qemu-ga-ref.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, TypeVar

import msgspec

from kvtui.errors import Permanent
from kvtui.node.status import GuestNic

T = TypeVar("T")
LONGEST = 2**20
"""Bytes of an answer that is read at all."""
MOST = 256
"""Users, file systems, links or addresses that are kept."""
WORD = 512
"""Characters of a word that are kept."""

_Size = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Average = Annotated[float, msgspec.Meta(ge=0, lt=1e9)]
_Seconds = Annotated[float, msgspec.Meta(ge=0, lt=1e12)]


class BadAnswer(Permanent):
    """A guest agent's answer is too long, no JSON, or not of its command's shape."""


@dataclass(frozen=True, slots=True)
class GuestUser:
    """A logged-in user; login time in seconds since the epoch."""

    name: str
    domain: str
    login: float


@dataclass(frozen=True, slots=True)
class GuestFilesystem:
    """A mounted file system; bytes."""

    name: str
    mount: str
    type: str
    used: int
    total: int
    disks: tuple[tuple[str, str], ...] = ()
    """Serial and bus of the disks that it is on."""


@dataclass(frozen=True, slots=True)
class GuestLoad:
    """Processes that run or could run, on average over 1, 5 and 15 minutes."""

    averages: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class AgentVersion:
    """What the agent is and can."""

    version: str
    commands: frozenset[str]
    """Those that are enabled."""


@dataclass(frozen=True, slots=True)
class Exit:
    """A command that has ended in the guest."""

    code: int
    """-1 when a signal ended it."""


@dataclass(frozen=True, slots=True)
class GuestSystem:
    """What libvirt collects about the system."""

    nics: tuple[GuestNic, ...]
    os: tuple[tuple[str, str], ...]
    """Field of VirtualMachineInstanceGuestOSInfo and its value."""
    hostname: str
    timezone: str


class _Command(msgspec.Struct):
    name: str
    enabled: bool = True


class _Info(msgspec.Struct):
    version: str = ""
    supported_commands: list[_Command] = []


class _User(msgspec.Struct, rename="kebab"):
    user: str
    domain: str = ""
    login_time: _Seconds = 0.0


class _Load(msgspec.Struct):
    load1m: _Average
    load5m: _Average
    load15m: _Average


class _Disk(msgspec.Struct, rename="kebab"):
    serial: str = ""
    bus_type: str = ""


class _Filesystem(msgspec.Struct, rename="kebab"):
    name: str
    mountpoint: str
    type: str
    used_bytes: _Size = 0
    total_bytes: _Size = 0
    disk: list[_Disk] = []


class _Started(msgspec.Struct):
    pid: _Size


class _Ended(msgspec.Struct):
    exited: bool
    exitcode: int = -1


class _Answer(msgspec.Struct):
    result: msgspec.Raw = msgspec.field(name="return")


def clean(text: str) -> str:
    """The word, cut to its bound, without line ends, escapes and other characters that are not printable."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:WORD])


def result(answer: str, type_: type[T]) -> T:
    """The `return` of an answer. Raises BadAnswer."""
    if len(answer) > LONGEST:
        raise BadAnswer(f"the guest agent's answer has {len(answer)} characters, more than {LONGEST}")
    try:
        return msgspec.json.decode(msgspec.json.decode(answer, type=_Answer).result, type=type_)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadAnswer(f"the guest agent's answer cannot be read: {clean(str(error))}") from error


def version(answer: str) -> AgentVersion:
    """Of guest-info."""
    found = result(answer, _Info)
    names = (clean(c.name) for c in found.supported_commands[: 4 * MOST] if c.enabled)
    return AgentVersion(clean(found.version), frozenset(names))


def users(answer: str) -> tuple[GuestUser, ...]:
    """Of guest-get-users."""
    found = result(answer, list[_User])
    return tuple(GuestUser(clean(u.user), clean(u.domain), u.login_time) for u in found[:MOST])


def filesystems(answer: str) -> tuple[GuestFilesystem, ...]:
    """Of guest-get-fsinfo."""
    return tuple(
        GuestFilesystem(
            clean(f.name),
            clean(f.mountpoint),
            clean(f.type),
            f.used_bytes,
            f.total_bytes,
            tuple((clean(d.serial), clean(d.bus_type)) for d in f.disk[:MOST]),
        )
        for f in result(answer, list[_Filesystem])[:MOST]
    )


def load(answer: str) -> GuestLoad:
    """Of guest-get-load."""
    found = result(answer, _Load)
    return GuestLoad((found.load1m, found.load5m, found.load15m))


def frozen(answer: str) -> bool:
    """Of guest-fsfreeze-status."""
    return result(answer, str) == "frozen"


def started(answer: str) -> int:
    """The process that guest-exec started."""
    return result(answer, _Started).pid


def ended(answer: str) -> Exit | None:
    """Of guest-exec-status; None while the process runs."""
    found = result(answer, _Ended)
    return Exit(found.exitcode) if found.exited else None


_OS = {
    "os.id": "id",
    "os.name": "name",
    "os.pretty-name": "pretty_name",
    "os.version": "version",
    "os.version-id": "version_id",
    "os.kernel-release": "kernel_release",
    "os.kernel-version": "kernel_version",
    "os.machine": "machine",
}


def system(raw: Mapping[str, object]) -> GuestSystem:
    """libvirt's flat dictionary of virDomainGetGuestInfo."""

    def word(name: str) -> str:
        return clean(str(raw.get(name, "")))

    def count(name: str) -> int:
        found = raw.get(name, 0)
        return min(found, MOST) if isinstance(found, int) else 0

    nics = []
    for n in range(count("if.count")):
        addresses = (word(f"if.{n}.addr.{a}.addr") for a in range(count(f"if.{n}.addr.count")))
        nics.append(GuestNic(word(f"if.{n}.name"), word(f"if.{n}.hwaddr"), tuple(a for a in addresses if a)))
    return GuestSystem(
        nics=tuple(nics),
        os=tuple((ours, word(theirs)) for theirs, ours in _OS.items() if theirs in raw),
        hostname=word("hostname"),
        timezone=word("timezone.name"),
    )
