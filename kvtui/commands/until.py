"""Waiting for one object to be as wanted, by watching it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from kvtui.api.meta import Resource

if TYPE_CHECKING:
    from kvtui.client.rest import Client

R = TypeVar("R", bound=Resource)


async def until(
    client: Client,
    type_: type[R],
    key: tuple[str, str],
    done: Callable[[R | None], bool],
    timeout: float,
    what: str,
) -> None:
    """Watches one object until `done` holds. Raises TimeoutError with what was waited for."""
    namespace, name = key
    selector = f"metadata.name={name}"
    try:
        async with asyncio.timeout(timeout):
            while True:
                listed = await client.list(type_, namespace, field_selector=selector)
                if done(next(iter(listed.items), None)):
                    return
                stream = client.watch(
                    type_, namespace, resource_version=listed.resource_version, field_selector=selector
                )
                async with contextlib.aclosing(stream) as events:
                    async for event in events:
                        if event.type != "BOOKMARK" and done(None if event.type == "DELETED" else event.object):
                            return
    except TimeoutError as error:
        raise TimeoutError(f"timed out waiting for {what}") from error
