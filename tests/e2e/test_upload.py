"""An image of this machine into a volume, with the agent dying in the middle, and a guest that boots from it."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import msgspec
import pytest

from kvtui.api.cdi.config import CDIConfig
from kvtui.api.cdi.datavolume import DataVolume
from kvtui.api.core.pod import Pod
from kvtui.api.core.storage import PersistentVolumeClaim
from kvtui.api.wire import from_wire
from kvtui.api.worker import PROGRESS_ANNOTATION
from kvtui.client.rest import Client
from tests.e2e.conftest import Lab, kvtui, until
from tests.e2e.guests import a_guest, console, machine

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
KEY = ("default", "uploaded")


async def begun(guest: Path, half: asyncio.Event, rest: asyncio.Event) -> AsyncIterator[bytes]:
    """The first half of a file, and the other one when it is asked for."""
    content = guest.read_bytes()
    yield content[: len(content) // 2]
    half.set()
    await rest.wait()
    yield content[len(content) // 2 :]


async def token(client: Client) -> str:
    path = "/apis/upload.cdi.kubevirt.io/v1beta1/namespaces/default/uploadtokenrequests"
    body = {"metadata": {"generateName": "token-"}, "spec": {"pvcName": KEY[1]}}
    answer = (await client.raw("POST", path, body=msgspec.json.encode(body))).json()
    return str(answer["status"]["token"])


def arriving(pod: Pod | None) -> bool:
    """Whether the worker tells of bytes."""
    return pod is not None and "Transfer" in pod.metadata.annotations.get(PROGRESS_ANNOTATION, "")


async def half_an_upload(lab: Lab, client: Client) -> int:
    """Kills the agent when half of the image is there; the code that the client gets."""
    config = await client.get(CDIConfig, ("", "config"))
    pod = await client.get(Pod, ("default", f"cdi-upload-{KEY[1]}"))
    half, rest = asyncio.Event(), asyncio.Event()
    tls = ssl.create_default_context(cadata=config.status.upload_proxy_ca)
    headers = {"Authorization": f"Bearer {await token(client)}", "Content-Length": str(lab.guest.stat().st_size)}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)) as session:

        async def post() -> int:
            url = f"{config.status.upload_proxy_url}/v1beta1/upload-async"
            async with session.post(url, data=begun(lab.guest, half, rest), headers=headers) as answer:
                answer.close()  # which the rest of the body would not do by itself
                return answer.status

        upload = asyncio.create_task(post())
        await half.wait()
        await until(client, Pod, pod.key, arriving)
        os.kill(lab.pid(f"agent-{pod.spec.node_name}"), signal.SIGKILL)
        try:
            return await asyncio.wait_for(upload, 30)
        finally:
            rest.set()
            await asyncio.sleep(0.25)  # the farewell of TLS, for which nothing can be waited


async def test_an_upload_survives_the_agent_and_boots(lab: Lab, client: Client) -> None:
    storage = {
        "storageClassName": "kvtui-shared",
        "accessModes": ["ReadWriteMany"],
        "resources": {"requests": {"storage": "256Mi"}},
    }
    spec = {"source": {"upload": {}}, "storage": storage}
    await client.create(from_wire({"metadata": {"name": KEY[1], "namespace": KEY[0]}, "spec": spec}, DataVolume))
    try:
        await until(client, DataVolume, KEY, lambda d: d is not None and d.status.phase == "UploadReady")
        assert await half_an_upload(lab, client) == 503
        said = await asyncio.to_thread(
            kvtui, lab, "image-upload", "dv", KEY[1], "--no-create", "--image-path", str(lab.guest)
        )
        assert f"Uploading {lab.guest} completed successfully" in said
        done = await until(client, DataVolume, KEY, lambda d: d is not None and d.status.phase == "Succeeded")
        assert done is not None
        assert done.status.progress == "N/A"
        assert {c.type: c.status for c in done.status.conditions} == {
            "Bound": "True",
            "Ready": "True",
            "Running": "False",
        }
        async with a_guest(client, machine("uploaded", claim=KEY[1])), console(client, "uploaded") as viewer:
            await viewer.expect("login: ")
    finally:
        await client.delete(DataVolume, KEY)
        await until(client, PersistentVolumeClaim, KEY, lambda c: c is None)
