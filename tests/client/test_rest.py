"""The client against a real API server: reading, writing, watching, errors."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kvtui.api.core.config import ConfigMap
from kvtui.api.meta import ObjectMeta
from kvtui.client.kubeconfig import Endpoint, load
from kvtui.client.rest import Client, Patch, impersonating
from kvtui.errors import AlreadyExists, Conflict, Expired, Forbidden, Invalid, NotFound, Unreachable, Usage
from kvtui.settings import ClientSettings
from tests.fakes.cluster import running_server

A = ("default", "a")


def config(name: str = "a", **data: str) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=name, namespace="default", labels={"app": name}), data=data)


@contextlib.asynccontextmanager
async def connected(directory: Path, settings: ClientSettings | None = None) -> AsyncIterator[Client]:
    async with (
        running_server(directory, crds=False) as server,
        Client(await load(server.kubeconfig), settings) as client,
    ):
        yield client


async def test_an_object_is_written_read_and_deleted(tmp_path: Path) -> None:
    async with connected(tmp_path) as client:
        created = await client.create(config(v="1"))
        assert created.metadata.uid
        assert (await client.get(ConfigMap, A)).data == {"v": "1"}
        await client.patch(ConfigMap, A, {"data": {"v": None, "w": "2"}})
        assert (await client.get(ConfigMap, A)).data == {"w": "2"}
        await client.patch(ConfigMap, A, [{"op": "add", "path": "/data/x", "value": "3"}], how=Patch.JSON)
        assert (await client.get(ConfigMap, A)).data == {"w": "2", "x": "3"}
        await client.apply(config(y="4"), field_manager="tester")
        assert (await client.get(ConfigMap, A)).data["y"] == "4"
        await client.delete(ConfigMap, A)
        assert await client.find(ConfigMap, A) is None


async def test_dry_runs_change_nothing(tmp_path: Path) -> None:
    async with connected(tmp_path) as client:
        await client.create(config(), dry_run=True)
        assert await client.find(ConfigMap, A) is None


async def test_long_lists_come_in_pages_and_by_selector(tmp_path: Path) -> None:
    async with connected(tmp_path, ClientSettings(page_size=2)) as client:
        for name in "abcde":
            await client.create(config(name))
        listed = await client.list(ConfigMap, "default", label_selector="app")
        assert [c.metadata.name for c in listed.items] == list("abcde")
        assert [c.metadata.name for c in (await client.list(ConfigMap, label_selector="app in (b,d)")).items] == [
            "b",
            "d",
        ]


async def test_a_watch_brings_what_happens_after_a_list(tmp_path: Path) -> None:
    async with connected(tmp_path) as client:
        listed = await client.list(ConfigMap, "default")
        await client.create(config(v="1"))
        await client.patch(ConfigMap, A, {"data": {"v": "2"}})
        await client.delete(ConfigMap, A)
        seen = []
        watch = client.watch(ConfigMap, "default", resource_version=listed.resource_version)
        async with contextlib.aclosing(watch) as events:
            async for event in events:
                if event.object is not None:
                    seen.append((event.type, event.object.data.get("v")))
                if event.type == "DELETED":
                    break
        assert seen == [("ADDED", "1"), ("MODIFIED", "2"), ("DELETED", "2")]


async def test_what_the_server_refuses_is_told_apart(tmp_path: Path) -> None:
    async with connected(tmp_path) as client:
        created = await client.create(config())
        with pytest.raises(AlreadyExists):
            await client.create(config())
        with pytest.raises(NotFound):
            await client.get(ConfigMap, ("default", "b"))
        await client.patch(ConfigMap, A, {"data": {"v": "1"}})
        stale = {"metadata": {"resourceVersion": created.metadata.resource_version}, "data": {"v": "2"}}
        with pytest.raises(Conflict):
            await client.patch(ConfigMap, A, stale)
        with pytest.raises(Conflict):
            await client.delete(ConfigMap, A, uid="somebody-else")
        with pytest.raises(Invalid) as invalid:
            await client.create(config("Not a name"))
        assert invalid.value.causes
        stranger = Client(impersonating(client.endpoint, "stranger"))
        async with stranger:
            with pytest.raises(Forbidden):
                await stranger.get(ConfigMap, A)
        with pytest.raises((Expired, Invalid)):
            await anext(client.watch(ConfigMap, resource_version="99999999x"))


async def test_a_server_that_is_not_there_is_unreachable() -> None:
    async with Client(Endpoint(server="http://127.0.0.1:9")) as client:
        with pytest.raises(Unreachable):
            await client.get(ConfigMap, A)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "is not a mapping"),
        ("{", "cannot be read"),
        ("current-context: x", "no context named 'x'"),
        ("current-context: x\ncontexts: [{name: x, context: {cluster: c}}]", "no cluster named 'c'"),
        (
            "current-context: x\ncontexts: [{name: x, context: {cluster: c}}]\nclusters: [{name: c, cluster: {}}]",
            "names no server",
        ),
    ],
)
async def test_an_unusable_kubeconfig_is_explained(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(Usage, match=message):
        await load(path)


async def test_a_missing_kubeconfig_is_explained(tmp_path: Path) -> None:
    with pytest.raises(Usage, match="no kubeconfig at"):
        await load(tmp_path / "absent")


async def test_a_token_and_another_context(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(
        """
current-context: one
contexts:
- {name: one, context: {cluster: c, user: u, namespace: team}}
- {name: two, context: {cluster: c}}
clusters: [{name: c, cluster: {server: "http://127.0.0.1:1/"}}]
users: [{name: u, user: {token: secret}}]
"""
    )
    one, two = await load(path), await load(path, context="two")
    assert (one.server, one.namespace, one.headers) == (
        "http://127.0.0.1:1",
        "team",
        {"Authorization": "Bearer secret"},
    )
    assert (two.namespace, two.headers) == ("default", {})
