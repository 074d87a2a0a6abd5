"""Bytes from an HTTP or HTTPS server: trusted, authenticated, with bounded redirects.

Credentials and extra headers go to the origin that was named and to no other, unlike upstream, which sends them to
every redirect's host.

Source: CDI pkg/importer/http-datasource.go.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping
from urllib.parse import urlsplit
from urllib.request import getproxies_environment

import aiohttp
from yarl import URL

from kvtui.api.worker import Proxy
from kvtui.importer.errors import ImportFailed, PullFailed

IDLE = 600.0
"""Seconds without a byte before a transfer is given up."""
CHUNK = 1 << 20
_REDIRECTS = 10


def tls(ca_bundle: str, *, insecure: bool = False) -> ssl.SSLContext:
    """The system's authorities and these. Raises ImportFailed when the bundle is no PEM."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_bundle:
        try:
            context.load_verify_locations(cadata=ca_bundle)
        except (ssl.SSLError, ValueError) as error:
            raise ImportFailed(f"the CA bundle cannot be used: {error}") from error
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def basic(user: str, password: str) -> dict[str, str]:
    """The header of basic authentication; nothing unless both are given."""
    if not user or not password:
        return {}
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def header_pairs(lines: list[str]) -> dict[str, str]:
    """`Name: value` lines; lines without a colon or with control characters are dropped."""
    pairs = (line.strip().partition(":") for line in lines)
    return {
        name.strip(): value.strip()
        for name, colon, value in pairs
        if colon and name.strip() and not any(ord(c) < 32 or ord(c) == 127 for c in name + value)
    }


def proxy_for(url: str, proxy: Proxy | None) -> str | None:
    """The proxy for a URL, from the cluster's configuration, else from the environment."""
    parts = urlsplit(url)
    environment = getproxies_environment()
    if proxy is None or not (proxy.http or proxy.https):
        proxy = Proxy(
            http=environment.get("http", ""), https=environment.get("https", ""), no_proxy=environment.get("no", "")
        )
    host = (parts.hostname or "").lower()
    for entry in (e.strip().lower() for e in proxy.no_proxy.split(",") if e.strip()):
        name = entry.partition(":")[0].lstrip("*").lstrip(".")
        if entry == "*" or host == name or host.endswith("." + name):
            return None
    return (proxy.https if parts.scheme == "https" else proxy.http) or None


@contextlib.asynccontextmanager
async def fetch(
    session: aiohttp.ClientSession,
    url: str,
    *,
    context: ssl.SSLContext,
    headers: Mapping[str, str] | None = None,
    proxy: Proxy | None = None,
    expect: tuple[int, ...] = (200,),
) -> AsyncIterator[aiohttp.ClientResponse]:
    """One GET, redirects followed. Raises ImportFailed for an unexpected status or no answer."""
    current = URL(url)
    for _ in range(_REDIRECTS + 1):
        if current.scheme not in ("http", "https"):
            raise ImportFailed(f"redirected to a URL with scheme {current.scheme!r}")
        own = current.origin() == URL(url).origin()
        try:
            response = await session.get(
                current,
                headers={
                    "User-Agent": "kvtui-importer",
                    "Accept-Encoding": "identity",
                    **((headers or {}) if own else {}),
                },
                ssl=context,
                proxy=proxy_for(str(current), proxy),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=IDLE),
            )
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            raise ImportFailed(f"HTTP request errored: {reason(error)}") from error
        async with response:
            if response.status in (301, 302, 303, 307, 308) and "Location" in response.headers:
                current = current.join(URL(response.headers["Location"]))
                continue
            if response.status not in expect:
                got = f"{response.status} {response.reason}"
                raise ImportFailed(f"expected status code {expect[0]}, got {response.status}. Status: {got}")
            yield response
            return
    raise ImportFailed(f"HTTP request errored: stopped after {_REDIRECTS} redirects")


async def chunks(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The body in pieces of about a MiB. Raises PullFailed when it breaks off or stalls."""
    held = bytearray()
    try:
        async for piece in response.content.iter_any():
            held += piece
            if len(held) >= CHUNK:
                yield bytes(held)
                held.clear()
    except (aiohttp.ClientPayloadError, ConnectionError) as error:
        raise PullFailed("failed to pull image: unexpected EOF") from error
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        raise PullFailed(f"failed to pull image: {reason(error)}") from error
    if held:
        yield bytes(held)


def reason(error: BaseException) -> str:
    """The error in few words, without addresses' credentials."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"x509: {error.certificate_error}"
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return f"x509: {error.os_error}"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"lookup {error.host}: no such host"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"dial tcp {error.host}:{error.port}: {error.os_error.strerror or error.os_error}"
    if isinstance(error, asyncio.TimeoutError):
        return "timeout"
    return str(error) or type(error).__name__
