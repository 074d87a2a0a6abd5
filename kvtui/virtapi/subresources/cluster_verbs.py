"""What the group answers about itself and the cluster.

Source: control plane facts 6.4.
"""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass

from aiohttp import web

from kvtui.api.kubevirt import UPSTREAM_VERSION
from kvtui.api.kubevirt.config import KubeVirt
from kvtui.api.wire import Wire, named
from kvtui.errors import KvtuiError
from kvtui.virtapi.subresources.context import Call, Context, json_answer
from kvtui.virtapi.subresources.refusals import bad_request


@dataclass(frozen=True, slots=True)
class Release:
    """Which KubeVirt this is compatible with, and where it comes from."""

    version: str = UPSTREAM_VERSION
    """As virtctl compares it with its own."""
    commit: str = ""
    built: str = ""
    registry: str = "quay.io/kubevirt"


class Version(Wire, frozen=True, omit_defaults=False):
    """version.Info of client-go."""

    git_version: str = ""
    git_commit: str = ""
    git_tree_state: str = "clean"
    build_date: str = ""
    go_version: str = ""
    compiler: str = ""
    platform: str = ""


class Guestfs(Wire, frozen=True, omit_defaults=False):
    """Where `virtctl guestfs` finds its image."""

    registry: str = ""
    tag: str = ""
    image_prefix: str = ""
    gs_image: str = named("gsImage", "")
    digest: str = ""


def version_of(release: Release) -> Version:
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return Version(
        git_version=release.version,
        git_commit=release.commit,
        build_date=release.built,
        go_version=f"python{platform.python_version()}",
        compiler=sys.implementation.name,
        platform=f"{platform.system().lower()}/{machine}",
    )


def version(release: Release) -> web.StreamResponse:
    return json_answer(version_of(release))


def guestfs(release: Release) -> web.StreamResponse:
    return json_answer(Guestfs(registry=release.registry, tag=release.version))


async def healthz(context: Context, call: Call) -> web.StreamResponse:
    """500 while the API server does not answer."""
    try:
        answer = (await context.client.raw("GET", "/version", timeout=5)).json()
        resources = await context.client.list(KubeVirt)
    except KvtuiError as error:
        return web.json_response({"apiserver": {"connectivity": "failed", "error": str(error)}}, status=500)
    revision = resources.items[0].metadata.resource_version if resources.items else ""
    return web.json_response(
        {"apiserver": {"connectivity": "ok", "version": answer}, "config-resource-version": revision}
    )


async def cluster_profiler(context: Context, call: Call) -> web.StreamResponse:
    """There are no separate components here to profile, so it stays off."""
    developer = (await context.config()).configuration.developer_configuration
    if developer is None or not developer.cluster_profiler:
        raise bad_request("Unable to use the cluster profiler: clusterProfiler is not enabled")
    return json_answer({"componentResults": {}})
