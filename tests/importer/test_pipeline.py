"""Imports from real servers into real directories: right bytes, right size, nothing left behind."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import json
import os
import struct
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kvtui.api.wire import evolve, to_json
from kvtui.api.worker import (
    BlankSource,
    CloneSource,
    Credentials,
    HttpSource,
    Job,
    Outcome,
    Progress,
    RegistrySource,
    Work,
)
from kvtui.importer.errors import TOO_SMALL
from kvtui.importer.pipeline import run
from tests.fakes.images import (
    MIB,
    ImageServer,
    OciRegistry,
    authority,
    image_server,
    oci_registry,
    qcow2,
    raw_disk,
)


@pytest.fixture
async def server() -> AsyncIterator[ImageServer]:
    async with image_server() as running:
        yield running


@pytest.fixture
async def registry(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OciRegistry]:
    async with oci_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    path = tmp_path / "volume"
    path.mkdir()
    return path


def work(volume: Path, *, size: int = 16 * MIB, credentials: Credentials | None = None, **source: object) -> Work:
    job = Job(uid="0a1b-2c", claim="c", size=size, overhead=0.06, **source)  # type: ignore[arg-type]
    return Work(job=job, target=str(volume), credentials=credentials or Credentials())


async def do(order: Work) -> tuple[Outcome, list[Progress]]:
    seen: list[Progress] = []
    return await run(order, seen.append), seen


def left(volume: Path) -> list[str]:
    return sorted(os.listdir(volume))


async def test_a_raw_image_is_written_in_place_with_its_holes(server: ImageServer, volume: Path) -> None:
    server.files["/disk.img"] = raw_disk()
    outcome, seen = await do(work(volume, http=HttpSource(url=f"{server.url}/disk.img")))
    assert outcome == Outcome(ok=True, reason="Completed", virtual_size=15 * MIB)
    data = (volume / "disk.img").read_bytes()
    assert data[: 4 * MIB] == raw_disk()
    assert len(data) == 15 * MIB
    assert (volume / "disk.img").stat().st_blocks * 512 < MIB
    assert (volume / "disk.img").stat().st_mode & 0o777 == 0o600
    assert left(volume) == ["disk.img"]
    assert seen[-1].percent == 100
    assert {p.stage for p in seen} == {"Transfer", "Resize"}


@pytest.mark.parametrize("compressed", [False, True])
async def test_a_qcow2_becomes_raw(server: ImageServer, volume: Path, tmp_path: Path, compressed: bool) -> None:
    data = qcow2(tmp_path / "image.qcow2", raw_disk()).read_bytes()
    server.files["/image"] = gzip.compress(data) if compressed else data
    outcome, _ = await do(work(volume, http=HttpSource(url=f"{server.url}/image")))
    assert outcome.ok, outcome
    assert (volume / "disk.img").read_bytes()[: 4 * MIB] == raw_disk()
    assert left(volume) == ["disk.img"]


async def test_the_usable_size_of_a_gibibyte_is_966_mebibytes(volume: Path) -> None:
    outcome, _ = await do(work(volume, size=1024 * MIB, blank=BlankSource()))
    assert outcome.virtual_size == 966 * MIB
    assert (volume / "disk.img").stat().st_size == 966 * MIB


async def test_an_image_that_does_not_fit_says_so_and_leaves_nothing(
    server: ImageServer, volume: Path, tmp_path: Path
) -> None:
    server.files["/raw"] = raw_disk()
    server.files["/qcow2"] = qcow2(tmp_path / "big.qcow2", raw_disk(8 * MIB)).read_bytes()
    for name in ("raw", "qcow2"):
        outcome, _ = await do(work(volume, size=2 * MIB, http=HttpSource(url=f"{server.url}/{name}")))
        assert (outcome.ok, outcome.message, outcome.reason) == (False, TOO_SMALL, "Error")
        assert left(volume) == []


async def test_a_missing_file_is_worded_as_upstream_does(server: ImageServer, volume: Path) -> None:
    outcome, _ = await do(work(volume, http=HttpSource(url=f"{server.url}/nothing")))
    assert outcome.message == (
        "Unable to connect to http data source: expected status code 200, got 404. Status: 404 Not Found"
    )
    assert not outcome.fatal


async def test_nobody_listening_is_an_error_not_a_crash(volume: Path) -> None:
    outcome, _ = await do(work(volume, http=HttpSource(url="http://127.0.0.1:1/x")))
    assert outcome.message.startswith(
        "Unable to connect to http data source: HTTP request errored: dial tcp 127.0.0.1:1"
    )


async def test_a_connection_that_breaks_off_is_a_failed_pull(server: ImageServer, volume: Path) -> None:
    server.files["/disk"] = raw_disk()
    server.cut["/disk"] = MIB
    outcome, _ = await do(work(volume, http=HttpSource(url=f"{server.url}/disk")))
    assert outcome.reason == "ImagePullFailed"
    assert "failed to pull image: unexpected EOF" in outcome.message
    assert left(volume) == []


async def test_a_checksum_is_compared_before_anything_is_published(server: ImageServer, volume: Path) -> None:
    server.files["/disk"] = raw_disk()
    digest = hashlib.sha256(raw_disk()).hexdigest()
    good, _ = await do(work(volume, http=HttpSource(url=f"{server.url}/disk", checksum=f"sha256:{digest}")))
    assert good.ok
    (volume / "disk.img").unlink()
    bad, _ = await do(work(volume, http=HttpSource(url=f"{server.url}/disk", checksum="md5:" + "0" * 32)))
    assert (bad.reason, bad.fatal) == ("ChecksumError", True)
    assert bad.message.startswith("checksum validation failed: checksum mismatch: expected md5:000")
    assert left(volume) == []


async def test_work_that_was_published_before_a_crash_is_not_done_twice(server: ImageServer, volume: Path) -> None:
    server.files["/disk"] = raw_disk()
    order = work(volume, http=HttpSource(url=f"{server.url}/disk"))
    assert (await do(order))[0].ok
    server.files.clear()
    assert (await do(order))[0].ok
    other = evolve(order, job=evolve(order.job, uid="another"))
    assert not (await do(other))[0].ok


async def test_credentials_stay_with_the_origin(server: ImageServer, volume: Path) -> None:
    async with image_server() as elsewhere:
        elsewhere.files["/disk"] = raw_disk()
        server.redirects["/moved"] = f"{elsewhere.url}/disk"
        source = HttpSource(url=f"{server.url}/moved", extra_headers=["X-Extra: mine"])
        outcome, _ = await do(work(volume, http=source, credentials=Credentials(access_key="u", secret_key="p")))
        assert outcome.ok, outcome
        basic = "Basic " + base64.b64encode(b"u:p").decode()
        assert server.log == [("/moved", basic, "mine")]
        assert elsewhere.log == [("/disk", "", "")]


async def test_endless_redirects_end(server: ImageServer, volume: Path) -> None:
    server.redirects["/a"] = f"{server.url}/a"
    outcome, _ = await do(work(volume, http=HttpSource(url=f"{server.url}/a")))
    assert "stopped after 10 redirects" in outcome.message


async def test_an_own_authority_is_trusted_only_when_named(volume: Path, tmp_path: Path) -> None:
    ca = authority(tmp_path)
    async with image_server(tls=ca.context) as server:
        server.files["/disk"] = raw_disk()
        source = HttpSource(url=f"{server.url}/disk")
        refused, _ = await do(work(volume, http=source))
        assert "x509" in refused.message
        trusted, _ = await do(work(volume, http=source, credentials=Credentials(ca_bundle=ca.pem)))
        assert trusted.ok, trusted


async def test_an_image_with_a_backing_file_is_refused_unopened(
    server: ImageServer, volume: Path, tmp_path: Path
) -> None:
    image = tmp_path / "evil.qcow2"
    command = ["qemu-img", "create", "-u", "-q", "-f", "qcow2", "-F", "raw", "-b", "/etc/passwd", str(image), "4M"]
    subprocess.run(command, check=True)
    server.files["/evil"] = image.read_bytes()
    outcome, _ = await do(work(volume, http=HttpSource(url=f"{server.url}/evil")))
    assert "invalid backing file /etc/passwd" in outcome.message
    assert left(volume) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda b: b[:600],
        lambda b: b[:24] + struct.pack(">Q", 2**62) + b[32:],
        lambda b: b[:4] + b"\xff" * 100 + b[104:],
    ],
)
async def test_damaged_and_hostile_images_are_errors(
    server: ImageServer, volume: Path, tmp_path: Path, change: object
) -> None:
    assert callable(change)
    server.files["/bad"] = change(qcow2(tmp_path / "x.qcow2", raw_disk()).read_bytes())
    outcome, _ = await do(work(volume, http=HttpSource(url=f"{server.url}/bad")))
    assert not outcome.ok
    assert outcome.message
    assert left(volume) == []


async def test_a_clone_has_the_bytes_and_grows(volume: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "disk.img").write_bytes(raw_disk())
    order = evolve(work(volume, clone=CloneSource(claim="s")), source=str(source))
    outcome, _ = await do(order)
    assert outcome.ok, outcome
    assert (volume / "disk.img").read_bytes()[: 4 * MIB] == raw_disk()
    assert (volume / "disk.img").stat().st_size == 15 * MIB


async def test_the_first_layer_with_a_disk_decides(registry: OciRegistry, volume: Path, tmp_path: Path) -> None:
    layers = [{"etc/os": b"x"}, {"disk/base.img": raw_disk()}, {"disk/other.img": b"y" * 4096}]
    env = ("INSTANCETYPE_KUBEVIRT_IO_DEFAULT_PREFERENCE=fedora",)
    url = registry.push("vm/disk:1", layers, tmp_path / "layout", env=env)
    outcome, _ = await do(work(volume, registry=RegistrySource(url=url, insecure=True)))
    assert outcome.ok, outcome
    assert outcome.labels == {"instancetype.kubevirt.io/default-preference": "fedora"}
    assert (volume / "disk.img").read_bytes()[: 4 * MIB] == raw_disk()


async def test_registry_errors_say_what_is_wrong(registry: OciRegistry, volume: Path, tmp_path: Path) -> None:
    nothing = registry.push("vm/none:1", [{"etc/x": b"1"}], tmp_path / "a")
    arm = registry.push("vm/arm:1", [{"disk/d": raw_disk()}], tmp_path / "b", arch="arm64")
    cases = {
        nothing: "Failed to find VM disk image file in the container image",
        arm: 'manifest image architecture: "arm64" doesn\'t match requested architecture: "amd64"',
        f"docker://{registry.address}/vm/gone:1": "manifest unknown",
        "docker://127.0.0.1:1/x:1": "failed to pull image",
        "docker://UPPER/x": "is not the name of an image",
        "http://x/y": "Illegal registry source URL scheme",
    }
    for url, words in cases.items():
        source = RegistrySource(url=url, insecure=True, architecture="amd64")
        outcome, _ = await do(work(volume, registry=source))
        assert words in outcome.message
        assert left(volume) == []


async def test_mirrors_of_registries_conf_are_used(registry: OciRegistry, volume: Path, tmp_path: Path) -> None:
    registry.push("m/fedora:latest", [{"disk/d": raw_disk()}], tmp_path / "layout")
    conf = tmp_path / "registries.conf"
    mirror = f'[[registry.mirror]]\nlocation = "{registry.address}/m"\ninsecure = true\n'
    conf.write_text('[[registry]]\nprefix = "quay.io/kubevirt"\n' + mirror)
    order = work(volume, registry=RegistrySource(url="docker://quay.io/kubevirt/fedora:latest"))
    outcome, _ = await do(evolve(order, registries_conf=str(conf)))
    assert outcome.ok, outcome


async def test_the_worker_process_speaks_lines(server: ImageServer, volume: Path) -> None:
    server.files["/disk"] = raw_disk()
    order = to_json(work(volume, http=HttpSource(url=f"{server.url}/disk")))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "kvtui.importer"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    out, _ = await process.communicate(order + b"\n")
    lines = [json.loads(line) for line in out.splitlines()]
    assert process.returncode == 0
    assert lines[-1]["outcome"]["ok"] is True
    assert all("progress" in line for line in lines[:-1])
