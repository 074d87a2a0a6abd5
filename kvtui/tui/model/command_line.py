"""The command line `:`: words to an instruction; pure."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from kvtui.errors import Usage

VIEWS = {
    "vms": ("vm", "vms", "virtualmachine", "virtualmachines", "vmi", "vmis"),
    "dvs": ("dv", "dvs", "datavolume", "datavolumes", "pvc", "pvcs"),
    "migrations": ("mig", "migration", "migrations", "vmim", "vmims"),
    "nodes": ("node", "nodes", "no"),
    "events": ("event", "events", "ev"),
}
_VIEW_OF = {word: view for view, words in VIEWS.items() for word in words}
VERBS = {
    "start": "vm.start", "stop": "vm.stop", "restart": "vm.restart", "pause": "vm.power.pause",
    "unpause": "vm.power.unpause", "console": "vm.console", "migrate": "vm.migrate", "abort": "vm.abort",
    "delete": "vm.delete", "force-stop": "vm.power.force-stop", "reset": "vm.power.reset",
    "soft-reboot": "vm.power.soft-reboot", "cordon": "node.cordon", "uncordon": "node.return", "drain": "node.drain",
}  # fmt: skip
"""Verbs that take a name, and their action."""
PLAIN = ("ns", "ctx", "sort", "set", "theme", "help", "q", "quit", "jobs", "log", "new", "namespaces", "contexts")


@dataclass(frozen=True, slots=True)
class Instruction:
    """What was asked for."""

    verb: str
    """A word of PLAIN, "view", or "act"."""
    target: str = ""
    """View id, action id, or the argument of a plain verb."""
    arguments: tuple[str, ...] = ()
    namespace: str | None = None
    filter: str | None = None


def parse(text: str) -> Instruction:
    """Raises Usage with a suggestion for an unknown command."""
    words = text.strip().lstrip(":").split()
    if not words:
        raise Usage("Type a command, such as vm, dv, ns NAME, migrate NAME.")
    head, rest = words[0], words[1:]
    if head in _VIEW_OF:
        return _view(_VIEW_OF[head], rest)
    if head in VERBS:
        if not rest:
            raise Usage(f"{head} needs a name, such as {head} web-01.")
        return Instruction("act", VERBS[head], tuple(rest))
    if head in PLAIN:
        return Instruction(
            {"quit": "q", "namespaces": "ns", "contexts": "ctx"}.get(head, head), " ".join(rest), tuple(rest)
        )
    close = difflib.get_close_matches(head, [*_VIEW_OF, *VERBS, *PLAIN], 1)
    hint = f' Did you mean "{close[0]}"?' if close else " ? lists the keys."
    raise Usage(f'No command "{head}".{hint}')


def _view(view: str, rest: list[str]) -> Instruction:
    namespace: str | None = None
    filters: list[str] = []
    words = iter(rest)
    for word in words:
        if word.startswith("/"):
            filters.append(word[1:])
        elif word == "-l":
            filters += [f"label:{part}" for part in next(words, "").split(",") if part]
        elif word in ("-A", "all"):
            namespace = ""
        elif word.startswith("@"):
            raise Usage(f"Contexts change with :ctx {word[1:]}.")
        else:
            namespace = word
    return Instruction("view", view, (), namespace, " ".join(filters) if filters else None)


def complete(text: str, names: list[str]) -> str:
    """The text with its last word completed as far as it is certain."""
    head, blank, last = text.rpartition(" ")
    pool = names if blank else [*_VIEW_OF, *VERBS, *PLAIN]
    found = sorted(word for word in pool if word.startswith(last))
    if not found:
        return text
    common = found[0]
    for word in found[1:]:
        while not word.startswith(common):
            common = common[:-1]
    return head + blank + common + (" " if len(found) == 1 else "")
