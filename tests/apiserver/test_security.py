"""What a server on a host with many users must keep to, and the test that shows it; or why it is not so.

Item                                           Shown by, or reason
---------------------------------------------  ----------------------------------------------------------------
loopback only by default, always TLS           ::test_only_loopback_and_only_tls_by_default
authority 0600 in 0700, leaf at most a year    ::test_keys_are_private_and_certificates_short_lived
serving certificate renewed without a restart  certificates::test_new_connections_are_shown_the_new_certificate
nothing but health and version for strangers   access::test_strangers_see_health_and_version_only
a bad token is never anonymous                 access::test_a_bad_token_is_never_anonymous
static tokens: hashes, in constant time        access::test_a_static_admin_token
account tokens end with their account          access::test_an_account_token_works_until_its_account_is_gone
no credentials and bodies in logs              ::test_the_audit_log_names_who_and_what_and_no_secret
Unix socket with SO_PEERCRED                   left out: optional, and kubectl cannot use it
Host allow-list, no Origin, no cookies         access::test_browser_and_proxy_tricks
Origin refused on upgrades too                 ::test_pages_of_other_origins_open_no_watch
nosniff, no caching, no CORS                   ::test_answers_tell_browsers_to_keep_off
body, object, patch and depth limits           ::test_bodies_are_bounded
compressed bodies                              ::test_compressed_bodies_are_not_taken
YAML without aliases                           rest::test_yaml_bodies_are_taken_and_aliases_are_not
protobuf is bounded                            fuzz::test_bodies_are_objects_or_refused
header block and request line bounded          ::test_long_lines_and_headers_are_refused
slow headers, idle connections                 connections::test_a_client_that_never_finishes_its_headers_is_cut_off
slow bodies                                    ::test_a_body_that_does_not_come_is_given_up
silent handshakes keep nobody out              blocks::test_connections_that_say_nothing_keep_nobody_out
connections in total                           connections::test_one_connection_too_many_is_closed
connections of one user                        ::test_connections_of_one_user_are_bounded
connections of one address                     left out: on loopback all users have the same one
requests in flight: 429 and Retry-After        ::test_too_many_requests_in_flight_are_told_to_come_again
watches of one user                            access::test_too_many_watches_of_one_user_are_told_to_wait
buffer of one watch                            watches::test_a_reader_that_does_not_keep_up_is_ended_and_delays_nobody
consoles and other streams bounded             ::test_streams_are_bounded
patterns run in linear time                    ::test_a_pattern_cannot_take_for_ever
full disk and size of the database             full_disk::test_a_disk_that_is_full
room kept before the disk is full              full_disk::test_a_disk_that_is_nearly_full
events expire after an hour                    ::test_old_events_go
rate of events                                 ::test_events_of_one_source_about_one_object_are_limited
at most 1,000 requirements in a selector       ::test_selectors_are_bounded
raw paths, each segment decoded once           fuzz::test_every_path_is_routed_or_refused
names of objects                               rest::test_bad_names_are_invalid
labels, annotations, finalizers                ::test_keys_and_values_of_metadata_are_checked
discovery and documents need authorization     access::test_strangers_see_health_and_version_only
a watch needs what a list needs                access::test_roles_give_exactly_what_they_say
streams audited when they begin and end        ::test_opening_a_stream_is_audited_at_once
no Secret in a Table                           ::test_tables_of_secrets_show_no_values
agents have the rights of their node           nodes::test_an_agent_reads_what_a_pod_of_its_node_names
jobs of agents come from controllers           nodes::test_only_controllers_write_jobs
impersonation only when allowed                access::test_impersonation_must_be_allowed
X-Remote-* never believed                      access::test_browser_and_proxy_tricks
request-header (front proxy) authentication    left out: nothing stands in front of this server
database files 0600                            access::test_private_files_are_private
Secrets encrypted at rest                      left out: optional; the key would lie beside the database
certificate signing requests signed            left out: agents and users get certificates when they are made
crash-consistent start                         kills::test_acknowledged_writes_survive_kills
clean end: watches end, writes are finished    ::test_a_server_that_ends_ends_its_watches
a defect is a 500 with an id and no details    ::test_a_defect_shows_an_id_and_no_details
fuzzed                                         fuzz::test_no_request_makes_the_server_fail
lists and watches agree with the state         store::test_every_watch_sees_the_exact_history_or_is_told_that_it_is_gone
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from cryptography import x509

from kvtui.api.admission import UserInfo
from kvtui.apiserver import http
from kvtui.apiserver.extension import GroupVersion
from kvtui.apiserver.plugins.event_rate import Budgets
from kvtui.settings import ApiServerSettings
from tests.apiserver.api import CONFIG_MAPS, WIDGETS, Api, config_map, widget, widget_definition
from tests.apiserver.conftest import DEFINITIONS
from tests.fakes.cluster import RunningServer, running_server

Object = dict[str, Any]
PODS = "/api/v1/namespaces/default/pods"
EVENTS = "/api/v1/namespaces/default/events"
SECRETS = "/api/v1/namespaces/default/secrets"


def rows() -> list[tuple[str, str]]:
    assert __doc__ is not None
    _, _, table = __doc__.rpartition("---\n")
    return [(line[:47].strip(), line[47:].strip()) for line in table.splitlines()]


@pytest.mark.parametrize(("item", "shown"), rows())
def test_every_item_is_shown_by_a_test_or_has_its_reason(item: str, shown: str) -> None:
    if shown.startswith("left out: "):
        return
    module, _, name = shown.partition("::")
    text = (Path(__file__).parent / f"test_{module or 'security'}.py").read_text()
    assert re.search(rf"^(async )?def {name}\(", text, re.MULTILINE), f"{item}: there is no {shown}"


async def test_only_loopback_and_only_tls_by_default(server: RunningServer, tmp_path: Path) -> None:
    default = ApiServerSettings(directory=tmp_path, pki=tmp_path)
    assert (default.host, default.more_hosts) == ("127.0.0.1", ())
    host, port = server.url.removeprefix("https://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n")
    with contextlib.suppress(ConnectionError):
        assert b"HTTP" not in await reader.read()
    writer.close()


async def test_keys_are_private_and_certificates_short_lived(server: RunningServer) -> None:
    for key in server.pki.ca.key.parent.rglob("*.key"):
        assert key.stat().st_mode & 0o077 == 0, key
    assert server.pki.ca.key.parent.stat().st_mode & 0o077 == 0
    leaf = x509.load_pem_x509_certificate(server.pki.server.cert.read_bytes())
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc <= timedelta(days=366)


async def test_the_audit_log_names_who_and_what_and_no_secret(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    async with running_server(tmp_path, crds=False, audit_log=log) as server, server.session() as session:
        api = Api(session)
        body = {"metadata": {"name": "s"}, "stringData": {"password": "hunter2"}}
        await api.request(
            "POST", SECRETS, body, headers={"Authorization": "Bearer secret-token"}, fieldManager="q-secret"
        )
        await api.get(f"{SECRETS}/s")
        await api.get(CONFIG_MAPS)
        await api.acting_as("bob").get(CONFIG_MAPS)
        await api.post("/api/v1/namespaces/default/serviceaccounts/default/token", {"spec": {}})
    assert log.stat().st_mode & 0o077 == 0
    text = log.read_text()
    for secret in ("hunter2", "secret-token", "q-secret", "eyJ"):
        assert secret not in text
    lines = [json.loads(line) for line in text.splitlines()]
    told = [(e["verb"], e["objectRef"]["resource"], e["responseStatus"]["code"]) for e in lines]
    assert told == [
        ("create", "secrets", 201),
        ("get", "secrets", 200),
        ("list", "configmaps", 403),
        ("create", "serviceaccounts", 201),
    ]
    denied = lines[2]
    assert (denied["user"]["username"], denied["impersonatedUser"]["username"]) == ("kubernetes-admin", "bob")
    assert "system:masters" in denied["user"]["groups"]


async def test_pages_of_other_origins_open_no_watch(server: RunningServer) -> None:
    async with server.session() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(f"{CONFIG_MAPS}?watch=1", headers={"Origin": "https://evil.example.com"})
    assert refused.value.status == 403


async def test_answers_tell_browsers_to_keep_off(api: Api) -> None:
    for answer in (await api.get(CONFIG_MAPS), await api.get(f"{CONFIG_MAPS}/none"), await api.get("/version")):
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-cache, private"
        assert not any(name.lower().startswith("access-control-") for name in answer.headers)


async def test_bodies_are_bounded(api: Api) -> None:
    async def code(method: str, path: str, body: bytes, kind: str = "application/json") -> int:
        return (await api.request(method, path, body, headers={"Content-Type": kind})).code

    await api.post(CONFIG_MAPS, config_map("a"))
    assert await code("POST", CONFIG_MAPS, b'{"data":{"x":"' + b"x" * (3 * 2**20) + b'"}}') == 413
    large = json.dumps(config_map("b", x="x" * 2_000_000)).encode()
    assert await code("POST", CONFIG_MAPS, large) in (413, 422)
    deep = b'{"data":' + b"[" * 150 + b"]" * 150 + b"}"
    assert await code("POST", CONFIG_MAPS, deep) == 400
    operations = json.dumps([{"op": "test", "path": "/data", "value": {}}] * 10_001).encode()
    assert await code("PATCH", f"{CONFIG_MAPS}/a", operations, "application/json-patch+json") == 413


async def test_compressed_bodies_are_not_taken(api: Api) -> None:
    answer = await api.request("POST", CONFIG_MAPS, b"\x1f\x8b", headers={"Content-Encoding": "gzip"})
    assert answer.code in (400, 415)


@pytest.mark.parametrize("long", [{"path": "/api?x=" + "y" * 20_000}, {"header": "z" * 40_000}])
async def test_long_lines_and_headers_are_refused(server: RunningServer, long: dict[str, str]) -> None:
    async with server.session() as session:
        headers = {"X-Long": long.get("header", "")}
        try:
            async with session.get(long.get("path", "/version"), headers=headers) as answer:
                assert answer.status == 400
        except aiohttp.ClientError:
            pass  # cut off in the middle of it


async def test_a_body_that_does_not_come_is_given_up(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "BODY", 0.1)
    host, port = server.url.removeprefix("https://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=server.tls())
    head = f"POST {CONFIG_MAPS} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"
    writer.write(head.encode() + b"{")
    async with asyncio.timeout(20):
        assert b" 504 " in await reader.readline()
    writer.close()


async def test_connections_of_one_user_are_bounded(tmp_path: Path) -> None:
    async with (
        running_server(tmp_path, crds=False, max_connections_per_user=1) as server,
        server.session() as first,
        server.session() as second,
        server.session(server.client_pair("bob")) as bob,
    ):
        assert (await Api(first).get(CONFIG_MAPS)).code == 200
        answer = await Api(second).get(CONFIG_MAPS)
        assert (answer.code, answer.reason, answer.headers["Retry-After"]) == (429, "TooManyRequests", "1")
        assert (await Api(first).get(CONFIG_MAPS)).code == 200
        assert (await Api(bob).get("/version")).code == 200


async def test_too_many_requests_in_flight_are_told_to_come_again(tmp_path: Path) -> None:
    async with running_server(tmp_path, crds=False, max_writes=0) as server, server.session() as session:
        answer = await Api(session).post(CONFIG_MAPS, config_map("a"))
        assert (answer.code, answer.reason, answer.headers["Retry-After"]) == (429, "TooManyRequests", "1")
        assert answer.body["details"]["retryAfterSeconds"] == 1
        assert (await Api(session).get(CONFIG_MAPS)).code == 200


async def test_streams_are_bounded(tmp_path: Path) -> None:
    async with running_server(tmp_path, crds=False, max_streams_per_user=0) as server, server.session() as session:
        assert (await Api(session).get(f"{PODS}/p/log")).code == 429


async def test_a_pattern_cannot_take_for_ever(api: Api) -> None:
    definition = widget_definition()
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema["properties"]["spec"]["properties"]["selector"]["pattern"] = "^(a+)+$"
    assert (await api.post(DEFINITIONS, definition)).code == 201
    began = time.monotonic()
    assert (await api.post(WIDGETS, widget("w", selector="a" * 50_000 + "!"))).code == 422
    assert time.monotonic() - began < 10


def event(name: str, about: str = "p") -> Object:
    return {
        "metadata": {"name": name},
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": about},
        "source": {"component": "tester", "host": "h"},
        "reason": "Testing",
        "type": "Normal",
        "lastTimestamp": "2020-01-01T00:00:00Z",
    }


async def test_events_of_one_source_about_one_object_are_limited(api: Api) -> None:
    for number in range(1000):  # a hundred, and as many more as it takes seconds to send them
        answer = await api.post(EVENTS, event(f"e{number}"))
        if answer.code != 201:
            break
    assert number >= 100
    assert (answer.code, answer.reason, answer.headers["Retry-After"]) == (429, "TooManyRequests", "1")
    assert answer.message.endswith("limit reached on type SourceAndObject for key tester/h/Pod/default/p")
    assert (await api.post(EVENTS, event("other", "q"))).code == 201


async def test_old_events_go(tmp_path: Path) -> None:
    async with running_server(tmp_path, crds=False) as server, server.session() as session:
        made = await Api(session).post(EVENTS, event("old"))
        await Api(session).post(EVENTS, {**event("new"), "lastTimestamp": None})
    async with (
        running_server(tmp_path, crds=False) as server,
        server.session() as session,
        Api(session).watch(EVENTS, resourceVersion=made.rv) as watch,
    ):
        assert await watch.take(2) == [("ADDED", "new"), ("DELETED", "old")]


def test_budgets_fill_up_again() -> None:
    now = 0.0
    budgets = Budgets(2, 3, lambda: now)
    assert [budgets.take("a") for _ in range(4)] == [True, True, True, False]
    assert budgets.take("b")
    now = 1.0
    assert [budgets.take("a") for _ in range(3)] == [True, True, False]


async def test_selectors_are_bounded(api: Api) -> None:
    selector = ",".join(f"!k{number}" for number in range(1200))
    answer = await api.get(CONFIG_MAPS, labelSelector=selector)
    assert (answer.code, answer.reason) == (400, "BadRequest")


@pytest.mark.parametrize(
    "meta",
    [
        {"labels": {"a b": "c"}},
        {"labels": {"a": "b c"}},
        {"labels": {"a": "x" * 64}},
        {"labels": {"UPPER.example.com/": "x"}},
        {"annotations": {"-": "x"}},
        {"annotations": {"a/b/c": "x"}},
        {"finalizers": ["no domain"]},
        {"annotations": {"a": "x" * 300_000}},
    ],
)
async def test_keys_and_values_of_metadata_are_checked(api: Api, meta: Object) -> None:
    body = config_map("a")
    body["metadata"].update(meta)
    answer = await api.post(CONFIG_MAPS, body)
    assert (answer.code, answer.reason) == (422, "Invalid")


async def test_tables_of_secrets_show_no_values(api: Api) -> None:
    await api.post(SECRETS, {"metadata": {"name": "s"}, "stringData": {"password": "hunter2"}})
    answer = await api.request(
        "GET", SECRETS, headers={"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}, includeObject="Metadata"
    )
    assert answer.body["kind"] == "Table"
    assert "aHVudGVyMg" not in json.dumps(answer.body)


class Broken:
    """An extension with a defect, and a stream that ends when it is told to."""

    group_versions = (GroupVersion("subresources.kubevirt.io", "v1"),)

    def __init__(self) -> None:
        self.go_on = asyncio.Event()

    def is_open(self, path: str) -> bool:
        return False

    async def handle(self, request: web.Request, user: UserInfo) -> web.StreamResponse:
        if request.path.endswith("/console"):
            await self.go_on.wait()
            return web.Response(text="ended")
        raise RuntimeError("the password is hunter2")


MACHINE = "/apis/subresources.kubevirt.io/v1/namespaces/default/virtualmachineinstances/vm"


async def test_a_defect_shows_an_id_and_no_details(tmp_path: Path) -> None:
    async with running_server(tmp_path, crds=False, extensions=[Broken()]) as server, server.session() as session:
        answer = await Api(session).get(f"{MACHINE}/guestosinfo")
        assert (answer.code, answer.reason) == (500, "InternalError")
        assert "hunter2" not in answer.message
        assert answer.headers["Audit-Id"] in answer.message


async def test_opening_a_stream_is_audited_at_once(tmp_path: Path) -> None:
    log, broken = tmp_path / "audit.log", Broken()
    async with (
        running_server(tmp_path, crds=False, extensions=[broken], audit_log=log) as server,
        server.session() as session,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(Api(session).get(f"{MACHINE}/console"))
        async with asyncio.timeout(20):
            while not log.read_text():
                await asyncio.sleep(0.05)  # a thread writes it
        begun = json.loads(log.read_text())
        assert (begun["stage"], begun["objectRef"]["subresource"], begun["objectRef"]["name"]) == (
            "RequestReceived",
            "console",
            "vm",
        )
        broken.go_on.set()
    stages = [json.loads(line)["stage"] for line in log.read_text().splitlines()]
    assert stages == ["RequestReceived", "ResponseComplete"]


async def test_a_server_that_ends_ends_its_watches(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        running = contextlib.AsyncExitStack()
        server = await running.enter_async_context(running_server(tmp_path, crds=False))
        session = await stack.enter_async_context(server.session())
        watch = await stack.enter_async_context(Api(session).watch(CONFIG_MAPS, resourceVersion="0"))
        async with asyncio.TaskGroup() as tasks:
            ending = tasks.create_task(running.aclose())
            rest = await watch.rest(timeout=10)
        assert ending.done()
    assert all(e["type"] == "ADDED" for e in rest)
