"""What a guest is told of its node: the disk's bytes, the channel's words."""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path
from xml.etree import ElementTree

import pytest

from kvtui.api.kubevirt.domain import DownwardMetrics as Device
from kvtui.api.kubevirt.vmi import DownwardMetricsVolumeSource, Volume
from kvtui.node import downwardmetrics
from kvtui.node.downwardmetrics import DISK_BYTES, INVALID, REQUEST, Metric
from kvtui.node.downwardserver import DownwardMetrics
from kvtui.node.hypervisor import DomainId
from tests.fakes.hypervisor import FakeHypervisor
from tests.node.builders import UUID, vmi

WORDS = [Metric("HostName", "a<b&c", "string", "host"), Metric("Time", "7", "int64", "host", "s")]


def test_the_document_has_every_metric_escaped() -> None:
    root = ElementTree.fromstring(downwardmetrics.document(WORDS))
    found = [(m.findtext("name"), m.findtext("value"), m.get("type"), m.get("context"), m.get("unit")) for m in root]
    assert found == [("HostName", "a<b&c", "string", "host", None), ("Time", "7", "int64", "host", "s")]


def test_a_guest_reads_header_sum_and_document_off_its_disk(tmp_path: Path) -> None:
    disk, body = tmp_path / "vhostmd0", downwardmetrics.document(WORDS)
    downwardmetrics.create(disk)
    assert disk.stat().st_size == DISK_BYTES
    downwardmetrics.update(disk, body)
    downwardmetrics.create(disk)
    data = disk.read_bytes()
    signature, busy, total, length = struct.unpack(">4siii", data[:16])
    assert (signature, busy, total, length) == (b"mvbd", 0, sum(body), len(body))
    assert data[16 : 16 + length] == body
    assert len(data) == DISK_BYTES


def test_a_document_that_does_not_fit_leaves_the_last_one(tmp_path: Path) -> None:
    disk = tmp_path / "vhostmd0"
    downwardmetrics.create(disk)
    before = disk.read_bytes()
    downwardmetrics.update(disk, b"x" * DISK_BYTES)
    assert disk.read_bytes() == before


@pytest.mark.parametrize(
    ("asked", "answered", "left"),
    [
        (REQUEST, [b"<m/>\n\n"], b""),
        (REQUEST[:5], [], REQUEST[:5]),
        (REQUEST + REQUEST[:3], [b"<m/>\n\n"], REQUEST[:3]),
        (b"GET /etc/passwd\n\n", [INVALID], b""),
        (b"x" * 5000, [INVALID], b""),
    ],
)
def test_the_channel_answers_one_request_only(asked: bytes, answered: list[bytes], left: bytes) -> None:
    buffer = bytearray(asked)
    assert list(downwardmetrics.answers(buffer, b"<m/>\n")) == answered
    assert bytes(buffer) == left


def test_a_domain_has_its_own_numbers() -> None:
    found = {m.name: m.value for m in downwardmetrics.guest_metrics({"cpu.time": 1_500_000_000, "vcpu.current": 2})}
    assert found["TotalCPUTime"] == "1.500000"
    assert found["ResourceProcessorLimit"] == "2"
    assert found["ResourceMemoryLimit"] == "0"


async def test_a_guest_that_asks_for_metrics_has_them_on_disk_and_channel(tmp_path: Path) -> None:
    (tmp_path / "disks").mkdir()
    downwardmetrics.create(tmp_path / "disks" / "vhostmd0")
    volumes = [Volume(name="m", downward_metrics=DownwardMetricsVolumeSource())]
    instance = vmi(volumes=volumes, devices={"downward_metrics": Device()})
    asked: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def guest(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(REQUEST)
        asked.set_result(await reader.readuntil(b"\n\n"))
        writer.close()

    server = await asyncio.start_unix_server(guest, str(tmp_path / "downwardmetrics"))
    async with server:
        metrics = DownwardMetrics(FakeHypervisor())
        running = asyncio.create_task(metrics.run())
        await asyncio.sleep(0)
        metrics.watch(instance, DomainId(UUID), tmp_path, tmp_path)
        answer = await asyncio.wait_for(asked, 10)
        metrics.forget(instance.metadata.uid)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert answer.endswith(b"\n")
