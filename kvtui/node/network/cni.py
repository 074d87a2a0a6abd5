"""Calls CNI plugins: ADD and DEL of a configuration or a list of plugins.

Debian's plugins speak up to version 1.0.0, so results are asked for as 0.4.0 or what the configuration says.

Source: https://www.cni.dev/docs/spec/.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kvtui.node.network.shell import run
from kvtui.node.network.types import InvalidNetwork, NetworkFailed, PodNic, Route

PLUGIN_DIRS = ("/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni")
_TYPE = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
_MAX_CONFIG = 256 * 1024


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """A parsed configuration list."""

    name: str
    version: str
    plugins: tuple[dict[str, Any], ...]


def parse(text: str, default_name: str) -> NetworkConfig:
    """A configuration or list as in a NetworkAttachmentDefinition. Raises InvalidNetwork."""
    try:
        if len(text) > _MAX_CONFIG:
            raise ValueError("longer than 256 KiB")
        data = json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError) as error:
        raise InvalidNetwork(f"the network configuration {default_name!r} is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise InvalidNetwork(f"the network configuration {default_name!r} is not an object")
    plugins = data["plugins"] if isinstance(data.get("plugins"), list) else [data]
    for plugin in plugins:
        kind = plugin.get("type") if isinstance(plugin, dict) else None
        if not isinstance(kind, str) or not _TYPE.match(kind):
            raise InvalidNetwork(f"the network configuration {default_name!r} names no valid plugin type")
    version = data.get("cniVersion") or "0.4.0"
    if not isinstance(version, str):
        raise InvalidNetwork(f"cniVersion of {default_name!r} is not a string")
    name = data.get("name")
    return NetworkConfig(str(name) if name else default_name, version, tuple(plugins))


def with_lease_directory(config: NetworkConfig, directory: Path) -> NetworkConfig:
    """host-local keeps its addresses under this directory unless the configuration names one itself."""

    def placed(plugin: dict[str, Any]) -> dict[str, Any]:
        ipam = plugin.get("ipam")
        if not isinstance(ipam, dict) or ipam.get("type") != "host-local" or ipam.get("dataDir"):
            return plugin
        return {**plugin, "ipam": {**ipam, "dataDir": str(directory)}}

    return replace(config, plugins=tuple(placed(p) for p in config.plugins))


@dataclass(frozen=True, slots=True)
class Container:
    """For whom a plugin works."""

    id: str
    netns: str
    """Path of the network namespace."""
    interface: str
    args: tuple[tuple[str, str], ...] = ()


async def add(config: NetworkConfig, container: Container, *, mac: str = "", timeout: float = 30.0) -> dict[str, Any]:
    """The result of the last plugin. Raises InvalidNetwork for an unknown plugin, NetworkFailed with its words."""
    result: dict[str, Any] | None = None
    for plugin in config.plugins:
        result = await _call("ADD", config, plugin, container, result, mac, timeout)
    return result or {}


async def delete(
    config: NetworkConfig, container: Container, result: dict[str, Any] | None, timeout: float = 30.0
) -> None:
    """Undoes an ADD, plugins in reverse; a namespace that is gone is fine. Raises NetworkFailed."""
    failure: NetworkFailed | None = None
    for plugin in reversed(config.plugins):
        try:
            await _call("DEL", config, plugin, container, result, "", timeout)
        except NetworkFailed as error:
            failure = error
    if failure is not None:
        raise failure


async def _call(
    command: str,
    config: NetworkConfig,
    plugin: dict[str, Any],
    container: Container,
    previous: dict[str, Any] | None,
    mac: str,
    timeout: float,
) -> dict[str, Any]:
    body = {**plugin, "cniVersion": config.version, "name": config.name}
    if previous is not None:
        body["prevResult"] = previous
    if mac and (plugin.get("capabilities") or {}).get("mac"):
        body["runtimeConfig"] = {"mac": mac}
    args = [*container.args, *((("MAC", mac),) if mac else ())]
    env = {
        "PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": container.id,
        "CNI_NETNS": container.netns,
        "CNI_IFNAME": container.interface,
        "CNI_PATH": ":".join(PLUGIN_DIRS),
        "CNI_ARGS": ";".join(f"{k}={v}" for k, v in (("IgnoreUnknown", "1"), *args)),
    }
    status, out, err = await run(_find(plugin["type"]), stdin=json.dumps(body), env=env, timeout=timeout, check=False)
    if status:
        words = f"CNI plugin {plugin['type']!r} failed: {_words(out) or err.strip() or status}"
        if command == "ADD" and plugin["type"] == "bridge" and plugin.get("vlan") and "not supported" in words:
            reason = "this node's kernel has no VLAN filtering of bridges (CONFIG_BRIDGE_VLAN_FILTERING)"
            words = f"{reason}, which vlan {plugin['vlan']} of network {config.name!r} needs: {words}"
        raise NetworkFailed(words)
    if command == "DEL" or not out.strip():
        return previous or {}
    try:
        answer = json.loads(out)
    except ValueError as error:
        raise NetworkFailed(f"CNI plugin {plugin['type']!r} answered no JSON") from error
    return answer if isinstance(answer, dict) else {}


def _find(kind: str) -> str:
    for directory in PLUGIN_DIRS:
        path = Path(directory) / kind
        if path.is_file() and os.access(path, os.X_OK):
            return str(path)
    raise InvalidNetwork(
        f"there is no CNI plugin {kind!r} in {', '.join(PLUGIN_DIRS)}",
        hint="install containernetworking-plugins, or the plugin that the NetworkAttachmentDefinition names",
    )


def _words(out: str) -> str:
    try:
        answer = json.loads(out)
    except ValueError:
        return out.strip()
    if not isinstance(answer, dict):
        return out.strip()
    return ": ".join(str(answer[k]) for k in ("msg", "details") if answer.get(k))


def default_vlan_port(config: NetworkConfig, result: dict[str, Any]) -> str:
    """The bridge's port of a NIC in a VLAN, which is to be in no other; empty when there is none.

    The plugin leaves the port in VLAN 1 as well, so that it hears what everybody untagged says. A configuration can
    ask for that by `preserveDefaultVlan`, which Debian's plugin does not know.
    """
    for plugin in config.plugins:
        vlan = plugin.get("vlan")
        if plugin["type"] == "bridge" and vlan not in (None, 0, 1) and not plugin.get("preserveDefaultVlan"):
            links = [i.get("name", "") for i in result.get("interfaces") or [] if not i.get("sandbox")]
            return next((name for name in links if name != plugin.get("bridge", "cni0")), "")
    return ""


def pod_nic(result: dict[str, Any], interface: str, mtu: int) -> PodNic:
    """The NIC in the pod, from a result of version 0.3.0 to 1.0.0."""
    interfaces = result.get("interfaces") or []
    mac = next((i.get("mac", "") for i in interfaces if i.get("name") == interface and i.get("sandbox")), "")
    entries = [
        e
        for e in result.get("ips") or []
        if e.get("interface") is None
        or (e["interface"] < len(interfaces) and interfaces[e["interface"]].get("name") == interface)
    ]
    return PodNic(
        name=interface,
        mac=mac,
        mtu=mtu,
        addresses=tuple(e["address"] for e in entries),
        routes=tuple(Route(r["dst"], r.get("gw") or "") for r in result.get("routes") or []),
        gateway=next((e["gateway"] for e in entries if e.get("gateway")), ""),
    )
