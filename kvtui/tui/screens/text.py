"""Text in a popup: help, describe, YAML, jobs and log."""

from __future__ import annotations

from collections.abc import Callable

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Input

from kvtui.tui.columns.cell import Line
from kvtui.tui.glyphs import Glyphs
from kvtui.tui.keymap import press_of
from kvtui.tui.screens.popup import Popup, scroll_by_key
from kvtui.tui.widgets.text_pane import TextPane


class TextPopup(Popup[str | None]):
    """Scrolls and searches. `keys` end it with the press as its result."""

    def __init__(
        self,
        title: str,
        lines: Callable[[], list[Line]],
        glyphs: Callable[[], Glyphs],
        *,
        keys: frozenset[str] = frozenset(),
        live: bool = False,
    ) -> None:
        """`live`: the lines are asked for again every second."""
        super().__init__()
        self._heading = title
        self._lines = lines
        self._glyphs = glyphs
        self._keys = keys
        self._live = live

    def compose(self) -> ComposeResult:
        with Vertical(classes="box -tall"):
            yield TextPane(self._glyphs, id="text")
            yield Input(compact=True, placeholder="search", disabled=True)

    def on_mount(self) -> None:
        pane = self.query_one(TextPane)
        pane.focused_pane = True
        self.query_one(Input).display = False
        self.call_after_refresh(self.update)
        if self._live:
            self.set_interval(1.0, self.update)

    def update(self) -> None:
        self.query_one(TextPane).put(self._lines(), title=self._heading)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.query_one(TextPane).search(event.value)
        self._end_search()

    def _end_search(self) -> None:
        field = self.query_one(Input)
        field.disabled, field.display = True, False
        self.set_focus(None)

    def on_key(self, event: events.Key) -> None:
        press = press_of(event.key, event.character)
        field = self.query_one(Input)
        if not field.disabled:
            if press == "esc":
                event.stop()
                self._end_search()
            return
        event.stop()
        pane = self.query_one(TextPane)
        if press in self._keys:
            self.dismiss(press)
        elif press in ("esc", "q"):
            self.dismiss(None)
        elif press == "/":
            field.disabled, field.display, field.value = False, True, ""
            field.focus()
        elif press in ("n", "N"):
            pane.search("", backwards=press == "N")
        else:
            scroll_by_key(pane, press)


class Help(Popup[str | None]):
    """Keys of the focused view; typing narrows them."""

    def __init__(self, title: str, lines: Callable[[str], list[Line]], glyphs: Callable[[], Glyphs]) -> None:
        super().__init__()
        self._heading = title
        self._lines = lines
        self._glyphs = glyphs

    def compose(self) -> ComposeResult:
        with Vertical(classes="box -tall"):
            yield TextPane(self._glyphs, id="text")
            yield Input(compact=True, placeholder="type to search the keys")

    def on_mount(self) -> None:
        self.query_one(TextPane).focused_pane = True
        self.query_one(Input).focus()
        self.call_after_refresh(self._update, "")

    def _update(self, text: str) -> None:
        self.query_one(TextPane).put(self._lines(text), title=self._heading)

    def on_input_changed(self, event: Input.Changed) -> None:
        self._update(event.value)

    def on_key(self, event: events.Key) -> None:
        press = press_of(event.key, event.character)
        pane = self.query_one(TextPane)
        if press == "esc":
            field = self.query_one(Input)
            if field.value:
                field.value = ""
            else:
                self.dismiss(None)
        elif press in ("down", "up", "pgdn", "pgup"):
            scroll_by_key(pane, press)
        else:
            return
        event.stop()
        event.prevent_default()
