"""The serving certificate while the server runs: renewed before it ends, and in use without a restart.

New connections get the new certificate; those that are open go on.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence

import structlog

from kvtui.apiserver.pki import Pki, ensure_pki

log = structlog.get_logger()
_EVERY = 3600.0
"""Seconds; a certificate is renewed many days before it ends."""


def server_context(pki: Pki) -> ssl.SSLContext:
    """TLS 1.2 or newer; client certificates of our CA are verified, none is needed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(pki.server.cert, pki.server.key)
    context.load_verify_locations(cafile=str(pki.ca.cert))
    context.verify_mode = ssl.CERT_OPTIONAL
    context.set_alpn_protocols(["http/1.1"])
    return context


class ServingCertificate:
    """The certificate in a context, and the file that it came from."""

    def __init__(self, pki: Pki, names: Sequence[str]) -> None:
        self.context = server_context(pki)
        self._pki = pki
        self._names = names
        self._loaded = pki.server.cert.read_bytes()

    async def run(self) -> None:
        while True:
            await asyncio.sleep(_EVERY)
            try:
                await self.refresh()
            except (OSError, ValueError) as error:
                log.error("the serving certificate was not renewed", error=str(error))

    async def refresh(self) -> bool:
        """Renews what ends soon and loads what has changed; whether it did. Raises OSError, ssl.SSLError."""
        await asyncio.to_thread(ensure_pki, self._pki.directory, self._names)
        present = await asyncio.to_thread(self._pki.server.cert.read_bytes)
        if present == self._loaded:
            return False
        self.context.load_cert_chain(self._pki.server.cert, self._pki.server.key)
        self._loaded = present
        log.info("the serving certificate was renewed")
        return True
