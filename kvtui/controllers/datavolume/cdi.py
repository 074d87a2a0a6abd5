"""CDI's own objects: the CDI object and its configuration, and a StorageProfile for every storage class.

Source: containerized-data-importer pkg/operator/controller, pkg/controller/{config,storageprofile}-controller.go;
cdi facts 1.4, 7.
"""

from __future__ import annotations

from datetime import datetime

from kvtui.api.cdi.config import (
    CDI,
    CDICondition,
    CDIConfig,
    CDIConfigStatus,
    CDIStatus,
    FilesystemOverhead,
)
from kvtui.api.cdi.profile import StorageProfile, StorageProfileSpec
from kvtui.api.core.parts import ResourceRequirements
from kvtui.api.core.storage import PersistentVolume, StorageClass
from kvtui.api.meta import ObjectMeta
from kvtui.api.registry import owner_reference
from kvtui.api.times import to_time
from kvtui.api.wire import evolve
from kvtui.controllers.context import ControllerContext
from kvtui.controllers.datavolume import profiles
from kvtui.controllers.datavolume.claim import DEFAULT_OVERHEAD
from kvtui.controllers.patches import write_changes
from kvtui.controlloop.controller import DONE, Controller, Result
from kvtui.errors import AlreadyExists, NotFound

AUTHORITY = "cdi.kubevirt.io/configAuthority"
VERSION = "v1.63.1"
CONFIG, CLASS = "config", "class/"
_DEPLOYED = (
    ("Available", "True", "DeployCompleted", "Deployment Completed"),
    ("Progressing", "False", "", ""),
    ("Degraded", "False", "", ""),
)
_RESOURCES = ResourceRequirements(requests={"cpu": "100m", "memory": "60M"}, limits={"cpu": "750m", "memory": "600M"})


def cdi_status(cdi: CDI, now: datetime) -> CDIStatus:
    present = {c.type: c for c in cdi.status.conditions}
    moment = to_time(now)
    conditions = [
        present[type_]
        if type_ in present and present[type_].status == status
        else CDICondition(
            type=type_,
            status=status,
            reason=reason or None,
            message=message or None,
            last_heartbeat_time=moment,
            last_transition_time=moment,
        )
        for type_, status, reason, message in _DEPLOYED
    ]
    return CDIStatus(
        phase="Deployed",
        conditions=conditions,
        operator_version=VERSION,
        target_version=VERSION,
        observed_version=VERSION,
    )


def config_status(config: CDIConfig, classes: list[StorageClass]) -> CDIConfigStatus:
    """What is in force. The upload proxy tells its own address."""
    spec = config.spec
    wish = spec.filesystem_overhead or FilesystemOverhead()
    overall = wish.global_ or str(DEFAULT_OVERHEAD)
    names = sorted(c.metadata.name for c in classes)
    scratch = spec.scratch_space_storage_class
    return evolve(
        config.status,
        filesystem_overhead=FilesystemOverhead(
            global_=overall, storage_class={name: wish.storage_class.get(name) or overall for name in names}
        ),
        preallocation=spec.preallocation or False,
        import_proxy=spec.import_proxy,
        image_pull_secrets=spec.image_pull_secrets,
        scratch_space_storage_class=scratch if scratch in names else None,
        default_pod_resource_requirements=spec.pod_resource_requirements or _RESOURCES,
    )


class CDIController:
    """One key for the configuration, one for each storage class."""

    def __init__(self, context: ControllerContext) -> None:
        self.context = context
        informers = context.informers
        self.cdis = informers.of(CDI)
        self.configs = informers.of(CDIConfig)
        self.classes = informers.of(StorageClass)
        self.profiles = informers.of(StorageProfile)
        self.volumes = informers.of(PersistentVolume)
        self.controller: Controller[str] = Controller(
            "cdi",
            self.reconcile,
            informers=[self.cdis, self.configs, self.classes, self.profiles, self.volumes],
            settings=context.settings.loop,
            workers=1,
        )
        queue = self.controller.queue
        self.cdis.subscribe(lambda old, new: queue.add(CONFIG))
        self.configs.subscribe(lambda old, new: queue.add(CONFIG))
        self.classes.subscribe(self._class_changed)
        self.profiles.subscribe(lambda old, new: self._class_named(_name(new or old)))
        self.volumes.subscribe(self._volume_changed)

    async def run(self) -> None:
        await self.controller.run()

    def _class_named(self, name: str) -> None:
        self.controller.queue.add(CLASS + name)

    def _class_changed(self, old: StorageClass | None, new: StorageClass | None) -> None:
        self._class_named(_name(new or old))
        self.controller.queue.add(CONFIG)

    def _volume_changed(self, old: PersistentVolume | None, new: PersistentVolume | None) -> None:
        volume = new or old
        if volume is not None and volume.spec.storage_class_name:
            self._class_named(volume.spec.storage_class_name)

    async def reconcile(self, key: str) -> Result:
        try:
            if key == CONFIG:
                await self._configure()
            else:
                await self._profile(key.removeprefix(CLASS))
        except NotFound:
            return DONE
        return DONE

    async def _configure(self) -> None:
        cdi = next(iter(self.cdis.all()), None)
        if cdi is not None and not cdi.metadata.deletion_timestamp:
            await write_changes(self.context.client, cdi, evolve(cdi, status=cdi_status(cdi, self.context.clock())))
        config = self.configs.get(("", "config"))
        if config is None:
            return
        if cdi is not None and (cdi.spec.config is not None or AUTHORITY in cdi.metadata.annotations):
            config_wanted = evolve(config, spec=cdi.spec.config or type(config.spec)())
        else:
            config_wanted = config
        status = config_status(config_wanted, list(self.classes.all()))
        await write_changes(self.context.client, config, evolve(config_wanted, status=status))

    async def _profile(self, name: str) -> None:
        storage_class, profile = self.classes.get(("", name)), self.profiles.get(("", name))
        if storage_class is None:
            if profile is not None:
                await self.context.client.delete(StorageProfile, profile.key, uid=profile.metadata.uid)
            return
        if storage_class.provisioner in profiles.IGNORED:
            return
        if profile is None:
            metadata = ObjectMeta(name=name, owner_references=[owner_reference(storage_class)])
            made = StorageProfile(metadata=metadata, spec=StorageProfileSpec())
            try:
                profile = await self.context.client.create(made)
            except AlreadyExists:
                return
        own = list(self.volumes.all()) if storage_class.provisioner == profiles.NO_PROVISIONER else []
        status = profiles.resolved(profile.spec, profile.status, storage_class, own, self.context.clock())
        await write_changes(self.context.client, profile, evolve(profile, status=status))


def _name(obj: StorageClass | StorageProfile | None) -> str:
    return obj.metadata.name if obj is not None else ""
