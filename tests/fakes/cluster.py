"""A real API server on a loopback socket, for tests of everything that talks to one.

async with running_server(tmp_path) as server:
    ...  # server.url, server.kubeconfig (admin), server.ca, server.client_pair("name", groups)
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from kvtui.api.admission import Admission
from kvtui.apiserver.endpoints.scraping import NOTHING, Source
from kvtui.apiserver.extension import Extension
from kvtui.apiserver.lookups import Lookups
from kvtui.apiserver.pki import KeyPair, Pki, issue_client
from kvtui.apiserver.server import ApiServer
from kvtui.settings import ApiServerSettings


@dataclass(slots=True)
class RunningServer:
    """Where the server is and how to get in."""

    server: ApiServer
    url: str
    kubeconfig: Path
    """Of the admin, with a client certificate."""
    pki: Pki

    @property
    def ca(self) -> Path:
        return self.pki.ca.cert

    def client_pair(self, name: str, groups: Sequence[str] = ()) -> KeyPair:
        """A client certificate for a user."""
        pair = self.pki.pair(name.replace(":", "_"))
        issue_client(self.pki, name, groups, pair)
        return pair

    def kubeconfig_for(self, name: str, groups: Sequence[str] = ()) -> Path:
        """A kubeconfig for a user."""
        path = self.kubeconfig.with_name(f"{name.replace(':', '_')}.kubeconfig")
        write_kubeconfig(path, self.url, self.pki, self.client_pair(name, groups))
        return path

    def tls(self, pair: KeyPair | None = None) -> ssl.SSLContext:
        """For a client of this server; the admin's if no pair is given."""
        context = ssl.create_default_context(cafile=str(self.ca))
        chosen = pair or self.pki.admin
        context.load_cert_chain(chosen.cert, chosen.key)
        return context

    @contextlib.asynccontextmanager
    async def session(
        self, pair: KeyPair | None = None, *, decompress: bool = True
    ) -> AsyncIterator[aiohttp.ClientSession]:
        """A plain HTTP session, for requests that no client library would make."""
        connector = aiohttp.TCPConnector(ssl=self.tls(pair), limit=0)
        async with aiohttp.ClientSession(self.url, connector=connector, auto_decompress=decompress) as session:
            yield session


def write_kubeconfig(path: Path, url: str, pki: Pki, pair: KeyPair) -> None:
    def inline(file: Path) -> str:
        return base64.b64encode(file.read_bytes()).decode()

    config: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "kvtui",
        "clusters": [{"name": "kvtui", "cluster": {"server": url, "certificate-authority-data": inline(pki.ca.cert)}}],
        "users": [
            {
                "name": "me",
                "user": {
                    "client-certificate-data": inline(pair.cert),
                    "client-key-data": inline(pair.key),
                },
            }
        ],
        "contexts": [{"name": "kvtui", "context": {"cluster": "kvtui", "user": "me", "namespace": "default"}}],
    }
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(config))


@contextlib.asynccontextmanager
async def running_server(
    directory: Path,
    *,
    crds: bool = True,
    admission: Sequence[Admission] = (),
    extensions: Sequence[Extension] = (),
    lookups: Lookups | None = None,
    scraped: Mapping[str, Source] = NOTHING,
    **settings: Any,
) -> AsyncIterator[RunningServer]:
    """Serves from `directory` until the block ends; the same directory again is the same cluster after a restart.

    `crds`: with the definitions of all custom kinds. Further keywords are ApiServerSettings.
    """
    chosen = ApiServerSettings(
        directory=directory / "apiserver", pki=directory / "pki", install_crds=crds, min_free_disk=0, **settings
    )
    server = ApiServer(chosen, admission=admission, extensions=extensions, lookups=lookups, scraped=scraped)
    running = asyncio.create_task(server.run(), name="api server")
    ready = asyncio.create_task(server.ready.wait(), name="api server ready")
    try:
        await asyncio.wait((running, ready), return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
        pki = Pki(directory / "pki")
        kubeconfig = directory / "kubeconfig"
        write_kubeconfig(kubeconfig, server.url, pki, pki.admin)
        yield RunningServer(server, server.url, kubeconfig, pki)
    finally:
        ready.cancel()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
