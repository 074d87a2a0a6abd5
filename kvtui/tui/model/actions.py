"""Actions as objects: which key, how it is confirmed, when it is possible, and what it sends.

An action that is not possible has a reason; nothing is hidden and no key is dead.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from kvtui.client.rest import Client
from kvtui.tui.model.cluster import Cluster, Link
from kvtui.tui.model.rights import Right, Rights
from kvtui.tui.model.rows import AnyRow

PROTECTION = "kubevirt.io/vm-delete-protection"


class Level(enum.IntEnum):
    """How an action is confirmed."""

    NONE = 0
    PROMPT = 1
    """One line: y or not."""
    DIALOG = 2
    """What will happen, what is lost, what stays."""
    TYPED = 3
    """The same, and the name (or the count) is typed."""


@dataclass(frozen=True, slots=True)
class Consequences:
    """The body of a confirmation dialog."""

    happens: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    stays: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    """Volumes that a checkbox may keep."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What the user answered in the dialog."""

    keep_volumes: bool = False


Run = Callable[[Client, Any, Choice], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that can be done with rows of a view, or with the view as a whole."""

    id: str
    view: str
    """Id of the view whose keys it belongs to."""
    keys: str
    """Presses separated by blanks; alternatives separated by commas."""
    label: str
    title: str = ""
    """What help says; the label when empty."""
    level: Level = Level.NONE
    writes: bool = True
    right: Right | None = None
    blocked: Callable[[Any], str | None] = lambda row: None
    """Why it is not possible for this row."""
    level_of: Callable[[Any], Level] | None = None
    """Where the level depends on the row."""
    consequences: Callable[[Any], Consequences] = lambda row: Consequences()
    run: Run | None = None
    """None: the screen does it (console, dialogs, navigation)."""
    question: str = ""
    """`Stop`, as in `Stop default/web-01? y/N`; the label when empty."""
    doing: str = ""
    """`Deleting`, as in `Deleting web-01 in 3 s.`"""
    undone: str = "Not sent"
    """`Not deleted`, as in `Not deleted: web-01.`"""
    needs_row: bool = True
    hint: bool = True
    """Shown among the key hints."""


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything outside the row that decides whether an action is possible."""

    cluster: Cluster
    rights: Rights
    read_only: bool = False
    protected: bool = False


def unavailable(action: Action, row: AnyRow | None, situation: Situation) -> str | None:
    """The reason why the action cannot be done now, as one line; None when it can."""
    if action.writes and situation.read_only:
        return f"READ-ONLY: {action.label} is switched off. Start without --read-only to allow it."
    if action.needs_row and row is None:
        return f"{action.label}: nothing is selected"
    if action.writes and situation.cluster.health.link is Link.OFFLINE:
        return f"Not sent: {situation.cluster.context} does not answer. Nothing was changed."
    if row is not None and (reason := action.blocked(row)):
        return f"{action.label}: {reason}"
    namespace = row.key.namespace if row is not None else situation.cluster.namespace
    if action.right is not None and not situation.rights.allowed(action.right, namespace):
        where = f" in {namespace}" if namespace else ""
        return f"{action.label}: you may not {action.right}{where}"
    return None


def level_for(action: Action, rows: list[AnyRow], situation: Situation) -> Level:
    """The level for these rows: more than one object, or a protected context, asks for more."""
    levels = [action.level_of(row) if action.level_of else action.level for row in rows] or [action.level]
    level = max(levels)
    if len(rows) > 1 and level is Level.PROMPT:
        level = Level.DIALOG
    if len(rows) > 1 and action.id.endswith(".delete"):
        level = Level.TYPED
    if situation.protected and Level.NONE < level < Level.TYPED:
        level = Level(level + 1)
    return level
