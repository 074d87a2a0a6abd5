"""Names of Services as a hosts file that the name servers of all Pods read.

Source: https://github.com/kubernetes/dns/blob/master/docs/specification.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from kvtui.api.core.network import EndpointSlice, Service
from kvtui.node.network.services import SERVICE_NAME, is_ipv4

DOMAIN = "cluster.local"
_LABEL = re.compile(r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")


def hosts_text(services: Iterable[Service], slices: Iterable[EndpointSlice]) -> str:
    """One line for each address: Services by their own, headless ones by those of their ready endpoints."""
    lines = set()
    headless = set()
    for service in services:
        name = _name(service.metadata.name, service.metadata.namespace)
        if not name:
            continue
        if is_ipv4(service.spec.cluster_ip):
            lines.add(f"{service.spec.cluster_ip} {name}")
        elif service.spec.cluster_ip == "None":
            headless.add(service.key)
    for each in slices:
        service_name = each.metadata.labels.get(SERVICE_NAME, "")
        name = _name(service_name, each.metadata.namespace)
        if not name or (each.metadata.namespace, service_name) not in headless:
            continue
        for endpoint in each.endpoints:
            if endpoint.conditions.ready is False:
                continue
            own = f" {endpoint.hostname}.{name}" if _LABEL.match(endpoint.hostname or "") else ""
            lines |= {f"{address} {name}{own}" for address in endpoint.addresses if _is_address(address)}
    return "".join(f"{line}\n" for line in sorted(lines))


def write(directory: Path, text: str) -> None:
    """Replaces the file; name servers notice by themselves."""
    file = directory / "services"
    if file.exists() and file.read_text(encoding="ascii") == text:
        return
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    # A name server passes over names with a leading dot.
    new = directory / ".services.new"
    new.write_text(text, encoding="ascii")
    new.replace(file)


def _name(service: str, namespace: str) -> str:
    if not _LABEL.match(service) or not _LABEL.match(namespace):
        return ""
    return f"{service}.{namespace}.svc.{DOMAIN}"


def _is_address(text: str) -> bool:
    return is_ipv4(text) or bool(re.fullmatch(r"[0-9a-fA-F:]+", text))
