"""What a worker is asked to do: the contract between the DataVolume controller, the agent and the worker process.

The controller writes a Job as JSON into the worker Pod's annotation `kvtui.io/job`: names only, no secrets, no paths.
The agent of the Pod's node resolves names (claims to directories, secrets and config maps to values) into Work, which
it writes as one JSON line to the worker's standard input. The worker (`python -m kvtui.importer`) writes Progress
lines to standard output, logs to standard error, and ends with one Outcome line and exit status 0 or 1.
"""

from __future__ import annotations

from kvtui.api.wire import Wire

JOB_ANNOTATION = "kvtui.io/job"
PROGRESS_ANNOTATION = "kvtui.io/progress"
WORKER_LABEL = "kvtui.io/worker"
CONTAINER = "importer"


class HttpSource(Wire, frozen=True):
    """spec.source.http of a DataVolume."""

    url: str = ""
    checksum: str = ""
    """`algorithm:hex`, over the bytes as downloaded."""
    insecure_skip_verify: bool = False
    extra_headers: list[str] = []
    secret_extra_headers: list[str] = []
    """Names of Secrets; every value is one header line."""


class RegistrySource(Wire, frozen=True):
    """spec.source.registry: docker://host/repository:tag or oci-archive:///path."""

    url: str = ""
    architecture: str = ""
    insecure: bool = False


class S3Source(Wire, frozen=True):
    """spec.source.s3: s3://bucket/key, or http(s)://endpoint/bucket/key."""

    url: str = ""


class CloneSource(Wire, frozen=True):
    """Another claim that this node can read."""

    namespace: str = ""
    claim: str = ""


class BlankSource(Wire, frozen=True):
    """Nothing: an empty disk."""


class UploadSource(Wire, frozen=True):
    """What a client sends, see `Work.listen`."""


class Proxy(Wire, frozen=True):
    """CDIConfig importProxy."""

    http: str = ""
    https: str = ""
    no_proxy: str = ""


class Job(Wire, frozen=True):
    """One piece of work; exactly one source is set."""

    uid: str = ""
    """Of the DataVolume or claim: names the temporary files."""
    claim: str = ""
    """The target claim, in the Pod's namespace."""
    size: int = 0
    """Requested bytes of the target claim."""
    overhead: float = 0.0
    """Share of a Filesystem claim that the file system needs: 0.06."""
    block: bool = False
    preallocate: bool = False
    archive: bool = False
    http: HttpSource | None = None
    registry: RegistrySource | None = None
    s3: S3Source | None = None
    clone: CloneSource | None = None
    blank: BlankSource | None = None
    upload: UploadSource | None = None
    secret: str = ""
    """Secret with accessKeyId and secretKey."""
    cert_config_map: str = ""
    trusted_ca_config_map: str = ""
    """namespace/name of the proxy's CA (key ca.crt)."""
    proxy: Proxy | None = None


class Credentials(Wire, frozen=True):
    """Resolved secrets. Only ever passed by standard input."""

    access_key: str = ""
    secret_key: str = ""
    ca_bundle: str = ""
    """PEM, all certificates that count as trusted besides the system's."""
    header_lines: list[str] = []


class Work(Wire, frozen=True):
    """A Job with everything resolved."""

    job: Job = Job()
    target: str = ""
    """Directory of a Filesystem claim, or the device of a Block claim."""
    source: str = ""
    """For clones: the directory or device of the source claim."""
    credentials: Credentials = Credentials()
    registries_conf: str = ""
    """Path of a containers registries.conf with mirrors; empty for none."""
    scratch: str = ""
    """Directory for temporary files when the target has no room for them; empty: beside the target."""
    run_as: int = -1
    """User id for qemu-img; -1 keeps the worker's."""
    listen: int = -1
    """For uploads: an inherited descriptor, the Unix socket on which the agent passes on what clients send."""


class Progress(Wire, frozen=True):
    """A line of the worker's output while it works."""

    percent: float = 0.0
    stage: str = ""
    """Connect, Transfer, Convert, Resize or Copy."""
    bytes_done: int = 0
    bytes_total: int = 0
    """0 when unknown."""


class Outcome(Wire, frozen=True):
    """The last line of the worker's output, also the container's termination message."""

    ok: bool = False
    message: str = ""
    """The error chain in one line, worded as upstream's importer does; empty on success."""
    reason: str = ""
    """Error, ImagePullFailed or ChecksumError on failure; Completed on success."""
    fatal: bool = False
    """Trying again cannot help."""
    virtual_size: int = 0
    labels: dict[str, str] = {}
    """Labels for the claim, from KUBEVIRT_IO_ variables of a registry image."""


class WorkerLine(Wire, frozen=True):
    """One line of output: exactly one of the two."""

    progress: Progress | None = None
    outcome: Outcome | None = None
