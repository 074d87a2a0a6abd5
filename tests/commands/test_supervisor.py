"""The supervisor: order, readiness, restarts, last words, orphans."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kvtui.commands.engine import EngineDirectory, EngineKind, EngineRecord
from kvtui.commands.supervisor import Child, Supervisor, last_words
from kvtui.console.inotify import Watcher
from kvtui.errors import Unsupported

READY = "import os; os.write(int(os.environ['KVTUI_READY_FD']), b'ready\\n')\n"
WAIT = "import signal; signal.pause()\n"
NOTE = "import os, sys; open(sys.argv[1], 'a').write(f'{os.getpid()}\\n')\n"


@pytest.fixture
def engine(tmp_path: Path) -> EngineDirectory:
    engine = EngineDirectory(tmp_path / "engine")
    (engine.data / "logs").mkdir(parents=True)
    (engine.data / "notes").mkdir()
    return engine


@pytest.fixture
async def supervisor(engine: EngineDirectory) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(engine, EngineRecord(kind=EngineKind.LOCAL, port=1, host_address="127.0.0.1"))
    async with supervisor.running():
        yield supervisor


def python(name: str, code: str, *arguments: str) -> Child:
    return Child(name, [sys.executable, "-c", code, *arguments], grace=5.0)


async def lines_of(path: Path, count: int) -> list[str]:
    """The lines of a file, once there are so many."""
    with Watcher() as watcher:
        changed = asyncio.Event()
        watcher.watch(path.parent, changed.set)
        async with asyncio.timeout(30):
            while True:
                changed.clear()
                lines = path.read_text().splitlines() if path.exists() else []
                if len(lines) >= count:
                    return lines
                await changed.wait()


async def test_a_child_is_ready_when_it_says_so(supervisor: Supervisor) -> None:
    supervisor.start(python("one", READY + WAIT))
    async with asyncio.timeout(10):
        await supervisor.wait_ready("one")
    assert supervisor.record.processes["one"].identity.is_alive()


async def test_a_child_that_tells_nothing_is_ready_when_it_runs(supervisor: Supervisor) -> None:
    supervisor.start(Child("quiet", [sys.executable, "-c", WAIT], tells_ready=False))
    async with asyncio.timeout(10):
        await supervisor.wait_ready("quiet")


async def test_a_killed_child_is_started_again_and_the_record_follows(
    engine: EngineDirectory, supervisor: Supervisor
) -> None:
    note = engine.data / "notes" / "pids"
    supervisor.start(python("one", NOTE + WAIT, str(note)))
    first = int((await lines_of(note, 1))[0])
    os.kill(first, signal.SIGKILL)
    second = int((await lines_of(note, 2))[1])
    recorded = engine.read()
    assert recorded is not None
    assert recorded.processes["one"].pid == second != first


async def test_an_engine_whose_child_keeps_failing_fails_with_its_last_words(supervisor: Supervisor) -> None:
    supervisor.start(python("broken", "import sys; sys.exit('port 1 is in use')"))
    with pytest.raises(Unsupported, match="broken does not start: port 1 is in use") as caught:
        async with asyncio.timeout(30):
            await supervisor.fail_with_children()
    assert "broken.log" in caught.value.hint


async def test_stopping_waits_for_the_child_and_does_not_start_it_again(
    engine: EngineDirectory, supervisor: Supervisor
) -> None:
    note = engine.data / "notes" / "pids"
    supervisor.start(python("one", NOTE + WAIT, str(note)))
    await lines_of(note, 1)
    identity = supervisor.record.processes["one"].identity
    await supervisor.stop("one")
    assert not identity.is_alive()
    assert len(note.read_text().splitlines()) == 1


async def test_children_end_last_started_first(engine: EngineDirectory) -> None:
    note = engine.data / "notes" / "order"
    # Blocked and waited for, as a handler can run just before the child begins to wait.
    code = (
        "import signal, sys\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})\n" + READY + "signal.sigwait({signal.SIGTERM})\n"
        "open(sys.argv[1], 'a').write(sys.argv[2] + '\\n')\n"
    )
    supervisor = Supervisor(engine, EngineRecord(kind=EngineKind.LOCAL, port=1, host_address="127.0.0.1"))
    async with supervisor.running():
        for name in ("apiserver", "agent"):
            supervisor.start(python(name, code, str(note), name))
            await supervisor.wait_ready(name)
    assert note.read_text().splitlines() == ["agent", "apiserver"]


async def test_what_a_child_leaves_behind_does_not_stay_as_a_zombie(
    engine: EngineDirectory, supervisor: Supervisor
) -> None:
    note = engine.data / "notes" / "orphan"
    # The grandchild has lost its parent when it ends, as QEMU has.
    code = (
        "import os, sys\n"
        "if os.fork() == 0:\n"
        "    if os.fork() == 0:\n"
        "        open(sys.argv[1], 'a').write(f'{os.getpid()}\\n')\n"
        "    os._exit(0)\n"
        "os.wait()\n" + WAIT
    )
    supervisor.start(python("parent", code, str(note)))
    pid = int((await lines_of(note, 1))[0])
    await supervisor.stop("parent")
    assert not Path(f"/proc/{pid}").exists()


def test_last_words_are_the_last_error_of_a_structured_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text('{"level": "error", "error": "disk full"}\n{"level": "info", "event": "ends"}\nTraceback\n')
    assert last_words(log) == "disk full"
    log.write_text("something plain\n\n")
    assert last_words(log) == "something plain"
    assert last_words(tmp_path / "missing") == "it said nothing"
