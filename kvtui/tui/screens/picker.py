"""Choosing one thing of many by typing part of it: sort columns, namespaces, actions, the palette."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Input, Label

from kvtui.tui.columns.cell import Cell, Tone, fit
from kvtui.tui.screens.popup import Popup
from kvtui.tui.widgets.lines import Lines


@dataclass(frozen=True, slots=True)
class Option:
    """One line of a picker."""

    id: str
    text: str
    key: str = ""
    """Shown at the right: the key that does the same."""
    reason: str = ""
    """Why it cannot be chosen; shown dim."""


class OptionList(Lines):
    """The options that match, with a cursor."""

    DEFAULT_CSS = "OptionList { height: auto; min-height: 3; max-height: 20; }"

    def __init__(self) -> None:
        super().__init__(id="options")
        self.options: list[Option] = []
        self.index = 0
        self.top = 0

    def put(self, options: list[Option]) -> None:
        self.options = options
        self.index = min(self.index, max(0, len(options) - 1))
        self.styles.height = max(3, min(20, len(options)))
        self.move(0)

    def move(self, step: int) -> None:
        self.index = max(0, min(len(self.options) - 1, self.index + step))
        height = max(1, self.size.height)
        self.top = max(min(self.top, self.index), self.index - height + 1, 0)
        self.repaint()

    def pieces_of(self, y: int) -> Sequence[Cell]:
        index = self.top + y
        if index >= len(self.options):
            return (Cell("  Nothing matches.", Tone.DIM),) if not self.options and not y else ()
        option = self.options[index]
        width = self.size.width
        right = f"  {option.key}" if option.key else ""
        text = fit(f" {option.text}" + (f"   {option.reason}" if option.reason else ""), width - len(right)) + right
        if index == self.index:
            return (Cell(text, "cursor"),)
        return (Cell(text, Tone.DIM if option.reason else Tone.TEXT),)


class Picker(Popup[str | None]):
    """Returns the id of the option, or what was typed where that is allowed, or None."""

    def __init__(self, title: str, options: Sequence[Option], *, free: bool = False, current: str = "") -> None:
        """`free`: a text that matches no option is returned as it is."""
        super().__init__()
        self.prompt = title
        self.options = list(options)
        self.free = free
        self.current = current

    def compose(self) -> ComposeResult:
        with Vertical(classes="box"):
            yield Label(self.prompt, markup=False)
            yield Input(compact=True, placeholder="type to narrow, enter chooses, esc leaves")
            yield OptionList()

    def on_mount(self) -> None:
        listed = self.query_one(OptionList)
        listed.put(self.options)
        listed.index = next((i for i, o in enumerate(self.options) if o.id == self.current), 0)
        self.query_one(Input).focus()
        self.call_after_refresh(listed.move, 0)

    def on_input_changed(self, event: Input.Changed) -> None:
        listed = self.query_one(OptionList)
        listed.index = 0
        listed.put(matching(self.options, event.value))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        listed = self.query_one(OptionList)
        if listed.options:
            self.dismiss(listed.options[listed.index].id)
        elif self.free and event.value.strip():
            self.dismiss(event.value.strip())

    def on_key(self, event: events.Key) -> None:
        listed = self.query_one(OptionList)
        step = {"down": 1, "up": -1, "ctrl+n": 1, "ctrl+p": -1, "pagedown": 10, "pageup": -10}.get(event.key)
        if step is not None:
            listed.move(step)
        elif event.key == "escape":
            self.dismiss(None)
        else:
            return
        event.stop()
        event.prevent_default()


def matching(options: Sequence[Option], text: str) -> list[Option]:
    """Options that have every typed word, those that begin with it first; then those that have its letters in order."""
    words = text.lower().split()
    if not words:
        return list(options)
    whole = [o for o in options if all(w in f"{o.text} {o.id}".lower() for w in words)]
    letters = "".join(words)
    loose = [o for o in options if o not in whole and _in_order(letters, o.text.lower())]
    return sorted(whole, key=lambda o: not o.text.lower().startswith(words[0])) + loose


def _in_order(letters: str, text: str) -> bool:
    rest = iter(text)
    return all(letter in rest for letter in letters)
