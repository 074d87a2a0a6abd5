"""`kvtui local backup` and `restore`, against a server in the place of an engine's."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from kvtui.commands import backup
from kvtui.commands.engine import EngineDirectory, EngineKind, EngineRecord, ProcessRecord
from kvtui.commands.processes import identify
from kvtui.errors import KvtuiError, Usage
from tests.apiserver.api import CONFIG_MAPS, Api, config_map
from tests.fakes.cluster import running_server


def run(engine: EngineDirectory, *arguments: str) -> Result:
    group = click.Group("local")
    backup.add_to(group, lambda ctx, data: engine)
    return CliRunner().invoke(group, list(arguments))


def record(engine: EngineDirectory, pid: int | None) -> None:
    """What the supervisor would have written; this very process plays it."""
    identity = None if pid is None else identify(pid)
    supervisor = None if identity is None else ProcessRecord(identity.pid, identity.started)
    engine.write(EngineRecord(EngineKind.LOCAL, 1, "127.0.0.1", supervisor=supervisor, ready=True))


async def test_what_was_there_at_the_backup_is_there_after_the_restore(tmp_path: Path) -> None:
    engine = EngineDirectory(tmp_path)
    async with running_server(tmp_path, crds=False) as server, server.session() as session:
        api = Api(session)
        await api.post(CONFIG_MAPS, config_map("kept", v="1"))
        record(engine, os.getpid())
        done = await asyncio.to_thread(run, engine, "backup", str(tmp_path / "copy"))
        assert done.exit_code == 0, done.output
        assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600
        await api.post(CONFIG_MAPS, config_map("later"))
        changed = await api.merge(f"{CONFIG_MAPS}/kept", {"data": {"v": "2"}})
        refused = await asyncio.to_thread(run, engine, "restore", str(tmp_path / "copy"))
        assert isinstance(refused.exception, Usage)
    record(engine, None)
    done = await asyncio.to_thread(run, engine, "restore", str(tmp_path / "copy"))
    assert done.exit_code == 0, done.output
    async with running_server(tmp_path, crds=False) as server, server.session() as session:
        api = Api(session)
        found = await api.get(f"{CONFIG_MAPS}/kept")
        assert found.body["data"] == {"v": "1"}
        assert (await api.get(f"{CONFIG_MAPS}/later")).code == 404
        assert int((await api.get(CONFIG_MAPS)).rv) > int(changed.rv)
        stale = await api.get(CONFIG_MAPS, watch="1", resourceVersion=changed.rv)
        assert (stale.code, stale.reason) == (410, "Expired")


def test_a_backup_needs_a_running_engine(tmp_path: Path) -> None:
    engine = EngineDirectory(tmp_path)
    assert isinstance(run(engine, "backup", str(tmp_path / "copy")).exception, Usage)
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("content", [b"", b"nonsense" * 100])
def test_what_is_no_backup_is_not_restored(tmp_path: Path, content: bytes) -> None:
    engine = EngineDirectory(tmp_path / "engine")
    (tmp_path / "copy").write_bytes(content)
    refused = run(engine, "restore", str(tmp_path / "copy"))
    assert isinstance(refused.exception, KvtuiError)
    assert not (engine.apiserver / "state.db").exists()
