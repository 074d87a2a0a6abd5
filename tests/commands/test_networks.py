"""What `expose` makes of a VM, and which pod networks an engine takes."""

from __future__ import annotations

from typing import Any

import pytest

from kvtui.api.kubevirt.vmi import VirtualMachineInstanceSpec
from kvtui.api.wire import from_wire
from kvtui.commands.expose import by_name, service, target_of
from kvtui.commands.local import networks_of
from kvtui.errors import Usage

OPTIONS: dict[str, Any] = {
    "name": "front",
    "port": None,
    "target_port": None,
    "port_name": None,
    "node_port": None,
    "protocol": "TCP",
    "kind": "ClusterIP",
    "cluster_ip": None,
    "external_ip": (),
}


def spec(*ports: dict[str, Any]) -> VirtualMachineInstanceSpec:
    interfaces = [{"name": "default", "masquerade": {}, "ports": list(ports)}]
    return from_wire({"domain": {"devices": {"interfaces": interfaces}}}, VirtualMachineInstanceSpec)


@pytest.mark.parametrize(
    ("words", "found"),
    [(("vm", "web"), ("vm", "web")), (("vmi/web",), ("vmi", "web")), (("vmirs", "web"), ("vmirs", "web"))],
)
def test_what_to_expose_is_a_kind_and_a_name(words: tuple[str, ...], found: tuple[str, str]) -> None:
    assert target_of(words) == found


@pytest.mark.parametrize("words", [("web",), ("pod", "web"), ("vm/",), ("vm", "a", "b")])
def test_anything_else_is_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(Usage):
        target_of(words)


def test_a_service_leads_to_the_launcher_of_the_vm() -> None:
    made = service("default", by_name("web.one", None), spec(), {**OPTIONS, "port": 80, "target_port": "http"})
    assert made.spec.selector == {"vm.kubevirt.io/name": "web"}
    assert [(p.port, p.target_port) for p in made.spec.ports] == [(80, "http")]
    assert by_name("web", "other") == {"vm.kubevirt.io/name": "other"}


def test_without_a_port_those_of_the_vm_are_taken() -> None:
    made = service("default", {}, spec({"port": 80, "name": "http"}, {"port": 53, "protocol": "UDP"}), OPTIONS)
    assert [(p.name, p.port, p.protocol) for p in made.spec.ports] == [("http", 80, "TCP"), ("port-2", 53, "UDP")]
    with pytest.raises(Usage, match="--port is required"):
        service("default", {}, spec(), OPTIONS)


def test_a_pod_network_has_at_most_one_network_per_family() -> None:
    assert networks_of(None) == ""
    assert networks_of("10.9.0.0/24, fd00:9::/64") == "10.9.0.0/24,fd00:9::/64"
    for bad in ("10.9.0.0/24,10.8.0.0/24", "10.9.0.1/24", "10.9.0.0/31", "nonsense"):
        with pytest.raises(Usage):
            networks_of(bad)
