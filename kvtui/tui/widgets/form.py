"""Fields of forms: a label, an input or a choice, and the error under it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widgets import Input, Label

from kvtui.tui.columns.cell import Cell, Tone, fit
from kvtui.tui.widgets.lines import Lines


def _always(draft: Any) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One field, as data."""

    name: str
    """Attribute of the draft."""
    step: int
    label: str
    path: str
    """API path or a sentence, shown on the hint line."""
    choices: Callable[[], Sequence[tuple[str, str]]] | None = None
    """Values and their words; a text field when None."""
    secret: bool = False
    visible: Callable[[Any], bool] = field(default=_always)
    """Depends on the draft."""
    placeholder: str = ""


class ChoiceField(Lines, can_focus=True):
    """One of several values on one line; left, right and space change it."""

    DEFAULT_CSS = "ChoiceField { height: 1; width: 1fr; }"

    class Changed(Message):
        """Another value."""

    def __init__(self, choices: Sequence[tuple[str, str]], value: str) -> None:
        super().__init__()
        self.choices = list(choices) or [("", "-")]
        self.index = next((i for i, (v, _) in enumerate(self.choices) if v == value), 0)

    @property
    def value(self) -> str:
        return self.choices[self.index][0]

    def pieces_of(self, y: int) -> Sequence[Cell]:
        word = self.choices[self.index][1]
        count = len(self.choices)
        text = f" {word} "
        where = Cell(f"  {self.index + 1} of {count}   left and right choose", Tone.DIM)
        if self.has_focus:
            return (Cell("<", Tone.ACCENT), Cell(text, "cursor"), Cell(">", Tone.ACCENT), where)
        return (Cell("<", Tone.DIM), Cell(text), Cell(">", Tone.DIM))

    def on_focus(self) -> None:
        self.repaint()

    def on_blur(self) -> None:
        self.repaint()

    def on_key(self, event: events.Key) -> None:
        step = {"right": 1, "space": 1, "l": 1, "left": -1, "h": -1}.get(event.key)
        if step is None:
            return
        event.stop()
        event.prevent_default()
        self.index = (self.index + step) % len(self.choices)
        self.repaint()
        self.post_message(self.Changed())


class FieldRow(Vertical):
    """Label, field, error."""

    DEFAULT_CSS = """
    FieldRow { height: auto; width: 1fr; margin-bottom: 1; }
    FieldRow Horizontal { height: 1; }
    FieldRow .label { width: 18; color: $kv-text-dim; text-style: $kv-text-dim-style; }
    FieldRow Input { height: 1; border: none; padding: 0; width: 1fr; background: $kv-pane; color: $kv-text; }
    FieldRow Input:focus { border: none; background: $kv-pane; text-style: underline; }
    FieldRow .problem { color: $kv-state-fail; text-style: $kv-state-fail-style; }
    FieldRow .problem { height: auto; display: none; padding-left: 18; }
    FieldRow.-wrong .problem { display: block; }
    """

    @dataclass
    class Edited(Message):
        """The user changed the value."""

        name: str
        value: str

    def __init__(self, spec: FieldSpec, value: str) -> None:
        super().__init__(id=f"field-{spec.name}")
        self.spec = spec
        self._initial = value

    def compose(self) -> ComposeResult:
        spec = self.spec
        with Horizontal():
            yield Label(fit(spec.label, 17), classes="label", markup=False)
            if spec.choices is not None:
                yield ChoiceField(spec.choices(), self._initial)
            else:
                yield Input(
                    self._initial, compact=True, password=spec.secret, placeholder=spec.placeholder,
                    select_on_focus=False,
                )  # fmt: skip
        yield Label("", classes="problem", markup=False)

    @property
    def control(self) -> Input | ChoiceField:
        found = self.query("ChoiceField, Input").first()
        assert isinstance(found, Input | ChoiceField)
        return found

    def set_error(self, text: str) -> None:
        self.set_class(bool(text), "-wrong")
        self.query_one(".problem", Label).update(text)

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self.post_message(self.Edited(self.spec.name, event.value))

    def on_choice_field_changed(self, event: ChoiceField.Changed) -> None:
        event.stop()
        self.post_message(self.Edited(self.spec.name, str(self.control.value)))
