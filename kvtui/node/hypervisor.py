"""What the agent asks of a hypervisor: a typed, asynchronous protocol with libvirt's words.

Domains are named by UUID. Only domains that carry our owner record for this node are ours; no other is listed,
reported or touched. Events are hints: read the state again when one arrives.

Errors that every method may raise:

Unreachable            the daemon does not answer; nothing is known about the domain
├── CallTimeout        no answer in time; the call may still take effect, so look again
DomainGone             a successful answer said that there is no such domain
HypervisorRefused      the daemon said no, in its own sentence; trying the same again changes nothing
├── Aborted            a job was cancelled by us
├── NotRunning         the operation needs a running domain
└── AgentUnavailable   no guest agent is connected or it does not answer

Source: https://libvirt.org/html/libvirt-libvirt-domain.html
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NewType, Protocol

from kvtui.errors import Permanent, Unreachable

DomainId = NewType("DomainId", str)
"""UUID of a domain, lower case."""


class CallTimeout(Unreachable):
    """No answer in time; the outcome is unknown."""


class DomainGone(Permanent):
    """There is no such domain."""


class HypervisorRefused(Permanent):
    """libvirt's own sentence; `code` is its error number."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class Aborted(HypervisorRefused):
    """A job ended because we cancelled it."""


class NotRunning(HypervisorRefused):
    """Needs a running domain."""


class AgentUnavailable(HypervisorRefused):
    """The guest agent is not connected or does not answer."""


class DomainState(enum.StrEnum):
    """States of a domain, in libvirt's order."""

    NOSTATE = "NoState"
    RUNNING = "Running"
    BLOCKED = "Blocked"
    PAUSED = "Paused"
    SHUTDOWN = "ShuttingDown"
    SHUTOFF = "Shutoff"
    CRASHED = "Crashed"
    PMSUSPENDED = "PMSuspended"

    @property
    def active(self) -> bool:
        """Whether a QEMU process exists."""
        return self not in (DomainState.SHUTOFF, DomainState.NOSTATE, DomainState.CRASHED)


class Reason(enum.StrEnum):
    """Why a domain is in its state; the words of virDomain*Reason that mean something to us."""

    UNKNOWN = "Unknown"
    USER = "User"
    MIGRATION = "Migration"
    SAVE = "Save"
    DUMP = "Dump"
    IOERROR = "IOError"
    WATCHDOG = "Watchdog"
    FROM_SNAPSHOT = "FromSnapshot"
    SHUTTING_DOWN = "ShuttingDown"
    SNAPSHOT = "Snapshot"
    CRASHED = "Crashed"
    STARTING_UP = "StartingUp"
    POSTCOPY = "Postcopy"
    POSTCOPY_FAILED = "PostcopyFailed"
    API_ERROR = "ApiError"
    SHUTDOWN = "Shutdown"
    DESTROYED = "Destroyed"
    MIGRATED = "Migrated"
    SAVED = "Saved"
    FAILED = "Failed"
    DAEMON = "Daemon"
    PANICKED = "Panicked"
    BOOTED = "Booted"
    UNPAUSED = "Unpaused"
    OTHER = "Other"


@dataclass(frozen=True, slots=True)
class DomainStatus:
    """State and reason, read together."""

    state: DomainState
    reason: Reason = Reason.UNKNOWN


@dataclass(frozen=True, slots=True)
class Owner:
    """The owner record in a domain's metadata."""

    engine: str
    """Which engine's agent made the domain: several may share one daemon."""
    namespace: str
    name: str
    uid: str
    """UID of the VirtualMachineInstance."""


@dataclass(frozen=True, slots=True)
class OwnedDomain:
    """One of ours, as listed."""

    id: DomainId
    name: str
    owner: Owner
    status: DomainStatus


class XmlKind(enum.Enum):
    """Which description of a domain."""

    LIVE = "live"
    INACTIVE = "inactive"
    MIGRATABLE = "migratable"
    """Live, in the form that a destination accepts."""


class Affect(enum.Flag):
    """What a device change applies to."""

    LIVE = enum.auto()
    CONFIG = enum.auto()
    BOTH = LIVE | CONFIG


class ShutdownMode(enum.Enum):
    """How a guest is asked."""

    DEFAULT = "default"
    ACPI = "acpi"
    AGENT = "agent"


class JobKind(enum.Enum):
    """What a job does."""

    NONE = "none"
    MIGRATION_OUT = "out"
    MIGRATION_IN = "in"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class JobStats:
    """A sample of a running or completed job; bytes, bytes per second, milliseconds."""

    kind: JobKind = JobKind.NONE
    active: bool = False
    elapsed: int = 0
    downtime: int | None = None
    data_total: int = 0
    data_processed: int = 0
    data_remaining: int = 0
    memory_total: int = 0
    memory_processed: int = 0
    memory_remaining: int = 0
    memory_rate: int = 0
    dirty_rate: int = 0
    disk_total: int = 0
    disk_processed: int = 0
    disk_remaining: int = 0
    iteration: int = 0
    postcopy_requests: int = 0


@dataclass(frozen=True, slots=True)
class Screenshot:
    """Picture of the first screen."""

    mime: str
    data: bytes


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """The machine as the daemon sees it."""

    cpus: int
    memory: int
    """Bytes."""
    version: str
    """libvirt's."""
    hypervisor_version: str
    """QEMU's, or the driver's."""
    driver: str
    """"QEMU", "TEST"."""
    hostname: str


@dataclass(frozen=True, slots=True)
class DiskError:
    """A disk that QEMU reports in error."""

    target: str
    no_space: bool


@dataclass(frozen=True, slots=True)
class MigrateFlags:
    """Flags of a migration; LIVE, PEER2PEER and PERSIST_DEST are always on."""

    copy_disks: bool = False
    unsafe: bool = False
    auto_converge: bool = False
    post_copy: bool = False
    paused: bool = False
    parallel: bool = False
    tunnelled: bool = False


@dataclass(frozen=True, slots=True)
class MigrateRequest:
    """A peer-to-peer migration; runs until the guest has moved or the attempt has failed."""

    destination: str
    """Connection URI that the source daemon opens."""
    flags: MigrateFlags = MigrateFlags()
    uri: str = ""
    """Where QEMU's stream goes."""
    disks_uri: str = ""
    disks: tuple[str, ...] = ()
    """Target names of the disks to copy."""
    bandwidth: int = 0
    """MiB/s; 0 is unlimited."""
    destination_xml: str = ""
    persistent_xml: str = ""
    destination_name: str = ""
    parallel_connections: int = 0


@dataclass(frozen=True, slots=True)
class Share:
    """What one domain may use of its node; zeros leave libvirt's own."""

    cpu_shares: int = 0
    """Weight against others where CPUs are short; 1024 is one CPU."""
    cpu_limit: int = 0
    """Thousandths of a CPU, for the whole domain."""
    memory_limit: int = 0
    """Bytes of QEMU with everything in it."""


class LifecycleKind(enum.StrEnum):
    """virDomainEventType."""

    DEFINED = "Defined"
    UNDEFINED = "Undefined"
    STARTED = "Started"
    SUSPENDED = "Suspended"
    RESUMED = "Resumed"
    STOPPED = "Stopped"
    SHUTDOWN = "Shutdown"
    PMSUSPENDED = "PMSuspended"
    CRASHED = "Crashed"


@dataclass(frozen=True, slots=True)
class HypervisorEvent:
    """Base of events about one domain."""

    domain: DomainId


@dataclass(frozen=True, slots=True)
class LifecycleChanged(HypervisorEvent):
    kind: LifecycleKind
    detail: int = 0


class GuestRebooted(HypervisorEvent): ...


@dataclass(frozen=True, slots=True)
class WatchdogFired(HypervisorEvent):
    action: int = 0


@dataclass(frozen=True, slots=True)
class DiskFailed(HypervisorEvent):
    source: str = ""
    alias: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class DeviceEvent(HypervisorEvent):
    """Base of events about one device."""

    alias: str = ""


class DeviceAdded(DeviceEvent): ...


class DeviceRemoved(DeviceEvent): ...


class DeviceRemovalFailed(DeviceEvent): ...


class TrayMoved(DeviceEvent): ...


@dataclass(frozen=True, slots=True)
class AgentChanged(HypervisorEvent):
    connected: bool = False


@dataclass(frozen=True, slots=True)
class MigrationIterated(HypervisorEvent):
    iteration: int = 0


@dataclass(frozen=True, slots=True)
class JobCompleted(HypervisorEvent):
    stats: JobStats = field(default_factory=JobStats)


@dataclass(frozen=True, slots=True)
class MemorySizeChanged(DeviceEvent):
    size: int = 0
    """Bytes now plugged."""


@dataclass(frozen=True, slots=True)
class BlockJobChanged(HypervisorEvent):
    target: str = ""
    status: int = 0


@dataclass(frozen=True, slots=True)
class ConnectionChanged:
    """The daemon came or went. After it came, events of the gap are lost: list everything again."""

    connected: bool


Event = HypervisorEvent | ConnectionChanged
EventHandler = Callable[[Event], None]
Unsubscribe = Callable[[], None]


class Hypervisor(Protocol):
    """One daemon. All methods are safe to call at once; calls that change one domain are the caller's to order."""

    @property
    def connected(self) -> bool: ...

    async def run(self) -> None:
        """Keeps the connection, with back-off, until cancelled."""

    async def wait_connected(self) -> None: ...

    def subscribe(self, handler: EventHandler) -> Unsubscribe:
        """Calls the handler on the loop for each event; it must not block."""

    async def facts(self) -> NodeFacts: ...

    async def capabilities(self) -> str:
        """XML of the host's capabilities."""

    async def domain_capabilities(self, arch: str, machine: str, kind: str) -> str:
        """XML of what a domain may have; `kind` is "kvm" or "qemu". Raises HypervisorRefused where it cannot be."""

    async def domains(self) -> list[OwnedDomain]:
        """Ours, running or not."""

    async def foreign_memory(self) -> int:
        """Bytes that running domains of others use."""

    async def define(self, xml: str) -> DomainId:
        """Defines or redefines a persistent domain."""

    async def start(self, domain: DomainId, *, paused: bool = False) -> None: ...

    async def status(self, domain: DomainId) -> DomainStatus: ...

    async def xml(self, domain: DomainId, kind: XmlKind = XmlKind.LIVE) -> str: ...

    async def suspend(self, domain: DomainId) -> None: ...

    async def resume(self, domain: DomainId) -> None: ...

    async def shutdown(self, domain: DomainId, mode: ShutdownMode = ShutdownMode.DEFAULT) -> None: ...

    async def reboot(self, domain: DomainId, mode: ShutdownMode = ShutdownMode.DEFAULT) -> None: ...

    async def reset(self, domain: DomainId) -> None: ...

    async def destroy(self, domain: DomainId, *, graceful: bool = True) -> None:
        """`graceful` gives QEMU time to flush before it is killed."""

    async def undefine(self, domain: DomainId, *, keep_state: bool = False) -> None:
        """Drops the definition with checkpoints; `keep_state` keeps the files of NVRAM and TPM."""

    async def set_metadata(self, domain: DomainId, uri: str, element: str, prefix: str) -> None: ...

    async def metadata(self, domain: DomainId, uri: str) -> str | None: ...

    async def attach(self, domain: DomainId, device: str, affect: Affect = Affect.BOTH) -> None: ...

    async def detach(self, domain: DomainId, device: str, affect: Affect = Affect.BOTH) -> None: ...

    async def update(self, domain: DomainId, device: str, affect: Affect = Affect.BOTH) -> None: ...

    async def resize_block(self, domain: DomainId, target: str, size: int) -> None:
        """Bytes; 0 takes the size of the underlying device."""

    async def set_vcpus(self, domain: DomainId, count: int) -> None:
        """Upwards only: taking vCPUs from a running QEMU kills it."""

    async def set_memory(self, domain: DomainId, size: int) -> None:
        """Balloon target in bytes."""

    async def limit(self, domain: DomainId, share: Share) -> None:
        """Limits a running domain by control groups. Raises HypervisorRefused where the host has none for it."""

    async def pin(self, domain: DomainId, kind: str, number: int, cpus: Collection[int]) -> None:
        """Keeps a thread of a running domain on these CPUs. `kind` is vcpu, iothread or emulator."""

    async def forward(self, domain: DomainId, interface: str, here: int, there: int, *, udp: bool = False) -> None:
        """Has QEMU pass a port of 127.0.0.1 to a port of a guest with user-mode networking. Raises HypervisorRefused.

        `interface` is the name in the spec.
        """

    async def migrate(self, domain: DomainId, request: MigrateRequest) -> None: ...

    async def start_postcopy(self, domain: DomainId) -> None: ...

    async def set_max_downtime(self, domain: DomainId, milliseconds: int) -> None: ...

    async def job(self, domain: DomainId) -> JobStats: ...

    async def completed_job(self, domain: DomainId) -> JobStats:
        """Of the last job; reading it clears it."""

    async def abort_job(self, domain: DomainId) -> None: ...

    async def agent_command(self, domain: DomainId, command: str, timeout: float = 5.0) -> str:
        """JSON in, JSON out. Raises AgentUnavailable."""

    async def guest_info(self, domain: DomainId) -> Mapping[str, object]:
        """OS, users, time zone, host name and interfaces as libvirt's flat dictionary."""

    async def freeze(self, domain: DomainId) -> None: ...

    async def thaw(self, domain: DomainId) -> None: ...

    async def set_guest_time(self, domain: DomainId, seconds: int) -> None: ...

    async def screenshot(self, domain: DomainId) -> Screenshot: ...

    async def core_dump(self, domain: DomainId, path: str) -> None:
        """The guest's memory as an ELF core into a file that does not exist yet; the guest stands still meanwhile."""

    async def disk_errors(self, domain: DomainId) -> Sequence[DiskError]: ...

    async def stats(self, *, dirty_rates: bool = False) -> Mapping[DomainId, Mapping[str, object]]:
        """Statistics of all running domains, ours and others', in the names of virConnectGetAllDomainStats.

        `dirty_rates` has what `sample_dirty_rate` has found among them.
        """

    async def sample_dirty_rate(self, domain: DomainId) -> None:
        """Has QEMU find within a second how fast the guest changes its memory."""

    async def memory_stats(self, domain: DomainId) -> Mapping[str, int]:
        """KiB, in the names of virDomainMemoryStats."""
