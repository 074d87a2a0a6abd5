"""Both sides of migrations, as the domain room sees them."""

from __future__ import annotations

from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.controlloop.controller import Result
from kvtui.node.hypervisor import DomainStatus
from kvtui.node.migration.source import Source
from kvtui.node.migration.target import Target
from kvtui.node.state import Record, Stage


class MigrationRoom:
    """A record is on one side only: launchers made for a migration receive, the others send."""

    def __init__(self, source: Source, target: Target) -> None:
        self._source = source
        self._target = target

    async def run(self) -> None:
        await self._source.run()

    async def look(self, vmi: VirtualMachineInstance, record: Record, domain: DomainStatus | None) -> Result | None:
        if record.incoming and record.stage in (Stage.READY, Stage.INCOMING):
            return await self._target.look(vmi, record, domain)
        if record.stage is Stage.STARTED:
            await self._source.look(vmi, record, domain)
        return None

    async def abort(self, uid: str) -> None:
        await self._source.abort(uid)

    async def close(self, uid: str) -> None:
        await self._target.close(uid)
