"""Forms with steps: a rail on top, the fields of one step below, a review at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.screen import Screen

from kvtui.tui.columns.cell import Cell, Line, Tone, line
from kvtui.tui.glyphs import Glyphs
from kvtui.tui.keymap import press_of
from kvtui.tui.model.session import Session
from kvtui.tui.screens.popup import scroll_by_key
from kvtui.tui.widgets.bars import Bar
from kvtui.tui.widgets.form import FieldRow, FieldSpec
from kvtui.tui.widgets.text_pane import TextPane

T = TypeVar("T")
_KEYS = (("tab", "next field"), ("pgdn", "next step"), ("pgup", "step before"), ("ctrl+s", "create"), ("esc", "leave"))


class FormScreen(Screen[T]):
    """Subclasses give steps and fields, problems, a review, and what `ctrl+s` does."""

    AUTO_FOCUS = ""
    CSS_PATH = "form.tcss"
    heading = ""
    steps: tuple[str, ...] = ()
    """The last one is the review."""

    def __init__(self, session: Session, draft: Any) -> None:
        super().__init__()
        self.session = session
        self.draft = draft
        self.step = 1
        self.problems: dict[str, str] = {}
        self.touched: set[str] = set()
        self.note: Cell = Cell("")

    # For subclasses

    def fields(self) -> Sequence[FieldSpec]:
        raise NotImplementedError

    def check(self) -> dict[str, str]:
        """Problems of the draft by field name."""
        raise NotImplementedError

    def review(self) -> list[Line]:
        """The last step."""
        raise NotImplementedError

    def submit(self) -> None:
        """`ctrl+s` with a draft without problems."""
        raise NotImplementedError

    def reviewed(self) -> None:
        """The review has been entered."""

    # Frame

    def compose(self) -> ComposeResult:
        yield Bar(id="form-title")
        yield Bar(id="rail")
        for number, _ in enumerate(self.steps[:-1], start=1):
            with VerticalScroll(id=f"step-{number}", classes="step", can_focus=False):
                for spec in self.fields():
                    if spec.step == number:
                        yield FieldRow(spec, str(getattr(self.draft, spec.name)))
        with Vertical(id=f"step-{len(self.steps)}", classes="step"):
            yield TextPane(self._glyphs, id="review", titled=False)
        yield Bar(id="form-status")
        yield Bar(id="form-hints")

    def _glyphs(self) -> Glyphs:
        return self.session.preferences.glyphs

    def on_mount(self) -> None:
        self.problems = self.check()
        self.go_step(1)
        self.call_after_refresh(self.paint)

    def on_resize(self, event: events.Resize) -> None:
        self.call_after_refresh(self.paint)

    def go_step(self, number: int) -> None:
        self.step = max(1, min(len(self.steps), number))
        for index, _ in enumerate(self.steps, start=1):
            self.query_one(f"#step-{index}").display = index == self.step
        rows = self._rows()
        self.set_focus(rows[0].control if rows else None)
        if self.step == len(self.steps):
            self.touched |= set(self.problems)
            self.reviewed()
        self.call_after_refresh(self.paint)

    def _rows(self) -> list[FieldRow]:
        """Fields of the present step that are shown."""
        return [row for row in self.query_one(f"#step-{self.step}").query(FieldRow) if row.display]

    def paint(self) -> None:
        for row in self.query(FieldRow):
            row.display = row.spec.visible(self.draft)
            name = row.spec.name
            row.set_error(self.problems.get(name, "") if name in self.touched else "")
        self.query_one("#form-title", Bar).put([Cell(f" {self.heading}", Tone.STRONG)])
        rail = [Cell(" ")]
        for index, name in enumerate(self.steps, start=1):
            wrong = any(f.step == index and f.name in self.problems and f.name in self.touched for f in self.fields())
            tone = Tone.FAIL if wrong else (Tone.STRONG if index == self.step else Tone.DIM)
            text = f"{index} {name}{'!' if wrong else ''}"
            rail.append(Cell(f"[{text}] " if index == self.step else f"{text} ", tone))
        self.query_one("#rail", Bar).put(rail)
        if self.step == len(self.steps):
            self.query_one("#review", TextPane).put(self.review())
        focused = self.focused
        here = next((r for r in self.query(FieldRow) if focused is not None and r.control is focused), None)
        path = here.spec.path if here is not None else "A digit goes to that step."
        self.query_one("#form-status", Bar).put([Cell(" "), self.note if self.note.text else Cell(path, Tone.DIM)])
        hints = [Cell(" ")]
        for key, label in _KEYS:
            hints += [Cell(key, "key"), Cell(f" {label}  ")]
        self.query_one("#form-hints", Bar).put(hints)

    # Editing

    def on_field_row_edited(self, message: FieldRow.Edited) -> None:
        message.stop()
        setattr(self.draft, message.name, message.value)
        self.touched.add(message.name)
        self.problems = self.check()
        self.note = Cell("")
        self.paint()

    def on_descendant_focus(self) -> None:
        self.paint()

    def on_key(self, event: events.Key) -> None:
        press = press_of(event.key, event.character)
        match press:
            case "pgdn":
                self.go_step(self.step + 1)
            case "pgup":
                self.go_step(self.step - 1)
            case "ctrl+s" | "f2":
                self.try_submit()
            case "esc":
                if self.focused is not None:
                    self.set_focus(None)
                    self.paint()
                else:
                    self.dismiss(None)
            case "tab" | "enter" | "down":
                self._next_field(1)
            case "shift+tab" | "up":
                self._next_field(-1)
            case _ if self.focused is None and press.isdigit() and 1 <= int(press) <= len(self.steps):
                self.go_step(int(press))
            case _ if self.focused is None and self.step == len(self.steps):
                self.review_key(press)
            case _:
                return
        event.stop()
        event.prevent_default()

    def review_key(self, press: str) -> None:
        scroll_by_key(self.query_one("#review", TextPane), press)

    def _next_field(self, direction: int) -> None:
        rows = self._rows()
        if not rows:
            self.review_key("j" if direction > 0 else "k")
            return
        current = next((i for i, row in enumerate(rows) if row.control is self.focused), None)
        index = 0 if current is None else current + direction
        if current is not None:
            self.touched.add(rows[current].spec.name)
        if 0 <= index < len(rows):
            self.set_focus(rows[index].control)
        else:
            self.go_step(self.step + direction)
        self.paint()

    def try_submit(self) -> None:
        """Sends the draft, or goes to the first problem."""
        self.problems = self.check()
        self.touched |= set(self.problems)
        if not self.problems:
            self.submit()
            return
        first = next((f for f in self.fields() if f.name in self.problems), None)
        count = len(self.problems)
        if first is not None:
            words = f"{count} problem{'s' if count > 1 else ''}. {first.label}: {self.problems[first.name]}"
            self.note = Cell(words, Tone.FAIL)
            self.go_step(first.step)
            self.set_focus(self.query_one(f"#field-{first.name}", FieldRow).control)
        self.paint()

    def problem_lines(self) -> list[Line]:
        """The problems, with the step where each is put right."""
        steps = {f.name: f for f in self.fields()}
        return [
            line(Cell(f"  {steps[name].step} {steps[name].label}: ", Tone.FAIL), text)
            for name, text in self.problems.items()
            if name in steps
        ]
