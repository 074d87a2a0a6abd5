"""What a node tells of its guests, read as a scraper reads it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kvtui.node.guestanswers import GuestFilesystem, GuestLoad, filesystems, load
from kvtui.node.guestmetrics import Guest, Moving, guest_families, migration_families, node_families
from kvtui.node.hypervisor import JobStats
from kvtui.node.observe import parse, read
from tests.fakes.scraper import Scrape, scrape

NODE = "node-1"
WHO = {"node": NODE, "namespace": "default", "name": "web"}
CAPTURES = Path(__file__).parent / "captures"


def captured(name: str) -> dict[str, object]:
    """What a real libvirt said."""
    found: dict[str, object] = json.loads((CAPTURES / f"{name}.json").read_text())
    return found


def told(*guests: Guest) -> Scrape:
    return scrape(guest_families(NODE, guests))


def a_guest(**fields: object) -> Guest:
    return Guest(namespace="default", name="web", **fields)  # type: ignore[arg-type]


STATS: dict[str, object] = {
    "cpu.time": 12_500_000_000,
    "cpu.user": 2_000_000_000,
    "cpu.system": 500_000_000,
    "balloon.current": 1024,
    "balloon.maximum": 2048,
    "balloon.rss": 512,
    "balloon.available": 1000,
    "balloon.usable": 400,
    "balloon.unused": 300,
    "balloon.disk_caches": 100,
    "balloon.swap_in": 1,
    "balloon.swap_out": 2,
    "balloon.major_fault": 7,
    "balloon.minor_fault": 9,
    "vcpu.current": 2,
    "vcpu.maximum": 4,
    "vcpu.0.state": 1,
    "vcpu.0.time": 3_000_000_000,
    "vcpu.0.wait": 1_000_000_000,
    "vcpu.0.delay": 250_000_000,
    "vcpu.3.state": 2,
    "vcpu.3.time": 1_000_000_000,
    "net.count": 2,
    "net.0.name": "tap0",
    **{
        f"net.0.{way}.{what}": 10 * n for n, way in ((1, "rx"), (2, "tx")) for what in ("bytes", "pkts", "errs", "drop")
    },
    "net.1.name": "tap1",
    "net.1.rx.bytes": 5,
    "block.count": 2,
    "block.0.name": "vda",
    "block.0.rd.reqs": 11,
    "block.0.rd.bytes": 4096,
    "block.0.rd.times": 2_000_000_000,
    "block.0.wr.reqs": 12,
    "block.0.wr.bytes": 8192,
    "block.0.wr.times": 3_000_000_000,
    "block.0.fl.reqs": 3,
    "block.0.fl.times": 500_000_000,
    "block.1.name": "sda",
    "dirtyrate.calc_status": 2,
    "dirtyrate.megabytes_per_second": 3,
}
NAMES = {"tap0": "default", "vda": "root"}
TABLE = {
    ("cpu_usage_seconds_total", ""): 12.5,
    ("cpu_user_usage_seconds_total", ""): 2,
    ("cpu_system_usage_seconds_total", ""): 0.5,
    ("memory_resident_bytes", ""): 512 * 1024,
    ("memory_available_bytes", ""): 1000 * 1024,
    ("memory_usable_bytes", ""): 400 * 1024,
    ("memory_unused_bytes", ""): 300 * 1024,
    ("memory_cached_bytes", ""): 100 * 1024,
    ("memory_actual_balloon_bytes", ""): 2**20,
    ("memory_domain_bytes", ""): 2**21,
    ("memory_swap_in_traffic_bytes", ""): 1024,
    ("memory_swap_out_traffic_bytes", ""): 2048,
    ("memory_pgmajfault_total", ""): 7,
    ("memory_pgminfault_total", ""): 9,
    ("vcpu_seconds_total", "id=0,state=running"): 3,
    ("vcpu_seconds_total", "id=3,state=blocked"): 1,
    ("vcpu_wait_seconds_total", "id=0"): 1,
    ("vcpu_delay_seconds_total", "id=0"): 0.25,
    ("network_receive_bytes_total", "interface=default"): 10,
    ("network_receive_bytes_total", "interface=tap1"): 5,
    ("network_transmit_bytes_total", "interface=default"): 20,
    ("network_receive_packets_total", "interface=default"): 10,
    ("network_transmit_packets_total", "interface=default"): 20,
    ("network_receive_errors_total", "interface=default"): 10,
    ("network_transmit_errors_total", "interface=default"): 20,
    ("network_receive_packets_dropped_total", "interface=default"): 10,
    ("network_transmit_packets_dropped_total", "interface=default"): 20,
    ("network_traffic_bytes_total", "interface=default,type=rx"): 10,
    ("network_traffic_bytes_total", "interface=default,type=tx"): 20,
    ("storage_iops_read_total", "drive=root"): 11,
    ("storage_iops_write_total", "drive=root"): 12,
    ("storage_read_traffic_bytes_total", "drive=root"): 4096,
    ("storage_write_traffic_bytes_total", "drive=root"): 8192,
    ("storage_read_times_seconds_total", "drive=root"): 2,
    ("storage_write_times_seconds_total", "drive=root"): 3,
    ("storage_flush_requests_total", "drive=root"): 3,
    ("storage_flush_times_seconds_total", "drive=root"): 0.5,
    ("dirty_rate_bytes_per_second", ""): 3 * 2**20,
    ("node_cpu_affinity", ""): 8,
}


@pytest.mark.parametrize(("name", "extra"), TABLE, ids=" ".join)
def test_each_statistic_has_its_metric_in_its_unit(name: str, extra: str) -> None:
    found = told(a_guest(stats=STATS, devices=NAMES, affinity=8))
    more = dict(pair.split("=") for pair in extra.split(",") if pair)
    rows = {frozenset(labels.items()): value for labels, value in found[f"kubevirt_vmi_{name}"]}
    assert rows[frozenset((WHO | more).items())] == TABLE[name, extra]
    assert found.types[f"kubevirt_vmi_{name}"] == ("counter" if name.endswith("_total") else "gauge")


def test_nothing_is_told_that_libvirt_does_not_tell() -> None:
    assert told(a_guest()).samples == {}
    assert told(a_guest(stats={"balloon.rss": "much", "dirtyrate.calc_status": 1})).samples == {}


def test_upstreams_sums_are_told_outright() -> None:
    found = told(a_guest(stats=STATS, load=GuestLoad((3.5, 1.0, 0.5))))
    for name in ("vmi:kubevirt_vmi_memory_used_bytes:sum", "kubevirt_vmi_memory_used_bytes"):
        assert found[name] == [(WHO, 600 * 1024)]
    assert found["vmi:kubevirt_vmi_vcpu:count"] == [(WHO, 2)]
    assert found["vmi:kubevirt_vmi_guest_queue_length:sum"] == [(WHO, 1.5)]


def test_what_guest_agents_tell() -> None:
    mounted = GuestFilesystem("vda1", "/", "ext4", 10, 100)
    found = told(a_guest(filesystems=(mounted,), load=GuestLoad((0.5, 0.25, 0.125))))
    where = {**WHO, "disk_name": "vda1", "mount_point": "/", "file_system_type": "ext4"}
    assert found["kubevirt_vmi_filesystem_capacity_bytes"] == [(where, 100)]
    assert found["kubevirt_vmi_filesystem_used_bytes"] == [(where, 10)]
    assert [found.one(f"kubevirt_vmi_guest_load_{n}m") for n in (1, 5, 15)] == [0.5, 0.25, 0.125]


def test_a_guest_that_lies_spoils_nobodys_metrics() -> None:
    evil = 'C:\\"} 1\nkubevirt_vmi_info{name="other'
    disk = {"name": evil, "mountpoint": evil, "type": "\u2028", "used-bytes": 1, "total-bytes": 2}
    answer = json.dumps({"return": [disk, disk, {**disk, "name": "b"}]})
    liar = Guest(namespace="a", name="liar", filesystems=filesystems(answer), labels={'x"}/y': evil})
    found = told(liar, a_guest(stats={"cpu.time": 10**9}))
    assert set(found.samples) == {
        "kubevirt_vmi_filesystem_capacity_bytes",
        "kubevirt_vmi_filesystem_used_bytes",
        "kubevirt_vmi_cpu_usage_seconds_total",
    }
    assert len(found["kubevirt_vmi_filesystem_used_bytes"]) == 2
    assert found["kubevirt_vmi_filesystem_used_bytes"][0][0]["kubernetes_vmi_label_x___y"] == evil


def test_labels_of_the_instance_are_on_every_metric_of_its_guest() -> None:
    stats = {"cpu.time": 10**9, "block.count": 1, "block.0.name": "vda", "block.0.rd.reqs": 1}
    found = told(a_guest(stats=stats, labels={"app.kubernetes.io/part-of": "shop"}))
    for name in ("kubevirt_vmi_cpu_usage_seconds_total", "kubevirt_vmi_storage_iops_read_total"):
        assert found[name][0][0]["kubernetes_vmi_label_app_kubernetes_io_part_of"] == "shop"


def test_two_guests_or_devices_of_one_name_are_told_once() -> None:
    stats = {"net.count": 2, "net.0.name": "a", "net.0.rx.bytes": 1, "net.1.name": "b", "net.1.rx.bytes": 2}
    twice = a_guest(stats=stats, devices={"a": "b"})
    assert told(twice, twice)["kubevirt_vmi_network_receive_bytes_total"] == [({**WHO, "interface": "b"}, 1)]


@pytest.mark.parametrize("name", ["test-driver", "qemu"])
def test_what_a_real_libvirt_says_becomes_metrics(name: str) -> None:
    scrape(guest_families(NODE, [a_guest(stats=captured(name))]))


def test_a_real_guest_has_every_metric_that_a_guest_without_agent_has() -> None:
    found = told(a_guest(stats=captured("qemu"), devices={"vda": "root", "tapk0": "default"}, affinity=2))
    wanted = {f"kubevirt_vmi_{name}" for name, _ in TABLE}
    assert wanted <= set(found.samples)
    assert found.one("kubevirt_vmi_cpu_usage_seconds_total") > 0
    assert found.one("kubevirt_vmi_storage_read_traffic_bytes_total", drive="root") > 0


def test_a_migration_is_told_in_bytes() -> None:
    job = JobStats(data_total=100, data_processed=60, data_remaining=40, dirty_rate=7, memory_rate=9)
    found = scrape(migration_families(NODE, [Moving("default", "web", job)]))
    assert found.samples == {
        "kubevirt_vmi_migration_data_bytes_total": [(WHO, 100)],
        "kubevirt_vmi_migration_data_total_bytes": [(WHO, 100)],
        "kubevirt_vmi_migration_data_processed_bytes": [(WHO, 60)],
        "kubevirt_vmi_migration_data_remaining_bytes": [(WHO, 40)],
        "kubevirt_vmi_migration_dirty_memory_rate_bytes": [(WHO, 7)],
        "kubevirt_vmi_migration_memory_transfer_rate_bytes": [(WHO, 9)],
    }
    assert found.types["kubevirt_vmi_migration_data_bytes_total"] == "counter"
    assert found.types["kubevirt_vmi_migration_data_remaining_bytes"] == "gauge"


def test_what_a_node_is() -> None:
    found = scrape(node_families(node=NODE, version="v1.9.0", ready=True, deprecated=("pc-i440fx-2.4",)))
    assert found.one("kubevirt_virt_handler_ready_status") == 1
    assert found.one("kubevirt_info", kubeversion="v1.9.0") == 1
    assert found.one("kubevirt_node_deprecated_machine_types", machine_type="pc-i440fx-2.4", node=NODE) == 1


PINNED = "<cputune><vcpupin vcpu='0' cpuset='0-3,^2'/><vcpupin vcpu='7' cpuset='1'/></cputune>"


@pytest.mark.parametrize(
    ("description", "pairs"),
    [
        ("<domain><vcpu>2</vcpu></domain>", 16),
        ("<domain><vcpu current='1'>4</vcpu></domain>", 8),
        ("<domain><vcpu cpuset='0-1'>2</vcpu></domain>", 4),
        (f"<domain><vcpu>2</vcpu>{PINNED}</domain>", 3 + 8),
        ("<domain/>", 8),
    ],
)
def test_affinity_counts_pairs_of_a_vcpu_and_a_cpu(description: str, pairs: int) -> None:
    assert read(parse(description)).affinity(8) == pairs


def test_devices_are_known_by_their_targets() -> None:
    live = read(
        parse(
            "<domain><devices>"
            "<disk device='disk'><target dev='vda'/><alias name='ua-root'/></disk>"
            "<disk device='cdrom'><target dev='sda'/><alias name='sata0-0-0'/></disk>"
            "<interface><target dev='tap1'/><alias name='ua-default'/></interface>"
            "<interface><alias name='ua-user'/></interface>"
            "<panic model='hyperv'/></devices></domain>"
        )
    )
    assert live.devices == {"vda": "root", "tap1": "default"}
    assert live.panic == "hyperv"


def test_the_load_of_a_guest() -> None:
    assert load('{"return": {"load1m": 0.5, "load5m": 1, "load15m": 2.25}}').averages == (0.5, 1.0, 2.25)
