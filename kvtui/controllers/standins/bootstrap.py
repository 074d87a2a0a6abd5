"""Objects that an engine of its own starts with: storage classes, and the KubeVirt and CDI configuration.

Made when they are missing and never changed afterwards: they belong to the user.
"""

from __future__ import annotations

import structlog

from kvtui.api.cdi.config import CDI, CDIConfig, CDIConfigSpec, CDISpec, FilesystemOverhead
from kvtui.api.core.config import Namespace
from kvtui.api.core.storage import StorageClass
from kvtui.api.kubevirt.config import (
    DeveloperConfiguration,
    KubeVirt,
    KubeVirtConfiguration,
    KubeVirtSpec,
    KubeVirtWorkloadUpdateStrategy,
)
from kvtui.api.meta import ObjectMeta, Resource
from kvtui.client.rest import Client
from kvtui.controllers.context import ControllerContext
from kvtui.controllers.provisioner import LOCAL, PATH, SHARED
from kvtui.controlloop.backoff import Backoff
from kvtui.errors import AlreadyExists, Permanent, Transient

log = structlog.get_logger()
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"


def storage_classes(shared_path: str, *, shared_default: bool = False) -> list[StorageClass]:
    """kvtui-local, its alias local-path, and kvtui-shared where there is a shared directory; one is the default."""
    default = {DEFAULT_CLASS: "true"}
    local = [
        StorageClass(
            metadata=ObjectMeta(name=name, annotations=annotations),
            provisioner=LOCAL,
            reclaim_policy="Delete",
            volume_binding_mode="WaitForFirstConsumer",
            allow_volume_expansion=True,
        )
        for name, annotations in (
            ("kvtui-local", {} if shared_path and shared_default else default),
            ("local-path", {}),
        )
    ]
    if not shared_path:
        return local
    shared = StorageClass(
        metadata=ObjectMeta(name="kvtui-shared", annotations=default if shared_default else {}),
        provisioner=SHARED,
        parameters={PATH: shared_path},
        reclaim_policy="Delete",
        volume_binding_mode="Immediate",
        allow_volume_expansion=True,
    )
    return [*local, shared]


def configuration(namespace: str) -> list[Resource]:
    """Emulation is allowed, because an engine on one machine must run on any machine; the screen says which it is."""
    kubevirt = KubeVirt(
        metadata=ObjectMeta(name="kubevirt", namespace=namespace),
        spec=KubeVirtSpec(
            configuration=KubeVirtConfiguration(developer_configuration=DeveloperConfiguration(use_emulation=True)),
            workload_update_strategy=KubeVirtWorkloadUpdateStrategy(workload_update_methods=["LiveMigrate"]),
        ),
    )
    overhead = FilesystemOverhead(global_="0.06")
    return [
        Namespace(metadata=ObjectMeta(name=namespace)),
        kubevirt,
        CDI(metadata=ObjectMeta(name="cdi"), spec=CDISpec()),
        CDIConfig(metadata=ObjectMeta(name="config"), spec=CDIConfigSpec(filesystem_overhead=overhead)),
    ]


class BootstrapController:
    """Makes what is missing, once, and ends."""

    def __init__(self, context: ControllerContext) -> None:
        self._client = context.client
        self._objects: list[Resource] = [
            *configuration(context.settings.install_namespace),
            *storage_classes(context.settings.shared_storage, shared_default=context.settings.shared_default),
        ]

    async def run(self) -> None:
        """Returns when everything is there; a server that is not ready yet is asked again."""
        backoff = Backoff(0.2, 5.0)
        for obj in self._objects:
            while not await _ensure(self._client, obj):
                await backoff.pause()


async def _ensure(client: Client, obj: Resource) -> bool:
    try:
        await client.create(obj)
    except AlreadyExists:
        return True
    except Transient:
        return False
    except Permanent as error:
        # One object that this server does not take must not keep the controllers from running.
        log.error("object not made", kind=type(obj).__name__, name=obj.metadata.name, error=str(error))
    return True
