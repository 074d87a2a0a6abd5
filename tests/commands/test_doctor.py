"""What the doctor reads out of other programs' words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kvtui.commands.doctor import Finding, Grade, examine, handler_of, show, version_in
from kvtui.commands.engine import EngineDirectory
from kvtui.commands.service import unit_text


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)", (7, 2, 22)),
        ("libvirtd (libvirt) 9.0.0", (9, 0, 0)),
        ("no number", ()),
    ],
)
def test_versions_are_found(text: str, version: tuple[int, ...]) -> None:
    assert version_in(text) == version


@pytest.mark.parametrize(
    ("text", "handler"),
    [('stdio_handler = "file"\n', "file"), ('#stdio_handler = "file"\n', "logd"), ("", "logd")],
)
def test_a_commented_setting_counts_as_the_default(text: str, handler: str) -> None:
    assert handler_of(text) == handler


@pytest.mark.parametrize(("grade", "status"), [(Grade.OK, 0), (Grade.ADVICE, 0), (Grade.FAILED, 1)])
def test_only_failures_fail(grade: Grade, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert show([Finding("QEMU", grade, "something", "mend it")], "text") == status
    assert "fix: mend it" in capsys.readouterr().out


async def test_every_check_answers_and_every_flaw_has_a_fix(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    findings = await examine(EngineDirectory(tmp_path / "engine"))
    assert len({f.check for f in findings}) == len(findings) >= 10
    assert all(f.fix and "\n" not in f.fix for f in findings if f.grade is not Grade.OK)
    show(findings, "json")
    assert len(json.loads(capsys.readouterr().out)) == len(findings)
    assert not (tmp_path / "engine").exists()


def test_the_service_runs_the_engine_in_the_foreground_with_a_quoted_path() -> None:
    unit = unit_text(EngineDirectory(Path("/srv/with space")), "/opt/kvtui/python")
    assert "ExecStart=/opt/kvtui/python -m kvtui local start --foreground --data '/srv/with space'" in unit
    assert "Type=notify" in unit
