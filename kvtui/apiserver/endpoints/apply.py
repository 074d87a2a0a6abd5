"""Server-side apply.

Source: https://kubernetes.io/docs/reference/using-api/server-side-apply/.
"""

from __future__ import annotations

from typing import Any

from kvtui.apiserver import bodies, metadata, status
from kvtui.apiserver.beside import beside
from kvtui.apiserver.http import Call
from kvtui.apiserver.objects import Objects, Written
from kvtui.apiserver.parts import reset_fields
from kvtui.apiserver.patch import managed_fields
from kvtui.apiserver.patch.errors import PatchError
from kvtui.apiserver.resources import ResourceInfo

Object = dict[str, Any]


async def apply(call: Call, objects: Objects, info: ResourceInfo, subresource: str = "") -> Written:
    """Applies a configuration. Raises Failure 400, 404, 409, 422."""
    options = call.write_options(apply=True)
    body = await call.body()
    effort = len(body) * (1 if body.lstrip()[:1] == b"{" else bodies.YAML_EFFORT)
    config, duplicates = await beside(effort, bodies.decode_configuration, body)
    if duplicates and options.field_validation == "Strict":
        listed = "".join(f"\n  {line}" for line in duplicates)
        raise status.bad_request(f"error decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:{listed}")
    if options.field_validation == "Warn":
        options.warnings.extend(duplicates)
    namespace, name = call.target.namespace, call.target.name
    if not config.get("apiVersion") or not config.get("kind"):
        raise status.bad_request("apiVersion and kind must be set in an apply patch")
    if config["apiVersion"] != info.api_version or config["kind"] != info.kind:
        raise status.bad_request(
            f"the API version in the data ({config['apiVersion']}) does not match the expected API version "
            f"({info.api_version})"
        )
    meta = metadata.coerce(config)
    if meta.get("managedFields"):
        raise status.bad_request("metadata.managedFields must be nil")
    metadata.check_identity(info, config, namespace, name)
    if info.convert_in is not None:
        config = info.convert_in(config)
    config["apiVersion"] = info.stored_api_version

    def merged(live: Object | None) -> Object:
        try:
            return managed_fields.apply(
                live,
                config,
                options.manager,
                options.force,
                info.node,
                info.api_version,
                objects.clock(),
                subresource,
                reset=reset_fields(info, live or config, subresource),
            )
        except PatchError as error:
            raise _failure(error) from error

    async def create() -> Written:
        if meta.get("uid") or meta.get("resourceVersion"):
            raise status.conflict(info.group, info.plural, name)
        entries: list[Object] = []

        def build() -> Object:
            obj = merged(None)
            entries[:] = obj["metadata"].pop("managedFields", [])
            return obj

        def record_fields(obj: Object) -> Object:
            obj["metadata"]["managedFields"] = entries
            return obj

        return await objects.create(info, namespace, build(), options, name=name, applied=record_fields)

    if objects.bucket(info).get_latest((namespace, name)) is None and not subresource:
        return await create()
    holder: list[Object] = []

    def transform(old: Object) -> Object:
        wanted = meta.get("resourceVersion")
        if wanted and wanted != old["metadata"]["resourceVersion"]:
            raise status.conflict(info.group, info.plural, name)
        obj = merged(old)
        holder[:] = obj["metadata"].get("managedFields") or []
        obj["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
        return obj

    def record_update(_old: Object, obj: Object) -> Object:
        obj["metadata"]["managedFields"] = list(holder)
        return obj

    return await objects.update(
        info,
        namespace,
        name,
        transform,
        options,
        subresource=subresource,
        applied=record_update,
    )


def _failure(error: PatchError) -> status.Failure:
    causes = error.causes if isinstance(error, managed_fields.ApplyConflict) else ()
    reason = {400: "BadRequest", 409: "Conflict", 422: "Invalid"}.get(error.code, "")
    return status.Failure(error.code, reason, error.message, causes=causes)
