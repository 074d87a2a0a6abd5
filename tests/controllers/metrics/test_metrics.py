"""What the metrics endpoint says."""

from __future__ import annotations

from kvtui.controllers.metrics.machines import group_of, vm_families, vmi_families
from kvtui.controllers.metrics.migrations import migration_families
from kvtui.controllers.metrics.registry import Metrics, gauge
from tests.controllers.builders import migration, vm, vmi


def test_the_text_format() -> None:
    metrics = Metrics()
    counter = metrics.counter("hits_total", "Hits.")
    counter.add(namespace="a")
    counter.add(2, namespace="a")
    histogram = metrics.histogram("seconds", "Time.", (1.0, 5.0))
    for value in (0.5, 1.0, 3.0, 9.0):
        histogram.observe(value, phase="Running")
    metrics.collect(lambda: [gauge("odd", 'A "quoted"\nline.', [({"name": 'a"b\\c\nd'}, 0.5)])])
    assert metrics.text() == (
        "# HELP hits_total Hits.\n"
        "# TYPE hits_total counter\n"
        'hits_total{namespace="a"} 3\n'
        "# HELP seconds Time.\n"
        "# TYPE seconds histogram\n"
        'seconds_bucket{phase="Running",le="1"} 2\n'
        'seconds_bucket{phase="Running",le="5"} 3\n'
        'seconds_bucket{phase="Running",le="+Inf"} 4\n'
        'seconds_sum{phase="Running"} 13.5\n'
        'seconds_count{phase="Running"} 4\n'
        '# HELP odd A "quoted"\\nline.\n'
        "# TYPE odd gauge\n"
        'odd{name="a\\"b\\\\c\\nd"} 0.5\n'
    )


def test_every_printable_status_has_a_group() -> None:
    words = {
        "Running": "running",
        "Starting": "starting",
        "Provisioning": "starting",
        "Migrating": "migrating",
        "Paused": "non_running",
        "Stopped": "non_running",
        "CrashLoopBackOff": "error",
        "Unknown": "error",
        "SomethingNew": "<unknown>",
    }
    assert {word: group_of(word) for word in words} == words


def samples(families: object) -> dict[str, list[tuple[dict[str, str], float]]]:
    return {f.name: [(dict(labels), value) for _, labels, value in f.samples] for f in families}  # type: ignore[attr-defined]


def test_vm_info() -> None:
    found = samples(vm_families([vm(status={"printableStatus": "Running"})], {}))
    labels, value = found["kubevirt_vm_info"][0]
    assert value == 1
    assert labels["status"] == "running"
    assert labels["status_group"] == "running"
    assert found["kubevirt_vm_running_status_last_transition_timestamp_seconds"][0][1] > 0
    assert found["kubevirt_vm_error_status_last_transition_timestamp_seconds"][0][1] == 0
    assert found["namespace:kubevirt_vm:sum"] == [({"namespace": "default"}, 1)]
    memory = [v for labels, v in found["kubevirt_vm_resource_requests"] if labels["resource"] == "memory"]
    assert memory == [2**30]


def test_vmi_info() -> None:
    strict = vmi(spec={"evictionStrategy": "LiveMigrate"})
    found = samples(vmi_families([strict], "None", {"vmi-uid": "virt-launcher-web-abcde"}))
    labels, _ = found["kubevirt_vmi_info"][0]
    assert (labels["phase"], labels["node"], labels["evictable"]) == ("running", "node-1", "false")
    assert labels["vmi_pod"] == "virt-launcher-web-abcde"
    assert found["kubevirt_vmi_non_evictable"][0][1] == 1
    for name in ("node:kubevirt_vmi_phase:sum", "kubevirt_vmi_phase_count"):
        ((labels, count),) = found[name]
        assert (labels["node"], labels["phase"], count) == ("node-1", "running", 1)


def test_migrations_are_counted_by_phase() -> None:
    known = [migration("a"), migration("b", phase="Scheduled"), migration("c", phase="Failed")]
    found = samples(migration_families(known))
    counts = {word: found[f"kubevirt_vmi_migrations_in_{word}_phase"][0][1] for word in ("unset", "pending", "running")}
    assert counts == {"unset": 1, "pending": 0, "running": 1}
    assert found["kubevirt_vmi_migration_failed"] == [({"vmi": "web", "vmim": "c", "namespace": "default"}, 1)]
