"""Where Pods go and why they go nowhere, in kube-scheduler's words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from kvtui.api.core.node import Node
from kvtui.api.core.pod import Pod
from kvtui.api.core.storage import PersistentVolume, PersistentVolumeClaim, StorageClass
from kvtui.api.wire import from_wire
from kvtui.controllers.standins.scheduler.decision import Cluster, Decision, decide
from kvtui.controllers.standins.scheduler.neighbours import Neighbours, Placed
from kvtui.controllers.standins.scheduler.requests import Usage, pod_requests
from kvtui.controllers.standins.scheduler.volumes import PodVolumes, Storage
from tests.controllers.builders import node, pod

NODES = [node("a"), node("b"), node("c")]


def storage(
    claims: Sequence[PersistentVolumeClaim] = (),
    volumes: Sequence[PersistentVolume] = (),
    classes: Sequence[StorageClass] = (),
) -> Storage:
    return Storage(
        claim=lambda _, name: next((c for c in claims if c.metadata.name == name), None),
        volume=lambda name: next((v for v in volumes if v.metadata.name == name), None),
        volumes_of_class=lambda name: [v for v in volumes if v.spec.storage_class_name == name],
        storage_class=lambda name: next((c for c in classes if c.metadata.name == name), None),
    )


def place(
    wanted: Pod, nodes: Sequence[Node] = NODES, present: Sequence[Pod] = (), stored: Storage | None = None
) -> Decision:
    usage = Usage()
    for other in present:
        usage.place(other, other.spec.node_name)
    by_name = {n.metadata.name: n for n in nodes}
    placed = [Placed(p, by_name[p.spec.node_name]) for p in present]
    cluster = Cluster(
        nodes=nodes,
        used=usage.on,
        placed=placed,
        on_node=lambda name: [p for p in present if p.spec.node_name == name],
        neighbours=Neighbours(wanted, placed, nodes, lambda _: None),
        volumes=PodVolumes(wanted, stored or storage()),
        priority=lambda p: p.spec.priority or 0,
    )
    return decide(wanted, cluster)


def test_the_emptiest_node_is_taken() -> None:
    present = [pod("x", node="a", memory="4Gi"), pod("y", node="b", memory="1Gi")]
    assert place(pod(), present=present).node == "c"


def test_what_does_not_fit_is_named_per_resource() -> None:
    decision = place(pod(cpu="8", memory="16Gi"))
    assert decision.message == (
        "0/3 nodes are available: 3 Insufficient cpu, 3 Insufficient memory. "
        "preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    )


def pinned(name: str = "p", *, cpus: str, on: str = "") -> Pod:
    """A Pod whose CPUs are to be its own."""
    resources = {"requests": {"cpu": cpus, "memory": "1Gi"}, "limits": {"cpu": cpus, "memory": "1Gi"}}
    sidecar = {"name": "log", "resources": {"requests": {"cpu": "15m"}, "limits": {"cpu": "15m"}}}
    containers = [{"name": "compute", "resources": resources}, sidecar]
    selector = {"kubernetes.io/os": "linux", "kubevirt.io/cpumanager": "true"}
    return pod(name, node=on, spec={"nodeSelector": selector, "containers": containers})


def giving(name: str, *, cpus: str) -> Node:
    labels = {"kubernetes.io/os": "linux", "kubevirt.io/cpumanager": "true"}
    return node(name, metadata={"labels": labels}, status={"allocatable": {"kvtui.io/exclusive-cpu": cpus}})


def test_cpus_of_ones_own_are_found_where_a_node_gives_them() -> None:
    nodes = [node("a"), giving("b", cpus="1"), giving("c", cpus="3")]
    assert place(pinned(cpus="2"), nodes).node == "c"
    decision = place(pinned(cpus="2"), nodes, [pinned("first", cpus="2", on="c"), pod("other", node="c")])
    assert decision.message == (
        "0/3 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 2 Insufficient cpu. preemption: "
        "0/3 nodes are available: 1 No preemption victims found for incoming pod, "
        "2 Preemption is not helpful for scheduling."
    )


def test_guests_that_share_use_cpus_that_nobody_owns() -> None:
    nodes = [giving("a", cpus="3")]
    assert place(pod(cpu="4"), nodes).node == "a"
    assert "Insufficient cpu" in place(pod(cpu="4"), nodes, [pinned("first", cpus="1", on="a")]).message


def test_a_full_cluster() -> None:
    present = [pod(f"x{n}", node=n, memory="8Gi") for n in "abc"]
    assert place(pod(), present=present).message == (
        "0/3 nodes are available: 3 Insufficient memory. "
        "preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod."
    )


def test_reasons_are_counted_per_node() -> None:
    nodes = [
        node("a", spec={"unschedulable": True}),
        node("b", spec={"taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]}),
        node("c", metadata={"labels": {"kubernetes.io/arch": "arm64"}}),
    ]
    wanted = pod(spec={"nodeSelector": {"kubernetes.io/arch": "amd64"}})
    assert place(wanted, nodes).message == (
        "0/3 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, "
        "1 node(s) had untolerated taint {gpu: yes}, 1 node(s) were unschedulable. "
        "preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    )


def test_no_nodes() -> None:
    assert place(pod(), []).message == "0/0 nodes are available: no nodes available to schedule pods."


def test_tolerations_open_tainted_nodes() -> None:
    tainted = [node("a", spec={"taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]})]
    assert place(pod(spec={"tolerations": [{"key": "gpu", "operator": "Exists"}]}), tainted).node == "a"
    assert place(pod(spec={"tolerations": [{"key": "gpu", "value": "yes"}]}), tainted).node == "a"
    assert place(pod(spec={"tolerations": [{"key": "gpu", "value": "no"}]}), tainted).node == ""


def test_a_soft_taint_is_avoided_but_not_forbidden() -> None:
    soft = node("a", spec={"taints": [{"key": "old", "effect": "PreferNoSchedule"}]})
    assert place(pod(), [soft, node("b", memory="2Gi")]).node == "b"
    assert place(pod(), [soft]).node == "a"


def node_affinity(*expressions: dict[str, Any], weight: int = 0) -> dict[str, Any]:
    term = {"matchExpressions": list(expressions)}
    if weight:
        rule: dict[str, Any] = {
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": weight, "preference": term}]
        }
    else:
        rule = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    return {"affinity": {"nodeAffinity": rule}}


@pytest.mark.parametrize(
    ("expression", "chosen"),
    [
        ({"key": "zone", "operator": "In", "values": ["z2"]}, "b"),
        ({"key": "zone", "operator": "NotIn", "values": ["z1"]}, "b"),
        ({"key": "zone", "operator": "Exists"}, "a"),
        ({"key": "zone", "operator": "DoesNotExist"}, "c"),
        ({"key": "cores", "operator": "Gt", "values": ["8"]}, "b"),
        ({"key": "cores", "operator": "Lt", "values": ["8"]}, "a"),
    ],
)
def test_node_affinity(expression: dict[str, Any], chosen: str) -> None:
    nodes = [
        node("a", metadata={"labels": {"zone": "z1", "cores": "4"}}),
        node("b", metadata={"labels": {"zone": "z2", "cores": "16"}}),
        node("c"),
    ]
    assert place(pod(spec=node_affinity(expression)), nodes).node == chosen


def test_preferred_nodes_win() -> None:
    nodes = [node("a"), node("b", metadata={"labels": {"disk": "fast"}})]
    assert place(pod(spec=node_affinity({"key": "disk", "operator": "Exists"}, weight=50)), nodes).node == "b"


def term(app: str, key: str = "kubernetes.io/hostname") -> dict[str, Any]:
    return {"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": key}


def near(app: str) -> dict[str, Any]:
    return {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term(app)]}}}


def far(app: str) -> dict[str, Any]:
    return {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term(app)]}}}


def test_pod_affinity_and_anti_affinity() -> None:
    present = [pod("db", node="b")]
    assert place(pod(spec=near("db")), present=present).node == "b"
    assert place(pod(spec=far("db")), present=present).node in ("a", "c")
    crowded = [pod(f"db{n}", node=n, metadata={"labels": {"app": "db"}}) for n in "abc"]
    message = place(pod(spec=far("db")), present=crowded).message
    assert message.startswith("0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules.")
    message = place(pod(spec=near("nobody"))).message
    assert message.startswith("0/3 nodes are available: 3 node(s) didn't match pod affinity rules.")


def test_the_first_of_a_group_that_wants_company_goes_anywhere() -> None:
    assert place(pod("web", spec=near("web"))).node != ""


def test_present_pods_keep_others_away() -> None:
    present = [pod(f"db{n}", node=n, spec=far("web")) for n in "abc"]
    assert place(pod("web"), present=present).message.startswith(
        "0/3 nodes are available: 3 node(s) didn't satisfy existing pods anti-affinity rules."
    )


def test_topology_spread() -> None:
    nodes = [
        node("a", metadata={"labels": {"zone": "z1"}}),
        node("b", metadata={"labels": {"zone": "z2"}}),
        node("c"),
    ]
    constraint = {
        "maxSkew": 1,
        "topologyKey": "zone",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}},
    }
    wanted = pod("web", spec={"topologySpreadConstraints": [constraint]})
    present = [pod("web1", node="a", metadata={"labels": {"app": "web"}})]
    assert place(wanted, nodes, present).node == "b"
    message = place(
        wanted, [nodes[0], nodes[2], node("b2", cpu="0", metadata={"labels": {"zone": "z2"}})], present
    ).message
    assert "1 node(s) didn't match pod topology spread constraints (missing required label)" in message
    assert "1 node(s) didn't match pod topology spread constraints," in message


CLAIM_POD = pod(spec={"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "disk"}}]})


def claim(phase: str, **over: Any) -> PersistentVolumeClaim:
    base = {"metadata": {"name": "disk"}, "spec": {"storageClassName": "local"}, "status": {"phase": phase}}
    return from_wire({**base, **over}, PersistentVolumeClaim)


def storage_class(mode: str, provisioner: str = "kvtui.io/local") -> StorageClass:
    return from_wire(
        {"metadata": {"name": "local"}, "provisioner": provisioner, "volumeBindingMode": mode}, StorageClass
    )


def volume_on(name: str) -> PersistentVolume:
    expression = {"key": "kubernetes.io/hostname", "operator": "In", "values": [name]}
    affinity = {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}
    return from_wire({"metadata": {"name": "pv"}, "spec": {"nodeAffinity": affinity}}, PersistentVolume)


def test_a_bound_volume_draws_the_pod_to_its_node() -> None:
    bound = claim("Bound", spec={"volumeName": "pv"})
    assert place(CLAIM_POD, stored=storage([bound], [volume_on("b")])).node == "b"
    message = place(CLAIM_POD, stored=storage([bound], [volume_on("elsewhere")])).message
    assert message.startswith("0/3 nodes are available: 3 node(s) didn't match PersistentVolume's node affinity.")


@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        (storage(), 'persistentvolumeclaim "disk" not found'),
        (
            storage([claim("Pending")], [], [storage_class("Immediate")]),
            "pod has unbound immediate PersistentVolumeClaims",
        ),
    ],
)
def test_claims_that_no_node_can_help(stored: Storage, reason: str) -> None:
    assert place(CLAIM_POD, stored=stored).message == (
        f"0/3 nodes are available: {reason}. "
        "preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    )


def test_a_claim_that_waits_is_provisioned_where_there_is_local_storage() -> None:
    nodes = [node("a"), node("b", metadata={"annotations": {"kvtui.io/local-storage": "/var/lib/x"}})]
    waiting = storage([claim("Pending")], [], [storage_class("WaitForFirstConsumer")])
    assert place(CLAIM_POD, nodes, stored=waiting).node == "b"
    message = place(CLAIM_POD, nodes[:1], stored=waiting).message
    assert message.startswith("0/1 nodes are available: 1 node(s) didn't find available persistent volumes to bind.")


def test_a_selected_node_is_kept() -> None:
    selected = {"name": "disk", "annotations": {"volume.kubernetes.io/selected-node": "c"}}
    waiting = storage(
        [claim("Pending", metadata=selected)], [], [storage_class("WaitForFirstConsumer", "example.org/any")]
    )
    assert place(CLAIM_POD, stored=waiting).node == "c"


def test_more_important_pods_displace_the_least_important() -> None:
    present = [
        pod("low-a", node="a", memory="8Gi", spec={"priority": 5}),
        pod("low-b", node="b", memory="8Gi", spec={"priority": 1}),
        pod("high-c", node="c", memory="8Gi", spec={"priority": 100}),
    ]
    decision = place(pod(spec={"priority": 50}), present=present)
    assert decision.victims is not None
    assert (decision.victims.node, [p.metadata.name for p in decision.victims.pods]) == ("b", ["low-b"])
    assert place(pod(spec={"priority": 50, "preemptionPolicy": "Never"}), present=present).victims is None


def test_sidecars_count_beside_containers_and_init_containers_alone() -> None:
    requests = pod_requests(
        pod(
            cpu="100m",
            memory="1Gi",
            spec={
                "initContainers": [
                    {
                        "name": "log",
                        "restartPolicy": "Always",
                        "resources": {"requests": {"cpu": "5m", "memory": "35M"}},
                    },
                    {"name": "disk", "resources": {"requests": {"cpu": "500m", "memory": "1M"}}},
                ]
            },
        )
    )
    assert requests == {"cpu": 505, "memory": 2**30 + 35_000_000}
