"""Keys as data: which presses mean which command, in which order layers are asked; pure.

Presses are written as people say them: `x`, `D`, `ctrl+r`, `pgdn`, `esc`, `space`; a chord is two presses with a blank
between. Users replace keys by command id; `esc`, `ctrl+c` and the console prefix stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

_NAMES = {"pageup": "pgup", "pagedown": "pgdn", "escape": "esc", "ctrl+at": "ctrl+space"}
FIXED = frozenset({"esc", "ctrl+c"})


def press_of(key: str, character: str | None) -> str:
    """A key event of the toolkit as it is written here."""
    if character and character.isprintable() and character != " ":
        return character
    return _NAMES.get(key, key)


@dataclass(frozen=True, slots=True)
class Command:
    """Something a key does."""

    id: str
    keys: str
    """Alternatives separated by commas."""
    label: str
    """As the hint line says it."""
    title: str = ""
    """As help says it; the label when empty."""
    section: str = ""
    hint: bool = False

    @property
    def sequences(self) -> tuple[tuple[str, ...], ...]:
        return tuple(tuple(keys.split()) for keys in self.keys.split(",") if keys.strip())

    @property
    def shown_keys(self) -> str:
        """`pb`, `ctrl+r`, `j down`."""
        return " ".join("".join(s) if all(len(p) == 1 for p in s) else " ".join(s) for s in self.sequences)

    @property
    def text(self) -> str:
        return self.title or self.label


@dataclass(frozen=True, slots=True)
class Continue:
    """The presses so far begin chords; these are their continuations."""

    options: tuple[tuple[str, Command], ...]


class Keymap:
    """Layers of commands; the first layer that knows the presses answers."""

    def __init__(self, layers: Sequence[Iterable[Command]], overrides: Mapping[str, str] | None = None) -> None:
        overrides = overrides or {}
        self.layers = tuple(tuple(_overridden(c, overrides) for c in layer) for layer in layers)

    def commands(self) -> list[Command]:
        return [command for layer in self.layers for command in layer]

    def resolve(self, presses: tuple[str, ...]) -> Command | Continue | None:
        options: dict[str, Command] = {}
        for layer in self.layers:
            for command in layer:
                for sequence in command.sequences:
                    if sequence == presses and not options:
                        return command
                    if len(sequence) > len(presses) and sequence[: len(presses)] == presses:
                        options.setdefault(sequence[len(presses)], command)
        return Continue(tuple(options.items())) if options else None

    def find(self, id_: str) -> Command | None:
        return next((c for c in self.commands() if c.id == id_), None)


def _overridden(command: Command, overrides: Mapping[str, str]) -> Command:
    keys = overrides.get(command.id)
    return replace(command, keys=keys) if keys else command


def clashes(layers: Sequence[Iterable[Command]], overrides: Mapping[str, str]) -> list[str]:
    """What is wrong with the user's keys, one sentence each."""
    known = {c.id: c for layer in layers for c in layer}
    problems = [f"no command is called {id_}" for id_ in overrides if id_ not in known]
    for layer in Keymap(layers, overrides).layers:
        taken: dict[tuple[str, ...], str] = {}
        for command in layer:
            for sequence in command.sequences:
                if command.id in overrides and FIXED & set(sequence):
                    problems.append(f"{command.id}: {' '.join(sequence)} cannot be given away")
                other = taken.setdefault(sequence, command.id)
                if other != command.id:
                    problems.append(f"{' '.join(sequence)} means both {other} and {command.id}")
    return problems
