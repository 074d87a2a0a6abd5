"""What `kvtui create vm` can say beyond volumes and cloud-init: inference, sysprep and access credentials. Pure.

Source: virtctl create vm (flags, defaults, refusals); KubeVirt's AccessCredential and InstancetypeMatcher.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kvtui.errors import Usage

SYSPREP = "sysprepdisk"
_MANAGED = ["setsebool", "-P", "virt_qemu_ga_manage_ssh", "on"]


@dataclass(frozen=True, slots=True)
class Inference:
    """Whether a matcher is taken from a volume's labels; `wanted` is None where nobody said so."""

    wanted: bool | None = None
    source: str = ""
    """Name of the volume; empty for the one that boots."""

    @property
    def explicit(self) -> bool:
        return bool(self.wanted) or bool(self.source)


IMPLICIT = Inference()


def matcher(
    what: str, inference: Inference, volumes: Sequence[dict[str, Any]], disks: Sequence[dict[str, Any]]
) -> dict[str, str] | None:
    """The matcher of an instancetype or preference that is to be inferred; None for none. Raises Usage.

    Where nobody asked for it, a volume without labels is no failure.
    """
    if inference.wanted is False and not inference.source:
        return None
    name = inference.source or _boots(volumes, disks)
    if not name:
        if inference.explicit:
            raise Usage(f"at least one volume is needed to infer {what}")
        return None
    if all(volume["name"] != name for volume in volumes):
        raise Usage(f"failed to parse \"--infer-{what}-from\" flag: there is no volume with name '{name}'")
    return {"inferFromVolume": name} | ({} if inference.explicit else {"inferFromVolumeFailurePolicy": "Ignore"})


def _boots(volumes: Sequence[dict[str, Any]], disks: Sequence[dict[str, Any]]) -> str:
    """The volume with the lowest boot order, else the first; generated disks never boot."""
    ordered = sorted((d for d in disks if "bootOrder" in d), key=lambda d: int(d["bootOrder"]))
    if ordered:
        return str(ordered[0]["name"])
    kinds = ("persistentVolumeClaim", "dataVolume", "containerDisk")
    return next((str(v["name"]) for v in volumes if any(kind in v for kind in kinds)), "")


def sysprep(given: dict[str, str]) -> dict[str, Any]:
    """The volume's source. Raises Usage."""
    kind = given.get("type", "configMap").lower()
    if kind not in ("configmap", "secret"):
        raise Usage(
            f'failed to parse "--volume-sysprep" flag: invalid source type "{kind}", supported: configMap, secret'
        )
    return {"sysprep": {"secret" if kind == "secret" else "configMap": {"name": given["src"]}}}


def credential(given: dict[str, str], cloud_init: str) -> dict[str, Any]:
    """An access credential. Raises Usage."""
    flag = 'failed to parse "--access-cred" flag'
    kind, method = given.get("type", "ssh").lower(), given.get("method", "ga").lower()
    user = given.get("user", "")
    if kind not in ("ssh", "password"):
        raise Usage(f'{flag}: invalid access credential type "{kind}", supported: ssh, password')
    if (kind == "password" and method != "ga") or method not in ("ga", "nocloud", "configdrive"):
        raise Usage(f'{flag}: invalid access credentials {kind} method "{method}"')
    if method == "ga" and kind == "ssh" and not user:
        raise Usage(f"{flag}: user must be specified with access credential ssh method ga")
    if user and (method != "ga" or kind == "password"):
        raise Usage(f'{flag}: user cannot be specified with access credential {kind} method "{method}"')
    if method != "ga" and method != cloud_init:
        raise Usage(
            f'{flag}: method param and value passed to --cloud-init have to match: "{method}" vs "{cloud_init}"'
        )
    source = {"secret": {"secretName": given["src"]}}
    if kind == "password":
        return {"userPassword": {"source": source, "propagationMethod": {"qemuGuestAgent": {}}}}
    methods: dict[str, dict[str, Any]] = {
        "ga": {"qemuGuestAgent": {"users": [user]}},
        "nocloud": {"noCloud": {}},
        "configdrive": {"configDrive": {}},
    }
    return {"sshPublicKey": {"source": source, "propagationMethod": methods[method]}}


def managed_keys() -> dict[str, Any]:
    """cloud-config that lets the guest agent write keys where SELinux would forbid it."""
    return {"runcmd": [_MANAGED]}
