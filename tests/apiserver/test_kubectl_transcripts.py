"""The real kubectl, command by command: transcripts of what it prints, written from the specification.

A transcript (transcripts/*.txt) is a session of one user with a fresh server:

    $ kubectl ...    a command          < text    its input        << name    its input is an object of ours
    ! line           on stderr          ? N       its exit code, if it is not 0
    $ own A B        B becomes an owner of A, as a controller would have made it

Runs of blanks are one blank. <age>, <number>, <time>, <uid>, <name>, <token> and <text> stand for what varies, a line
of ... for any lines.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from tests.apiserver.api import widget_definition
from tests.apiserver.test_kubectl import Kubectl
from tests.fakes.cluster import RunningServer

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on the PATH")

TRANSCRIPTS = sorted((Path(__file__).parent / "transcripts").glob("*.txt"))
INPUTS = {"widget-definition": widget_definition()}
_VARYING = {
    "age": r"(\d+[smhdy])+|<unknown>",
    "number": r"\d+",
    "time": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ",
    "uid": r"[0-9a-f-]{36}",
    "name": r"[bcdfghjklmnpqrstvwxz2456789]{5}",
    "token": r"[\w-]+\.[\w-]+\.[\w-]+",
    "text": r".*",
}
_ANY = "..."


@dataclass(slots=True)
class Command:
    """One command and what it must print."""

    line: str
    stdin: str = ""
    out: list[str] = field(default_factory=list)
    err: list[str] = field(default_factory=list)
    code: int = 0


def parse(text: str) -> list[Command]:
    commands: list[Command] = []
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        if line.startswith("$ "):
            commands.append(Command(line[2:]))
        elif line.startswith("<< "):
            commands[-1].stdin = yaml.safe_dump(INPUTS[line[3:]])
        elif line.startswith("< "):
            commands[-1].stdin += line[2:] + "\n"
        elif line.startswith("? "):
            commands[-1].code = int(line[2:])
        elif line.startswith("!"):
            commands[-1].err.append(line[1:])
        else:
            commands[-1].out.append(line)
    for command in commands:
        if command.stdin.startswith("{"):  # kubectl takes that for JSON
            command.stdin = json.dumps(yaml.safe_load(command.stdin))
    return commands


def plain(line: str) -> str:
    return " ".join(line.split())


def pattern(expected: list[str]) -> re.Pattern[str]:
    """A regular expression for the whole of an output."""
    parts = []
    for line in expected:
        if line.strip() == _ANY:
            parts.append(r"(?:.*\n)*?")
            continue
        pieces = re.split(r"<(\w+)>", plain(line))
        shown = [
            f"(?:{_VARYING[p]})" if i % 2 and p in _VARYING else re.escape(f"<{p}>" if i % 2 else p)
            for i, p in enumerate(pieces)
        ]
        parts.append("".join(shown) + r"\n")
    return re.compile("".join(parts))


def squeezed(text: str) -> str:
    return "".join(plain(line) + "\n" for line in text.splitlines())


async def own(kubectl: Kubectl, dependant: str, owner: str) -> None:
    kind = await kubectl("get", owner, "-o", "jsonpath={.apiVersion} {.kind} {.metadata.name} {.metadata.uid}")
    reference = dict(zip(("apiVersion", "kind", "name", "uid"), kind.out.split(), strict=True))
    patch = {"metadata": {"ownerReferences": [{**reference, "blockOwnerDeletion": True, "controller": True}]}}
    await kubectl("patch", dependant, "--type=merge", "-p", yaml.safe_dump(patch))


@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda path: str(path.stem))
async def test_kubectl_prints_what_it_should(server: RunningServer, tmp_path: Path, transcript: Path) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nsed -i \'s/b: "2"/b: edited/\' "$1"\n')
    editor.chmod(0o755)
    kubectl = Kubectl(server.kubeconfig, tmp_path)
    differences: list[str] = []
    for command in parse(transcript.read_text()):
        words = shlex.split(command.line)
        if words[0] == "own":
            await own(kubectl, words[1], words[2])
            continue
        output = await kubectl.run(*words[1:], stdin=command.stdin, EDITOR=str(editor))
        out, err = squeezed(output.out), squeezed(output.err)
        if not pattern(command.out).fullmatch(out) or not pattern(command.err).fullmatch(err) or (
            output.code != command.code
        ):  # fmt: skip
            stderr = "".join(f"! {line}\n" for line in err.splitlines())
            differences.append(f"$ {command.line}\n{out}{stderr}? {output.code}")
    assert not differences, "\n".join(differences)


def test_transcripts_are_there() -> None:
    assert TRANSCRIPTS
