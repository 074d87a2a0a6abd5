"""Dynamically allocated resources: claims of the VMI, and the GPUs, host devices and networks that use them.

Source: control plane facts 5.3 (networks, DRA); kubevirt.io/api/core/v1, ClaimRequest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.virtapi.admission.causes import Path, duplicate, invalid, not_found, required
from kvtui.virtapi.admission.text import dns_label, dns_subdomain, quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kvtui.api.kubevirt.domain import GPU, HostDevice
    from kvtui.api.kubevirt.vmi import VirtualMachineInstanceSpec
    from kvtui.errors import Cause
    from kvtui.virtapi.admission.config import ClusterConfig

    Spec = VirtualMachineInstanceSpec


def validate_claims(spec: Spec, field: Path, config: ClusterConfig) -> list[Cause]:
    """Claims of the spec, then the devices that name them."""
    found = _claims(spec, field.child("resourceClaims"))
    gpus, gpu_causes = _gpus(spec, field.child("domain", "devices", "gpus"), config)
    devices, device_causes = _host_devices(spec, field.child("domain", "devices", "hostDevices"), config)
    found += [*gpu_causes, *device_causes]
    if not gpus | devices <= {claim.name for claim in spec.resource_claims}:
        found.append(
            invalid(
                "vmi.spec.resourceClaims must specify all claims used in vmi.spec.domain.devices.gpus and "
                "vmi.spec.domain.devices.hostDevices",
                field.child("resourceClaims"),
            )
        )
    return found


def _claims(spec: Spec, field: Path) -> list[Cause]:
    found: list[Cause] = []
    seen: set[str] = set()
    for position, claim in enumerate(spec.resource_claims):
        at = field.item(position)
        found += [invalid(wrong, at.child("name")) for wrong in (dns_label(claim.name) if claim.name else ())]
        if not claim.name:
            found.append(required("name is required for resourceClaims", at.child("name")))
        if claim.name in seen:
            found.append(duplicate(f"duplicate resourceClaims name {quoted(claim.name)}", at.child("name")))
        seen.add(claim.name)
        named, templated = claim.resource_claim_name, claim.resource_claim_template_name
        if named and templated:
            found.append(invalid("at most one of resourceClaimName or resourceClaimTemplateName may be specified", at))
        if not named and not templated:
            found.append(invalid("must specify one of: resourceClaimName, resourceClaimTemplateName", at))
        for value, member in ((named, "resourceClaimName"), (templated, "resourceClaimTemplateName")):
            found += [invalid(wrong, at.child(member)) for wrong in (dns_subdomain(value) if value else ())]
    return found


def _by_claim(device: GPU | HostDevice) -> bool:
    return not device.device_name and (device.claim_name is not None or device.request_name is not None)


def _gpus(spec: Spec, field: Path, config: ClusterConfig) -> tuple[set[str], list[Cause]]:
    gpus = spec.domain.devices.gpus
    claimed = [(position, gpu) for position, gpu in enumerate(gpus) if _by_claim(gpu)]
    plain = [gpu for gpu in gpus if not _by_claim(gpu)]
    if claimed and plain:
        return set(), [
            invalid(
                "vmi.spec.domain.devices.gpus contains both DRA and non-DRA GPUs; each GPU must be either DRA or "
                "non-DRA",
                field,
            )
        ]
    found = _plain(plain, "GPU", "gpus", field)
    if claimed and not config.gate("GPUsWithDRA"):
        return set(), [
            *found,
            invalid("vmi.spec.domain.devices.gpus contains DRA enabled GPUs but feature gate is not enabled", field),
        ]
    names, causes = _requests(claimed, "GPU", field)
    return names, found + causes


def _host_devices(spec: Spec, field: Path, config: ClusterConfig) -> tuple[set[str], list[Cause]]:
    devices = spec.domain.devices.host_devices
    claimed = [(position, device) for position, device in enumerate(devices) if _by_claim(device)]
    found = _plain([device for device in devices if not _by_claim(device)], "HostDevice", "hostDevices", field)
    if claimed and not config.gate("HostDevicesWithDRA"):
        return set(), [
            *found,
            invalid(
                "vmi.spec.domain.devices.hostDevices contains DRA enabled HostDevices but feature gate is not enabled",
                field,
            ),
        ]
    names, causes = _requests(claimed, "HostDevice", field)
    return names, found + causes


def _plain(devices: Sequence[GPU | HostDevice], word: str, member: str, field: Path) -> list[Cause]:
    """Devices of a device plugin: by name, and only by name."""
    found = []
    for device in devices:
        if not device.device_name:
            found.append(
                required(
                    f"vmi.spec.domain.devices.{member} contains {word}s without deviceName or claimRequest; each "
                    f"{word} must specify either a deviceName or a claimRequest",
                    field,
                )
            )
        elif device.claim_name is not None or device.request_name is not None:
            found.append(
                invalid(
                    f"vmi.spec.domain.devices.{member} contains {word}s with both deviceName and claimRequest", field
                )
            )
    return found


def _requests(devices: Sequence[tuple[int, GPU | HostDevice]], word: str, field: Path) -> tuple[set[str], list[Cause]]:
    found: list[Cause] = []
    whole: list[tuple[int, str, str]] = []
    for position, device in devices:
        at = field.item(position)
        if not device.claim_name:
            found.append(required(f"claimName is required for DRA {word}", at.child("claimName")))
        if not device.request_name:
            found.append(required(f"requestName is required for DRA {word}", at.child("requestName")))
        if device.claim_name and device.request_name:
            whole.append((position, device.claim_name, device.request_name))
    seen: set[tuple[str, str]] = set()
    for position, claim, request in whole:
        if (claim, request) in seen:
            pair = quoted(f"{claim}/{request}")
            found.append(duplicate(f"duplicate claimName/requestName pair {pair}", field.item(position)))
        seen.add((claim, request))
    return {claim for _, claim, _ in whole}, found


def validate_network_claims(spec: Spec, field: Path, config: ClusterConfig) -> list[Cause]:
    """Networks whose device comes from a claim."""
    networks = field.child("networks")
    if not any(network.resource_claim is not None for network in spec.networks):
        return []
    if not config.gate("NetworkDevicesWithDRA"):
        return [invalid("NetworkDevicesWithDRA feature gate is not enabled in kubevirt-config", networks)]
    found: list[Cause] = []
    interfaces = {interface.name: interface for interface in spec.domain.devices.interfaces}
    claims = {claim.name for claim in spec.resource_claims}
    seen: set[tuple[str, str]] = set()
    for position, network in enumerate(spec.networks):
        if network.resource_claim is None:
            continue
        at, interface = networks.item(position), interfaces.get(network.name)
        if interface is not None and interface.sriov is None and interface.binding is None:
            found.append(
                invalid(
                    f"DRA network {quoted(network.name)} requires an SR-IOV or binding plugin interface",
                    field.child("domain", "devices", "interfaces"),
                )
            )
        claim, request = network.resource_claim.claim_name or "", network.resource_claim.request_name or ""
        own = at.child("resourceClaim")
        if not claim:
            found.append(required("claimName is required for DRA network", own.child("claimName")))
        if not request:
            found.append(required("requestName is required for DRA network", own.child("requestName")))
        if not claim or not request:
            continue
        if claim not in claims:
            found.append(
                not_found(
                    f"network references resourceClaim {quoted(claim)} which is not defined in spec.resourceClaims",
                    own.child("claimName"),
                )
            )
        if (claim, request) in seen:
            pair = quoted(f"{claim}/{request}")
            found.append(duplicate(f"duplicate claimName/requestName combination {pair}", at))
        seen.add((claim, request))
    if any(network.multus is not None for network in spec.networks):
        found.append(invalid("mixing Multus and DRA resourceClaim networks in the same VMI is not supported", networks))
    return found
