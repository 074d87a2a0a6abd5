"""Every verb explains itself, with an example; and the same program answers to `kubectl virt`."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from kvtui.cli import LAZY, LazyGroup, cli
from kvtui.commands.verb import Verb

OTHERS = ("local", "lab", "run", "doctor")
"""Commands of engines, which are no verbs of a server."""


def commands(command: click.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if not isinstance(command, click.Group):
        yield words, command
        return
    context = click.Context(command)
    names = [n for n in LAZY if n not in OTHERS] if isinstance(command, LazyGroup) else command.list_commands(context)
    for name in names:
        found = command.get_command(context, name)
        assert found is not None
        yield from commands(found, (*words, name))


@pytest.mark.parametrize(("words", "command"), [pytest.param(w, c, id=" ".join(w)) for w, c in commands(cli)])
def test_a_verb_has_an_example_and_says_what_its_flags_do(words: tuple[str, ...], command: click.Command) -> None:
    assert isinstance(command, Verb)
    assert command.help
    assert f"kvtui {' '.join(words)}" in (command.epilog or "")
    text = command.get_help(click.Context(command, info_name=words[-1]))
    assert "Examples:" in text
    unexplained = [
        p.opts[0]
        for p in command.params
        if isinstance(p, click.Option) and not p.hidden and not p.help and not p.metavar and p.type.name != "choice"
    ]
    assert not unexplained


def test_the_table_names_every_command_once_and_in_one_line() -> None:
    assert all(len(text) < 60 for _, text in LAZY.values())
    assert len({place for place, _ in LAZY.values()}) == len(LAZY)


async def test_it_is_kubectls_plugin_too(tmp_path: Path) -> None:
    plugin = tmp_path / "kubectl-virt"
    plugin.write_text(f"#!{sys.executable}\nfrom kvtui.__main__ import main\nmain()\n")
    plugin.chmod(0o755)
    process = await asyncio.create_subprocess_exec(
        *(str(plugin), "migrate", "--help"), stdout=asyncio.subprocess.PIPE, env={**os.environ}
    )
    out, _ = await process.communicate()
    assert out.decode().startswith("Usage: kubectl virt migrate [OPTIONS]")
