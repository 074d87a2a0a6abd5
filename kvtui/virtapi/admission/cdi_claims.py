"""Claims that ask for what their class's StorageProfile knows: modes, and a size with room for the file system.

Source: CDI pkg/apiserver/webhooks/pvc-mutate.go; CDI facts 2.2 and 2.3.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from kvtui.api import quantity
from kvtui.api.cdi.config import CDIConfig
from kvtui.api.cdi.profile import ClaimPropertySet, StorageProfile
from kvtui.api.core.storage import PersistentVolumeClaim, StorageClass
from kvtui.errors import InvalidQuantity

if TYPE_CHECKING:
    from kvtui.virtapi.admission.call import Call
    from kvtui.virtapi.admission.view import ClusterView

APPLY = "cdi.kubevirt.io/applyStorageProfile"
CONTENT = "cdi.kubevirt.io/storage.contentType"
FROM_PROFILE = "FromStorageProfile"
"""A volume mode that stands for the profile's."""
MIB = 2**20
OVERHEAD = 0.06
_DEFAULTS = ("storageclass.kubevirt.io/is-default-virt-class", "storageclass.kubernetes.io/is-default-class")


def mutate_claim(call: Call, view: ClusterView) -> tuple[dict[str, Any], list[str]]:
    """Fills in what the claim leaves open; what cannot be told stays open, and the server says what is missing."""
    labels = (call.data.get("metadata") or {}).get("labels") or {}
    if not isinstance(labels, dict) or labels.get(APPLY) != "true":
        return call.data, []
    config = view.find(CDIConfig, "", "config")
    if config is not None and config.spec.webhook_pvc_rendering == "Disabled":
        return call.data, []
    claim = call.new(PersistentVolumeClaim)
    archive = claim.metadata.annotations.get(CONTENT) == "archive"
    name = claim.spec.storage_class_name or _default(view, archive=archive)
    profile = view.find(StorageProfile, "", name) if name else None
    if profile is None or profile.status is None:
        return call.data, []
    asked = claim.spec.volume_mode if claim.spec.volume_mode != FROM_PROFILE else None
    modes, mode = _modes(
        claim.spec.access_modes, "Filesystem" if archive else asked, profile.status.claim_property_sets
    )
    spec: dict[str, Any] = {**(call.data.get("spec") or {}), "storageClassName": name, "accessModes": modes}
    spec.pop("volumeMode", None)
    if mode is not None:
        spec["volumeMode"] = mode
    requests = claim.spec.resources.requests if claim.spec.resources is not None else {}
    if mode != "Block" and not archive and "storage" in requests:
        larger = _inflated(requests["storage"], overhead(config, name))
        spec["resources"] = {**spec["resources"], "requests": {**spec["resources"]["requests"], "storage": larger}}
    return {**call.data, "spec": spec}, []


def _default(view: ClusterView, *, archive: bool) -> str:
    """The class for virtual machines, else the cluster's; of several the newest, then the first by name."""
    classes = sorted(view.all(StorageClass, ""), key=lambda c: c.metadata.name)
    for key in _DEFAULTS[1:] if archive else _DEFAULTS:
        found = [c for c in classes if c.metadata.annotations.get(key) == "true"]
        if found:
            return max(found, key=lambda c: c.metadata.creation_timestamp or "").metadata.name
    return ""


def _modes(modes: list[str], mode: str | None, sets: list[ClaimPropertySet]) -> tuple[list[str], str | None]:
    if modes:
        return modes, mode or next((s.volume_mode for s in sets if set(s.access_modes) & set(modes)), None)
    fitting = next((s for s in sets if mode in (None, s.volume_mode)), None)
    return (fitting.access_modes, fitting.volume_mode) if fitting is not None else ([], mode)


def overhead(config: CDIConfig | None, name: str) -> float:
    """Share of a Filesystem claim of this class that its file system needs."""
    for told in (config.status.filesystem_overhead, config.spec.filesystem_overhead) if config is not None else ():
        text = (told.storage_class.get(name) or told.global_) if told is not None else None
        if text:
            try:
                return float(text)
            except ValueError:
                continue
    return OVERHEAD


def _inflated(size: Any, share: float) -> Any:
    """A size that leaves as much for the disk as was asked for; what is no size stays as it is."""
    try:
        wanted = quantity.value(size)
    except InvalidQuantity:
        return size
    return quantity.binary(math.ceil(-(-wanted // MIB) * MIB * (1 + share)))
