"""The Textual application: themes, the main screen, and the one rule that consoles come first. It owns no data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.app import App
from textual.color import Color
from textual.filter import LineFilter

from kvtui.tui.model.session import Session
from kvtui.tui.screens.console import ConsoleScreen
from kvtui.tui.screens.main import MainScreen
from kvtui.tui.theme import Theme, to_textual
from kvtui.tui.wire import QuietDriver, forget


class Uncoloured(LineFilter):
    """Takes every colour off: what the theme `mono` and NO_COLOR promise."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [Segment(text, style and _bare(style), control) for text, style, control in segments]


def _bare(style: Style) -> Style:
    return Style(
        bold=style.bold, dim=style.dim, italic=style.italic, underline=style.underline, reverse=style.reverse,
        strike=style.strike,
    )  # fmt: skip


class KvtuiApp(App[str], inherit_bindings=False):
    """Returns None, or a word such as `context NAME` that the caller acts on."""

    TITLE = "kvtui"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS = []
    CSS = """
    Screen { background: $kv-background; color: $kv-text; }
    """

    def __init__(self, session: Session, themes: Mapping[str, Theme], first: str = "", *, follow: bool = True) -> None:
        """`first` is a command line to begin with. Without `follow` only what the session has is shown."""
        self._defaults = dict(to_textual(next(iter(themes.values()))).variables)
        self._looks = {name: theme.look for name, theme in themes.items()}
        self._uncoloured = Uncoloured()
        super().__init__(driver_class=QuietDriver)
        self.session = session
        self._first = first
        self._follow = follow
        for theme in themes.values():
            self.register_theme(to_textual(theme))
        self.theme = session.preferences.theme if session.preferences.theme in themes else "dark"

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Style sheets are read before a theme is set."""
        return self._defaults

    def get_line_filters(self) -> Sequence[LineFilter]:
        filters = list(super().get_line_filters())
        return [*filters, self._uncoloured] if self._looks.get(self.theme) == "mono" else filters

    async def on_mount(self) -> None:
        if self._follow:
            self.run_worker(self.session.run(), name="session", group="session", exit_on_error=True)
        await self.push_screen(MainScreen(self.session, self._first))

    async def on_event(self, event: events.Event) -> None:
        """A captured console sees keys and pastes before any binding of ours or of the framework."""
        if isinstance(event, events.Resize):
            forget(self)
        screen = self.screen if self.screen_stack else None
        if isinstance(screen, ConsoleScreen) and not event.is_forwarded and screen.wants_all_keys:
            if isinstance(event, events.Key):
                screen.take_key(event.key, event.character)
                return
            if isinstance(event, events.Paste):
                screen.take_paste(event.text)
                return
        await super().on_event(event)
