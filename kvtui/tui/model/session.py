"""One run of the screen on one context: everything that screens share, and no widget."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from kvtui.api.meta import Resource
from kvtui.api.wire import ObjectKey
from kvtui.client.rest import Client
from kvtui.errors import KvtuiError
from kvtui.tui.columns.cell import Sight
from kvtui.tui.commands import GLOBAL, LATER, of_action
from kvtui.tui.glyphs import UNICODE, Glyphs
from kvtui.tui.keymap import Keymap
from kvtui.tui.model import requests
from kvtui.tui.model.actions import Action, Situation
from kvtui.tui.model.cluster import Cluster
from kvtui.tui.model.console import Consoles
from kvtui.tui.model.journal import Journal
from kvtui.tui.model.metrics import Metrics
from kvtui.tui.model.other_actions import OTHER_ACTIONS
from kvtui.tui.model.rights import Rights
from kvtui.tui.model.rows import AnyRow
from kvtui.tui.model.runner import Runner
from kvtui.tui.model.views import View, Views
from kvtui.tui.model.vm_actions import vm_actions


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferences:
    """What the user chose for the screen."""

    glyphs: Glyphs = UNICODE
    theme: str = "dark"
    read_only: bool = False
    protected: bool = False
    """Levels 1 and 2 ask for one more."""
    hold: float = 3.0
    """Seconds that a hard-to-undo action waits after its confirmation; 0 sends at once."""
    keys: Mapping[str, str] = field(default_factory=dict)
    """Keys by command id."""
    namespace: str = ""
    """Scope at the start; empty takes the context's."""
    all_namespaces: bool = False
    prefix: tuple[str, ...] = ("ctrl+right_square_bracket", "ctrl+5")
    """Keys that leave a captured console, by toolkit name."""
    lab_image: str = ""
    """Container image or URL of a small guest, offered for new VMs; empty takes what the engine offers."""
    detail_delay: float = 0.15
    """Seconds that the cursor rests before the detail pane follows it."""


class Session:
    """Models of one context. `run` follows the cluster until cancelled."""

    def __init__(
        self,
        client: Client,
        preferences: Preferences,
        clock: Callable[[], datetime],
        contexts: Callable[[], list[str]] = list,
        cached: Iterable[Resource] = (),
    ) -> None:
        """`cached` objects are shown until the server has told how things are now."""
        self.client = client
        self.preferences = preferences
        self.clock = clock
        self.contexts = contexts
        self.cluster = Cluster(client, clock)
        self.cluster.preload(cached)
        self.views = Views(self.cluster, self.sight)
        self.rights = Rights(client)
        self.journal = Journal(clock)
        self.actions: tuple[Action, ...] = (*vm_actions(self.cluster), *OTHER_ACTIONS)
        self.runner = Runner(client, self.journal, self.rights, hold=preferences.hold, lookup=self._current)
        self.metrics = Metrics(client, self.cluster, self.views.set_usage)
        self.consoles = Consoles(client, self.cluster, clock)
        self.namespaces: set[str] = set()
        if not preferences.all_namespaces:
            self.namespaces = {preferences.namespace or self.cluster.namespace}
        self.views.set_namespaces(self.namespaces)

    def sight(self) -> Sight:
        return Sight(self.clock(), self.preferences.glyphs)

    @property
    def lab_image(self) -> str:
        """The lab's guest, for a first VM without a download; empty where there is none."""
        return self.preferences.lab_image or self.cluster.lab_image

    def situation(self) -> Situation:
        p = self.preferences
        return Situation(self.cluster, self.rights, p.read_only, p.protected)

    def actions_of(self, view: View) -> list[Action]:
        return [action for action in self.actions if action.view == view.id]

    def action(self, id_: str) -> Action | None:
        return next((a for a in self.actions if a.id == id_), None)

    def keymap(self, view: View) -> Keymap:
        layers = ([of_action(a) for a in self.actions_of(view)], GLOBAL, LATER)
        return Keymap(layers, self.preferences.keys)

    def set_namespaces(self, names: set[str]) -> None:
        self.namespaces = names
        self.views.set_namespaces(names)

    async def live_object(self, row: AnyRow) -> dict[str, Any]:
        """The object with all its fields, or a mapping that says why there is none."""
        try:
            return requests.without_noise(await requests.live_object(self.client, row.object))
        except KvtuiError as error:
            return {"error": str(error)}

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.cluster.run(), name="cluster")
            tasks.create_task(self.metrics.run(), name="metrics")
            tasks.create_task(self.consoles.run(), name="consoles")
            tasks.create_task(self._load_rights(), name="rights")

    async def _load_rights(self) -> None:
        for namespace in self.namespaces or {self.cluster.namespace}:
            await self.rights.load(namespace)

    def _current(self, action: Action, row: AnyRow) -> AnyRow | None:
        view = next((v for v in self.views.all if v.id == action.view), None)
        if view is None:
            return row
        found: AnyRow | None = view.collection.get(ObjectKey(*row.key))
        return found
