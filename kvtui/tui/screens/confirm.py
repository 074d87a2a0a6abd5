"""Confirmation of levels 2 and 3: what will happen, what is lost, what stays; the focus is on Cancel."""

from __future__ import annotations

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Input

from kvtui.tui.columns.cell import Cell, Tone
from kvtui.tui.details.common import wrapped
from kvtui.tui.keymap import press_of
from kvtui.tui.model.actions import Choice, Consequences, Level
from kvtui.tui.screens.popup import Popup
from kvtui.tui.widgets.bars import Stack

_WIDTH = 70


class Confirm(Popup[Choice | None]):
    """Returns the choice, or None for Cancel."""

    def __init__(
        self,
        question: str,
        consequences: Consequences,
        *,
        button: str,
        level: Level = Level.DIALOG,
        typed: str = "",
        names: tuple[str, ...] = (),
    ) -> None:
        """`typed` is what has to be typed at level 3; `names` are listed when there are several objects."""
        super().__init__()
        self.question = question
        self.consequences = consequences
        self.button = button
        self.typed = typed if level is Level.TYPED else ""
        self.names = names
        self.on_cancel = True
        self.keep_volumes = False

    def compose(self) -> ComposeResult:
        with Vertical(classes="box"):
            yield Stack(id="question")
            if self.typed:
                yield Input(compact=True)
            yield Stack(id="buttons")

    def on_mount(self) -> None:
        lines = self._question()
        question = self.query_one("#question", Stack)
        question.styles.height = len(lines)
        self.query_one("#buttons", Stack).styles.height = 2
        question.put(lines)
        self.set_focus(self.query_one(Input) if self.typed else None)
        self.call_after_refresh(self._paint)

    def _paint(self) -> None:
        self.query_one("#question", Stack).put(self._question())
        cancel = Cell(" Cancel ", "cursor" if self.on_cancel else Tone.DIM)
        ready = not self.typed or self.query_one(Input).value == self.typed
        tone = Tone.DIM if not ready else ("danger" if not self.on_cancel else Tone.FAIL)
        act = Cell(f" {self.button.upper()} ", tone)
        how = "tab moves   enter chooses" if self.typed else "y confirms   any other key cancels"
        self.query_one("#buttons", Stack).put([(), (cancel, Cell("  "), act, Cell(f"    {how}", Tone.DIM))])

    def _question(self) -> list[tuple[Cell, ...]]:
        lines: list[tuple[Cell, ...]] = [(Cell(part, Tone.STRONG),) for part in wrapped(self.question, _WIDTH)]
        lines += [(Cell(f"  {name}"),) for name in self.names[:10]]
        if len(self.names) > 10:
            lines.append((Cell(f"  and {len(self.names) - 10} more", Tone.DIM),))
        sections = (
            ("What will happen", self.consequences.happens, Tone.TEXT),
            ("What is lost", () if self.keep_volumes else self.consequences.lost, Tone.FAIL),
            ("What stays", self._stays(), Tone.TEXT),
        )
        for title, texts, tone in sections:
            if texts:
                lines += [(), (Cell(title, Tone.DIM),)]
                lines += [(Cell(f"  {part}", tone),) for text in texts for part in wrapped(text, _WIDTH - 2)]
        if self.consequences.volumes:
            box = "x" if self.keep_volumes else " "
            lines += [(), (Cell(f"[{box}] keep the volumes   ctrl+k"),)]
        if self.typed:
            lines += [(), (Cell("Type "), Cell(self.typed, Tone.STRONG), Cell(" to confirm:"))]
        return lines

    def _stays(self) -> tuple[str, ...]:
        kept = self.consequences.volumes if self.keep_volumes else ()
        return (*kept, *self.consequences.stays)

    def on_input_changed(self, event: Input.Changed) -> None:
        self._paint()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self._decide()

    def on_key(self, event: events.Key) -> None:
        press = press_of(event.key, event.character)
        event.stop()
        if press in ("tab", "shift+tab") or (not self.typed and press in ("left", "right", "h", "l")):
            event.prevent_default()
            self.on_cancel = not self.on_cancel
            self._paint()
        elif press == "ctrl+k" and self.consequences.volumes:
            event.prevent_default()
            self.keep_volumes = not self.keep_volumes
            lines = self._question()
            self.query_one("#question", Stack).styles.height = len(lines)
            self.call_after_refresh(self._paint)
        elif press == "esc":
            self.dismiss(None)
        elif self.typed:
            if press == "enter":
                self._decide()
        elif press == "enter":
            self.dismiss(None if self.on_cancel else self._choice())
        elif press in ("y", "Y"):
            self.dismiss(self._choice())
        else:
            self.dismiss(None)

    def _decide(self) -> None:
        if self.query_one(Input).value == self.typed:
            self.dismiss(self._choice())
        elif self.on_cancel:
            self.dismiss(None)

    def _choice(self) -> Choice:
        return Choice(keep_volumes=self.keep_volumes)
