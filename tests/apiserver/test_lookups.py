"""Lookups in the server itself: the objects and rights that its clients would be told of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from kvtui.apiserver.lookups import Lookups
from kvtui.errors import Transient
from tests.apiserver.api import CONFIG_MAPS, WIDGETS, Api, config_map, widget, widget_definition
from tests.apiserver.test_access import READ_MAPS, grant
from tests.fakes.cluster import running_server


@dataclass(frozen=True)
class Right:
    user: str
    verb: str
    resource: str
    groups: tuple[str, ...] = ()
    group: str = ""
    subresource: str = ""
    namespace: str = "default"


async def test_they_tell_what_a_client_would_be_told(tmp_path: Path) -> None:
    lookups = Lookups()
    async with running_server(tmp_path, crds=False, lookups=lookups) as server, server.session() as session:
        api = Api(session)
        await api.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", widget_definition())
        made = await api.post(CONFIG_MAPS, config_map("a", k="1"))
        await api.post(WIDGETS, widget("w"))
        assert await lookups.get("", "configmaps", "default", "a") == made.body
        assert await lookups.get("", "configmaps", "default", "b") is None
        changed = await api.merge(f"{CONFIG_MAPS}/a", {"data": {"k": "2"}})
        assert await lookups.get("", "configmaps", "default", "a") == changed.body
        assert await lookups.get("", "nodes", "", "none") is None
        assert [w["metadata"]["name"] for w in await lookups.list("example.com", "widgets", "")] == ["w"]
        assert await lookups.list("example.com", "widgets", "kube-system") == []


async def test_rights_are_those_of_the_roles(tmp_path: Path) -> None:
    lookups = Lookups()
    async with running_server(tmp_path, crds=False, lookups=lookups) as server, server.session() as session:
        await grant(Api(session), "bob", READ_MAPS)
        assert await lookups.may(Right("bob", "get", "configmaps"))
        assert not await lookups.may(Right("bob", "delete", "configmaps"))
        assert not await lookups.may(Right("bob", "get", "configmaps", namespace="kube-system"))
        assert await lookups.may(Right("eve", "delete", "configmaps", groups=("system:masters",)))


async def test_nothing_is_known_before_the_server_starts() -> None:
    with pytest.raises(Transient):
        await Lookups().get("", "configmaps", "default", "a")
