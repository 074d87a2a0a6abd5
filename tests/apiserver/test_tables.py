from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from kvtui.api.crds import definitions
from kvtui.apiserver import crd
from kvtui.apiserver.builtin import BUILTIN
from kvtui.apiserver.customs import resources_of
from kvtui.apiserver.resources import PrinterColumn, ResourceInfo
from kvtui.apiserver.schema import jsonpath
from kvtui.apiserver.schema.tables import partial, render

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
EARLIER = "2026-01-01T11:55:00Z"
Object = dict[str, Any]


def builtin(kind: str, group: str = "") -> ResourceInfo:
    return next(info for info in BUILTIN if info.kind == kind and info.group == group)


def custom(kind: str, columns: tuple[PrinterColumn, ...] | None = None) -> ResourceInfo:
    for made in definitions():
        if made["spec"]["names"]["kind"] == kind:
            crd.default(made)
            info = resources_of(crd.with_status(made, [], "t"))[0]
            if columns is None:
                return info
            from dataclasses import replace

            return replace(info, columns=columns)
    raise AssertionError(kind)


def named(**parts: Any) -> Object:
    metadata = {"name": "x", "creationTimestamp": EARLIER, **parts.pop("metadata", {})}
    return {"metadata": metadata, **parts}


def row(info: ResourceInfo, obj: Object) -> dict[str, Any]:
    table = render(info, [obj], now=NOW)
    names = [column["name"] for column in table["columnDefinitions"]]
    return dict(zip(names, table["rows"][0]["cells"], strict=True))


def test_a_machine_shows_the_columns_of_its_definition() -> None:
    conditions = [{"type": "Paused", "status": "False"}, {"type": "Ready", "status": "True"}]
    vm = named(status={"printableStatus": "Running", "conditions": conditions})
    assert row(custom("VirtualMachine"), vm) == {"Name": "x", "Age": "5m", "Status": "Running", "Ready": "True"}
    assert row(custom("VirtualMachine"), named())["Ready"] is None


def test_an_instance_shows_its_first_address() -> None:
    vmi = named(status={"phase": "Running", "nodeName": "n", "interfaces": [{"ipAddress": "10.0.0.2"}, {}]})
    cells = row(custom("VirtualMachineInstance"), vmi)
    assert (cells["IP"], cells["Phase"], cells["NodeName"]) == ("10.0.0.2", "Running", "n")
    table = render(custom("VirtualMachineInstance"), [], now=NOW)
    assert [c["name"] for c in table["columnDefinitions"] if c["priority"]] == ["Live-Migratable", "Paused"]


@pytest.mark.parametrize(
    ("type_", "value", "cell"),
    [
        ("string", "a", "a"),
        ("string", 3, "3"),
        ("string", True, "true"),
        ("string", ["a", 1], "[a 1]"),
        ("string", {"b": 1, "a": None}, "map[a:<nil> b:1]"),
        ("integer", 3, 3),
        ("integer", "3", None),
        ("number", 1.5, 1.5),
        ("boolean", False, False),
        ("boolean", "x", None),
        ("date", EARLIER, "5m"),
        ("date", "nonsense", "<unknown>"),
        ("string", None, None),
    ],
)
def test_a_cell_has_the_type_of_its_column(type_: str, value: Any, cell: Any) -> None:
    info = custom("DataVolume", (PrinterColumn("C", type_, ".spec.c"),))
    assert row(info, named(spec={"c": value}))["C"] == cell


def test_a_kind_without_columns_shows_its_age() -> None:
    assert row(custom("MigrationPolicy"), named()) == {"Name": "x", "Age": "5m"}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".a.b", 1),
        (".list[1].n", 2),
        (".list[-1].n", 2),
        (".list[5].n", None),
        ('.list[?(@.n=="1")].n', None),
        (".list[?(@.n==2)].n", 2),
        (".list[?(@.n>1)].n", 2),
        (".list[?(@.m)].m", "z"),
        (".list[*].n", 1),
        (r".dotted\.key", "d"),
        (".['dotted.key']", None),
        ("['dotted.key']", "d"),
        ("{.a.b}", 1),
        (".a[", None),
        ("$.a.b", 1),
    ],
)
def test_a_path_finds_its_first_value(path: str, found: Any) -> None:
    obj = {"a": {"b": 1}, "list": [{"n": 1}, {"n": 2, "m": "z"}], "dotted.key": "d"}
    assert jsonpath.first(obj, path) == found


def status_of(**parts: Any) -> str:
    containers = parts.pop("containers", [{"name": "c"}])
    init = parts.pop("init", [])
    spec = {"containers": containers, "initContainers": init}
    return str(row(builtin("Pod"), named(spec=spec, status=parts, metadata=parts.pop("metadata", {})))["Status"])


RUNNING = {"name": "c", "ready": True, "restartCount": 0, "state": {"running": {}}}


@pytest.mark.parametrize(
    ("parts", "word"),
    [
        ({"phase": "Pending"}, "Pending"),
        ({"phase": "Failed", "reason": "Evicted"}, "Evicted"),
        ({"phase": "Running", "containerStatuses": [RUNNING]}, "Running"),
        (
            {"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]},
            "ContainerCreating",
        ),
        (
            {"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"reason": "Error", "exitCode": 1}}}]},
            "Error",
        ),
        ({"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"exitCode": 3}}}]}, "ExitCode:3"),
        ({"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"signal": 9}}}]}, "Signal:9"),
        (
            {"phase": "Pending", "init": [{"name": "i"}], "initContainerStatuses": [{"name": "i", "state": {}}]},
            "Init:0/1",
        ),
        (
            {
                "phase": "Pending",
                "init": [{"name": "i"}],
                "initContainerStatuses": [{"name": "i", "state": {"terminated": {"exitCode": 2, "reason": "Error"}}}],
            },
            "Init:Error",
        ),
        ({"phase": "Running", "metadata": {"deletionTimestamp": EARLIER}}, "Terminating"),
        ({"phase": "Succeeded", "metadata": {"deletionTimestamp": EARLIER}}, "Succeeded"),
        (
            {"phase": "Pending", "conditions": [{"type": "PodScheduled", "reason": "SchedulingGated"}]},
            "SchedulingGated",
        ),
        (
            {
                "phase": "Running",
                "containers": [{"name": "c"}, {"name": "d"}],
                "conditions": [{"type": "Ready", "status": "False"}],
                "containerStatuses": [{"state": {"terminated": {"reason": "Completed"}}}, RUNNING],
            },
            "NotReady",
        ),
    ],
)
def test_the_status_of_a_pod_in_one_word(parts: Object, word: str) -> None:
    assert status_of(**parts) == word


def test_a_pod_shows_readiness_restarts_and_where_it_runs() -> None:
    ended = {"terminated": {"finishedAt": "2026-01-01T11:00:00Z"}}
    pod = named(
        spec={"containers": [{"name": "c"}], "nodeName": "n", "readinessGates": [{"conditionType": "G"}]},
        status={
            "phase": "Running",
            "podIPs": [{"ip": "10.0.0.1"}],
            "conditions": [{"type": "G", "status": "True"}],
            "containerStatuses": [{**RUNNING, "restartCount": 2, "lastState": ended}],
        },
    )
    assert row(builtin("Pod"), pod) == {
        "Name": "x",
        "Ready": "1/1",
        "Status": "Running",
        "Restarts": "2 (60m ago)",
        "Age": "5m",
        "IP": "10.0.0.1",
        "Node": "n",
        "Nominated Node": "<none>",
        "Readiness Gates": "1/1",
    }


def test_a_node_shows_its_roles_and_that_it_is_cordoned() -> None:
    node = named(
        metadata={"labels": {"node-role.kubernetes.io/worker": "", "node-role.kubernetes.io/control-plane": ""}},
        spec={"unschedulable": True},
        status={"conditions": [{"type": "Ready", "status": "True"}], "nodeInfo": {"kubeletVersion": "v1"}},
    )
    cells = row(builtin("Node"), node)
    assert cells["Status"] == "Ready,SchedulingDisabled"
    assert cells["Roles"] == "control-plane,worker"
    assert cells["Internal-IP"] == "<none>"
    assert row(builtin("Node"), named())["Status"] == "Unknown"


def test_the_default_storage_class_says_so_in_its_name() -> None:
    annotations = {"storageclass.kubernetes.io/is-default-class": "true"}
    cells = row(builtin("StorageClass", "storage.k8s.io"), named(metadata={"annotations": annotations}))
    assert cells["Name"] == "x (default)"
    assert cells["ReclaimPolicy"] == "Delete"


def test_a_claim_shows_size_and_modes_when_it_is_bound() -> None:
    spec = {"volumeName": "pv", "storageClassName": "s"}
    state = {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany", "ReadWriteOnce"]}
    cells = row(builtin("PersistentVolumeClaim"), named(spec=spec, status=state))
    assert (cells["Capacity"], cells["Access Modes"], cells["VolumeMode"]) == ("1Gi", "RWO,RWX", "<unset>")


def test_an_event_was_last_seen_when_its_series_was() -> None:
    event = named(
        involvedObject={"kind": "Pod", "name": "p"},
        firstTimestamp="2026-01-01T10:00:00Z",
        lastTimestamp="2026-01-01T11:00:00Z",
        series={"count": 7, "lastObservedTime": EARLIER},
        message=" hello ",
        source={"component": "agent", "host": "n"},
    )
    cells = row(builtin("Event"), event)
    assert (cells["Last Seen"], cells["First Seen"], cells["Count"]) == ("5m", "120m", 7)
    assert (cells["Object"], cells["Message"], cells["Source"]) == ("pod/p", "hello", "agent, n")


def test_the_name_of_an_event_is_shown_only_when_asked_for() -> None:
    table = render(builtin("Event"), [named()], now=NOW)
    shown = [column["name"] for column in table["columnDefinitions"] if not column["priority"]]
    assert shown == ["Last Seen", "Type", "Reason", "Object", "Message"]
    assert table["columnDefinitions"][-1]["name"] == "Name"
    assert table["rows"][0]["cells"][-1] == "x"


def test_a_row_carries_as_much_of_the_object_as_was_asked_for() -> None:
    obj = named(spec={"a": 1})
    info = builtin("ConfigMap")
    assert "object" not in render(info, [obj], now=NOW, include_object="None")["rows"][0]
    assert render(info, [obj], now=NOW)["rows"][0]["object"] == partial(obj)
    assert render(info, [obj], now=NOW, include_object="Object")["rows"][0]["object"] == obj


@pytest.mark.parametrize("info", BUILTIN, ids=lambda info: info.qualified)
def test_every_builtin_kind_can_be_shown_even_empty(info: ResourceInfo) -> None:
    table = render(info, [{"metadata": {"name": "x"}}], now=NOW)
    assert len(table["rows"][0]["cells"]) == len(table["columnDefinitions"])
    assert (table["columnDefinitions"][0]["format"] == "name") is (info.kind != "Event")


CPU = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}
NOW_CPU = {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 20}}}
QUEUES = {"queues": 64, "handSize": 6, "queueLengthLimit": 50}
TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}


@pytest.mark.parametrize(
    ("kind", "group", "obj", "cells"),
    [
        (
            "CertificateSigningRequest",
            "certificates.k8s.io",
            {
                "spec": {"signerName": "s", "username": "u", "expirationSeconds": 600},
                "status": {"conditions": [{"type": "Approved"}], "certificate": "eA=="},
            },
            ["5m", "s", "u", "600s", "Approved,Issued"],
        ),
        (
            "HorizontalPodAutoscaler",
            "autoscaling",
            {
                "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "d"}, "maxReplicas": 3, "metrics": [CPU]},
                "status": {"currentMetrics": [NOW_CPU], "currentReplicas": 2},
            },
            ["Deployment/d", "cpu: 20%/50%", "<unset>", 3, 2, "5m"],
        ),
        (
            "Ingress",
            "networking.k8s.io",
            {
                "spec": {"ingressClassName": "n", "rules": [{"host": h} for h in "abcd"], "tls": [{}]},
                "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}},
            },
            ["n", "a,b,c + 1 more...", "192.0.2.1", "80, 443", "5m"],
        ),
        (
            "IngressClass",
            "networking.k8s.io",
            {"spec": {"controller": "x", "parameters": {"apiGroup": "g", "kind": "K", "name": "n"}}},
            ["x", "K.g/n", "5m"],
        ),
        ("NetworkPolicy", "networking.k8s.io", {"spec": {"podSelector": {"matchLabels": {"a": "b"}}}}, ["a=b", "5m"]),
        (
            "Endpoints",
            "",
            {"subsets": [{"addresses": [{"ip": "1"}, {"ip": "2"}], "ports": [{"port": 80}]}]},
            ["1:80,2:80", "5m"],
        ),
        (
            "CronJob",
            "batch",
            {"spec": {"schedule": "@daily", "jobTemplate": {"spec": {"template": TEMPLATE}}}},
            ["@daily", "<none>", "False", 0, "<none>", "5m", "c", "i", "<none>"],
        ),
        (
            "FlowSchema",
            "flowcontrol.apiserver.k8s.io",
            {
                "spec": {"priorityLevelConfiguration": {"name": "p"}, "matchingPrecedence": 9},
                "status": {"conditions": [{"type": "Dangling", "status": "False"}]},
            },
            ["p", 9, "<none>", "5m", "False"],
        ),
        (
            "PriorityLevelConfiguration",
            "flowcontrol.apiserver.k8s.io",
            {
                "spec": {
                    "type": "Limited",
                    "limited": {"nominalConcurrencyShares": 5, "limitResponse": {"queuing": QUEUES}},
                }
            },
            ["Limited", 5, 64, 6, 50, "5m"],
        ),
        (
            "ValidatingAdmissionPolicy",
            "admissionregistration.k8s.io",
            {"spec": {"validations": [{}, {}], "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}}},
            [2, "v1/ConfigMap", "5m"],
        ),
        (
            "ValidatingAdmissionPolicyBinding",
            "admissionregistration.k8s.io",
            {"spec": {"policyName": "p", "paramRef": {"namespace": "n", "name": "x"}}},
            ["p", "n/x", "5m"],
        ),
        ("PodTemplate", "", {"template": TEMPLATE}, ["c", "i", "a=b"]),
        ("RuntimeClass", "node.k8s.io", {"handler": "h"}, ["h", "5m"]),
        ("CSIDriver", "storage.k8s.io", {"spec": {}}, [True, False, False, "<unset>", False, "Persistent", "5m"]),
        ("CSINode", "storage.k8s.io", {"spec": {"drivers": [{}]}}, [1, "5m"]),
        ("CSIStorageCapacity", "storage.k8s.io", {"storageClassName": "s", "capacity": "1Gi"}, ["s", "1Gi"]),
        ("VolumeAttributesClass", "storage.k8s.io", {"driverName": "d"}, ["d", "5m"]),
        (
            "VolumeAttachment",
            "storage.k8s.io",
            {"spec": {"attacher": "a", "nodeName": "n", "source": {"persistentVolumeName": "v"}}},
            ["a", "v", "n", False, "5m"],
        ),
        (
            "ReplicationController",
            "",
            {"spec": {"selector": {"a": "b"}, "template": TEMPLATE, "replicas": 2}},
            [2, 0, 0, "5m", "c", "i", "a=b"],
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_kinds_that_others_need_are_shown_too(kind: str, group: str, obj: Object, cells: list[Any]) -> None:
    assert render(builtin(kind, group), [named(**obj)], now=NOW)["rows"][0]["cells"][1:] == cells
