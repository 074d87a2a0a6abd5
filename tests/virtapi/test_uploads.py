"""The upload proxy: who may upload, where it goes, and what is said when it cannot."""

from __future__ import annotations

import asyncio
import contextlib
import io
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import rsa

from kvtui.api.cdi.config import CDIConfig, CDIConfigSpec
from kvtui.api.core.pod import Pod
from kvtui.api.core.storage import PersistentVolumeClaim
from kvtui.api.meta import ObjectMeta
from kvtui.api.wire import from_wire
from kvtui.apiserver.connections import Connections
from kvtui.virtapi import wiring
from kvtui.virtapi.subresources import tokens, uploads
from tests.fakes.agent import FakeAgent, running_agent
from tests.virtapi.cluster import VirtApi, running_virtapi

pytestmark = pytest.mark.asyncio(loop_scope="module")
READY = {uploads.TARGET: "", uploads.POD_READY: "true", uploads.POD_PHASE: "Running", uploads.POD_NAME: "up-disk"}


@dataclass
class Place:
    """The proxy between a client and a fake agent."""

    api: VirtApi
    agent: FakeAgent
    http: aiohttp.ClientSession
    key: rsa.RSAPrivateKey
    now: list[float]
    """What the proxy's clock says, in seconds since 1970."""

    def token(self, claim: str = "disk", operation: str = tokens.UPLOAD) -> dict[str, str]:
        text = tokens.sign(self.key, tokens.Token(operation, "default", claim), self.now[0])
        return {"Authorization": f"Bearer {text}"}

    async def annotated(self, name: str, notes: dict[str, str]) -> None:
        data = {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}
        spec = from_wire(data, PersistentVolumeClaim).spec
        meta = ObjectMeta(name=name, namespace="default", annotations=notes)
        await self.api.client.create(PersistentVolumeClaim(metadata=meta, spec=spec))

    async def post(self, verb: str, headers: dict[str, str], body: bytes = b"disk") -> tuple[int, str]:
        async with self.http.post(verb, data=io.BytesIO(body), headers=headers) as answer:
            return answer.status, await answer.text()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    directory = tmp_path_factory.mktemp("uploads")
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    now = [1_790_000_000.0]
    async with (
        running_virtapi(directory) as api,
        running_agent(api.server.pki) as agent,
        contextlib.AsyncExitStack() as stack,
    ):
        await api.node(agent)
        pki = api.server.pki
        agents = wiring.agents(api.client, wiring.agent_tls(pki.ca.cert, pki.agents.cert, pki.agents.key))
        gate = Connections(8)
        proxy = uploads.UploadProxy(api.client, agents, key.public_key(), gate=gate, now=lambda: now[0])
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(pki.server.cert, pki.server.key)
        listening: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        authority = pki.ca.cert.read_text()
        running = asyncio.create_task(
            proxy.run(("127.0.0.1",), (0,), tls, authority, lambda port: _resolve(listening, port))
        )
        stack.push_async_callback(_ended, running)
        port = await asyncio.wait_for(listening, 10)
        connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=str(pki.ca.cert)))
        http = await stack.enter_async_context(aiohttp.ClientSession(f"https://127.0.0.1:{port}", connector=connector))
        place = Place(api, agent, http, key, now)
        pod = {
            "metadata": {"name": "up-disk", "namespace": "default"},
            "spec": {"nodeName": "node01", "containers": [{"name": "importer", "image": "kvtui/importer"}]},
        }
        await api.client.create(from_wire(pod, Pod))
        await place.annotated("disk", READY)
        yield place


def _resolve(future: asyncio.Future[int], port: int) -> None:
    future.get_loop().call_soon_threadsafe(future.set_result, port)


async def _ended(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@pytest.fixture
def place(server: Place) -> Place:
    server.agent.uploads.clear()
    server.agent.refuse.clear()
    server.agent.takes_uploads = True
    return server


@pytest.mark.parametrize("version", ["v1beta1", "v1alpha1"])
@pytest.mark.parametrize("verb", uploads.VERBS)
async def test_a_body_goes_to_the_worker_of_its_claim(place: Place, version: str, verb: str) -> None:
    disk = bytes(range(256)) * 8192
    assert await place.post(f"/{version}/{verb}", place.token(), disk) == (200, "")
    assert place.agent.uploads == [(f"up-disk/{verb}", disk)]


async def test_an_archive_is_unpacked_whatever_the_path(place: Place) -> None:
    await place.annotated("files", {**READY, uploads.CONTENT: "archive"})
    assert await place.post("/v1beta1/upload-async", place.token("files")) == (200, "")
    assert place.agent.uploads == [("up-disk/upload-archive", b"disk")]


async def test_tokens_are_looked_at_first(place: Place) -> None:
    expired = place.token()
    place.now[0] += tokens.LIFETIME + tokens.LEEWAY + 1
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    strange = tokens.sign(stranger, tokens.Token(tokens.UPLOAD, "default", "disk"), place.now[0])
    for headers, code in (
        ({}, 400),
        ({"Authorization": "Basic YTpi"}, 400),
        ({"Authorization": "Bearer"}, 400),
        ({"Authorization": "Bearer a.b.c"}, 401),
        ({"Authorization": f"Bearer {strange}"}, 401),
        (expired, 401),
        (place.token(operation="Clone"), 400),
    ):
        assert (await place.post("/v1beta1/upload", headers))[0] == code, headers
    assert place.agent.uploads == []


async def test_claims_that_take_nothing(place: Place) -> None:
    await place.annotated("other", {})
    await place.annotated("full", {**READY, uploads.POD_PHASE: "Succeeded"})
    for name, words in (
        ("none", "rejecting Upload Request for PVC none that doesn't exist"),
        ("other", "PVC other is not an upload target"),
        ("full", "rejecting Upload Request for PVC full that already finished uploading"),
    ):
        assert await place.post("/v1beta1/upload", place.token(name)) == (503, words)


async def test_a_receiver_that_is_late_is_waited_for(place: Place) -> None:
    await place.annotated("late", {**READY, uploads.POD_READY: "false"})
    body = asyncio.create_task(place.post("/v1beta1/upload", place.token("late")))
    notes = {"metadata": {"annotations": {uploads.POD_READY: "true"}}}
    await place.api.client.patch(PersistentVolumeClaim, ("default", "late"), notes)
    assert await body == (200, "")


async def test_what_the_worker_says_is_passed_on(place: Place) -> None:
    place.agent.refuse["upload"] = (400, "Saving stream failed: effective image size is larger")
    assert await place.post("/v1beta1/upload", place.token()) == (
        400,
        "Saving stream failed: effective image size is larger",
    )


async def test_pages_and_probes(place: Place) -> None:
    async with place.http.get("/healthz") as answer:
        assert await answer.text() == "OK"
    async with place.http.head("/v1beta1/upload-async") as answer:
        assert answer.status == 200
    async with place.http.options("/v1beta1/upload", headers={"Origin": "https://elsewhere"}) as answer:
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
    for path, code in (("/v1beta1/other", 404), ("/v1beta1/upload", 405)):
        async with place.http.get(path) as answer:
            assert answer.status == code


async def test_the_configuration_says_where_the_proxy_is(place: Place) -> None:
    made = await place.api.client.create(CDIConfig(metadata=ObjectMeta(name="config"), spec=CDIConfigSpec()))
    async with asyncio.timeout(10):
        changes = place.api.client.watch(CDIConfig, resource_version=made.metadata.resource_version)
        async with contextlib.aclosing(changes) as events:
            async for event in events:
                if event.object is not None and event.object.status.upload_proxy_url:
                    assert event.object.status.upload_proxy_url.startswith("https://127.0.0.1:")
                    assert (event.object.status.upload_proxy_ca or "").startswith("-----BEGIN CERTIFICATE-----")
                    return


async def test_a_token_is_what_the_api_gives(place: Place) -> None:
    body = {"metadata": {"generateName": "token-for-virtctl-"}, "spec": {"pvcName": "disk"}}
    path = "/apis/upload.cdi.kubevirt.io/v1beta1/namespaces/default/uploadtokenrequests"
    async with place.api.http.post(path, json=body) as answer:
        assert answer.status in (200, 201)
        assert (await answer.json())["status"]["token"].count(".") == 2
