"""A line that asks for text: filter, command, search. It has a history and never loses what was typed by mistake."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Input, Label


class PromptLine(Horizontal):
    """Hidden until asked."""

    DEFAULT_CSS = """
    PromptLine { height: 1; display: none; background: $kv-background; }
    PromptLine.-asking { display: block; }
    PromptLine Label { width: auto; color: $kv-accent; text-style: bold; }
    PromptLine Input { width: 1fr; height: 1; border: none; padding: 0; background: $kv-background; color: $kv-text; }
    PromptLine Input:focus { border: none; background: $kv-background; }
    """

    @dataclass
    class Typed(Message):
        """The text changed."""

        purpose: str
        text: str

    @dataclass
    class Done(Message):
        """`enter`."""

        purpose: str
        text: str

    @dataclass
    class Left(Message):
        """`esc`."""

        purpose: str

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self.purpose = ""
        self._history: dict[str, list[str]] = {}
        self._recalled = 0
        self._complete: Callable[[str], str] | None = None

    def compose(self) -> ComposeResult:
        yield Label("", markup=False)
        yield Input(compact=True, select_on_focus=False, disabled=True)

    @property
    def asking(self) -> bool:
        return self.has_class("-asking")

    @property
    def text(self) -> str:
        return self.query_one(Input).value

    def ask(self, purpose: str, label: str, text: str = "", *, complete: Callable[[str], str] | None = None) -> None:
        """Shows the line and takes the keys. `complete` gives the text after `tab`."""
        self.purpose = purpose
        self._complete = complete
        self._recalled = 0
        self.query_one(Label).update(label)
        field = self.query_one(Input)
        field.disabled = False
        with field.prevent(Input.Changed):
            field.value = text
        field.cursor_position = len(text)
        self.add_class("-asking")
        field.focus()

    def leave(self) -> None:
        self.remove_class("-asking")
        self.query_one(Input).disabled = True
        self.screen.set_focus(None)

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        if self.asking:
            self.post_message(self.Typed(self.purpose, event.value))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if event.value:
            history = self._history.setdefault(self.purpose, [])
            if event.value in history:
                history.remove(event.value)
            history.append(event.value)
        self.leave()
        self.post_message(self.Done(self.purpose, event.value))

    def on_key(self, event: events.Key) -> None:
        field = self.query_one(Input)
        match event.key:
            case "escape":
                self.leave()
                self.post_message(self.Left(self.purpose))
            case "up" | "down":
                self._recall(1 if event.key == "up" else -1)
            case "tab" if self._complete is not None:
                field.value = self._complete(field.value)
                field.cursor_position = len(field.value)
            case _:
                return
        event.stop()
        event.prevent_default()

    def _recall(self, step: int) -> None:
        history = self._history.get(self.purpose, [])
        self._recalled = max(0, min(len(history), self._recalled + step))
        field = self.query_one(Input)
        field.value = history[-self._recalled] if self._recalled else ""
        field.cursor_position = len(field.value)
