"""Images in and out: image-upload, vmexport, memory-dump download. The tests play the controllers."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest
import pytest_asyncio

from kvtui.api.cdi.config import CDIConfig, CDIConfigSpec
from kvtui.api.cdi.datavolume import DataVolume
from kvtui.api.core.config import Event, Secret
from kvtui.api.core.storage import PersistentVolumeClaim
from kvtui.api.kubevirt.export import VirtualMachineExport
from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.meta import ObjectMeta, Resource
from kvtui.api.wire import from_wire
from kvtui.client.rest import Client
from kvtui.commands.exits import ExitCode
from tests.commands.cli import Cli, Ran
from tests.fakes.upload_proxy import FakeProxy, running_proxy
from tests.virtapi.cluster import VirtApi, running_virtapi

R = TypeVar("R", bound=Resource)
PATIENCE = 30.0
TARGET, READY = "cdi.kubevirt.io/storage.upload.target", "cdi.kubevirt.io/storage.pod.ready"
PHASE, BIND = "cdi.kubevirt.io/storage.pod.phase", "cdi.kubevirt.io/storage.bind.immediate.requested"


@dataclass
class Place:
    """One server with its upload proxy."""

    api: VirtApi
    proxy: FakeProxy
    kvtui: Cli

    @property
    def client(self) -> Client:
        return self.api.client

    async def seen(self, type_: type[R], name: str, when: Callable[[R], bool] = lambda found: True) -> R:
        """The object, once it is there and as wanted."""
        async with asyncio.timeout(PATIENCE):
            listed = await self.client.list(type_, "default", field_selector=f"metadata.name={name}")
            for item in listed.items:
                if when(item):
                    return item
            changes = self.client.watch(
                type_, "default", resource_version=listed.resource_version, field_selector=f"metadata.name={name}"
            )
            async with contextlib.aclosing(changes) as events:
                async for event in events:
                    if event.object is not None and event.type != "DELETED" and when(event.object):
                        return event.object
        raise AssertionError(f"{name} never came")

    async def annotate(self, name: str, **annotations: str) -> None:
        body = {"metadata": {"annotations": {key: annotations[key] for key in annotations}}}
        await self.client.patch(PersistentVolumeClaim, ("default", name), body)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    async with (
        running_virtapi(tmp_path_factory.mktemp("virtapi")) as api,
        running_proxy(api.server.pki) as proxy,
    ):
        yield Place(api, proxy, Cli(api.server))


@pytest.fixture
def place(server: Place) -> Place:
    server.proxy.uploads.clear()
    server.proxy.received.clear()
    server.proxy.answers.clear()
    server.proxy.takes_async = True
    return server


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(os.urandom(3_000_000))
    return path


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def claim(place: Place, name: str, **annotations: str) -> None:
    data = {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}
    made = from_wire(data, PersistentVolumeClaim)
    meta = ObjectMeta(name=name, namespace="default", annotations=annotations)
    await place.client.create(type(made)(metadata=meta, spec=made.spec))


async def test_a_proxy_that_nobody_names(place: Place, image: Path) -> None:
    await claim(place, "nowhere", **{TARGET: ""})
    ran = await place.kvtui("image-upload", "pvc", "nowhere", "--no-create", "--image-path", str(image))
    assert ran.code == ExitCode.NOT_FOUND
    assert "uploadproxy URL not found" in ran.err


async def test_an_upload_into_a_new_volume(place: Place, image: Path) -> None:
    made = await place.client.create(
        CDIConfig(metadata=ObjectMeta(name="config"), spec=CDIConfigSpec(feature_gates=["HonorWaitForFirstConsumer"]))
    )
    authority = place.api.server.ca.read_text()
    await place.client.patch_status(
        CDIConfig, made.key, {"uploadProxyURL": place.proxy.url.removeprefix("https://"), "uploadProxyCA": authority}
    )
    args = ("--size", "1Gi", "--image-path", str(image), "--force-bind", "--default-instancetype", "small")
    running = asyncio.create_task(place.kvtui("image-upload", "dv", "up", *args))
    volume = await place.seen(DataVolume, "up")
    assert volume.spec.source is not None
    assert volume.spec.source.upload is not None
    assert volume.metadata.annotations[BIND] == ""
    assert volume.metadata.labels["instancetype.kubevirt.io/default-instancetype"] == "small"
    await claim(place, "up", **{TARGET: ""})
    await place.client.patch_status(DataVolume, volume.key, {"phase": "UploadReady"})
    await finished(place, "up")
    ran = await running
    assert ran.code == 0, ran.err
    said = [line.rstrip() for line in ran.out.splitlines()]
    assert said[:5] == [
        "PVC default/up not found",
        "DataVolume default/up created",
        "Waiting for PVC up upload pod to be ready...",
        "Pod now ready",
        f"Uploading data to {place.proxy.url}",
    ]
    assert said[-2:] == ["Processing completed successfully", f"Uploading {image} completed successfully"]
    ((path, token, body),) = place.proxy.uploads
    assert path == "upload-async"
    assert token.count(".") == 2
    assert body == image.read_bytes()


async def finished(place: Place, name: str) -> None:
    """Once the proxy has the file, the claim says so."""
    async with asyncio.timeout(PATIENCE):
        await place.proxy.received.wait()
    await place.annotate(name, **{PHASE: "Succeeded"})


async def test_an_upload_into_a_claim_is_tried_again(place: Place, image: Path) -> None:
    await claim(place, "there", **{TARGET: "", READY: "true"})
    place.proxy.takes_async = False
    place.proxy.answers = [503]
    args = ("--no-create", "--image-path", str(image), "--uploadproxy-url", place.proxy.url, "--insecure")
    running = asyncio.create_task(place.kvtui("image-upload", "pvc", "there", *args))
    await finished(place, "there")
    ran = await running
    assert ran.code == 0, ran.err
    assert ran.out.startswith("Using existing PVC default/there\n")
    assert [path for path, _, _ in place.proxy.uploads] == ["upload"]
    again = await place.kvtui("image-upload", "pvc", "there", *args)
    assert "already successfully imported" in again.err


async def upload(place: Place, name: str, image: Path, *more: str) -> Ran:
    args = ("--no-create", "--image-path", str(image), "--uploadproxy-url", place.proxy.url, "--insecure", *more)
    return await place.kvtui("image-upload", "pvc", name, *args)


async def test_refusals_of_the_proxy_are_told(place: Place, image: Path) -> None:
    await claim(place, "refused", **{TARGET: "", READY: "true"})
    place.proxy.answers = [401]
    ran = await upload(place, "refused", image)
    assert (ran.code, "authentication failed: as told" in ran.err) == (ExitCode.NOT_ALLOWED, True)
    place.proxy.answers = [400, 400]
    ran = await upload(place, "refused", image, "--retry=0")
    assert (ran.code, "unexpected return value 400, as told" in ran.err) == (ExitCode.FAILED, True)
    assert not place.proxy.uploads


async def test_what_takes_no_upload_is_told_before_anything_is_sent(place: Place, image: Path) -> None:
    await claim(place, "plain")
    ran = await upload(place, "plain", image)
    assert "PVC plain not available for upload" in ran.err
    ran = await upload(place, "ghost", image)
    assert ran.code == ExitCode.NOT_FOUND
    ran = await place.kvtui("image-upload", "dv", "sizeless", "--image-path", str(image))
    assert (ran.code, "the size must be specified" in ran.err) == (ExitCode.USAGE, True)
    await claim(place, "slow", **{TARGET: ""})
    event = {
        "metadata": {"name": "slow.1", "namespace": "default"},
        "involvedObject": {"kind": "PersistentVolumeClaim", "namespace": "default", "name": "slow"},
        "type": "Warning",
        "reason": "ProvisioningFailed",
        "message": "no room",
    }
    await place.client.create(from_wire(event, Event))
    ran = await upload(place, "slow", image, "--wait-secs", "1")
    assert (ran.code, "timed out waiting for PVC slow upload pod" in ran.err) == (ExitCode.TIMED_OUT, True)
    assert "ProvisioningFailed: no room" in ran.err


async def test_a_volume_that_waits_for_its_first_vm_needs_force_bind(place: Place, image: Path) -> None:
    args = ("--size", "1Gi", "--image-path", str(image), "--uploadproxy-url", place.proxy.url)
    running = asyncio.create_task(place.kvtui("image-upload", "dv", "waits", *args))
    volume = await place.seen(DataVolume, "waits")
    await place.client.patch_status(DataVolume, volume.key, {"phase": "WaitForFirstConsumer"})
    ran = await running
    assert ran.code == ExitCode.FAILED
    assert "cannot upload to DataVolume in WaitForFirstConsumer state" in ran.err


async def test_a_claim_that_cannot_be_made_is_told_at_once(place: Place, image: Path) -> None:
    args = ("--size", "1Gi", "--image-path", str(image), "--uploadproxy-url", place.proxy.url)
    running = asyncio.create_task(place.kvtui("image-upload", "dv", "classless", *args))
    volume = await place.seen(DataVolume, "classless")
    bound = {"type": "Bound", "status": "False", "reason": "ErrClaimNotValid", "message": "no such class"}
    await place.client.patch_status(DataVolume, volume.key, {"conditions": [bound]})
    ran = await running
    assert (ran.code, "PVC classless cannot be made: no such class" in ran.err) == (ExitCode.FAILED, True)


async def serve_export(place: Place, name: str, volume: str) -> None:
    """What the export controller does once its Pod is ready."""
    export = await place.seen(VirtualMachineExport, name)
    secret = await place.seen(Secret, f"secret-{name}")
    place.proxy.token = base64.b64decode(secret.data["token"]).decode()
    formats = [{"format": "gzip", "url": f"{place.proxy.url}/volumes/disk/disk.img.gz"}]
    manifests = [
        {"type": type_, "url": f"{place.proxy.url}/manifests/{type_}"} for type_ in ("all", "auth-header-secret")
    ]
    volumes = [{"name": volume, "formats": formats}]
    link = {"cert": place.api.server.ca.read_text(), "volumes": volumes, "manifests": manifests}
    links = {"external": link, "internal": link}
    status = {"phase": "Ready", "links": links, "tokenSecretRef": secret.metadata.name}
    await place.client.patch_status(VirtualMachineExport, export.key, status)


async def test_an_export_is_made_downloaded_and_removed(place: Place, tmp_path: Path) -> None:
    place.proxy.disk = os.urandom(2_500_000)
    file = tmp_path / "disk.img"
    args = ("--pvc", "disk", "--output", str(file), "--format", "raw")
    running = asyncio.create_task(place.kvtui("vmexport", "download", "out", *args))
    await serve_export(place, "out", "disk")
    ran = await running
    assert (ran.code, ran.out) == (0, "Download finished successfully\n"), ran.err
    assert file.read_bytes() == place.proxy.disk
    assert await place.client.find(VirtualMachineExport, ("default", "out")) is None


async def test_manifests_of_an_export_are_printed_and_the_export_stays(place: Place) -> None:
    args = ("--vm", "web", "--manifest", "--include-secret", "--labels", "team=a,tier=b", "--annotations", "note=x=y")
    running = asyncio.create_task(place.kvtui("vmexport", "download", "moved", *args))
    await serve_export(place, "moved", "disk")
    ran = await running
    assert (ran.code, ran.out) == (0, "all as application/yaml\nauth-header-secret as application/yaml\n"), ran.err
    kept = await place.seen(VirtualMachineExport, "moved")
    assert kept.metadata.labels == {"team": "a", "tier": "b"}
    assert kept.metadata.annotations["note"] == "x=y"
    ran = await place.kvtui("vmexport", "download", "moved", "--manifest", "--manifest-output-format", "json")
    assert ran.out == "all as application/json\n", ran.err
    missing = await place.kvtui("vmexport", "download", "moved", "--format", "oci", "--output", "/dev/null")
    assert (missing.code, "nothing of type oci" in missing.err) == (ExitCode.NOT_FOUND, True)


async def test_an_export_goes_through_its_pod_where_the_server_can(place: Place) -> None:
    args = ("--pvc", "disk", "--port-forward", "--local-port", "0", "--output", "/dev/null")
    running = asyncio.create_task(place.kvtui("vmexport", "download", "inside", *args))
    await serve_export(place, "inside", "disk")
    ran = await running
    assert ran.code > 0
    assert "portforward is not available" in ran.err


async def test_an_export_that_nobody_serves_is_told_before_long(place: Place) -> None:
    args = ("--pvc", "disk", "--readiness-timeout", "0.3", "--output", "/dev/null")
    ran = await place.kvtui("vmexport", "download", "alone", *args)
    assert (ran.code, "this server has no export server" in ran.err) == (ExitCode.FAILED, True)
    assert await place.client.find(VirtualMachineExport, ("default", "alone")) is None


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--manifest", "--volume", "disk"), "the '--volume' flag is incompatible with '--manifest'"),
        (("--include-secret", "--output", "x"), "--include-secret goes with --manifest"),
        (("--local-port", "80", "--output", "x"), "--local-port goes with --port-forward"),
        (("--service-url", "a", "--port-forward", "--output", "x"), "exclude each other"),
        (("--vm", "a", "--vmtemplate", "b", "--output", "x"), "only one of"),
        (("--vm", "a", "--labels", "x", "--output", "x"), "--labels takes KEY=VALUE"),
    ],
)
async def test_flags_of_a_download_that_contradict_each_other(place: Place, args: tuple[str, ...], words: str) -> None:
    ran = await place.kvtui("vmexport", "download", "none", *args)
    assert (ran.code, words in ran.err) == (ExitCode.USAGE, True), ran.err


async def test_a_guestfs_shell_is_refused_with_the_reason(place: Place) -> None:
    ran = await place.kvtui("guestfs", "disk", "--kvm=false", "--pull-policy", "Always", "--fsGroup", "107")
    assert ran.code > 0
    assert "no libguestfs shell can be opened on disk: it is a container" in ran.err


async def test_exports_are_made_once_and_removed_without_complaint(place: Place) -> None:
    made = await place.kvtui("vmexport", "create", "kept", "--pvc", "disk", "--ttl", "1h")
    assert made.out == "VirtualMachineExport 'default/kept' created successfully\n", made.err
    again = await place.kvtui("vmexport", "create", "kept", "--pvc", "disk")
    assert (again.code, "'default/kept' already exists" in again.err) == (ExitCode.REFUSED, True)
    await serve_export(place, "kept", "a")
    place.proxy.token = "changed"
    ran = await place.kvtui("vmexport", "download", "kept", "--output", "/dev/null")
    assert (ran.code, "Bad status: 401" in ran.err) == (ExitCode.FAILED, True)
    assert (await place.kvtui("vmexport", "delete", "kept")).out.endswith("'default/kept' deleted successfully\n")
    gone = await place.kvtui("vmexport", "delete", "kept")
    assert (gone.code, gone.out) == (0, "VirtualMachineExport 'default/kept' does not exist\n")


async def test_a_memory_dump_is_downloaded_through_an_export(place: Place, tmp_path: Path) -> None:
    vm = await place.api.vm("dumped", runStrategy="Always")
    nothing = await place.kvtui("memory-dump", "download", "dumped", "--output", "x")
    assert "has no memory dump" in nothing.err
    request = {"memoryDumpRequest": {"claimName": "dump", "phase": "Completed"}}
    await place.client.patch_status(VirtualMachine, vm.key, request)
    place.proxy.disk = b"core" * 1000
    file = tmp_path / "dump.gz"
    running = asyncio.create_task(place.kvtui("memory-dump", "download", "dumped", "--output", str(file)))
    await serve_export(place, "export-dumped-dump", "dump")
    ran = await running
    assert ran.out == "Memory dump completed successfully\nDownload finished successfully\n", ran.err
    assert gzip.decompress(file.read_bytes()) == place.proxy.disk
    assert await place.client.find(VirtualMachineExport, ("default", "export-dumped-dump")) is None
