"""Downloads of VirtualMachineExports: the export, its token, its link, and the bytes.

Source: life-cycle facts 4.
"""

from __future__ import annotations

import asyncio
import secrets
import ssl
import string
import sys
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import aiohttp

from kvtui.api.core.config import Secret
from kvtui.api.core.parts import TypedLocalObjectReference
from kvtui.api.kubevirt.export import VirtualMachineExport, VirtualMachineExportLink, VirtualMachineExportSpec
from kvtui.api.meta import ObjectMeta, OwnerReference
from kvtui.commands.progress import Progress
from kvtui.commands.until import until
from kvtui.errors import NotFound, Permanent, Unreachable, Usage

if TYPE_CHECKING:
    from kvtui.client.rest import Client

TOKEN_HEADER = "x-kubevirt-export-token"  # noqa: S105  # the name of a header
CHUNK = 2**20
PACKED, PLAIN = ("gzip", "tar.gz"), ("raw", "dir")
PAUSE = 2.0
"""Seconds before another try."""


async def create(
    client: Client, key: tuple[str, str], source: TypedLocalObjectReference, *, ttl: str | None = None
) -> None:
    """The export and the Secret with its token. Raises AlreadyExists."""
    namespace, name = key
    meta = ObjectMeta(name=name, namespace=namespace)
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
    """Waits until the export is ready; its link and token. Raises NotFound, TimeoutError."""

    def ready(found: VirtualMachineExport | None) -> bool:
        if found is None:
            raise NotFound(f"VirtualMachineExport '{key[0]}/{key[1]}' does not exist", code=404, reason="NotFound")
        if found.status.phase in ("Terminated", "Skipped"):
            raise Permanent(f"the export is {found.status.phase}: there is nothing to download")
        return found.status.phase == "Ready" and _link(found, internal=internal) is not None

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
    context = ssl.create_default_context(cadata=authority or None)
    if insecure:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=300)
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as session:
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
