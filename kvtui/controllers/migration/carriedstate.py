"""Claims of a guest's TPM and firmware variables through a migration: a new one for the target, which then stays.

Every step may be done again: the new claim's name follows from the migration.

Source: kubevirt pkg/storage/backend-storage (CreatePVCForMigrationTarget, MigrationHandoff, MigrationAbort).
"""

from __future__ import annotations

import contextlib

from kvtui.api.core.storage import PersistentVolumeClaim
from kvtui.api.wire import ObjectKey
from kvtui.client.rest import Client
from kvtui.controllers import indices
from kvtui.controllers.migration.view import View
from kvtui.controllers.virtualmachineinstance import backendstorage
from kvtui.controlloop.informer import Informer
from kvtui.errors import AlreadyExists, Conflict, NotFound


class CarriedState:
    """The claims on both sides of a migration."""

    def __init__(self, client: Client, claims: Informer[PersistentVolumeClaim]) -> None:
        """`claims` are indexed by the VMI whose state they hold."""
        self._client = client
        self._claims = claims

    async def claim_target(self, view: View) -> PersistentVolumeClaim | None:
        """Makes the target's claim, or finds it made; None for a guest that keeps no state."""
        source = self._source(view)
        vmi = view.vmi
        if source is None or vmi is None or not backendstorage.keeps_state(vmi.spec):
            return None
        wanted = backendstorage.target_claim(vmi, view.migration, source)
        try:
            return await self._client.create(wanted)
        except AlreadyExists:
            return await self._client.get(PersistentVolumeClaim, wanted.key)

    def names(self, view: View) -> tuple[str, str] | None:
        """Of the source's and the target's claim; the same one where nothing is carried. None without any."""
        source, vmi = self._source(view), view.vmi
        if source is None or vmi is None:
            return None
        if not backendstorage.keeps_state(vmi.spec):
            return source.metadata.name, source.metadata.name
        return source.metadata.name, backendstorage.target_name(vmi.metadata.name, view.migration)

    async def settle(self, view: View) -> None:
        """At the end of a migration: the claim of where the guest is now stays, the other one goes."""
        if view.arrived:
            await self._hand_over(view)
            return
        name = backendstorage.target_name(view.migration.spec.vmi_name or "", view.migration)
        key = ObjectKey(view.migration.metadata.namespace, name)
        claim = self._claims.get(key)
        # One that was handed over is the VMI's, however this migration is seen afterwards.
        if claim is not None and backendstorage.LABEL not in claim.metadata.labels:
            await self._delete(key)

    async def _hand_over(self, view: View) -> None:
        """First the new claim is the VMI's, then the old one goes: at no time is there none."""
        state, namespace = view.state, view.migration.metadata.namespace
        old = state.source_persistent_state_pvc_name if state is not None else None
        new = state.target_persistent_state_pvc_name if state is not None else None
        if not old or not new or old == new:
            return
        body = {"metadata": {"labels": {backendstorage.LABEL: view.migration.spec.vmi_name}}}
        with contextlib.suppress(NotFound):
            await self._client.patch(PersistentVolumeClaim, ObjectKey(namespace, new), body)
            await self._delete(ObjectKey(namespace, old))

    async def _delete(self, key: ObjectKey) -> None:
        claim = self._claims.get(key)
        if claim is None or claim.metadata.deletion_timestamp:
            return
        with contextlib.suppress(NotFound, Conflict):
            await self._client.delete(PersistentVolumeClaim, key, uid=claim.metadata.uid)

    def _source(self, view: View) -> PersistentVolumeClaim | None:
        if view.vmi is None:
            return None
        return backendstorage.claim_for(view.vmi, self._claims.store.by_index(indices.STATE, str(view.vmi.key)))
