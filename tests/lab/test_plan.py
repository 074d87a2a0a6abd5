"""The plan of a lab: names that fit and do not collide, addresses that are free."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from kvtui.lab.plan import (
    EMPTY,
    PRIVATE,
    LabPlan,
    address_commands,
    choose_network,
    host_commands,
    hosts_text,
    lab_tag,
    link_commands,
    node_commands,
    plan_lab,
)

NETWORK = ipaddress.IPv4Network("10.150.0.0/16")
IFNAMSIZ = 15


def lab(data: str = "/srv/lab", count: int = 3) -> LabPlan:
    return plan_lab(Path(data), count, NETWORK)


def test_interface_names_fit_the_kernel_even_for_the_last_possible_node() -> None:
    big = lab(count=200)
    assert max(len(name) for name in [big.bridge, *(n.link for n in big.nodes)]) <= IFNAMSIZ


def test_labs_in_other_directories_share_no_name() -> None:
    one, other = lab("/srv/one"), lab("/srv/other")
    names = [
        {x.bridge, x.table, str(x.run), *(n.link for n in x.nodes), *(n.host_uuid for n in x.nodes)}
        for x in (one, other)
    ]
    assert not names[0] & names[1]


def test_a_lab_is_planned_the_same_way_again() -> None:
    assert lab() == lab()


def test_every_node_has_an_identity_and_an_address_of_its_own() -> None:
    nodes = lab().nodes
    for values in (
        [n.host_uuid for n in nodes],
        [n.address for n in nodes],
        [n.pods for n in nodes],
        [n.link for n in nodes],
    ):
        assert len(set(values)) == len(nodes)


def test_pod_networks_lie_in_the_lab_and_not_on_the_link() -> None:
    plan = lab()
    for node in plan.nodes:
        assert node.pods.subnet_of(plan.network)
        assert not node.pods.overlaps(plan.link_network)
        assert node.address in plan.link_network


@pytest.mark.parametrize("count", [-1, 201])
def test_counts_out_of_range_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match="nodes"):
        lab(count=count)


def test_a_taken_network_is_avoided() -> None:
    tag = lab_tag(Path("/srv/lab"))
    first = choose_network(tag, [])
    second = choose_network(tag, [next(first.subnets(new_prefix=30))])
    assert second != first
    assert not second.overlaps(first)


def test_no_free_network_is_an_error() -> None:
    with pytest.raises(ValueError, match="no free network"):
        choose_network("000000", [ipaddress.IPv4Network("10.0.0.0/8")])


def test_nodes_route_to_each_other_and_not_to_themselves() -> None:
    plan = lab(count=2)
    routes = [c for c in address_commands(plan, plan.nodes[0]) if c[:3] == ["ip", "route", "add"]]
    assert ["ip", "route", "add", str(plan.nodes[1].pods), "via", str(plan.nodes[1].address)] in routes
    assert not any(str(plan.nodes[0].pods) in route for route in routes)
    assert ["ip", "route", "add", "default", "via", str(plan.host_address)] in routes


def test_links_and_routes_carry_the_names_by_which_they_are_removed() -> None:
    plan = lab(count=1)
    made = [" ".join(c) for c in (*host_commands(plan, mtu=1400), *link_commands(plan, plan.nodes[0], mtu=1400))]
    assert all(plan.tag in command or "eth0" in command for command in made)
    assert "mtu 1400" in made[0]


def test_a_node_hides_the_host_directories_that_daemons_write_to() -> None:
    plan = lab(count=1)
    mounted = {c[-1] for c in node_commands(plan, plan.nodes[0], resolver=Path("/srv/resolv.conf")) if c[0] == "mount"}
    assert {*PRIVATE.values(), *EMPTY, "/sys", "/etc/resolv.conf", "/etc/hosts"} <= mounted


def test_nodes_know_each_other_by_name() -> None:
    plan = lab(count=2)
    assert f"{plan.nodes[1].address} node-2\n" in hosts_text(plan)


def test_entering_a_node_names_all_three_namespaces() -> None:
    node = lab().nodes[0]
    command = node.enter("/bin/true")
    assert command[0] == "nsenter"
    assert command[-2:] == ["--", "/bin/true"]
    assert {
        f"--{kind}={node.namespace(name)}" for kind, name in (("net", "net"), ("uts", "uts"), ("mount", "mnt"))
    } < set(command)
