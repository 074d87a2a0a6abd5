"""Agents: what they may read because of what runs on their node, and what they may write."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.apiserver.api import Api
from tests.fakes.cluster import RunningServer, running_server

Object = dict[str, Any]
CORE = "/api/v1/namespaces/default"
PODS = f"{CORE}/pods"
INSTANCES = "/apis/kubevirt.io/v1/namespaces/default/virtualmachineinstances"
MIGRATIONS = "/apis/kubevirt.io/v1/namespaces/default/virtualmachineinstancemigrations"
VOLUMES = "/api/v1/persistentvolumes"


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    async with running_server(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def api(server: RunningServer) -> AsyncIterator[Api]:
    """The admin, who leaves nothing behind."""
    async with server.session() as session:
        api = Api(session)
        yield api
        for path in (PODS, INSTANCES, MIGRATIONS, f"{CORE}/secrets", f"{CORE}/configmaps", f"{CORE}/events", VOLUMES):
            await api.delete(path, {"gracePeriodSeconds": 0})
        await api.delete(f"{CORE}/persistentvolumeclaims")


@pytest_asyncio.fixture(loop_scope="module")
async def agent(server: RunningServer) -> AsyncIterator[Api]:
    """Of node n1."""
    async with agent_of("n1", server) as agent:
        yield agent


@contextlib.asynccontextmanager
async def agent_of(node: str, server: RunningServer) -> AsyncIterator[Api]:
    async with server.session(server.client_pair(f"system:node:{node}", ["system:nodes"])) as session:
        yield Api(session)


def pod(name: str, node: str = "n1", **spec: Any) -> Object:
    return {"metadata": {"name": name}, "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i"}], **spec}}


def instance(name: str, *volumes: Object) -> Object:
    named = [{"name": f"v{number}", **volume} for number, volume in enumerate(volumes)]
    disks = [{"name": volume["name"], "disk": {}} for volume in named]
    spec = {"domain": {"devices": {"disks": disks}}, "volumes": named}
    return {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "metadata": {"name": name}, "spec": spec}


async def created(api: Api, path: str, body: Object) -> Object:
    answer = await api.post(path, body)
    assert answer.code == 201, answer.body
    found: Object = answer.body
    return found


async def with_launcher(api: Api, made: Object, node: str = "n1", name: str = "launcher") -> Object:
    body = pod(name, node)
    body["metadata"]["labels"] = {"kubevirt.io": "virt-launcher", "kubevirt.io/created-by": made["metadata"]["uid"]}
    return await created(api, PODS, body)


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"imagePullSecrets": [{"name": "it"}]}, "secrets"),
        ({"volumes": [{"name": "v", "secret": {"secretName": "it"}}]}, "secrets"),
        ({"volumes": [{"name": "v", "projected": {"sources": [{"secret": {"name": "it"}}]}}]}, "secrets"),
        ({"volumes": [{"name": "v", "configMap": {"name": "it"}}]}, "configmaps"),
        ({"containers": [{"name": "c", "image": "i", "envFrom": [{"configMapRef": {"name": "it"}}]}]}, "configmaps"),
        (
            {
                "containers": [
                    {
                        "name": "c",
                        "image": "i",
                        "env": [{"name": "E", "valueFrom": {"secretKeyRef": {"name": "it", "key": "k"}}}],
                    }
                ]
            },
            "secrets",
        ),
        ({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "it"}}]}, "persistentvolumeclaims"),
    ],
)
async def test_an_agent_reads_what_a_pod_of_its_node_names(api: Api, agent: Api, spec: Object, path: str) -> None:
    refused = await agent.get(f"{CORE}/{path}/it")
    assert (refused.code, refused.reason) == (403, "Forbidden")
    assert refused.message == (
        f'{path} "it" is forbidden: User "system:node:n1" cannot get resource "{path}" in API group "" in the '
        "namespace \"default\": no relationship found between node 'n1' and this object"
    )
    await created(api, PODS, pod("elsewhere", "n2", **spec))
    assert (await agent.get(f"{CORE}/{path}/it")).code == 403
    await created(api, PODS, pod("here", **spec))
    assert (await agent.get(f"{CORE}/{path}/it")).code == 404  # it may know that there is none
    assert (await agent.get(f"{CORE}/{path}", fieldSelector="metadata.name=it")).code == 200
    for further in (f"{CORE}/{path}/other", f"{CORE}/{path}", f"/api/v1/{path}"):
        assert (await agent.get(further)).code == 403
    assert (await agent.merge(f"{CORE}/{path}/it", {})).code == 403
    await api.delete(f"{PODS}/here", {"gracePeriodSeconds": 0})
    assert (await agent.get(f"{CORE}/{path}/it")).code == 403


@pytest.mark.parametrize(
    ("volume", "path"),
    [
        ({"cloudInitNoCloud": {"secretRef": {"name": "it"}}}, "secrets"),
        ({"cloudInitNoCloud": {"userData": "x", "networkDataSecretRef": {"name": "it"}}}, "secrets"),
        ({"cloudInitConfigDrive": {"secretRef": {"name": "it"}}}, "secrets"),
        ({"containerDisk": {"image": "registry.example.com/d", "imagePullSecret": "it"}}, "secrets"),
        ({"secret": {"secretName": "it"}}, "secrets"),
        ({"sysprep": {"secret": {"name": "it"}}}, "secrets"),
        ({"sysprep": {"configMap": {"name": "it"}}}, "configmaps"),
        ({"configMap": {"name": "it"}}, "configmaps"),
        ({"persistentVolumeClaim": {"claimName": "it"}}, "persistentvolumeclaims"),
        ({"dataVolume": {"name": "it"}}, "persistentvolumeclaims"),
        ({"ephemeral": {"persistentVolumeClaim": {"claimName": "it"}}}, "persistentvolumeclaims"),
        ({"memoryDump": {"claimName": "it"}}, "persistentvolumeclaims"),
    ],
)
async def test_an_agent_reads_what_a_machine_on_its_node_names(api: Api, agent: Api, volume: Object, path: str) -> None:
    made = await created(api, INSTANCES, instance("vm"))
    await with_launcher(api, made)
    assert (await agent.get(f"{CORE}/{path}/it")).code == 403
    spec = instance("vm", volume)["spec"]
    assert (await api.merge(f"{INSTANCES}/vm", {"spec": spec})).code == 200
    assert (await agent.get(f"{CORE}/{path}/it")).code == 404
    await api.delete(f"{INSTANCES}/vm")
    assert (await agent.get(f"{CORE}/{path}/it")).code == 403


async def test_both_sides_of_a_migration_read_what_the_machine_names(api: Api, server: RunningServer) -> None:
    made = await created(api, INSTANCES, instance("vm", {"secret": {"secretName": "it"}}))
    await with_launcher(api, made, "n1", "source")
    await with_launcher(api, made, "n2", "target")
    for node, code in (("n1", 404), ("n2", 404), ("n3", 403)):
        async with agent_of(node, server) as agent:
            assert (await agent.get(f"{CORE}/secrets/it")).code == code


async def test_a_worker_brings_what_its_job_names(api: Api, agent: Api) -> None:
    job = {
        "claim": "target",
        "secret": "s3",
        "certConfigMap": "ca",
        "trustedCaConfigMap": "proxy",
        "http": {"url": "https://example.com", "secretExtraHeaders": ["header"]},
        "clone": {"namespace": "kube-public", "claim": "source"},
    }
    body = pod("importer")
    body["metadata"].update(labels={"kvtui.io/worker": "import"}, annotations={"kvtui.io/job": json.dumps(job)})
    await created(api, PODS, body)
    for path in (
        f"{CORE}/persistentvolumeclaims/target",
        f"{CORE}/secrets/s3",
        f"{CORE}/secrets/header",
        f"{CORE}/configmaps/ca",
        f"{CORE}/configmaps/proxy",
        "/api/v1/namespaces/cdi/configmaps/proxy",
        "/api/v1/namespaces/kube-public/persistentvolumeclaims/source",
    ):
        assert (await agent.get(path)).code == 404, path
    assert (await agent.get("/api/v1/namespaces/kube-public/persistentvolumeclaims/target")).code == 403
    more = {"metadata": {"annotations": {"kvtui.io/job": json.dumps({"secret": "other"})}}}
    assert (await agent.merge(f"{PODS}/importer", more)).code == 403


async def test_only_controllers_write_jobs(api: Api) -> None:
    role = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings"
    edit = {"roleRef": {"kind": "ClusterRole", "name": "edit"}, "subjects": [{"kind": "User", "name": "eve"}]}
    await created(api, role, {"metadata": {"name": "eve"}, **edit})
    eve = api.acting_as("eve")
    body = pod("importer")
    body["metadata"]["annotations"] = {"kvtui.io/job": json.dumps({"clone": {"namespace": "cdi", "claim": "c"}})}
    refused = await eve.post(PODS, body)
    assert (refused.code, refused.reason) == (403, "Forbidden")
    assert "only controllers may set" in refused.message
    await created(eve, PODS, pod("plain"))
    assert (await eve.merge(f"{PODS}/plain", {"metadata": {"labels": {"kvtui.io/worker": "import"}}})).code == 403
    assert (await eve.merge(f"{PODS}/plain", {"metadata": {"labels": {"other": "x"}}})).code == 200


def volume(name: str, claim: str, node: str = "n2") -> Object:
    return {
        "metadata": {
            "name": name,
            "labels": {"kvtui.io/node": node},
            "annotations": {"kvtui.io/node": node},
            "finalizers": ["kvtui.io/volume"],
        },
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "1Gi"},
            "hostPath": {"path": "/volumes/x"},
            "claimRef": {"namespace": "default", "name": claim},
        },
    }


async def test_an_agent_reads_the_volumes_of_its_claims_and_those_it_cleans_up(api: Api, agent: Api) -> None:
    await created(api, VOLUMES, volume("used", "c"))
    await created(api, VOLUMES, volume("mine", "gone", "n1"))
    await created(api, VOLUMES, volume("other", "other"))
    await created(api, PODS, pod("p", volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]))
    codes = {name: (await agent.get(f"{VOLUMES}/{name}")).code for name in ("used", "mine", "other", "none")}
    assert codes == {"used": 200, "mine": 200, "other": 403, "none": 403}
    assert (await agent.get(VOLUMES)).code == 403
    assert (await agent.get(VOLUMES, labelSelector="kvtui.io/node=n2")).code == 403
    assert (await agent.get(VOLUMES, labelSelector="kvtui.io/node!=n1")).code == 403
    assert (await agent.get(VOLUMES, labelSelector="kvtui.io/node=n1,a!=b")).names == ["mine"]
    async with agent.watch(VOLUMES, labelSelector="kvtui.io/node=n1") as watch:
        assert await watch.take(1) == [("ADDED", "mine")]
    released: Object = {"metadata": {"finalizers": None}}
    assert (await agent.merge(f"{VOLUMES}/mine", released)).code == 403  # nobody has deleted it
    await api.delete(f"{VOLUMES}/mine")
    assert (await agent.merge(f"{VOLUMES}/mine", {"metadata": {"labels": {"a": "b"}}})).code == 403
    assert (await agent.merge(f"{VOLUMES}/mine", released)).code == 200
    assert (await api.get(f"{VOLUMES}/mine")).code == 404
    await api.delete(f"{VOLUMES}/used")
    assert (await agent.merge(f"{VOLUMES}/used", released)).code == 403
    for name in ("used", "other"):
        await api.merge(f"{VOLUMES}/{name}", released)


async def test_an_agent_finds_the_claim_with_the_state_of_a_machine_on_it(api: Api, agent: Api) -> None:
    claims = f"{CORE}/persistentvolumeclaims"
    for owner in ("vm", "other"):
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        await created(
            api, claims, {"metadata": {"name": owner, "labels": {"persistent-state-for": owner}}, "spec": spec}
        )
    await created(api, VOLUMES, volume("state", "vm"))
    assert (await agent.get(claims, labelSelector="persistent-state-for=vm")).code == 403
    await with_launcher(api, await created(api, INSTANCES, instance("vm")))
    assert (await agent.get(claims, labelSelector="persistent-state-for=vm")).names == ["vm"]
    assert (await agent.get(f"{claims}/vm")).code == 200
    assert (await agent.get(f"{VOLUMES}/state")).code == 200
    for query in ("persistent-state-for=other", "persistent-state-for in (vm,other)", "persistent-state-for", ""):
        assert (await agent.get(claims, labelSelector=query)).code == 403, query
    assert (await agent.get(f"{claims}/other")).code == 403
    await api.delete(f"{VOLUMES}/state")
    await api.merge(f"{VOLUMES}/state", {"metadata": {"finalizers": None}})


async def test_an_agent_gets_tokens_that_end_with_a_pod_of_its_node(api: Api, agent: Api) -> None:
    account = f"{CORE}/serviceaccounts/default/token"

    async def ask(**bound: str) -> tuple[int, str]:
        answer = await agent.post(account, {"spec": {"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", **bound}}})
        return answer.code, answer.message if answer.code >= 400 else ""

    assert (await ask(name="p", uid="u"))[0] == 403
    own = (await created(api, PODS, pod("p")))["metadata"]
    other = (await created(api, PODS, pod("q", "n2")))["metadata"]
    assert await ask(name="p", uid=own["uid"]) == (201, "")
    assert (await ask(name="p"))[1].endswith("node requested token with a pod binding without a uid")
    assert (await ask(name="q", uid=other["uid"]))[1].endswith("bound to a pod scheduled on a different node")
    plain = await agent.post(account, {"spec": {}})
    assert (plain.code, plain.message.rpartition(": ")[2]) == (403, "node requested token not bound to a pod")
    elsewhere = await agent.post("/api/v1/namespaces/kube-system/serviceaccounts/default/token", {"spec": {}})
    assert elsewhere.code == 403
    assert (await agent.get(f"{CORE}/serviceaccounts/default")).code == 403


async def test_an_agent_changes_only_what_is_its_own_of_its_pods(api: Api, agent: Api) -> None:
    await created(api, PODS, pod("p"))
    await created(api, PODS, pod("q", "n2"))
    assert (await agent.merge(f"{PODS}/p", {"metadata": {"annotations": {"kvtui.io/x": "y"}}})).code == 200
    assert (await agent.merge(f"{PODS}/p/status", {"status": {"phase": "Running"}})).code == 200
    for body in (
        {"metadata": {"labels": {"a": "b"}}},
        {"metadata": {"finalizers": ["a.example.com/b"]}},
        {"spec": {"tolerations": [{"operator": "Exists"}]}},
    ):
        assert (await agent.merge(f"{PODS}/p", body)).code == 403, body
    assert (await agent.merge(f"{PODS}/q", {"metadata": {"annotations": {"kvtui.io/x": "y"}}})).code == 403
    assert (await agent.delete(f"{PODS}/q", {"gracePeriodSeconds": 0})).code == 403
    assert (await agent.delete(f"{PODS}/p", {"gracePeriodSeconds": 0})).code == 200
    assert (await agent.post(PODS, pod("r"))).code == 403


async def test_an_agent_changes_machines_on_it_or_on_their_way(api: Api, agent: Api) -> None:
    change = {"metadata": {"annotations": {"a": "b"}}}
    made = await created(api, INSTANCES, instance("vm"))
    refused = await agent.merge(f"{INSTANCES}/vm", change)
    assert (refused.code, refused.reason) == (403, "Forbidden")
    kind = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstanceMigration"}
    await created(api, MIGRATIONS, {**kind, "metadata": {"name": "m"}, "spec": {"vmiName": "vm"}})
    progress = {"metadata": {"annotations": {"kvtui.io/migration-progress": "{}"}}}
    assert (await agent.merge(f"{MIGRATIONS}/m", progress)).code == 403
    await with_launcher(api, made)
    assert (await agent.merge(f"{INSTANCES}/vm", change)).code == 200
    assert (await agent.merge(f"{MIGRATIONS}/m", progress)).code == 200
    assert (await agent.merge(f"{MIGRATIONS}/m", {"metadata": {"labels": {"a": "b"}}})).code == 403
    await api.delete(f"{PODS}/launcher", {"gracePeriodSeconds": 0})
    assert (await agent.merge(f"{INSTANCES}/vm", {"metadata": {"annotations": {"a": "c"}}})).code == 403
    assert (await api.merge(f"{INSTANCES}/vm", {"status": {"nodeName": "n1"}})).code == 200
    assert (await agent.merge(f"{INSTANCES}/vm", {"metadata": {"annotations": {"a": "c"}}})).code == 200
    assert (await agent.delete(f"{INSTANCES}/vm")).code == 403


@pytest.mark.parametrize("label", ["kubevirt.io/nodeName", "kubevirt.io/migrationTargetNodeName"])
async def test_an_agent_lists_and_watches_the_machines_on_it_and_on_their_way(api: Api, agent: Api, label: str) -> None:
    every = "/apis/kubevirt.io/v1/virtualmachineinstances"
    await created(api, INSTANCES, instance("elsewhere"))
    await created(api, INSTANCES, instance("here"))
    assert (await api.merge(f"{INSTANCES}/here", {"metadata": {"labels": {label: "n1"}}})).code == 200
    listed = await agent.get(every, labelSelector=f"{label}=n1")
    assert [item["metadata"]["name"] for item in listed.body["items"]] == ["here"]
    async with agent.watch(every, labelSelector=f"{label}=n1", timeoutSeconds=1) as watch:
        assert await watch.take(1) == [("ADDED", "here")]
    for selector in ("", f"{label}=n2", f"{label} in (n1,n2)", f"{label}!=n2", "other=n1", label):
        refused = await agent.get(every, labelSelector=selector)
        assert (refused.code, refused.reason) == (403, "Forbidden"), selector
        assert "can only list and watch instances with one of the labels" in refused.message
    assert (await agent.get(INSTANCES)).code == 403
    assert (await agent.get(f"{INSTANCES}/here")).code == 200


async def test_an_agent_writes_events_in_its_own_name(agent: Api) -> None:
    def event(name: str, host: str) -> Object:
        involved = {"kind": "Node", "name": "n1", "namespace": "default"}
        source = {"component": "virt-handler", "host": host}
        return {
            "metadata": {"name": name},
            "involvedObject": involved,
            "source": source,
            "reason": "R",
            "type": "Normal",
        }

    assert (await agent.post(f"{CORE}/events", event("a", "n1"))).code == 201
    assert (await agent.merge(f"{CORE}/events/a", {"count": 2})).code == 200
    assert (await agent.merge(f"{CORE}/events/a", {"source": {"host": "n2"}})).code == 403
    assert (await agent.post(f"{CORE}/events", event("b", "n2"))).code == 403


@pytest.mark.parametrize(
    ("label", "code"),
    [
        ("kubernetes.io/hostname", 201),
        ("topology.kubernetes.io/zone", 201),
        ("cpu-model.node.kubevirt.io/Skylake", 201),
        ("own", 201),
        ("node-role.kubernetes.io/master", 403),
        ("x.node-restriction.kubernetes.io/y", 403),
    ],
)
async def test_an_agent_labels_its_node_as_a_kubelet_may(api: Api, agent: Api, label: str, code: int) -> None:
    answer = await agent.post("/api/v1/nodes", {"metadata": {"name": "n1", "labels": {label: "x"}}})
    assert answer.code == code, answer.body
    await api.delete("/api/v1/nodes/n1")


async def test_rights_of_agents_cannot_be_listed(agent: Api) -> None:
    path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
    status = (await agent.post(path, {"spec": {"namespace": "default"}})).body["status"]
    assert (status["incomplete"], status["evaluationError"]) == (
        True,
        "node authorizer does not support user rule resolution",
    )


async def test_a_restarted_server_knows_what_nodes_need(tmp_path_factory: pytest.TempPathFactory) -> None:
    place = tmp_path_factory.mktemp("restarted")
    async with running_server(place) as server, server.session() as session:
        made = await created(Api(session), INSTANCES, instance("vm", {"secret": {"secretName": "it"}}))
        await with_launcher(Api(session), made)
    async with running_server(place) as server, agent_of("n1", server) as agent:
        assert (await agent.get(f"{CORE}/secrets/it")).code == 404
        assert (await agent.get(f"{CORE}/secrets/other")).code == 403
