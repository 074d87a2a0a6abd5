"""Nonsense in, a precise no out: never a 5xx, never a hang."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from yarl import URL

from kvtui.apiserver import bodies, continuation, options, router, status
from kvtui.apiserver.database import Change
from kvtui.apiserver.record import Record, encode
from kvtui.apiserver.store import Event
from kvtui.apiserver.watch import view
from tests.apiserver.api import CONFIG_MAPS, WIDGETS, Api, config_map, widget, widget_definition
from tests.apiserver.conftest import DEFINITIONS
from tests.fakes.cluster import running_server

LAX = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)
segments = st.lists(
    st.sampled_from(
        ["api", "apis", "v1", "namespaces", "default", "configmaps", "watch", "..", "", "a%2fb", "%zz", "%00"]
    )
    | st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="/?#"), max_size=8),
    max_size=9,
)


def must_blame_the_client(failure: status.Failure) -> None:
    assert 400 <= failure.code < 500


@LAX
@given(st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]), segments)
def test_every_path_is_routed_or_refused(method: str, parts: list[str]) -> None:
    try:
        target = router.route(method, "/" + "/".join(parts), {})
    except status.Failure as failure:
        must_blame_the_client(failure)
        return
    for segment in target.segments:
        assert segment not in ("", ".", "..")
        assert "/" not in segment
        assert "\0" not in segment


@LAX
@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda b: b.decode("latin-1")))
def test_continue_tokens_are_ours_or_refused(token: str) -> None:
    try:
        continuation.decode(token, "x")
    except status.Failure as failure:
        must_blame_the_client(failure)


@LAX
@given(st.binary(max_size=200), st.sampled_from(["application/json", "application/yaml", bodies.PROTOBUF]))
def test_bodies_are_objects_or_refused(body: bytes, kind: str) -> None:
    for data in (body, b"k8s\0" + body):
        try:
            obj, _ = bodies.decode(data, kind)
        except status.Failure as failure:
            must_blame_the_client(failure)
        else:
            assert isinstance(obj, dict)


@LAX
@given(
    st.dictionaries(
        st.sampled_from(["gracePeriodSeconds", "propagationPolicy", "dryRun", "preconditions", "orphanDependents"]),
        json_values,
    )
)
def test_delete_options_are_understood_or_refused(given_options: dict[str, Any]) -> None:
    try:
        options.delete_options(given_options, {})
    except status.Failure as failure:
        must_blame_the_client(failure)


class Fuzzer:
    """One server for many examples."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.codes: Counter[int] = Counter()

    async def send(self, method: str, path: str, body: bytes | None, kind: str, query: dict[str, str]) -> None:
        url = URL(path, encoded=True).update_query(query)
        headers = {"Content-Type": kind, "Accept": "application/json"}
        async with (
            asyncio.timeout(20),
            self.api.session.request(method, url, data=body, headers=headers) as answer,
        ):
            await answer.content.read(1 << 20)
            self.codes[answer.status] += 1
            assert answer.status < 500 or answer.status == 504, (method, path, body, kind, query, answer.status)


QUERIES = st.dictionaries(
    st.sampled_from(
        [
            "limit",
            "continue",
            "resourceVersion",
            "resourceVersionMatch",
            "labelSelector",
            "fieldSelector",
            "dryRun",
            "fieldManager",
            "fieldValidation",
            "force",
            "includeObject",
            "propagationPolicy",
        ]
    ),
    st.sampled_from(
        ["", "0", "1", "-1", "x", "All", "Exact", "true", "a=b", "a in (b", "metadata.name=a", "!", "Strict"]
    )
    | st.text(max_size=12),
    max_size=3,
)
PATCHES = (
    "application/merge-patch+json",
    "application/json-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)
operations = st.lists(
    st.fixed_dictionaries(
        {
            "op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "nope"]),
            "path": st.text(max_size=12),
        },
        optional={"value": json_values, "from": st.text(max_size=12)},
    ),
    max_size=4,
)
meta_patches = st.fixed_dictionaries(
    {},
    optional={
        "metadata": st.dictionaries(
            st.sampled_from(["name", "labels", "annotations", "finalizers", "ownerReferences", "managedFields", "uid"]),
            json_values,
            max_size=3,
        ),
        "spec": json_values,
        "data": json_values,
        "status": json_values,
    },
)
requests = st.tuples(
    st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE"]),
    st.sampled_from(
        [CONFIG_MAPS, f"{CONFIG_MAPS}/a", WIDGETS, f"{WIDGETS}/a", f"{WIDGETS}/a/status", f"{WIDGETS}/a/scale"]
    ),
    st.one_of(
        json_values.map(lambda v: json.dumps(v).encode()),
        operations.map(lambda v: json.dumps(v).encode()),
        meta_patches.map(lambda v: json.dumps(v).encode()),
        meta_patches.map(lambda v: json.dumps({**config_map("a"), **v}).encode()),
        meta_patches.map(lambda v: json.dumps({**widget("a"), **v}).encode()),
        st.binary(max_size=40),
    ),
    st.sampled_from([*PATCHES, "application/json", "application/yaml", bodies.PROTOBUF, "text/plain", ""]),
    QUERIES,
)


async def test_no_request_makes_the_server_fail(tmp_path: Path) -> None:
    async with (
        running_server(tmp_path, crds=False) as server,
        aiohttp.ClientSession(server.url, connector=aiohttp.TCPConnector(ssl=server.tls())) as session,
    ):
        api = Api(session)
        await api.post(DEFINITIONS, widget_definition())
        fuzzer = Fuzzer(api)
        loop = asyncio.get_running_loop()

        @settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)
        @given(requests)
        def attack(request: tuple[str, str, bytes, str, dict[str, str]]) -> None:
            method, path, body, kind, query = request
            sent = None if method == "GET" else body
            if query.get("resourceVersion", "").isdigit():
                query = {**query, "resourceVersion": "1"}
            asyncio.run_coroutine_threadsafe(fuzzer.send(method, path, sent, kind, query), loop).result(30)

        await api.post(CONFIG_MAPS, config_map("a"))
        await api.post(WIDGETS, widget("a"))
        await asyncio.to_thread(attack)
    assert {200, 400, 415, 422} <= set(fuzzer.codes)


@LAX
@given(st.booleans(), st.booleans(), st.sampled_from(list(Change)))
def test_a_selection_never_shows_what_it_does_not_hold(before: bool, after: bool, change: Change) -> None:
    from kvtui.apiserver import selectors
    from kvtui.apiserver.selection import Selection

    def record(rv: int, inside: bool) -> Record:
        labels = {"in": "yes"} if inside else {"in": "no"}
        return Record(
            rv, "ns", "a", encode({"apiVersion": "v1", "kind": "T", "metadata": {"name": "a", "labels": labels}})
        )

    chosen = Selection("ns", selectors.parse_label_selector("in=yes"), selectors.parse_fields("", "", "things"))
    previous = None if change is Change.CREATED else record(1, before)
    delivery = view(chosen, Event(change, record(2, after), previous, 0.0))
    was = previous is not None and before
    expected = {
        Change.CREATED: "ADDED" if after else None,
        Change.UPDATED: {
            (False, False): None,
            (False, True): "ADDED",
            (True, True): "MODIFIED",
            (True, False): "DELETED",
        }[(was, after)],
        Change.DELETED: "DELETED" if was else None,
    }[change]
    assert (delivery.type if delivery else None) == expected
