"""What the controllers' metrics say, read as a scraper reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from kvtui.api.core.node import Node
from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.wire import from_wire
from kvtui.controllers.metrics.components import component_families, node_families
from kvtui.controllers.metrics.machines import group_of, vm_families, vmi_families
from kvtui.controllers.metrics.migrations import migration_families, times_families
from kvtui.controlloop.exposition import Family
from tests.controllers.builders import guest, migration, vm, vmi
from tests.fakes.scraper import scrape

SPOKEN = 1772362800  # 2026-03-01T11:00:00Z


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


def test_vm_info() -> None:
    found = scrape(vm_families([vm(status={"printableStatus": "Running"})], {}))
    (labels, value) = found["kubevirt_vm_info"][0]
    assert value == 1
    assert labels == {"name": "web", "namespace": "default", "status": "running", "status_group": "running"}
    assert found.one("namespace:kubevirt_vm:sum", namespace="default") == 1
    assert found.one("kubevirt_number_of_vms", namespace="default") == 1
    assert found.one("kubevirt_vm_create_date_timestamp_seconds") == SPOKEN
    assert found.one("kubevirt_vm_vnic_info", vnic_name="default") == 1


@pytest.mark.parametrize(
    ("status", "group"),
    [("Running", "running"), ("Paused", "non_running"), ("ErrorUnschedulable", "error"), ("SomethingNew", "error")],
)
def test_a_vm_entered_the_group_of_its_status_when_its_condition_changed(status: str, group: str) -> None:
    conditions = [
        {"type": "Ready", "status": "True", "lastTransitionTime": "2026-03-01T11:05:00Z"},
        {"type": "LiveMigratable", "status": "True", "lastTransitionTime": "2026-03-01T11:55:00Z"},
    ]
    found = scrape(vm_families([vm(status={"printableStatus": status, "conditions": conditions})], {}))
    for word in ("starting", "running", "migrating", "non_running", "error"):
        name = f"kubevirt_vm_{word}_status_last_transition_timestamp_seconds"
        assert found.types[name] == "counter"
        assert found.one(name) == (SPOKEN + 300 if word == group else 0)


def requests(machine: VirtualMachine) -> dict[tuple[str, str, str], float]:
    rows = scrape(vm_families([machine], {}))["kubevirt_vm_resource_requests"]
    return {(row["resource"], row["unit"], row["source"]): value for row, value in rows}


def test_what_a_vm_asks_for_is_told_by_where_it_says_so() -> None:
    topology = {"cpu": {"sockets": 2, "cores": 3, "threads": 1}, "memory": {"guest": "2Gi"}}
    spec = guest(**topology, resources={"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": "2"}})
    machine = vm(spec={"template": {"spec": spec}})
    assert requests(machine) == {
        ("cpu", "cores", "domain"): 3,
        ("cpu", "threads", "domain"): 1,
        ("cpu", "sockets", "domain"): 2,
        ("cpu", "cores", "requests"): 0.5,
        ("cpu", "cores", "guest_effective"): 6,
        ("memory", "bytes", "domain"): 2**30,
        ("memory", "bytes", "guest"): 2**31,
        ("memory", "bytes", "guest_effective"): 2**31,
    }
    limits = scrape(vm_families([machine], {}))["kubevirt_vm_resource_limits"]
    assert limits == [({"name": "web", "namespace": "default", "resource": "cpu", "unit": "cores"}, 2)]


def test_a_vm_that_asks_for_no_cpu_has_one() -> None:
    machine = from_wire(
        {"metadata": {"name": "bare", "namespace": "default"}, "spec": {"template": {"spec": {"domain": {}}}}},
        VirtualMachine,
    )
    assert requests(machine) == {
        ("cpu", "cores", "default"): 1,
        ("cpu", "threads", "default"): 1,
        ("cpu", "sockets", "default"): 1,
        ("cpu", "cores", "guest_effective"): 1,
    }


def test_labels_of_vms_become_labels_of_metrics_whatever_they_are_called() -> None:
    odd = vm(metadata={"labels": {"app.kubernetes.io/name": 'a"b\\c', "9lives": "x", "name": "own"}})
    ((labels, _),) = scrape(vm_families([odd, vm("bare")], {}))["kubevirt_vm_labels"]
    assert labels["label_app_kubernetes_io_name"] == 'a"b\\c'
    assert (labels["label_9lives"], labels["label_name"], labels["name"]) == ("x", "own", "web")


def test_vmi_info() -> None:
    strict = vmi(spec={"evictionStrategy": "LiveMigrate"}, status={"machine": {"type": "pc-q35-8.2"}})
    found = scrape(vmi_families([strict], "None", {("vmi-uid", "node-1"): "virt-launcher-web-abcde"}))
    labels, _ = found["kubevirt_vmi_info"][0]
    assert (labels["phase"], labels["node"], labels["evictable"]) == ("running", "node-1", "false")
    assert labels["vmi_pod"] == "virt-launcher-web-abcde"
    assert labels["guest_os_machine"] == "pc-q35-8.2"
    assert found.one("kubevirt_vmi_non_evictable", name="web") == 1
    for name in ("node:kubevirt_vmi_phase:sum", "kubevirt_vmi_phase_count"):
        assert found.one(name, node="node-1", phase="running") == 1


def test_addresses_of_a_vmi() -> None:
    interfaces = [
        {"name": "default", "ipAddress": "10.0.2.2", "ipAddresses": ["10.0.2.2", "fd00::2"]},
        {"interfaceName": "docker0"},
        {"mac": "02:00:00:00:00:01"},
    ]
    found = scrape(vmi_families([vmi(status={"interfaces": interfaces})], "None", {}))
    who = {"node": "node-1", "namespace": "default", "name": "web"}
    assert found["kubevirt_vmi_status_addresses"] == [
        ({**who, "vnic_name": "default", "address": "10.0.2.2", "type": "ExternalInterface"}, 1),
        ({**who, "interface_name": "docker0", "type": "SystemInterface"}, 1),
    ]


def test_migrations_are_counted_by_phase() -> None:
    known = [migration("a"), migration("b", phase="Scheduled"), migration("c", phase="Failed")]
    found = scrape(migration_families(known))
    counts = {w: found.one(f"kubevirt_vmi_migrations_in_{w}_phase") for w in ("unset", "pending", "running")}
    assert counts == {"unset": 1, "pending": 0, "running": 1}
    assert found["kubevirt_vmi_migration_failed"] == [({"vmi": "web", "vmim": "c", "namespace": "default"}, 1)]


def test_when_a_migration_began_and_ended() -> None:
    state = {
        "migrationUid": "m-1",
        "startTimestamp": "2026-03-01T11:00:00Z",
        "endTimestamp": "2026-03-01T11:00:05Z",
        "completed": True,
    }
    found = scrape(times_families([vmi(status={"migrationState": state}), vmi("other")], {"m-1": "web-up"}))
    where = {"node": "node-1", "namespace": "default", "name": "web", "migration_name": "web-up"}
    assert found["kubevirt_vmi_migration_start_time_seconds"] == [(where, SPOKEN)]
    assert found["kubevirt_vmi_migration_end_time_seconds"] == [({**where, "status": "succeeded"}, SPOKEN + 5)]


def test_parts_and_nodes() -> None:
    status = {
        "allocatable": {"cpu": "4", "devices.kubevirt.io/kvm": "1000"},
        "conditions": [{"type": "Ready", "status": "True"}],
    }
    ready = {"metadata": {"name": "a", "labels": {"kubevirt.io/schedulable": "true"}}, "status": status}
    nodes = [from_wire(ready, Node), from_wire({"metadata": {"name": "b"}}, Node)]

    def both() -> Iterable[Family]:
        yield from component_families(ready=1.0, emulation=True)
        yield from node_families(nodes)

    found = scrape(both())
    assert found.one("kubevirt_virt_controller_leading_status") == 1
    assert found.one("kubevirt_configuration_emulation_enabled") == 1
    assert found.one("kubevirt_info") == 1
    assert set(found["kubevirt_info"][0][0]) == {"goversion", "kubeversion"}
    assert found.one("cluster:kubevirt_virt_handler_up:sum") == 1
    assert found.one("cluster:kubevirt_nodes_with_kvm:count") == 1
    assert found.one("cluster:kubevirt_non_schedulable_nodes:sum") == 1


@pytest.mark.parametrize(
    "families",
    [
        lambda: vm_families([], {}),
        lambda: vmi_families([], "None", {}),
        lambda: migration_families([]),
        lambda: times_families([], {}),
        lambda: node_families([]),
    ],
)
def test_an_empty_cluster_is_told_as_well(families: Callable[[], Iterable[Family]]) -> None:
    scrape(families())
