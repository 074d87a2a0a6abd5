"""What the two groups say of themselves in discovery documents.

Source: control plane facts 6.1; CDI facts 1.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

GROUP = "subresources.kubevirt.io"
GROUP_NAME = "subresource.kubevirt.io"
"""How the group calls itself in its own document: upstream's slip, which clients know."""
VERSIONS = ("v1", "v1alpha3")
UPLOAD_GROUP, UPLOAD_VERSION = "upload.cdi.kubevirt.io", "v1beta1"

VM_VERBS = (
    "start",
    "stop",
    "restart",
    "migrate",
    "addvolume",
    "removevolume",
    "memorydump",
    "removememorydump",
    "evacuate",
    "expand-spec",
    "portforward",
    "objectgraph",
)
VMI_VERBS = (
    "console",
    "vnc",
    "vnc/screenshot",
    "usbredir",
    "vsock",
    "portforward",
    "pause",
    "unpause",
    "freeze",
    "unfreeze",
    "softreboot",
    "reset",
    "addvolume",
    "removevolume",
    "evacuate",
    "guestosinfo",
    "userlist",
    "filesystemlist",
    "objectgraph",
    "sev/fetchcertchain",
    "sev/querylaunchmeasurement",
    "sev/setupsession",
    "sev/injectlaunchsecret",
    "backup",
    "redefine-checkpoint",
)
CLUSTER_VERBS = (
    "version",
    "guestfs",
    "healthz",
    "start-cluster-profiler",
    "stop-cluster-profiler",
    "dump-cluster-profiler",
)


@dataclass(frozen=True, slots=True)
class GroupVersion:
    """One version that is served; the shape that `kvtui.apiserver.extension` asks for."""

    group: str
    version: str
    resources: tuple[dict[str, Any], ...]
    group_name: str = ""


def _entry(name: str, *, namespaced: bool) -> dict[str, Any]:
    return {"name": name, "singularName": "", "namespaced": namespaced, "kind": "", "verbs": []}


def resources() -> tuple[dict[str, Any], ...]:
    """Entries of the APIResourceList."""
    return (
        *(_entry(f"virtualmachineinstances/{verb}", namespaced=True) for verb in VMI_VERBS),
        *(_entry(f"virtualmachines/{verb}", namespaced=True) for verb in VM_VERBS),
        _entry("expand-vm-spec", namespaced=True),
        *(_entry(verb, namespaced=False) for verb in CLUSTER_VERBS),
    )


UPLOAD_RESOURCES: tuple[dict[str, Any], ...] = (
    {
        "name": "uploadtokenrequests",
        "singularName": "uploadtokenrequest",
        "namespaced": True,
        "kind": "UploadTokenRequest",
        "verbs": ["create"],
        "shortNames": ["utr", "utrs"],
    },
)
