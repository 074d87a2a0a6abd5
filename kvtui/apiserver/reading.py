"""Lists: which objects, of which moment, in how many pages.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass

from kvtui.apiserver import continuation, options, status
from kvtui.apiserver.record import Record
from kvtui.apiserver.resources import ResourceInfo
from kvtui.apiserver.selection import Selection
from kvtui.apiserver.store import Bucket, Store

WAIT_FOR_REVISION = 3.0
"""Seconds that a read waits for a revision which is not there yet."""
_SLICE = 0.005
"""Seconds of filtering between two turns of the event loop."""


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a list, or all of it."""

    records: list[Record]
    revision: int
    continue_token: str = ""
    remaining: int | None = None


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """Which moment a read is about."""

    resource_version: str = ""
    match: str = ""
    limit: int = 0
    continue_token: str = ""


def read_options(query: Mapping[str, str]) -> ReadOptions:
    """Raises Failure 400, 422."""
    limit = options.integer(query, "limit") or 0
    result = ReadOptions(
        resource_version=query.get("resourceVersion", ""),
        match=query.get("resourceVersionMatch", ""),
        limit=max(limit, 0),
        continue_token=query.get("continue", ""),
    )
    if "sendInitialEvents" in query and not options.is_true(query, "watch"):
        raise status.invalid_options("sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list")
    _check_match(result)
    return result


def _check_match(given: ReadOptions) -> None:
    if given.continue_token and given.resource_version not in ("", "0"):
        raise status.bad_request("specifying resource version is not allowed when using continue")
    if not given.match:
        return
    if given.match not in ("Exact", "NotOlderThan"):
        raise status.invalid_options(
            f'resourceVersionMatch: Unsupported value: "{given.match}": supported values: "Exact", "NotOlderThan", ""'
        )
    if given.continue_token:
        raise status.invalid_options("resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for continue")
    if not given.resource_version:
        raise status.invalid_options(
            "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"
        )
    if given.match == "Exact" and given.resource_version == "0":
        raise status.invalid_options(
            'resourceVersionMatch: Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
        )


def parse_revision(text: str) -> int:
    """Raises Failure 400."""
    if not text.isascii() or not text.isdigit() or len(text) > 19:
        raise status.bad_request(f'Invalid value: "{text}": resourceVersion must be a decimal number')
    return int(text)


async def wait_not_older(store: Store, text: str) -> None:
    """Until the published state is at least that new. Raises Failure 504 when it does not come."""
    if not text or text == "0":
        return
    revision = parse_revision(text)
    if revision > store.revision and not await store.wait_revision(revision, WAIT_FOR_REVISION):
        raise status.too_large_revision(revision, store.revision)


async def read(store: Store, info: ResourceInfo, selection: Selection, given: ReadOptions) -> Page:
    """A page of a list. Raises Failure 400, 410, 504."""
    bucket = store.bucket(info.bucket)
    query = _digest(info, selection)
    after: tuple[str, str] | None = None
    exact: int | None = None
    if given.continue_token:
        place = continuation.decode(given.continue_token, query)
        after = (place.namespace, place.name)
        if place.revision:
            exact = place.revision
    elif given.match == "Exact":
        exact = parse_revision(given.resource_version)
        if exact > store.revision and not await store.wait_revision(exact, WAIT_FOR_REVISION):
            raise status.too_large_revision(exact, store.revision)
    else:
        await wait_not_older(store, given.resource_version)
    revision = store.revision if exact is None else exact
    candidates = _candidates(bucket, selection, exact, after, query)
    if after is not None:
        keys = [r.key for r in candidates]
        candidates = candidates[bisect_right(keys, after) :]
    return await _page(candidates, selection, given.limit, revision, query)


def _candidates(
    bucket: Bucket, selection: Selection, exact: int | None, after: tuple[str, str] | None, query: str
) -> list[Record]:
    if exact is not None:
        try:
            return bucket.at(exact, selection.namespace)
        except status.Failure as failure:
            if after is None:
                raise status.expired("The resourceVersion for the provided list is too old.") from failure
            # The client may go on in the current state, if it does not mind the seam.
            token = continuation.encode(continuation.Continuation(0, *after, query))
            raise status.expired(failure.message, token) from failure
    name = selection.name
    if name is not None and selection.namespace is not None:
        record = bucket.get((selection.namespace, name))
        return [record] if record is not None else []
    return bucket.snapshot(selection.namespace)


async def _page(candidates: list[Record], selection: Selection, limit: int, revision: int, query: str) -> Page:
    if not selection.selective:
        if not limit or len(candidates) <= limit:
            return Page(candidates, revision)
        chosen = candidates[:limit]
        return Page(chosen, revision, _token(chosen, revision, query), len(candidates) - limit)
    chosen = []
    end = time.monotonic() + _SLICE
    for number, record in enumerate(candidates):
        if selection.matches(record):
            if limit and len(chosen) == limit:
                return Page(chosen, revision, _token(chosen, revision, query))
            chosen.append(record)
        if not number % 64 and time.monotonic() > end:
            await asyncio.sleep(0)
            end = time.monotonic() + _SLICE
    return Page(chosen, revision)


def _token(chosen: list[Record], revision: int, query: str) -> str:
    last = chosen[-1]
    return continuation.encode(continuation.Continuation(revision, last.namespace, last.name, query))


def _digest(info: ResourceInfo, selection: Selection) -> str:
    text = f"{info.bucket}\0{selection.namespace}\0{selection.labels}\0{selection.fields}"
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
