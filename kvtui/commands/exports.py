"""Downloads of VirtualMachineExports: the export, its token, its link, and the bytes.

Source: life-cycle facts 4.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import ssl
import string
import sys
import time
import zlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urlsplit

import aiohttp

from kvtui.api.core.config import Secret
from kvtui.api.core.parts import TypedLocalObjectReference
from kvtui.api.kubevirt.export import VirtualMachineExport, VirtualMachineExportLink, VirtualMachineExportSpec
from kvtui.api.meta import ObjectMeta, OwnerReference
from kvtui.commands.progress import Progress
from kvtui.commands.until import until
from kvtui.errors import NotFound, Permanent, Unreachable, Unsupported, Usage

if TYPE_CHECKING:
    from kvtui.client.rest import Client

TOKEN_HEADER = "x-kubevirt-export-token"  # noqa: S105  # the name of a header
CHUNK = 2**20
PACKED, PLAIN = ("gzip", "tar.gz"), ("raw", "dir")
PAUSE = 2.0
"""Seconds before another try."""
UNATTENDED = 15.0
"""Seconds after which an export without any phase has nobody who serves it."""
EXPORTER_PORT = 8443


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """What to fetch of an export, how, and where to."""

    key: tuple[str, str]
    volume: str | None = None
    file: Path | None = None
    """None is standard output."""
    format: str = "gzip"
    """gzip, raw or oci."""
    insecure: bool = False
    retries: int = 0
    timeout: float = 120.0
    """Seconds until the export is ready."""
    service_url: str | None = None
    """Another host for the internal link."""
    local_port: int | None = None
    """Go through the exporter's Pod, from this port of 127.0.0.1; 0 takes a free one."""

    @property
    def internal(self) -> bool:
        return self.service_url is not None or self.local_port is not None


async def create(
    client: Client,
    key: tuple[str, str],
    source: TypedLocalObjectReference,
    *,
    ttl: str | None = None,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> None:
    """The export and the Secret with its token. Raises AlreadyExists."""
    namespace, name = key
    meta = ObjectMeta(name=name, namespace=namespace, labels=dict(labels or {}), annotations=dict(annotations or {}))
    spec = VirtualMachineExportSpec(source=source, token_secret_ref=f"secret-{name}", ttl_duration=ttl)
    made = await client.create(VirtualMachineExport(metadata=meta, spec=spec))
    token = "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(20))
    owner = OwnerReference(
        api_version="export.kubevirt.io/v1", kind="VirtualMachineExport", name=name, uid=made.metadata.uid
    )
    secret = ObjectMeta(name=f"secret-{name}", namespace=namespace, owner_references=[owner])
    await client.create(Secret(metadata=secret, string_data={"token": token}))


async def link_of(
    client: Client, key: tuple[str, str], timeout: float, *, internal: bool
) -> tuple[VirtualMachineExportLink, str]:
    """Waits until the export is ready; its link and token. Raises NotFound, Unsupported, TimeoutError."""

    def attended(found: VirtualMachineExport | None) -> bool:
        if found is None:
            raise NotFound(f"VirtualMachineExport '{key[0]}/{key[1]}' does not exist", code=404, reason="NotFound")
        return bool(found.status.phase)

    def ready(found: VirtualMachineExport | None) -> bool:
        if not attended(found):
            return False
        assert found is not None
        if found.status.phase in ("Terminated", "Skipped"):
            raise Permanent(f"the export is {found.status.phase}: there is nothing to download")
        return found.status.phase == "Ready" and _link(found, internal=internal) is not None

    try:
        patience = min(timeout, UNATTENDED)
        await until(client, VirtualMachineExport, key, attended, patience, f"VM Export {key[1]}")
    except TimeoutError as error:
        raise Unsupported(f"nobody serves VM Export {key[1]}: this server has no export server") from error
    await until(client, VirtualMachineExport, key, ready, timeout, f"VM Export {key[1]} status to be ready")
    found = await client.get(VirtualMachineExport, key)
    link = _link(found, internal=internal)
    name = found.status.token_secret_ref or found.spec.token_secret_ref
    if link is None or not name:
        raise Permanent(f"the export {key[1]} has no link or no token")
    data = (await client.get(Secret, (key[0], name))).data
    return link, _decoded(data.get("token", ""))


def _decoded(text: str) -> str:
    import base64

    return base64.b64decode(text).decode()


def _link(export: VirtualMachineExport, *, internal: bool) -> VirtualMachineExportLink | None:
    links = export.status.links
    if links is None:
        return None
    return links.internal if internal else links.external


def url_of(link: VirtualMachineExportLink, volume: str | None) -> tuple[str, bool]:
    """What to fetch, and whether it is packed; packed is preferred. Raises Usage, NotFound."""
    volumes = [v for v in link.volumes if not volume or v.name == volume]
    if not volumes:
        raise NotFound(f"unable to get volume {volume or ''} from the export", code=404)
    if len(volumes) > 1:
        names = ", ".join(v.name for v in volumes)
        raise Usage(f"detected more than one downloadable volume ({names}): specify which with --volume")
    formats = {f.format: f.url for f in volumes[0].formats}
    for wanted in (*PACKED, *PLAIN):
        if wanted in formats:
            return formats[wanted], wanted in PACKED
    raise NotFound(f"volume {volumes[0].name} has no format that can be downloaded", code=404)


def archive_of(link: VirtualMachineExportLink) -> str:
    """Where the whole VM is as an OCI archive. Raises NotFound."""
    return manifest_of(link, "oci")


def manifest_of(link: VirtualMachineExportLink, type_: str) -> str:
    """Where a manifest of this type is. Raises NotFound."""
    for manifest in link.manifests:
        if manifest.type == type_:
            return manifest.url
    raise NotFound(f"the export has nothing of type {type_}", code=404)


@contextlib.asynccontextmanager
async def reachable(client: Client, wanted: Download) -> AsyncIterator[tuple[VirtualMachineExportLink, str, str]]:
    """The link of an export when it is ready, its token, and the host to ask in place of the link's (or none)."""
    link, token = await link_of(client, wanted.key, wanted.timeout, internal=wanted.internal)
    if wanted.local_port is None:
        yield link, token, wanted.service_url or ""
        return
    from kvtui.commands.pod_port import forwarded

    namespace, name = wanted.key
    async with forwarded(client, (namespace, f"virt-export-{name}"), EXPORTER_PORT, wanted.local_port) as port:
        yield link, token, f"127.0.0.1:{port}"


async def download(client: Client, wanted: Download, progress: Progress) -> None:
    """Waits for the export and fetches the volume. Raises Permanent, Unreachable, TimeoutError."""
    async with reachable(client, wanted) as (link, token, host):
        url, packed = (archive_of(link), False) if wanted.format == "oci" else url_of(link, wanted.volume)
        await fetch(
            at(url, host) if host else url,
            token,
            link.cert,
            wanted.file,
            progress,
            unpack=packed and wanted.format == "raw",
            # The certificate names the Service, not this machine.
            insecure=wanted.insecure or wanted.local_port is not None,
            retries=wanted.retries,
        )


async def manifests(client: Client, wanted: Download, *, with_secret: bool, yaml: bool) -> bytes:
    """The manifests that make the VM anew elsewhere. Raises NotFound, Permanent, Unreachable, TimeoutError."""
    types = ("all", "auth-header-secret") if with_secret else ("all",)
    async with reachable(client, wanted) as (link, token, host):
        headers = {TOKEN_HEADER: token, "Accept": "application/yaml" if yaml else "application/json"}
        insecure = wanted.insecure or wanted.local_port is not None
        async with _session(link.cert, insecure=insecure) as session:
            parts = []
            for type_ in types:
                url = manifest_of(link, type_)
                try:
                    async with session.get(at(url, host) if host else url, headers=headers) as answer:
                        if answer.status != 200:
                            raise Permanent(f"Bad status: {answer.status} {answer.reason}")
                        parts.append(await answer.read())
                except (aiohttp.ClientError, TimeoutError) as error:
                    raise Unreachable(f"the export does not answer: {error or type(error).__name__}") from error
    return b"\n".join(part.rstrip(b"\n") for part in parts) + b"\n"


def at(url: str, host: str) -> str:
    """The URL with another host. Raises Permanent."""
    parts = urlsplit(url)
    if parts.scheme != "https":
        raise Permanent(f"the export names a strange link: {url}")
    return parts._replace(netloc=host).geturl()


def _session(authority: str, *, insecure: bool) -> aiohttp.ClientSession:
    context = ssl.create_default_context(cadata=authority or None)
    if insecure:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=300)
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context), timeout=timeout, auto_decompress=False)


async def fetch(
    url: str,
    token: str,
    authority: str,
    target: Path | None,
    progress: Progress,
    *,
    unpack: bool,
    insecure: bool,
    retries: int,
) -> None:
    """Into a file, or to standard output. Raises Permanent, Unreachable."""
    async with _session(authority, insecure=insecure) as session:
        for left in range(retries, -1, -1):
            try:
                async with session.get(url, headers={TOKEN_HEADER: token}) as answer:
                    if answer.status == 200:
                        await _save(answer, target, progress, unpack=unpack)
                        return
                    problem: Exception = Permanent(f"Bad status: {answer.status} {answer.reason}")
            except (aiohttp.ClientError, TimeoutError) as error:
                problem = Unreachable(f"the download broke off: {error or type(error).__name__}", hint="--retry N")
            if left:
                progress.say("Retrying...")
                await asyncio.sleep(PAUSE)
    raise problem


async def _save(answer: aiohttp.ClientResponse, target: Path | None, progress: Progress, *, unpack: bool) -> None:
    try:
        file: Any = sys.stdout.buffer if target is None else await asyncio.to_thread(target.open, "wb")
    except OSError as error:
        raise Permanent(f"{target} cannot be written: {error.strerror}") from error
    try:
        await _copy(answer, file, progress, unpack=unpack)
        file.flush()
    except OSError as error:
        raise Permanent(f"{target or 'standard output'} cannot be written: {error.strerror}") from error
    except zlib.error as error:
        raise Permanent(f"what came is no gzip: {error}") from error
    finally:
        if target is not None:
            file.close()


async def _copy(answer: aiohttp.ClientResponse, file: BinaryIO, progress: Progress, *, unpack: bool) -> None:
    inflate = zlib.decompressobj(wbits=31) if unpack else None
    got, began = 0, time.monotonic()
    async for chunk in answer.content.iter_chunked(CHUNK):
        got += len(chunk)
        data = inflate.decompress(chunk) if inflate is not None else chunk
        await asyncio.to_thread(file.write, data)
        rate = got / max(time.monotonic() - began, 0.001)
        progress.say(f"{got / 2**20:.0f} MiB, {rate / 2**20:.1f} MiB/s")
    if inflate is not None:
        if not inflate.eof:
            raise Permanent("the download ended too early")
        file.write(inflate.flush())
