"""A renewed serving certificate is in use at once, by new connections."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

from kvtui.apiserver.certificates import ServingCertificate
from kvtui.apiserver.pki import Pki, ensure_pki, issue_serving

NAMES = ("localhost", "127.0.0.1")


async def shown(pki: Pki, certificate: ServingCertificate) -> bytes:
    """What a client is shown."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=certificate.context) as server:
        port = server.sockets[0].getsockname()[1]
        trust = ssl.create_default_context(cafile=str(pki.ca.cert))
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust)
        found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        await writer.wait_closed()
        return found


async def test_new_connections_are_shown_the_new_certificate(tmp_path: Path) -> None:
    pki = ensure_pki(tmp_path, NAMES)
    certificate = ServingCertificate(pki, NAMES)
    before = await shown(pki, certificate)
    assert not await certificate.refresh()
    assert await shown(pki, certificate) == before
    issue_serving(pki, "kvtui-apiserver", NAMES, pki.server)
    assert await certificate.refresh()
    after = await shown(pki, certificate)
    assert after != before
    assert ssl.DER_cert_to_PEM_cert(after).strip() in pki.server.cert.read_text()


async def test_what_is_missing_is_made_again(tmp_path: Path) -> None:
    pki = ensure_pki(tmp_path, NAMES)
    certificate = ServingCertificate(pki, NAMES)
    pki.server.cert.unlink()
    assert await certificate.refresh()
    assert pki.server.cert.exists()
