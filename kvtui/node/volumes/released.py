"""Removes the bytes of volumes that were let go, on the node that the volume names, and then lets the object go.

The controller that made the volume only writes objects; whoever has the directory removes it.

Source: https://kubernetes.io/docs/concepts/storage/persistent-volumes/#persistentvolume-deletion-protection-finalizer
"""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import structlog

from kvtui.api.core.storage import PersistentVolume
from kvtui.api.wire import ObjectKey
from kvtui.client.rest import Client
from kvtui.controlloop.controller import DONE, Controller, Result
from kvtui.controlloop.informer import Informer
from kvtui.controlloop.recorder import EventRecorder
from kvtui.errors import InvalidObject, NotFound, Transient
from kvtui.node.layout import Layout

FINALIZER = "kvtui.io/volume"
CLEANUP_NODE = "kvtui.io/node"
log = structlog.get_logger()


class CannotRemove(Transient):
    """The directory refuses to go; it is tried again."""


class ReleasedVolumes:
    """Works on PersistentVolumes that are being deleted and name this node."""

    def __init__(self, client: Client, layout: Layout, node: str, recorder: EventRecorder) -> None:
        self._client = client
        self._layout = layout
        self._node = node
        self._recorder = recorder
        self._volumes = Informer(client, PersistentVolume, label_selector=f"{CLEANUP_NODE}={node}", optional=True)
        self._controller: Controller[ObjectKey] = Controller(
            "released volumes", self._reconcile, informers=(self._volumes,), workers=1
        )
        self._volumes.subscribe(self._changed)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._volumes.run(), name="informer PersistentVolume")
            # An API server that is away for long must not end the agent.
            await self._volumes.wait_synced()
            tasks.create_task(self._controller.run(), name="released volumes")

    def _changed(self, old: PersistentVolume | None, new: PersistentVolume | None) -> None:
        if new is not None and self._is_ours(new):
            self._controller.queue.add(new.key)

    def _is_ours(self, volume: PersistentVolume) -> bool:
        meta = volume.metadata
        return (
            meta.deletion_timestamp is not None
            and FINALIZER in meta.finalizers
            and meta.annotations.get(CLEANUP_NODE) == self._node
        )

    async def _reconcile(self, key: ObjectKey) -> Result:
        volume = self._volumes.get(key)
        if volume is None or not self._is_ours(volume):
            return DONE
        source = volume.spec.local or volume.spec.host_path
        try:
            directory = self._layout.volume(source.path if source is not None else "")
        except InvalidObject as error:
            # A volume that points elsewhere was never made by us: its bytes stay, and so does the object.
            self._recorder.warning(volume, "VolumeFailedDelete", str(error))
            raise
        try:
            await asyncio.to_thread(_remove, directory)
        except OSError as error:
            self._recorder.warning(volume, "VolumeFailedDelete", f"{directory} cannot be removed: {error.strerror}")
            raise CannotRemove(f"{directory}: {error.strerror}") from error
        log.info("volume removed", volume=key.name, path=str(directory))
        left = [f for f in volume.metadata.finalizers if f != FINALIZER]
        body = {"metadata": {"finalizers": left, "resourceVersion": volume.metadata.resource_version}}
        try:
            await self._client.patch(PersistentVolume, key, body)
        except NotFound:
            return DONE
        return DONE


def _remove(directory: Path) -> None:
    """The whole directory; one that is gone already is fine."""
    if directory.is_symlink():
        directory.unlink()
    elif directory.exists():
        shutil.rmtree(directory)
