"""The screen with 10,000 canned VMs on the terminal it is started on; SIGUSR1 changes one cell of the third row."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator

from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.meta import Resource
from kvtui.tui.theme import directories, load_all
from tests.tui import canned
from tests.tui.apps import CannedApp, canned_session, main_screen

ROWS = 10_000


def many(count: int) -> Iterator[Resource]:
    for n in range(count):
        name = f"vm-{n:05}"
        if n % 3:
            yield from canned.running(name, ip=f"10.{n // 65536}.{n // 256 % 256}.{n % 256}", node=f"node-{n % 7}")
        else:
            yield canned.vm(name)


class Program(CannedApp):
    """Changes a VM when told."""

    changes = 0

    async def on_ready(self) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self.change_one_cell)

    def change_one_cell(self) -> None:
        main = main_screen(self)
        key = main.view.collection.key_at(main.table.place.top + 3)
        self.changes += 1
        status = "Stopping" if self.changes % 2 else "Starting"
        self.session.cluster.informer(VirtualMachine).store.put(canned.vm(key.name, status))
        self.session.views.vms.touch(key)


async def main() -> None:
    session = canned_session(list(many(ROWS)), detail_delay=0.15)
    await Program(session, load_all(directories()), follow=False).run_async(mouse=False)


if __name__ == "__main__":
    asyncio.run(main())
