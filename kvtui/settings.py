"""Every knob on one page, grouped by part; a part receives its own group and reads no global.

Times are seconds, sizes are bytes, unless the name says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """How requests are made."""

    connect_timeout: float = 5.0
    """Until a connection stands."""
    request_timeout: float = 60.0
    """Until the whole answer is there; watches and streams are exempt."""
    page_size: int = 500
    """Objects per list request."""
    max_line: int = 16 * 2**20
    """Longest watch event that is read."""
    user_agent: str = "kvtui"


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlLoopSettings:
    """Informers, queues and workers."""

    watch_timeout: float = 290.0
    """After this the server ends a watch and it is opened anew."""
    watch_idle_timeout: float = 130.0
    """Without an event or bookmark for so long the connection counts as dead."""
    backoff_base: float = 0.2
    """First pause after a failure; doubles each time."""
    backoff_max: float = 30.0
    """Longest pause after failures."""
    cache_sync_timeout: float = 60.0
    """A controller fails to start when its caches are not filled by then."""
    workers: int = 4
    """Keys that one controller handles at the same time."""
    event_burst: int = 256
    """Events that may wait to be written; more are dropped, oldest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerSettings:
    """The controllers' process."""

    loop: ControlLoopSettings = ControlLoopSettings()
    """Informers, queues and workers of every controller."""
    metrics_host: str = "127.0.0.1"
    """Where metrics are served."""
    metrics_port: int | None = None
    """None or 0 serves no metrics there."""
    metrics_socket: str = ""
    """Unix socket at which the engine's API server fetches them; empty serves none there."""
    leader_election: bool = False
    """Whether several such processes may be started, of which one works."""
    install_namespace: str = "kubevirt"
    """Where the KubeVirt object is and our own leases live."""
    start_backoff_step: float = 10.0
    """A VM that fails to start n times in a row waits n² of these, in seconds."""
    start_backoff_max: float = 300.0
    """Longest such wait."""
    node_grace: float = 40.0
    """A node whose lease was not renewed for so long is not ready."""
    heartbeat_timeout: float = 300.0
    """A node whose KubeVirt heartbeat is older gets no more VMs."""
    node_recheck: float = 60.0
    """How often heartbeats are looked at without a change."""
    shared_storage: str = ""
    """Directory that all nodes see, for the shared storage class; empty makes no such class."""
    shared_default: bool = False
    """The shared class is the default one, so that VMs can move between nodes without being told."""
    terminated_pods: int = 500
    """Finished Pods without a living owner that are kept; the oldest beyond are removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """The node agent."""

    data: str = ""
    """Data directory of the engine; the agent's own directory is nodes/<node> in it."""
    node: str = ""
    """Name of the Node object."""
    address: str = "127.0.0.1"
    """The node's InternalIP: where the API server and other agents reach this one."""
    port: int = 0
    """Of the agent's HTTPS endpoint; 0 picks a free one."""
    libvirt_uri: str = "qemu:///system"
    certificate: str = ""
    """PEM file of the agent's serving and peer certificate."""
    key: str = ""
    authority: str = ""
    """PEM file of the authority that signs certificates of API server and agents."""
    run_directory: str = ""
    """Where QEMU finds VM files; empty derives a short path below /run from the data directory."""
    labels: tuple[tuple[str, str], ...] = ()
    """Further labels of the Node object."""
    annotations: tuple[tuple[str, str], ...] = ()
    """Further annotations of the Node object."""
    kvm: bool = False
    """The probe found that KVM runs guests."""
    kvm_reason: str = ""
    """Why it does not."""
    allow_emulation: bool = True
    """Guests may be emulated where the cluster's configuration does not say."""
    parallel_starts: int = 0
    """Domains that start at the same time; 0 is the number of cores."""
    lease_duration: int = 40
    """Seconds after which an agent that does not renew counts as lost."""
    lease_renew: float = 10.0
    heartbeat: float = 60.0
    """Seconds between the heartbeat annotations on the Node."""
    relabel: float = 180.0
    resync: float = 60.0
    """Seconds after which a VMI is looked at although nothing happened."""
    signal_every: float = 5.0
    """Seconds between the requests to a guest to shut down."""
    start_retry: float = 1.0
    """First pause after a start that failed; doubles up to half a minute."""
    start_patience: float = 5.0
    """Seconds for which a start waits for what others make before that is told."""
    agent_grace: float = 240.0
    """Seconds that a guest may take to appear after its launcher is ready."""
    pull_backoff: float = 10.0
    """First pause after an image could not be pulled; doubles up to five minutes."""
    console_log: int = 4 * 2**20
    """Bytes of serial output that are kept for each VM."""
    console_replay: int = 64 * 2**10
    """Bytes that a new viewer sees of what was printed before."""
    memory_reserve: int = 512 * 2**20
    """Bytes that are not offered to VMs."""
    reserved_cpus: str = ""
    """List of CPUs such as 0-1,8 that no VM gets for itself alone; empty is the first core, "all" is every one."""
    image_cache: int = 20 * 2**30
    """Bytes of containerDisk images that are kept although no VM uses them."""


DISK_RESERVE = 64 * 2**20
"""Bytes that the API server leaves free; below it nothing new is taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiServerSettings:
    """The embedded API server."""

    directory: Path
    """Where `state.db` lives; made with mode 0700."""
    pki: Path
    """Certificates and keys; what is missing is made."""
    host: str = "127.0.0.1"
    """Address to listen on; further ones in `more_hosts`."""
    more_hosts: tuple[str, ...] = ()
    """Further addresses to listen on, such as that of a lab's bridge."""
    port: int = 0
    """0 takes a free port."""
    names: tuple[str, ...] = ()
    """Host names and addresses for the serving certificate, beyond the loopback ones and the listening addresses."""
    admin_token: str = ""
    """A bearer token of group system:masters; empty for none."""
    install_crds: bool = True
    """Create and update the definitions of all custom kinds at start."""
    history_seconds: float = 600.0
    """How far back watches can resume."""
    history_events: int = 50_000
    """Per resource, at most."""
    history_bytes: int = 64 * 2**20
    """Of superseded versions per resource, at most."""
    max_database: int = 8 * 2**30
    """The file does not grow beyond this."""
    min_free_disk: int = DISK_RESERVE
    """New objects are refused when the disk has less room."""
    event_ttl: float = 3600.0
    """Events older than this are removed."""
    max_connections: int = 8192
    """Open connections; each watch has its own. More are closed at once."""
    max_connections_per_user: int = 6144
    """Of one user: nobody takes all of them."""
    max_reads: int = 400
    """Reads in flight; more are told to come again."""
    max_writes: int = 200
    """Writes in flight; more are told to come again."""
    max_watches: int = 5000
    """Open watches."""
    max_watches_per_user: int = 1000
    """Open watches of one user."""
    max_streams: int = 2000
    """Consoles, screens, forwarded ports and logs at once."""
    max_streams_per_user: int = 1000
    """The same of one user."""
    watch_queue: int = 10_000
    """Events that may wait for one slow watcher before its stream is ended."""
    request_timeout: float = 60.0
    """Until an answer must be complete; watches and streams are exempt."""
    audit_log: Path | None = None
    """One JSON line per change, refusal or opened stream; None for no audit."""
