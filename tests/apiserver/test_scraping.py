"""Metrics by way of the server: its own, and those of parts and nodes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import quote

import pytest

from kvtui.controlloop import localsocket
from kvtui.controlloop.exposition import gauge, text
from kvtui.errors import Unreachable
from tests.apiserver.api import CONFIG_MAPS, Api
from tests.fakes.cluster import RunningServer, running_server
from tests.fakes.scraper import scrape

NODES = "/api/v1/nodes"


async def test_the_server_counts_what_it_is_asked(api: Api) -> None:
    await api.get(CONFIG_MAPS)
    answer = await api.get("/metrics")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    found = scrape(answer.body)
    assert found.one("apiserver_request_total", verb="LIST", resource="configmaps", code="200") == 1
    assert found.one("apiserver_request_duration_seconds_count", verb="LIST", resource="configmaps") == 1
    assert found.one("apiserver_storage_objects", resource="namespaces") >= 4
    assert found.one("kvtui_store_revision") > 0


async def test_names_that_anybody_may_make_up_are_no_labels(api: Api) -> None:
    for n in range(20):
        await api.get(quote(f'/apis/g{n}/v1/x"}} 1\nevil{n}/y/z'))
        await api.get(f"{CONFIG_MAPS}/a/part{n}")
        await api.get(f"{NODES}/none/proxy/path{n}")
        await api.request(f"VERB{n}", "/version")
    found = scrape((await api.get("/metrics")).body)
    assert {row["resource"] for row, _ in found["apiserver_request_total"] if "resource" in row} <= {"nodes", "unknown"}
    assert len(found["apiserver_request_total"]) <= 6


async def test_parts_beside_the_server_are_told_under_their_names(tmp_path: Path) -> None:
    async def own() -> str:
        return text([gauge("kubevirt_info", "Version.", [({"kubeversion": "v1"}, 1)])])

    async def controllers() -> str:
        return text([gauge("kubevirt_number_of_vms", "VMs.", [({"namespace": "a"}, 3)])])

    async def away() -> str:
        raise Unreachable("nobody is there")

    scraped = {"": own, "controllers": controllers, "away": away}
    async with running_server(tmp_path, crds=False, scraped=scraped) as server, server.session() as session:
        api = Api(session)
        found = scrape((await api.get("/metrics")).body)
        assert found.one("kubevirt_info") == 1
        assert found.one("apiserver_storage_size_bytes") > 0
        assert scrape((await api.get("/metrics/controllers")).body).one("kubevirt_number_of_vms") == 3
        answer = await api.get("/metrics/away")
        assert (answer.code, answer.reason) == (503, "ServiceUnavailable")
        assert (await api.get("/metrics/none")).code == 404
        assert "/metrics/controllers" in (await api.get("/")).body["paths"]


async def test_a_scrapers_account_sees_how_the_engine_does_and_nothing_else(api: Api, server: RunningServer) -> None:
    await api.post(NODES, {"metadata": {"name": "a"}})
    subject = {"kind": "User", "name": "prometheus", "apiGroup": "rbac.authorization.k8s.io"}
    role = {"kind": "ClusterRole", "name": "kvtui:monitoring", "apiGroup": "rbac.authorization.k8s.io"}
    async with server.session(server.client_pair("prometheus")) as session:
        prometheus = Api(session)
        for path in ("/metrics", f"{NODES}/a/proxy/metrics"):
            assert (await prometheus.get(path)).code == 403
        body = {"metadata": {"name": "scrapers"}, "roleRef": role, "subjects": [subject]}
        await api.post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", body)
        assert (await prometheus.get("/metrics")).code == 200
        assert (await prometheus.get(NODES)).code == 200
        assert (await prometheus.get(f"{NODES}/a/proxy/metrics")).code == 503  # allowed, but nobody is there
        assert (await prometheus.get(CONFIG_MAPS)).code == 403
        assert (await prometheus.post(f"{NODES}/a/proxy/metrics", {})).code == 403


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("none/proxy/metrics", 404),
        ("a/proxy", 404),
        ("a/proxy/", 404),
        ("a/proxy/v1/namespaces/default/virtualmachineinstances/web/console", 404),
        ("a/proxy/containerLogs/default/pod/compute", 404),
        ("a/proxy/metrics/../v1", 404),
        ("a/proxy/metrics%2Fresource", 404),
        ("a/status/metrics", 404),
        ("a/proxy/metrics", 503),
    ],
)
async def test_only_metrics_go_through_the_proxy_of_a_node(api: Api, path: str, code: int) -> None:
    await api.post(NODES, {"metadata": {"name": "a"}})
    assert (await api.get(f"{NODES}/{path}")).code == code
    assert (await api.delete(f"{NODES}/a/proxy/metrics")).code == 405


async def test_a_socket_is_reached_however_long_its_path_is(tmp_path: Path) -> None:
    from aiohttp import web

    directory = tmp_path.joinpath(*["a-rather-long-name-of-a-directory"] * 5)

    async def metrics(request: web.Request) -> web.Response:
        return web.Response(text=f"{request.path}\n")

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    path = directory / "part.sock"
    with pytest.raises(Unreachable):
        await localsocket.get(path, "/metrics")
    for _ in range(2):  # the second takes the place of what the first left
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.SockSite(runner, localsocket.listen(path)).start()
            async with asyncio.timeout(10):
                assert await localsocket.get(path, "/metrics") == "/metrics\n"
            with pytest.raises(Unreachable):
                await localsocket.get(path, "/else")
            assert path.stat().st_mode & 0o777 == 0o600
            assert directory.stat().st_mode & 0o777 == 0o700
        finally:
            await runner.cleanup()
    with pytest.raises(Unreachable):
        await localsocket.get(path, "/metrics")
