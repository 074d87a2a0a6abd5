"""DNS policy and configuration, as Pods are held to.

Source: control plane facts 5.3; https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.virtapi.admission.causes import Path, invalid, not_supported, required
from kvtui.virtapi.admission.text import dns_subdomain, go_list, is_ip

if TYPE_CHECKING:
    from kvtui.api.core.parts import PodDNSConfig
    from kvtui.api.kubevirt.vmi import VirtualMachineInstanceSpec
    from kvtui.errors import Cause

POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None", "")
MOST_NAMESERVERS = 3
MOST_SEARCHES = 6
MOST_SEARCH_CHARACTERS = 256


def validate_dns(spec: VirtualMachineInstanceSpec, field: Path) -> list[Cause]:
    policy, config, found = spec.dns_policy, spec.dns_config, []
    if policy and policy not in POLICIES:
        found.append(
            not_supported(
                f"DNSPolicy: {policy} is not supported, valid values: {go_list(POLICIES)}", field.child("dnsPolicy")
            )
        )
    if policy == "None" and config is None:
        return [*found, required("must provide `dnsConfig` when `dnsPolicy` is None", field.child("dnsConfig"))]
    if config is None:
        return found
    if policy == "None" and not config.nameservers:
        return [*found, required("must provide at least one DNS nameserver when `dnsPolicy` is None", "nameservers")]
    return found + _config(config)


def _config(config: PodDNSConfig) -> list[Cause]:
    found: list[Cause] = []
    if len(config.nameservers) > MOST_NAMESERVERS:
        listed = go_list(config.nameservers)
        found.append(invalid(f"must not have more than {MOST_NAMESERVERS} nameservers: {listed}", "nameservers"))
    found += [
        invalid(f"must be valid IP address: {server}", "nameservers")
        for server in config.nameservers
        if not is_ip(server)
    ]
    if len(config.searches) > MOST_SEARCHES:
        found.append(invalid(f"must not have more than {MOST_SEARCHES} search paths", "searchDomains"))
    if len(" ".join(config.searches)) > MOST_SEARCH_CHARACTERS:
        found.append(
            invalid(
                f"must not have more than {MOST_SEARCH_CHARACTERS} characters (including spaces) in the search list",
                "searchDomains",
            )
        )
    found += [invalid(wrong, "searchDomains") for search in config.searches for wrong in dns_subdomain(search)]
    found += [invalid("Option.Name must not be empty", "options") for option in config.options if not option.name]
    return found
