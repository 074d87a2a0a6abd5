"""Writing objects: the one path that every create, update, patch and apply of every kind takes.

decode -> metadata -> prune and default -> admission -> validate -> managed fields -> store. Handlers, the garbage
collector and the namespace deleter all use it; none of them touches the store directly.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kvtui.api.admission import Admission
from kvtui.apiserver import metadata, names, status
from kvtui.apiserver.admitting import Plugins
from kvtui.apiserver.beside import beside
from kvtui.apiserver.crd import check_scale
from kvtui.apiserver.database import Change
from kvtui.apiserver.options import WriteOptions
from kvtui.apiserver.parts import is_finished, isolate, reset_fields, unchanged
from kvtui.apiserver.patch import managed_fields
from kvtui.apiserver.record import Record, encode
from kvtui.apiserver.resources import ResourceInfo, Resources
from kvtui.apiserver.schema import decoding
from kvtui.apiserver.showing import renew
from kvtui.apiserver.store import Bucket, Stale, Store
from kvtui.apiserver.strategy import WriteContext
from kvtui.errors import Cause

Object = dict[str, Any]
Transform = Callable[[Object], Object]
"""The stored object (a copy) -> the wanted one. Raises Failure."""
_NAME_ATTEMPTS = 8
_PATCH_ATTEMPTS = 6
MAX_OBJECT = 1536 * 1024
"""Bytes of one stored object."""


@dataclass(frozen=True, slots=True)
class Written:
    """What a write left behind."""

    record: Record
    created: bool = False


class Objects:
    """Creates and changes objects. Raises Failure for everything that a client did wrong."""

    def __init__(
        self,
        store: Store,
        resources: Resources,
        *,
        admission: tuple[Admission, ...] = (),
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.store = store
        self.resources = resources
        self.clock = clock
        self._plugins = Plugins(admission)

    def bucket(self, info: ResourceInfo) -> Bucket:
        return self.store.bucket(info.bucket)

    def get(self, info: ResourceInfo, namespace: str, name: str) -> Record:
        """The committed object. Raises Failure 404."""
        record = self.bucket(info).get((namespace, name))
        if record is None:
            raise status.not_found(info.group, info.plural, name)
        return record

    async def create(
        self,
        info: ResourceInfo,
        namespace: str,
        obj: Object,
        options: WriteOptions,
        *,
        name: str = "",
        duplicates: list[str] | None = None,
        applied: Callable[[Object], Object] | None = None,
    ) -> Written:
        """A new object. `applied` sets managed fields in the way of server-side apply."""
        await _prepare(info)
        if info.convert_in is not None:
            obj = info.convert_in(obj)
        meta = metadata.coerce(obj)
        metadata.check_identity(info, obj, namespace, name)
        self._check_namespace(info, namespace, meta.get("name", ""))
        unknown = await beside(len(encode(obj)), self._normalize, info, obj)
        self._report(info, unknown, duplicates or [], options)
        now = self.clock()
        metadata.prepare_create(info, obj, now)
        generated = not meta.get("name") and bool(meta.get("generateName"))
        for attempt in range(_NAME_ATTEMPTS):
            if generated:
                meta["name"] = names.generate(meta["generateName"])
            try:
                return await self._create_once(info, namespace, obj, options, now, applied)
            except status.Failure as failure:
                if not generated or failure.reason != "AlreadyExists":
                    raise
                if attempt == _NAME_ATTEMPTS - 1:
                    raise status.name_clash(info.group, info.plural, meta["name"]) from failure
        raise AssertionError("unreachable")

    async def _create_once(
        self,
        info: ResourceInfo,
        namespace: str,
        obj: Object,
        options: WriteOptions,
        now: datetime,
        applied: Callable[[Object], Object] | None,
    ) -> Written:
        context = self._context(info, options, now)
        name = obj["metadata"].get("name", "")
        bucket = self.bucket(info)
        if name and bucket.get_latest((namespace, name)) is not None:
            raise status.already_exists(info.group, info.plural, name)
        if info.status and not info.status_on_create:
            obj.pop("status", None)
        info.strategy.default(obj)
        obj = await self._plugins.mutate("CREATE", info, namespace, name, obj, None, options)
        if info.status and not info.status_on_create:
            obj.pop("status", None)
        info.strategy.default(obj)
        info.strategy.prepare_create(obj, context)
        if info.status and not info.custom:
            obj.setdefault("status", {})
        size = len(encode(obj))
        await beside(size, self._validate, info, obj, None)
        await beside(size if info.strategy.settles_alone else 0, info.strategy.settle, obj, None, context)
        options.warnings.extend(info.strategy.warnings(obj))
        await self._plugins.validate("CREATE", info, namespace, name, obj, None, options)
        if applied is not None:
            obj = await beside(size, applied, obj)
        else:
            obj = await beside(
                size,
                managed_fields.track_update,
                None,
                obj,
                options.manager,
                "Update",
                info.node,
                info.api_version,
                now,
                reset=reset_fields(info, obj, ""),
            )
        self._check_size(info, obj)
        if options.dry_run:
            return Written(Record(0, namespace, name, encode(obj), info.schema_generation), created=True)
        try:
            future = self.store.submit(
                bucket, (namespace, name), Change.CREATED, obj, expected=None, schema=info.schema_generation
            )
        except Stale as error:
            raise status.already_exists(info.group, info.plural, name) from error
        return Written(await future, created=True)

    async def update(
        self,
        info: ResourceInfo,
        namespace: str,
        name: str,
        transform: Transform,
        options: WriteOptions,
        *,
        subresource: str = "",
        duplicates: list[str] | None = None,
        attempts: int = _PATCH_ATTEMPTS,
        applied: Callable[[Object, Object], Object] | None = None,
        require_revision: bool = False,
        effort: int = 0,
    ) -> Written:
        """Changes an object; when others write at the same time it starts over from their result.

        `effort` is what the transformation takes, in bytes of JSON, if not only the size of the object.
        `applied(old, new)` sets managed fields in the way of server-side apply. Raises Failure 404, 409, 422.
        """
        await _prepare(info)
        bucket = self.bucket(info)
        key = (namespace, name)
        for _ in range(attempts):
            record = bucket.get_latest(key)
            if record is None:
                raise status.not_found(info.group, info.plural, name)
            try:
                return await self._update_once(
                    info, record, transform, options, subresource, duplicates or [], applied, require_revision, effort
                )
            except Stale:
                continue
        raise status.conflict(info.group, info.plural, name)

    async def _update_once(
        self,
        info: ResourceInfo,
        record: Record,
        transform: Transform,
        options: WriteOptions,
        subresource: str,
        duplicates: list[str],
        applied: Callable[[Object, Object], Object] | None,
        require_revision: bool,
        effort: int,
    ) -> Written:
        namespace, name = record.key
        renew(info, record)
        old = record.decode()
        obj = await beside(max(effort, len(record.data)), transform, record.decode())
        if info.convert_in is not None and obj.get("apiVersion") != info.stored_api_version:
            obj = info.convert_in(obj)
        meta = metadata.coerce(obj)
        metadata.check_identity(info, obj, namespace, name)
        self._check_revision(info, meta, old, require_revision=require_revision)
        size = len(encode(obj))
        unknown = await beside(size, self._normalize, info, obj)
        self._report(info, unknown, duplicates, options)
        obj = isolate(info, obj, old, subresource)
        now = self.clock()
        metadata.prepare_update(info, obj, old)
        context = self._context(info, options, now, subresource)
        info.strategy.default(obj)
        info.strategy.prepare_update(obj, old, context)
        obj = await self._plugins.mutate("UPDATE", info, namespace, name, obj, old, options, subresource)
        obj = isolate(info, obj, old, subresource)
        metadata.prepare_update(info, obj, old)
        metadata.bump_generation(info, obj, old)
        await beside(size, self._validate, info, obj, old)
        await beside(size if info.strategy.settles_alone else 0, info.strategy.settle, obj, old, context)
        await self._plugins.validate("UPDATE", info, namespace, name, obj, old, options, subresource)
        obj["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
        if applied is not None:
            obj = await beside(size, applied, old, obj)
        else:
            obj = await beside(
                size,
                managed_fields.track_update,
                old,
                obj,
                options.manager,
                "Update",
                info.node,
                info.api_version,
                now,
                subresource,
                reset=reset_fields(info, obj, subresource),
            )
        if unchanged(obj, old):
            return Written(record)
        self._check_size(info, obj)
        return await self._commit_update(info, record, obj, options)

    async def _commit_update(self, info: ResourceInfo, record: Record, obj: Object, options: WriteOptions) -> Written:
        if options.dry_run:
            return Written(Record(record.rv, record.namespace, record.name, encode(obj), info.schema_generation))
        change = Change.DELETED if is_finished(obj) else Change.UPDATED
        future = self.store.submit(
            self.bucket(info), record.key, change, obj, expected=record, schema=info.schema_generation
        )
        return Written(await future)

    def _context(self, info: ResourceInfo, options: WriteOptions, now: datetime, subresource: str = "") -> WriteContext:
        bucket = self.bucket(info)

        def siblings() -> list[bytes]:
            keys = dict.fromkeys((*bucket.keys, *bucket.latest))
            return [r.data for k in keys if (r := bucket.get_latest(k)) is not None]

        return WriteContext(user=options.user, now=now, subresource=subresource, siblings=siblings)

    def _check_namespace(self, info: ResourceInfo, namespace: str, name: str) -> None:
        if info.terminating:
            raise status.method_not_allowed(info.group, info.plural, "create")
        if not info.namespaced:
            return
        record = self.store.bucket("namespaces").get_latest(("", namespace))
        if record is None:
            raise status.not_found("", "namespaces", namespace)
        if record.head().deletion_timestamp:
            raise status.forbidden(
                info.group,
                info.plural,
                name,
                f"unable to create new content in namespace {namespace} because it is being terminated",
                causes=(
                    Cause("NamespaceTerminating", f"namespace {namespace} is being terminated", "metadata.namespace"),
                ),
            )

    def _check_revision(self, info: ResourceInfo, meta: Object, old: Object, *, require_revision: bool) -> None:
        before = old["metadata"]
        given = meta.get("resourceVersion", "")
        if not given or given == "0":
            if require_revision and not info.unconditional_update:
                raise status.Failure(
                    422,
                    "Invalid",
                    f'{info.qualified} "{before["name"]}" is invalid: metadata.resourceVersion: Invalid value: 0x0: '
                    "must be specified for an update",
                    name=before["name"],
                    group=info.group,
                    kind=info.plural,
                    causes=(
                        status.invalid_value_raw("metadata.resourceVersion", "0x0", "must be specified for an update"),
                    ),
                )
        elif given != before["resourceVersion"]:
            raise status.conflict(info.group, info.plural, before["name"])

    def _normalize(self, info: ResourceInfo, obj: Object) -> list[str]:
        """Prunes and defaults in place; returns the paths of unknown fields. Raises Failure 400."""
        unknown = metadata.drop_unknown(obj["metadata"])
        if info.schema is None:
            pass
        elif info.custom:
            schema = info.schema.get()
            unknown = schema.tidy(obj) + unknown
        else:
            decoding.fill_nulls(obj, info.node)
            misfit = decoding.misfit(obj, info.node, info.kind, info.api_version)
            if misfit:
                raise status.bad_request(misfit)
            unknown = info.schema.get().prune(obj) + unknown
        obj["apiVersion"] = info.stored_api_version
        obj["kind"] = info.kind
        return unknown

    def _report(self, info: ResourceInfo, unknown: list[str], duplicates: list[str], options: WriteOptions) -> None:
        if options.field_validation == "Ignore" or not (unknown or duplicates):
            return
        problems = [f'unknown field "{path}"' for path in unknown]
        problems += [f'duplicate field "{path}"' for path in duplicates]
        if options.field_validation == "Strict":
            text = "strict decoding error: " + ", ".join(problems)
            if not info.custom:
                text = f'{info.kind} in version "{info.version}" cannot be handled as a {info.kind}: {text}'
            raise status.bad_request(text)
        options.warnings.extend(p for p in problems if p not in options.warnings)

    def _validate(self, info: ResourceInfo, obj: Object, old: Object | None) -> None:
        causes = metadata.validate(info, obj, old)
        if info.schema is not None and info.custom:
            causes += info.schema.get().validate(obj, old)
            if info.scale is not None:
                causes += check_scale(obj, info.scale.spec_replicas)
        if not causes:
            causes = info.strategy.validate(obj, old)
        if causes:
            raise status.invalid(info.group, info.kind, obj["metadata"].get("name", ""), causes)

    def _check_size(self, info: ResourceInfo, obj: Object) -> None:
        size = len(encode(obj))
        if size > MAX_OBJECT:
            raise status.too_large(MAX_OBJECT)

    async def admit_delete(self, info: ResourceInfo, record: Record, options: WriteOptions) -> None:
        """Lets admission object to a deletion. Raises Failure."""
        if self._plugins.concern(info):
            await self._plugins.validate("DELETE", info, record.namespace, record.name, None, record.decode(), options)

    async def admit_subresource(
        self, info: ResourceInfo, record: Record, subresource: str, obj: Object, options: WriteOptions
    ) -> None:
        """Lets admission object to a create on a subresource, such as an eviction. Raises Failure."""
        if self._plugins.concern(info):
            old = record.decode()
            await self._plugins.validate("CREATE", info, record.namespace, record.name, obj, old, options, subresource)


async def _prepare(info: ResourceInfo) -> None:
    """Compiles the schema beside the loop, when the kind is first written."""
    if info.schema is not None and not info.schema.ready:
        await asyncio.to_thread(info.schema.get)
        gc.freeze()  # it stays, and is large: the collector need not look at it again and again
