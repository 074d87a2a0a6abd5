"""The screen on canned objects: no server, fixed clock, no waiting."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kvtui.api.meta import Resource
from kvtui.client.kubeconfig import Endpoint
from kvtui.client.rest import Client
from kvtui.tui.app import KvtuiApp
from kvtui.tui.model.cluster import Health, Link
from kvtui.tui.model.session import Preferences, Session
from kvtui.tui.screens.main import MainScreen
from kvtui.tui.theme import directories, load_all
from tests.tui import canned

NOWHERE = Endpoint(server="https://127.0.0.1:9", context="lab-east", namespace="default")


def canned_session(objects: Iterable[Resource] | None = None, **preferences: Any) -> Session:
    chosen = {"hold": 0.0, "detail_delay": 0.0} | preferences
    session = Session(
        Client(NOWHERE),
        Preferences(**chosen),
        canned.fixed_clock,
        lambda: ["lab-east", "lab-west"],
        cached=canned.wireframe() if objects is None else objects,
    )
    session.cluster.health = Health(Link.LIVE, 0.038)
    return session


class CannedApp(KvtuiApp):
    """Closes its client, which the command does in the real program."""

    async def on_unmount(self) -> None:
        await self.session.client.close()


def canned_app(objects: Iterable[Resource] | None = None, first: str = "", **preferences: Any) -> KvtuiApp:
    return CannedApp(canned_session(objects, **preferences), load_all(directories()), first, follow=False)


def main_screen(app: KvtuiApp) -> MainScreen:
    found = next(screen for screen in app.screen_stack if isinstance(screen, MainScreen))
    assert isinstance(found, MainScreen)
    return found


def shown(app: KvtuiApp) -> str:
    """The screen as text."""
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)
