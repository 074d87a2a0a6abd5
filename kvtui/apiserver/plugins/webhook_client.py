"""Calls of webhooks: where they are, with which certificates, and for how long.

A Service is called at one of its ready endpoints, under the name that its certificate is for.

Source: https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#contacting-the-webhook.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import random
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from kvtui.apiserver.plugins.base import Object, spec
from kvtui.apiserver.store import Store

_MOST = 8 * 2**20
"""Bytes of an answer."""
_SERVICE_NAME = "kubernetes.io/service-name"
_KEPT = 64


class NotCalled(Exception):
    """There is no answer; the text says why."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a webhook is."""

    url: str
    """As it is shown."""
    host: str
    """As the request names it, with a port."""
    name: str
    """In the certificate."""
    target: str
    """What is connected to."""


class WebhookClient:
    """One pool of connections for all webhooks."""

    def __init__(self, store: Store) -> None:
        self._services = store.bucket("services")
        self._slices = store.bucket("endpointslices.discovery.k8s.io")
        self._session: aiohttp.ClientSession | None = None
        self._contexts: dict[str, ssl.SSLContext] = {}

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def post(self, client: Object, body: bytes, seconds: float) -> bytes:
        """The body of a successful answer. Raises NotCalled."""
        address = self._address(client)
        shown = f"{address.url}?timeout={seconds:.0f}s"
        try:
            async with asyncio.timeout(seconds):
                return await self._exchange(address, await self._tls(str(client.get("caBundle") or "")), body, seconds)
        except TimeoutError as error:
            raise NotCalled(f'failed to call webhook: Post "{shown}": context deadline exceeded') from error
        except aiohttp.ClientConnectorCertificateError as error:
            text = f"tls: failed to verify certificate: {error.certificate_error}"
            raise NotCalled(f'failed to call webhook: Post "{shown}": {text}') from error
        except (aiohttp.ClientError, OSError) as error:
            raise NotCalled(f'failed to call webhook: Post "{shown}": {error or type(error).__name__}') from error

    async def _exchange(self, address: Address, tls: ssl.SSLContext, body: bytes, seconds: float) -> bytes:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, limit_per_host=0)
            self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        headers = {"Content-Type": "application/json", "Accept": "application/json", "Host": address.host}
        async with self._session.post(
            address.target,
            params={"timeout": f"{seconds:.0f}s"},
            data=body,
            headers=headers,
            ssl=tls,
            server_hostname=address.name,
            allow_redirects=False,
        ) as answer:
            if not 200 <= answer.status < 300:
                raise NotCalled(f"failed to call webhook: the server answered with {answer.status} {answer.reason}")
            got = bytearray()
            async for piece in answer.content.iter_chunked(2**16):
                got += piece
                if len(got) > _MOST:
                    raise NotCalled("failed to call webhook: the answer is too large")
            return bytes(got)

    async def _tls(self, bundle: str) -> ssl.SSLContext:
        """Trusts the bundle, or what this machine trusts."""
        context = self._contexts.get(bundle)
        if context is None:
            try:
                authority = base64.b64decode(bundle).decode("ascii") if bundle else None
                context = await asyncio.to_thread(ssl.create_default_context, cadata=authority)
            except (binascii.Error, UnicodeDecodeError, ssl.SSLError) as error:
                raise NotCalled(f"unable to load root certificates: {error}") from error
            if len(self._contexts) >= _KEPT:
                self._contexts.clear()
            self._contexts[bundle] = context
        return context

    def _address(self, client: Object) -> Address:
        """Raises NotCalled."""
        if url := client.get("url"):
            parts = urlsplit(str(url))
            return Address(str(url), parts.netloc, parts.hostname or "", str(url))
        service = client.get("service") or {}
        namespace, name = str(service.get("namespace")), str(service.get("name"))
        port, path = int(service.get("port") or 443), str(service.get("path") or "/")
        host_name = f"{name}.{namespace}.svc"
        found, number = self._endpoint(namespace, name, port)
        shown = f"[{found}]" if ":" in found else found
        url = f"https://{host_name}:{port}{path}"
        return Address(url, f"{host_name}:{port}", host_name, f"https://{shown}:{number}{path}")

    def _endpoint(self, namespace: str, name: str, port: int) -> tuple[str, int]:
        record = self._services.get((namespace, name))
        if record is None:
            raise NotCalled(f'failed to call webhook: service "{name}" not found')
        service = spec(record.decode())
        if service.get("type") == "ExternalName":
            return str(service.get("externalName")), port
        chosen = next((p for p in service.get("ports") or () if p.get("port") == port), None)
        if chosen is None:
            raise NotCalled(f'failed to call webhook: no service port {port} found for service "{name}"')
        found = [
            (address, number)
            for each in self._slices.snapshot(namespace)
            if each.labels.get(_SERVICE_NAME) == name
            for address, number in _ready(each.decode(), chosen.get("name") or "")
        ]
        if not found:
            raise NotCalled(f'failed to call webhook: no endpoints available for service "{name}"')
        return random.choice(found)  # noqa: S311 -- no secret


def _ready(each: Object, port_name: str) -> list[tuple[str, int]]:
    """Addresses and numbers of a port of a slice. A condition that is unset means ready."""
    numbers: list[Any] = [p.get("port") for p in each.get("ports") or () if (p.get("name") or "") == port_name]
    return [
        (str(address), int(number))
        for endpoint in each.get("endpoints") or ()
        if (endpoint.get("conditions") or {}).get("ready") is not False
        for address in endpoint.get("addresses") or ()
        for number in numbers
        if number
    ]
