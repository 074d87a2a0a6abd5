"""A local, read-only copy of all objects of a kind, kept true by list and watch.

Handlers get (old, new) after the copy has changed; old is None for a new object, new is None for a deleted one. They
run on the loop, must not block, and by convention only enqueue keys. Objects are shared: replace, never mutate.

Source: k8s.io/client-go/tools/cache (Reflector, SharedInformer).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

import structlog

from kvtui.api.meta import Resource
from kvtui.api.wire import ObjectKey
from kvtui.client.rest import Client
from kvtui.controlloop.backoff import Backoff
from kvtui.errors import ApiError, Expired, Forbidden, KvtuiError, NotFound
from kvtui.settings import ControlLoopSettings

R = TypeVar("R", bound=Resource)
Handler = Callable[[R | None, R | None], None]
log = structlog.get_logger()


class Store(Generic[R]):
    """The copy: objects by key, and by the values of named indices."""

    def __init__(self) -> None:
        self._objects: dict[ObjectKey, R] = {}
        self._functions: dict[str, Callable[[R], Iterable[str]]] = {}
        self._indices: dict[str, dict[str, set[ObjectKey]]] = {}

    def get(self, key: ObjectKey | tuple[str, str]) -> R | None:
        return self._objects.get(ObjectKey(*key))

    def all(self, namespace: str = "") -> Iterator[R]:
        """All objects, or those of one namespace."""
        if not namespace:
            return iter(list(self._objects.values()))
        return iter(
            self.by_index("namespace", namespace)
            if "namespace" in self._functions
            else [o for o in self._objects.values() if o.metadata.namespace == namespace]
        )

    def __len__(self) -> int:
        return len(self._objects)

    def add_index(self, name: str, function: Callable[[R], Iterable[str]]) -> None:
        """Objects can then be found by the strings that the function gives for them."""
        self._functions[name] = function
        index: dict[str, set[ObjectKey]] = defaultdict(set)
        for key, obj in self._objects.items():
            for value in function(obj):
                index[value].add(key)
        self._indices[name] = index

    def by_index(self, name: str, value: str) -> list[R]:
        return [self._objects[key] for key in sorted(self._indices[name].get(value, ()))]

    def put(self, obj: R) -> R | None:
        """Stores an object; returns the one it replaces."""
        key = obj.key
        old = self._objects.get(key)
        if old is not None:
            self._unindex(key, old)
        self._objects[key] = obj
        for name, function in self._functions.items():
            for value in function(obj):
                self._indices[name][value].add(key)
        return old

    def drop(self, key: ObjectKey) -> R | None:
        old = self._objects.pop(key, None)
        if old is not None:
            self._unindex(key, old)
        return old

    def keys(self) -> set[ObjectKey]:
        return set(self._objects)

    def _unindex(self, key: ObjectKey, obj: R) -> None:
        for name, function in self._functions.items():
            index = self._indices[name]
            for value in function(obj):
                keys = index.get(value)
                if keys is not None:
                    keys.discard(key)
                    if not keys:
                        del index[value]


class Informer(Generic[R]):
    """Fills a Store for one kind, optionally for one namespace or selector. `run` until cancelled."""

    def __init__(
        self,
        client: Client,
        type_: type[R],
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        settings: ControlLoopSettings | None = None,
        optional: bool = False,
    ) -> None:
        """`optional`: a kind that this server does not serve, or that we may not list, counts as empty."""
        self.type = type_
        self.store: Store[R] = Store()
        self._client = client
        self._namespace = namespace
        self._labels = label_selector
        self._fields = field_selector
        self._settings = settings or ControlLoopSettings()
        self._optional = optional
        self._handlers: list[Handler[R]] = []
        self._synced = asyncio.Event()
        self._revision: str | None = None
        self.failure: KvtuiError | None = None
        """Why the copy may be stale at the moment; None while the watch stands."""
        self._log = log.bind(informer=type_.__name__)

    def get(self, key: ObjectKey | tuple[str, str]) -> R | None:
        return self.store.get(key)

    def all(self, namespace: str = "") -> Iterator[R]:
        return self.store.all(namespace)

    def subscribe(self, handler: Handler[R]) -> None:
        """Calls the handler for each change from now on, and at once for what is already there."""
        self._handlers.append(handler)
        for obj in list(self.store.all()):
            handler(None, obj)  # a defect shows at once: nothing runs yet

    @property
    def synced(self) -> bool:
        return self._synced.is_set()

    async def wait_synced(self) -> None:
        await self._synced.wait()

    async def run(self) -> None:
        """Lists, then watches, for ever; failures are retried with back-off."""
        backoff = Backoff(self._settings.backoff_base, self._settings.backoff_max)
        while True:
            try:
                if self._revision is None:
                    await self._relist()
                    backoff.reset()
                await self._watch(backoff)
                self.failure = None
            except Expired:
                self._log.info("watch expired")
                self._revision = None
                # A server whose history is shorter than a list takes would otherwise be asked without a pause.
                await asyncio.sleep(backoff.next())
            except (NotFound, Forbidden) as error:
                self.failure = error
                if self._optional:
                    self._synced.set()
                self._revision = None
                await asyncio.sleep(backoff.next())
            except KvtuiError as error:
                if self.failure is None:
                    self._log.warning("watch failed", error=str(error))
                self.failure = error
                if isinstance(error, ApiError) and error.code != 429:
                    self._revision = None
                await asyncio.sleep(backoff.next())

    async def _relist(self) -> None:
        listed = await self._client.list(
            self.type, self._namespace, label_selector=self._labels, field_selector=self._fields
        )
        gone = self.store.keys() - {obj.key for obj in listed.items}
        for key in gone:
            old = self.store.drop(key)
            self._tell(old, None)
        for obj in listed.items:
            old = self.store.get(obj.key)
            if old is None or old.metadata.resource_version != obj.metadata.resource_version:
                self._put(obj)
        self._revision = listed.resource_version
        self.failure = None
        self._synced.set()

    async def _watch(self, backoff: Backoff) -> None:
        events = self._client.watch(
            self.type,
            self._namespace,
            resource_version=self._revision,
            label_selector=self._labels,
            field_selector=self._fields,
            timeout=self._settings.watch_timeout,
            idle_timeout=self._settings.watch_idle_timeout,
        )
        async with contextlib.aclosing(events) as stream:
            async for event in stream:
                backoff.reset()
                self.failure = None
                if event.object is not None:
                    if event.type == "DELETED":
                        old = self.store.drop(event.object.key)
                        self._tell(old or event.object, None)
                    else:
                        self._put(event.object)
                self._revision = event.resource_version or self._revision

    def _put(self, obj: R) -> None:
        old = self.store.get(obj.key)
        if old is not None and old.metadata.uid != obj.metadata.uid:
            # Deleted and made anew between two looks: handlers must see both.
            self.store.drop(obj.key)
            self._tell(old, None)
            old = None
        self.store.put(obj)
        self._tell(old, obj)

    def _tell(self, old: R | None, new: R | None) -> None:
        for handler in self._handlers:
            try:
                handler(old, new)
            except Exception:
                # One object that one controller cannot take must not stop the copy that all of them share.
                obj = new or old
                self._log.exception("handler broke", key=str(obj.key) if obj is not None else "")
