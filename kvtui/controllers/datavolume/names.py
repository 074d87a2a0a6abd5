"""Annotations and labels of CDI that users, virtctl and KubeVirt read.

Source: containerized-data-importer pkg/controller/common; cdi facts 3.9.
"""

from __future__ import annotations

from kvtui.api.core.pod import Pod
from kvtui.api.worker import WORKER_LABEL

_PREFIX = "cdi.kubevirt.io/"

POD_PHASE = f"{_PREFIX}storage.pod.phase"
POD_RESTARTS = f"{_PREFIX}storage.pod.restarts"
POD_READY = f"{_PREFIX}storage.pod.ready"
RUNNING = f"{_PREFIX}storage.condition.running"
RUNNING_REASON = f"{_PREFIX}storage.condition.running.reason"
RUNNING_MESSAGE = f"{_PREFIX}storage.condition.running.message"
IMPORT_SOURCE = f"{_PREFIX}storage.import.source"
IMPORT_ENDPOINT = f"{_PREFIX}storage.import.endpoint"
UPLOAD_POD = f"{_PREFIX}storage.uploadPodName"
IMPORT_POD = f"{_PREFIX}storage.import.importPodName"
FATAL = f"{_PREFIX}storage.import.fatalError"
CONTENT_TYPE = f"{_PREFIX}storage.contentType"
PREALLOCATION = f"{_PREFIX}storage.preallocation"
PREALLOCATION_REQUESTED = f"{_PREFIX}storage.preallocation.requested"
POPULATED_FOR = f"{_PREFIX}storage.populatedFor"
PREPOPULATED = f"{_PREFIX}storage.prePopulated"
ADOPT = f"{_PREFIX}allowClaimAdoption"
IMMEDIATE = f"{_PREFIX}storage.bind.immediate.requested"
USE_POPULATOR = f"{_PREFIX}storage.usePopulator"
UPLOAD_TARGET = f"{_PREFIX}storage.upload.target"
CLONE_TYPE = f"{_PREFIX}cloneType"
CLONE_REQUEST = "k8s.io/CloneRequest"
CLONE_OF = "k8s.io/CloneOf"
PERMISSIVE_CLONE = f"{_PREFIX}permissiveClone"
SELECTED_NODE = "volume.kubernetes.io/selected-node"

APP = {"app": "containerized-data-importer"}
COMPONENT = {
    "app.kubernetes.io/managed-by": "cdi-controller",
    "app.kubernetes.io/component": "storage",
}
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
DEFAULT_VIRT_CLASS = "storageclass.kubevirt.io/is-default-virt-class"


def is_worker(pod: Pod) -> bool:
    return WORKER_LABEL in pod.metadata.labels


def shortened(name: str, limit: int = 63) -> str:
    """Cut to `limit` with an FNV-1a hash when it is longer, as CDI names its Pods."""
    if len(name) <= limit:
        return name
    value = 0x811C9DC5
    for byte in name.encode():
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return f"{name[: limit - 9]}-{value:08x}"
