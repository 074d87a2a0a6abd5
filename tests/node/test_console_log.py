"""Offsets of a console's log count on through everything that can happen to its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvtui.console.log import ConsoleLog

LIMIT = 64 * 1024


class Writer:
    """QEMU's side: appends to the file, which is made when it is not there."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, data: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(data)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "serial0.log"


def everything(log: ConsoleLog, offset: int = 0) -> bytes:
    log.refresh()
    found = b""
    while True:
        first, data = log.read(offset, 10000)
        if not data:
            return found
        found += data
        offset = first + len(data)


def test_bytes_have_the_offsets_of_their_order(path: Path) -> None:
    writer = Writer(path)
    writer.write(b"hello ")
    log = ConsoleLog(path, limit=LIMIT)
    writer.write(b"world")
    assert log.refresh()
    assert (log.start, log.end) == (0, 11)
    assert log.read(6, 100) == (6, b"world")
    assert log.read(11, 100) == (11, b"")


def test_a_log_that_does_not_exist_yet_begins_at_zero(path: Path) -> None:
    log = ConsoleLog(path, limit=LIMIT)
    assert log.read(0, 10) == (0, b"")
    Writer(path).write(b"first")
    assert log.refresh()
    assert everything(log) == b"first"


def test_a_new_agent_goes_on_where_the_old_one_was(path: Path) -> None:
    writer = Writer(path)
    writer.write(b"one ")
    log = ConsoleLog(path, limit=LIMIT)
    log.close()
    writer.write(b"two")
    again = ConsoleLog(path, limit=LIMIT)
    assert everything(again, 4) == b"two"
    assert again.end == 7


def test_a_long_log_is_shortened_at_its_beginning_and_keeps_its_offsets(path: Path) -> None:
    writer = Writer(path)
    log = ConsoleLog(path, limit=LIMIT)
    line = b"x" * 1023 + b"\n"
    for _ in range(300):
        writer.write(line)
        log.refresh()
    assert log.end == 300 * 1024
    assert 0 < log.start <= log.end - LIMIT
    assert path.stat().st_blocks * 512 <= 3 * LIMIT
    first, data = log.read(0, 2048)
    assert first == log.start
    assert data.startswith(b"x")
    start = log.start
    log.close()
    assert ConsoleLog(path, limit=LIMIT).start == start


def test_after_a_truncation_the_count_goes_on(path: Path) -> None:
    writer = Writer(path)
    writer.write(b"0123456789")
    log = ConsoleLog(path, limit=LIMIT)
    with path.open("r+b") as file:
        file.truncate(0)
    writer.write(b"abc")
    log.refresh()
    assert (log.start, log.end) == (10, 13)
    assert log.read(10, 10) == (10, b"abc")


def test_after_a_truncation_that_nobody_saw_the_count_goes_on(path: Path) -> None:
    writer = Writer(path)
    writer.write(b"0123456789")
    log = ConsoleLog(path, limit=LIMIT)
    log.close()
    with path.open("r+b") as file:
        file.truncate(0)
    writer.write(b"abc")
    again = ConsoleLog(path, limit=LIMIT)
    assert again.read(10, 10) == (10, b"abc")


def test_a_rotation_loses_nothing(path: Path) -> None:
    writer = Writer(path)
    writer.write(b"before ")
    log = ConsoleLog(path, limit=LIMIT)
    writer.write(b"more ")
    path.rename(f"{path}.0")
    writer.write(b"after")
    assert everything(log) == b"before more after"


def test_rotations_that_no_agent_saw_lose_nothing(path: Path) -> None:
    writer = Writer(path)
    writer.write(b"one ")
    log = ConsoleLog(path, limit=LIMIT)
    log.close()
    writer.write(b"two ")
    path.rename(f"{path}.0")
    writer.write(b"three ")
    Path(f"{path}.0").rename(f"{path}.1")
    path.rename(f"{path}.0")
    writer.write(b"four")
    assert everything(ConsoleLog(path, limit=LIMIT), 4) == b"two three four"


def test_after_a_migration_the_history_comes_first(path: Path) -> None:
    writer = Writer(path)
    writer.write(b"printed here")
    log = ConsoleLog(path, limit=LIMIT, incoming=True)
    assert not log.joined
    assert log.read(0, 100) == (0, b"")
    log.join(1000, b"printed there ")
    assert (log.start, log.end) == (1000, 1026)
    assert everything(log, 0) == b"printed there printed here"
    writer.write(b" and on")
    assert everything(log, 1014) == b"printed here and on"


def test_history_survives_a_restart_of_the_agent(path: Path) -> None:
    writer = Writer(path)
    writer.write(b"here")
    log = ConsoleLog(path, limit=LIMIT, incoming=True)
    log.join(50, b"there ")
    log.close()
    writer.write(b" now")
    again = ConsoleLog(path, limit=LIMIT, incoming=True)
    assert again.joined
    assert again.start == 50
    assert everything(again, 0) == b"there here now"


def test_a_symbolic_link_is_not_followed(path: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    path.symlink_to(secret)
    with pytest.raises(OSError):
        ConsoleLog(path, limit=LIMIT)
