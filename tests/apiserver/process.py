"""A server that may be killed, as a process: `python -m tests.apiserver.process DIR PORT [HISTORY [MIN_FREE]]`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from kvtui.apiserver.blocks import new_event_loop
from kvtui.apiserver.server import serve
from kvtui.settings import ApiServerSettings


def main() -> None:
    directory, port = Path(sys.argv[1]), int(sys.argv[2])
    history = float(sys.argv[3]) if len(sys.argv) > 3 else 600.0
    settings = ApiServerSettings(
        directory=directory / "apiserver",
        pki=directory / "pki",
        port=port,
        install_crds=False,
        history_seconds=history,
        min_free_disk=int(sys.argv[4]) if len(sys.argv) > 4 else 0,
    )
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(serve(settings))


if __name__ == "__main__":
    main()
