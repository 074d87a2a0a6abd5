"""Which endpoints a Service has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kvtui.api.core.network import Endpoints, EndpointSlice, Service
from kvtui.api.core.pod import Pod
from kvtui.api.wire import from_wire
from kvtui.controllers.standins.endpoints import legacy, slices
from tests.controllers.builders import merged, pod
from tests.controllers.plane import control_plane


def service(**over: Any) -> Service:
    base = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "default", "uid": "svc-uid"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
    }
    return from_wire(merged(base, over), Service)


def backend(name: str, ip: str, *, ready: str = "True", **over: Any) -> Pod:
    ips = [{"ip": part} for part in ip.split(",") if part]
    status = {"podIP": ip.split(",")[0], "podIPs": ips, "conditions": [{"type": "Ready", "status": ready}]}
    return pod(name, node="node-1", **merged({"metadata": {"labels": {"app": "web"}}, "status": status}, over))


def test_ready_pods_are_endpoints_and_others_are_shown_as_not_ready() -> None:
    (made,) = slices(service(), [backend("b", "10.0.0.3", ready="False"), backend("a", "10.0.0.2"), backend("c", "")])
    assert [(e.addresses, e.conditions.ready) for e in made.endpoints] == [(["10.0.0.2"], True), (["10.0.0.3"], False)]
    assert [p.port for p in made.ports] == [8080]
    assert made.metadata.labels["kubernetes.io/service-name"] == "web"
    (subset,) = legacy(service(), [made]).subsets
    assert ([a.ip for a in subset.addresses], [a.ip for a in subset.not_ready_addresses]) == (
        ["10.0.0.2"],
        ["10.0.0.3"],
    )


def test_a_pod_that_ends_gets_no_traffic_and_one_that_has_ended_is_gone() -> None:
    going = backend("a", "10.0.0.2", metadata={"deletionTimestamp": "2026-03-01T12:00:00Z"})
    done = backend("b", "10.0.0.3", status={"phase": "Succeeded"})
    (made,) = slices(service(), [going, done])
    assert [(e.conditions.ready, e.conditions.serving, e.conditions.terminating) for e in made.endpoints] == [
        (False, True, True)
    ]
    early = service(spec={"publishNotReadyAddresses": True})
    assert slices(early, [going])[0].endpoints[0].conditions.ready


def test_named_ports_are_those_of_each_pod() -> None:
    def serving(name: str, ip: str, port: int) -> Pod:
        ports = [{"name": "http", "containerPort": port}]
        return backend(name, ip, spec={"containers": [{"name": "compute", "ports": ports}]})

    named = service(spec={"ports": [{"port": 80, "targetPort": "http"}]})
    made = slices(named, [serving("a", "10.0.0.2", 80), serving("b", "10.0.0.3", 8080), backend("c", "10.0.0.4")])
    assert {(s.ports[0].port if s.ports else 0, s.endpoints[0].addresses[0]) for s in made} == {
        (80, "10.0.0.2"),
        (8080, "10.0.0.3"),
        (0, "10.0.0.4"),
    }


def test_each_address_family_has_its_slices() -> None:
    dual = service(spec={"ipFamilies": ["IPv4", "IPv6"]})
    made = slices(dual, [backend("a", "10.0.0.2,fd00::2")])
    assert [(s.address_type, s.endpoints[0].addresses) for s in made] == [("IPv4", ["10.0.0.2"]), ("IPv6", ["fd00::2"])]


def test_a_hostname_belongs_to_the_service_of_its_subdomain() -> None:
    named = backend("a", "10.0.0.2", spec={"hostname": "one", "subdomain": "web"})
    other = backend("b", "10.0.0.3", spec={"hostname": "two", "subdomain": "db"})
    assert [e.hostname for e in slices(service(), [named, other])[0].endpoints] == ["one", None]


async def test_endpoints_follow_the_pods(tmp_path: Path) -> None:
    async with control_plane(tmp_path) as plane:
        await plane.client.create(service(metadata={"uid": ""}))
        ours = backend(
            "a",
            "",
            metadata={"uid": ""},
            spec={"nodeName": "", "containers": [{"name": "compute", "image": "kvtui.io/launcher"}]},
        )
        await plane.client.create(ours)
        await plane.client.patch(
            Pod,
            ("default", "a"),
            {
                "status": {
                    "phase": "Running",
                    "podIP": "10.0.0.2",
                    "podIPs": [{"ip": "10.0.0.2"}],
                    "conditions": [{"type": "Ready", "status": "True"}],
                }
            },
            subresource="status",
        )

        def has(*wanted: str) -> Any:
            return lambda e: e is not None and tuple(a.ip for s in e.subsets for a in s.addresses) == wanted

        await plane.until(Endpoints, ("default", "web"), has("10.0.0.2"))
        chosen = "kubernetes.io/service-name=web"
        (made,) = (await plane.client.list(EndpointSlice, "default", label_selector=chosen)).items
        assert made.endpoints[0].addresses == ["10.0.0.2"]
        await plane.client.delete(Pod, ("default", "a"), grace=0)
        await plane.until(Endpoints, ("default", "web"), has())
        await plane.client.delete(Service, ("default", "web"))
        await plane.until(Endpoints, ("default", "web"), lambda e: e is None)
        await plane.until(EndpointSlice, ("default", made.metadata.name), lambda e: e is None)
