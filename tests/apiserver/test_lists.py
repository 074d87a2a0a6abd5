"""Lists: selectors, pages, revisions."""

from __future__ import annotations

import gzip
import json

import pytest

from tests.apiserver.api import CONFIG_MAPS, WIDGETS, Api, config_map, widget
from tests.fakes.cluster import RunningServer


async def fill(api: Api, *names: str) -> None:
    for name in names:
        await api.post(CONFIG_MAPS, config_map(name, labels={"n": name, "half": "ab" if name in "ab" else "other"}))


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("n=a", ["a"]),
        ("n!=a", ["b", "c", "kube-root-ca.crt"]),
        ("n in (a,c)", ["a", "c"]),
        ("n notin (a, c)", ["b", "kube-root-ca.crt"]),
        ("!n", ["kube-root-ca.crt"]),
        ("n", ["a", "b", "c"]),
        ("half=ab,n=b", ["b"]),
    ],
)
async def test_label_selectors(api: Api, selector: str, names: list[str]) -> None:
    await fill(api, "a", "b", "c")
    assert (await api.get(CONFIG_MAPS, labelSelector=selector)).names == names


async def test_field_selectors(widgets: Api) -> None:
    await widgets.post(WIDGETS, widget("a", size="small"))
    await widgets.post(WIDGETS, widget("b", size="large"))
    assert (await widgets.get(WIDGETS, fieldSelector="metadata.name=a")).names == ["a"]
    assert (await widgets.get(WIDGETS, fieldSelector="spec.size=large")).names == ["b"]
    assert (await widgets.get(WIDGETS, fieldSelector="metadata.namespace!=default")).names == []


@pytest.mark.parametrize("query", [{"labelSelector": "a in"}, {"labelSelector": "=x"}, {"fieldSelector": "spec.x=1"}])
async def test_broken_selectors_are_bad_requests(api: Api, query: dict[str, str]) -> None:
    answer = await api.get(CONFIG_MAPS, **query)
    assert (answer.code, answer.reason) == (400, "BadRequest")


async def test_pages_show_one_moment(api: Api) -> None:
    await fill(api, "a", "b", "c", "d")
    first = await api.get(CONFIG_MAPS, limit=2)
    assert first.names == ["a", "b"]
    assert first.body["metadata"]["remainingItemCount"] == 3
    await api.delete(f"{CONFIG_MAPS}/d")
    await api.post(CONFIG_MAPS, config_map("e"))
    second = await api.get(CONFIG_MAPS, limit=2, **{"continue": first.body["metadata"]["continue"]})
    third = await api.get(CONFIG_MAPS, limit=2, **{"continue": second.body["metadata"]["continue"]})
    assert second.names + third.names == ["c", "d", "kube-root-ca.crt"]
    assert first.rv == second.rv == third.rv
    assert "continue" not in third.body["metadata"]


async def test_a_continue_token_of_another_list_is_refused(api: Api) -> None:
    await fill(api, "a", "b")
    token = (await api.get(CONFIG_MAPS, limit=1)).body["metadata"]["continue"]
    assert (await api.get(CONFIG_MAPS, limit=1, labelSelector="n", **{"continue": token})).code == 400
    for bad in ("x", "W10", token[:-2], "../../etc"):
        assert (await api.get(CONFIG_MAPS, **{"continue": bad})).code == 400


async def test_a_list_of_a_past_revision_shows_the_past(api: Api) -> None:
    await fill(api, "a")
    past = (await api.get(CONFIG_MAPS)).rv
    await fill(api, "b")
    await api.merge(f"{CONFIG_MAPS}/a", {"data": {"x": "new"}})
    answer = await api.get(CONFIG_MAPS, resourceVersion=past, resourceVersionMatch="Exact")
    assert answer.names == ["a", "kube-root-ca.crt"]
    assert answer.body["items"][0]["data"] == {}
    assert answer.rv == past


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"resourceVersionMatch": "Exact"}, 422),
        ({"resourceVersion": "0", "resourceVersionMatch": "Exact"}, 422),
        ({"resourceVersion": "1", "resourceVersionMatch": "Maybe"}, 422),
        ({"resourceVersion": "x"}, 400),
        ({"limit": "many"}, 400),
        ({"sendInitialEvents": "true"}, 422),
        ({"resourceVersion": "0"}, 200),
        ({"resourceVersion": "1", "resourceVersionMatch": "NotOlderThan"}, 200),
    ],
)
async def test_revision_parameters(api: Api, query: dict[str, str], code: int) -> None:
    assert (await api.get(CONFIG_MAPS, **query)).code == code


async def test_partial_metadata_has_only_metadata(api: Api) -> None:
    await fill(api, "a")
    accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
    body = (await api.request("GET", CONFIG_MAPS, headers={"Accept": accept})).body
    assert body["kind"] == "PartialObjectMetadataList"
    assert all(set(i) == {"kind", "apiVersion", "metadata"} for i in body["items"])
    accept = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
    one = (await api.request("GET", f"{CONFIG_MAPS}/a", headers={"Accept": accept})).body
    assert (one["kind"], one["metadata"]["name"]) == ("PartialObjectMetadata", "a")


async def test_large_lists_are_compressed_and_complete(server: RunningServer, api: Api) -> None:
    for number in range(40):
        await api.post(CONFIG_MAPS, config_map(f"m{number:02}", x="y" * 5000))
    async with server.session(decompress=False) as session:  # noqa: SIM117
        async with session.get(CONFIG_MAPS, headers={"Accept-Encoding": "gzip"}) as response:
            raw = await response.read()
            assert response.headers["Content-Encoding"] == "gzip"
    assert len(json.loads(gzip.decompress(raw))["items"]) == 41


async def test_all_namespaces_are_listed_in_order(api: Api) -> None:
    await api.post("/api/v1/namespaces/kube-system/configmaps", config_map("z"))
    await fill(api, "a")
    items = (await api.get("/api/v1/configmaps")).body["items"]
    keys = [(i["metadata"]["namespace"], i["metadata"]["name"]) for i in items]
    assert keys == sorted(keys)
    assert ("kube-system", "z") in keys
