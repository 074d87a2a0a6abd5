"""Who gets in, and who may do what."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.apiserver.api import CONFIG_MAPS, Answer, Api, Object, config_map
from tests.apiserver.test_deletion import until
from tests.fakes.cluster import RunningServer, running_server

ROLES = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles"
BINDINGS = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings"
ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
Rule = dict[str, object]
READ_MAPS: list[Rule] = [{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["configmaps"]}]


@pytest.fixture
async def stranger(server: RunningServer) -> AsyncIterator[aiohttp.ClientSession]:
    """A connection without a client certificate."""
    import ssl

    tls = ssl.create_default_context(cafile=str(server.ca))
    async with aiohttp.ClientSession(server.url, connector=aiohttp.TCPConnector(ssl=tls)) as session:
        yield session


async def grant(api: Api, user: str, rules: list[Rule], name: str = "r") -> None:
    await api.post(ROLES, {"metadata": {"name": name}, "rules": rules})
    subject = {"kind": "User", "name": user}
    answer = await api.post(
        BINDINGS, {"metadata": {"name": name}, "roleRef": {"kind": "Role", "name": name}, "subjects": [subject]}
    )
    assert answer.code == 201, answer.body


async def test_strangers_see_health_and_version_only(stranger: aiohttp.ClientSession) -> None:
    api = Api(stranger)
    for path in ("/version", "/healthz", "/livez", "/readyz"):
        assert (await api.get(path)).code == 200
    for path in ("/api", "/apis", "/openapi/v3", "/metrics", CONFIG_MAPS, "/kvtui/backup", "/"):
        answer = await api.get(path)
        assert (answer.code, answer.reason, answer.message) == (401, "Unauthorized", "Unauthorized")


@pytest.mark.parametrize("header", ["Bearer nonsense", "Bearer a.b.c", "Basic YTpi", "Bearer ", "bearer"])
async def test_a_bad_token_is_never_anonymous(stranger: aiohttp.ClientSession, header: str) -> None:
    answer = await Api(stranger, {"Authorization": header}).get("/version")
    assert answer.code == 401


async def test_an_account_token_works_until_its_account_is_gone(api: Api, stranger: aiohttp.ClientSession) -> None:
    await api.post(ACCOUNTS, {"metadata": {"name": "bot"}})
    answer = await api.post(f"{ACCOUNTS}/bot/token", {"spec": {"expirationSeconds": 600}})
    assert answer.code == 201
    token = answer.body["status"]["token"]
    bot = Api(stranger, {"Authorization": f"Bearer {token}"})
    me = await bot.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", {})
    assert me.body["status"]["userInfo"]["username"] == "system:serviceaccount:default:bot"
    assert "system:serviceaccounts:default" in me.body["status"]["userInfo"]["groups"]
    review = await api.post("/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": token}})
    assert review.body["status"]["authenticated"] is True
    assert (await bot.get(CONFIG_MAPS)).code == 403
    await api.delete(f"{ACCOUNTS}/bot")
    assert (await bot.get("/version")).code == 401
    review = await api.post("/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": token}})
    assert review.body["status"]["authenticated"] is False


async def test_tokens_cannot_be_shorter_than_ten_minutes(api: Api) -> None:
    answer = await api.post(f"{ACCOUNTS}/default/token", {"spec": {"expirationSeconds": 10}})
    assert (answer.code, answer.reason) == (422, "Invalid")


async def test_a_static_admin_token(tmp_path: Path) -> None:
    import ssl

    async with running_server(tmp_path, crds=False, admin_token="s3cret") as server:
        tls = ssl.create_default_context(cafile=str(server.ca))
        async with aiohttp.ClientSession(server.url, connector=aiohttp.TCPConnector(ssl=tls)) as session:
            assert (await Api(session, {"Authorization": "Bearer s3cret"}).get(CONFIG_MAPS)).code == 200
            assert (await Api(session, {"Authorization": "Bearer s3cre"}).get(CONFIG_MAPS)).code == 401


async def test_roles_give_exactly_what_they_say(api: Api) -> None:
    await grant(api, "bob", READ_MAPS)
    bob = api.acting_as("bob")
    assert (await bob.get(CONFIG_MAPS)).code == 200
    refused = await bob.post(CONFIG_MAPS, config_map("a"))
    assert (refused.code, refused.reason) == (403, "Forbidden")
    assert refused.message == (
        'configmaps is forbidden: User "bob" cannot create resource "configmaps" in API group "" in the namespace '
        '"default"'
    )
    assert (await bob.get("/api/v1/namespaces/kube-system/configmaps")).code == 403
    assert (await bob.get("/api/v1/configmaps")).code == 403
    assert (await bob.get(CONFIG_MAPS, watch="1")).code == 403


async def test_a_taken_away_role_is_gone_at_once(api: Api) -> None:
    await grant(api, "bob", READ_MAPS)
    bob = api.acting_as("bob")
    assert (await bob.get(CONFIG_MAPS)).code == 200
    await api.delete(f"{BINDINGS}/r")
    assert (await bob.get(CONFIG_MAPS)).code == 403


async def test_rules_for_single_names(api: Api) -> None:
    rule: Rule = {
        "verbs": ["get", "list", "delete"],
        "apiGroups": [""],
        "resources": ["configmaps"],
        "resourceNames": ["a"],
    }
    await grant(api, "bob", [rule])
    await api.post(CONFIG_MAPS, config_map("a"))
    bob = api.acting_as("bob")
    assert (await bob.get(f"{CONFIG_MAPS}/a")).code == 200
    assert (await bob.get(f"{CONFIG_MAPS}/b")).code == 403
    assert (await bob.get(CONFIG_MAPS)).code == 403
    assert (await bob.get(CONFIG_MAPS, fieldSelector="metadata.name=a")).code == 200
    assert (await bob.delete(CONFIG_MAPS)).code == 403


async def test_nobody_gives_what_he_does_not_have(api: Api) -> None:
    manage: Rule = {"verbs": ["*"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"]}
    await grant(api, "bob", [{**manage, "verbs": ["create", "update"]}, *READ_MAPS])
    bob = api.acting_as("bob")
    secrets: list[Rule] = [{"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"]}]
    refused = await bob.post(ROLES, {"metadata": {"name": "more"}, "rules": secrets})
    assert (refused.code, refused.reason) == (403, "Forbidden")
    assert "is attempting to grant RBAC permissions not currently held" in refused.message
    assert (await bob.post(ROLES, {"metadata": {"name": "same"}, "rules": READ_MAPS})).code == 201
    binding = {
        "metadata": {"name": "self"},
        "roleRef": {"kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "User", "name": "bob"}],
    }
    assert (await bob.post(BINDINGS, binding)).code == 403


async def test_impersonation_must_be_allowed(api: Api) -> None:
    await grant(api, "bob", READ_MAPS)
    bob = await api.request("GET", CONFIG_MAPS, headers={"Impersonate-User": "bob"})
    assert bob.code == 200
    assert (await api.request("GET", CONFIG_MAPS, headers={"Impersonate-Group": "x"})).code == 400
    groups = await api.acting_as("eve", "system:masters").get(CONFIG_MAPS)
    assert groups.code == 200


async def test_agents_change_only_their_own_node(server: RunningServer, api: Api) -> None:
    for name in ("n1", "n2"):
        await api.post("/api/v1/nodes", {"metadata": {"name": name}})
    await api.post(
        "/api/v1/namespaces/default/pods",
        {"metadata": {"name": "p"}, "spec": {"nodeName": "n2", "containers": [{"name": "a", "image": "x"}]}},
    )
    async with server.session(server.client_pair("system:node:n1", ["system:nodes"])) as session:
        agent = Api(session)
        own = await agent.merge("/api/v1/nodes/n1/status", {"status": {"phase": "Running"}})
        assert own.code == 200, own.body
        assert (await agent.merge("/api/v1/nodes/n2/status", {"status": {"phase": "Running"}})).code == 403
        path = "/api/v1/namespaces/default/pods/p/status"
        assert (await agent.merge(path, {"status": {"phase": "Failed"}})).code == 403
        assert (
            await agent.merge("/api/v1/nodes/n1", {"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}})
        ).code == 403
        assert (await agent.post("/api/v1/namespaces/default/secrets", {"metadata": {"name": "s"}})).code == 403


async def test_access_reviews_agree_with_access(api: Api) -> None:
    await grant(api, "bob", READ_MAPS)
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"

    async def allowed(verb: str, resource: str) -> bool:
        spec = {"user": "bob", "resourceAttributes": {"verb": verb, "resource": resource, "namespace": "default"}}
        answer = await api.post(path, {"spec": spec})
        assert answer.code == 201
        return bool(answer.body["status"]["allowed"])

    assert await allowed("list", "configmaps")
    assert not await allowed("create", "configmaps")
    assert not await allowed("list", "secrets")
    rules = await api.acting_as("bob").post(
        "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", {"spec": {"namespace": "default"}}
    )
    assert {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["configmaps"]} in rules.body["status"][
        "resourceRules"
    ]


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Host": "evil.example.com"}, 421),
        ({"Origin": "https://evil.example.com"}, 403),
        ({"X-Remote-User": "root", "X-Remote-Group": "system:masters"}, 401),
        ({"Cookie": "token=x"}, 401),
    ],
)
async def test_browser_and_proxy_tricks(stranger: aiohttp.ClientSession, headers: dict[str, str], code: int) -> None:
    assert (await Api(stranger).request("GET", CONFIG_MAPS, headers=headers)).code == code


async def test_private_files_are_private(server: RunningServer, tmp_path: Path) -> None:
    for path in tmp_path.rglob("*"):
        if path.suffix in (".key", ".db") or path.name.startswith("state.db"):
            assert path.stat().st_mode & 0o077 == 0, path
    for name in ("apiserver", "pki"):
        assert (tmp_path / name).stat().st_mode & 0o077 == 0


async def test_a_backup_is_a_database(server: RunningServer, api: Api, tmp_path: Path) -> None:
    await api.post(CONFIG_MAPS, config_map("a"))
    async with server.session() as session, session.get("/kvtui/backup") as answer:
        assert answer.status == 200
        (tmp_path / "copy.db").write_bytes(await answer.read())
    copy = sqlite3.connect(tmp_path / "copy.db")
    assert copy.execute("SELECT count(*) FROM record WHERE name='a'").fetchone() == (1,)
    copy.close()
    assert (await api.acting_as("bob").get("/kvtui/backup")).code == 403


async def test_too_many_watches_of_one_user_are_told_to_wait(tmp_path: Path) -> None:
    async with running_server(tmp_path, crds=False, max_watches_per_user=1) as server, server.session() as session:
        api = Api(session)
        async with api.watch(CONFIG_MAPS):
            answer = await api.get(CONFIG_MAPS, watch="1")
            assert (answer.code, answer.reason) == (429, "TooManyRequests")
            assert answer.headers["Retry-After"] == "1"


async def test_the_certificate_names_loopback_and_is_strictly_formed(server: RunningServer) -> None:
    from cryptography import x509

    from kvtui.apiserver.pki import names_of

    assert {"127.0.0.1", "::1", "localhost"} <= set(names_of(server.pki.server.cert))
    ca = x509.load_pem_x509_certificate(server.ca.read_bytes())
    constraints = ca.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value.ca
    assert len(hashlib.sha256(server.ca.read_bytes()).hexdigest()) == 64


async def test_quota_limits_what_a_namespace_holds(api: Api) -> None:
    quotas = "/api/v1/namespaces/default/resourcequotas"
    await api.post(quotas, {"metadata": {"name": "q"}, "spec": {"hard": {"configmaps": "2"}}})
    assert (await api.post(CONFIG_MAPS, config_map("a"))).code == 201
    refused = await api.post(CONFIG_MAPS, config_map("b"))
    assert (refused.code, refused.reason) == (403, "Forbidden")
    assert refused.message == (
        'configmaps "b" is forbidden: exceeded quota: q, requested: configmaps=1, used: configmaps=2, '
        "limited: configmaps=2"
    )
    counted = {"hard": {"configmaps": "2"}, "used": {"configmaps": "2"}}
    await until(api, f"{quotas}/q", lambda a: a.body.get("status") == counted)


async def test_quota_counts_ports_of_nodes_and_what_a_claim_grows_by(api: Api) -> None:
    hard = {"services.nodeports": "1", "services.loadbalancers": "1", "requests.storage": "2Gi"}
    await api.post("/api/v1/namespaces/default/resourcequotas", {"metadata": {"name": "q"}, "spec": {"hard": hard}})

    def service(name: str, kind: str) -> Object:
        return {"metadata": {"name": name}, "spec": {"type": kind, "ports": [{"port": 80}]}}

    services = "/api/v1/namespaces/default/services"
    assert (await api.post(services, service("a", "NodePort"))).code == 201
    assert (await api.post(services, service("b", "ClusterIP"))).code == 201
    refused = await api.post(services, service("c", "LoadBalancer"))
    assert "requested: services.nodeports=1, used: services.nodeports=1" in refused.message
    claims = "/api/v1/namespaces/default/persistentvolumeclaims"
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    assert (await api.post(claims, {"metadata": {"name": "p"}, "spec": spec})).code == 201
    bound = {"status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}}
    assert (await api.merge(f"{claims}/p/status", bound)).code == 200
    assert (await api.merge(f"{claims}/p", {"spec": {"resources": {"requests": {"storage": "3Gi"}}}})).code == 403


async def test_writes_at_the_same_moment_do_not_pass_a_quota_together(api: Api) -> None:
    hard = {"configmaps": "3"}
    await api.post("/api/v1/namespaces/default/resourcequotas", {"metadata": {"name": "q"}, "spec": {"hard": hard}})
    answers = await asyncio.gather(*(api.post(CONFIG_MAPS, config_map(f"c{n}")) for n in range(10)))
    assert sorted(a.code for a in answers) == [201] * 2 + [403] * 8


async def test_a_review_has_no_table(api: Api) -> None:
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    body = {"spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}}}
    table = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    assert (await api.request("POST", path, body, headers=table)).code == 406
    assert (await api.post(path, body)).body["status"]["allowed"] is True


async def test_limit_ranges_bound_requests_and_limits_of_containers_and_pods(api: Api) -> None:
    limits = [
        {"type": "Container", "min": {"cpu": "50m"}, "max": {"cpu": "500m"}, "defaultRequest": {"cpu": "100m"}},
        {"type": "Pod", "max": {"cpu": "800m"}},
    ]
    made = await api.post(
        "/api/v1/namespaces/default/limitranges", {"metadata": {"name": "l"}, "spec": {"limits": limits}}
    )
    assert made.body["spec"]["limits"][0]["default"] == {"cpu": "500m"}
    pods = "/api/v1/namespaces/default/pods"

    async def run(name: str, *resources: Object) -> Answer:
        containers = [{"name": f"c{i}", "image": "x", "resources": r} for i, r in enumerate(resources)]
        return await api.post(pods, {"metadata": {"name": name}, "spec": {"containers": containers}})

    filled = await run("a", {})
    assert filled.body["spec"]["containers"][0]["resources"] == {"limits": {"cpu": "500m"}, "requests": {"cpu": "100m"}}
    own = await run("b", {"limits": {"cpu": "300m"}})
    assert own.body["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "300m"}
    assert (
        "minimum cpu usage per Container is 50m, but request is 10m"
        in (await run("c", {"requests": {"cpu": "10m"}})).message
    )
    assert (
        "maximum cpu usage per Container is 500m, but request is 600m"
        in (await run("d", {"requests": {"cpu": "600m"}})).message
    )
    assert "maximum cpu usage per Pod is 800m, but limit is 1" in (await run("e", {}, {})).message


async def test_a_signing_request_says_who_asks_and_stays_as_it_was_asked(api: Api) -> None:
    requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
    spec = {"request": "eA==", "signerName": "example.com/s", "usages": ["client auth"], "username": "somebody else"}
    made = await api.post(requests, {"metadata": {"name": "c"}, "spec": spec})
    assert made.body["spec"]["username"] == "kubernetes-admin"
    assert "system:masters" in made.body["spec"]["groups"]
    changed = await api.merge(f"{requests}/c", {"spec": {"signerName": "example.com/other"}})
    assert (changed.code, changed.reason) == (422, "Invalid")
    approved = {"status": {"conditions": [{"type": "Approved", "status": "True", "reason": "r", "message": "m"}]}}
    assert (await api.merge(f"{requests}/c/approval", approved)).code == 200
