"""The migrate dialog: targets with their verdicts and all findings. It is the confirmation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical

from kvtui.tui.columns.cell import Cell, Tone, fit
from kvtui.tui.details.common import wrapped
from kvtui.tui.keymap import press_of
from kvtui.tui.model.preflight import Finding, Target, of_targets
from kvtui.tui.screens.popup import Popup
from kvtui.tui.widgets.bars import Stack

_TONES = {"ok": Tone.OK, "warn": Tone.WARN, "block": Tone.FAIL, "?": Tone.UNKNOWN}
_GLYPHS = {"ok": "ok", "warn": "warn", "block": "fail", "?": "unknown"}


@dataclass(frozen=True, slots=True)
class Goal:
    """Where to: a node, or any suitable one when empty."""

    node: str = ""


class Migrate(Popup[Goal | None]):
    """Returns the goal, or None."""

    def __init__(
        self, name: str, findings: list[Finding], targets: list[Target], policy: str, glyph: Callable[[str], str]
    ) -> None:
        super().__init__()
        self._vm_name = name
        self.findings = [*findings, *of_targets(targets)]
        self.targets = targets
        self.policy = policy
        self._glyph = glyph
        self.index = 0
        self.message = ""

    def compose(self) -> ComposeResult:
        with Vertical(classes="box"):
            yield Stack(id="lines")

    def on_mount(self) -> None:
        self.query_one(Stack).styles.height = len(self._lines())
        self.call_after_refresh(self._paint)

    @property
    def blocking(self) -> int:
        """Findings that block the chosen target."""
        count = sum(1 for f in self.findings if f.weight == "block")
        if self.index:
            count += sum(1 for f in self.targets[self.index - 1].findings if f.weight == "block")
        return count

    def _paint(self) -> None:
        self.query_one(Stack).put(self._lines())

    def _lines(self) -> Sequence[Sequence[Cell]]:
        lines: list[Sequence[Cell]] = [
            (Cell(f"Migrate {self._vm_name}", Tone.STRONG),),
            (),
            (Cell("Target", Tone.DIM),),
        ]
        names = ["any suitable node", *(target.name for target in self.targets)]
        for index, name in enumerate(names):
            target = self.targets[index - 1] if index else None
            verdict = target.findings[0] if target is not None else None
            text = fit(f" {name}", 22)
            if index == self.index:
                note = f"{verdict.text}" if verdict else ""
                lines.append((Cell(fit(f"> {text} {note}", 70), "cursor"),))
            else:
                note_cell = Cell(f" {verdict.text}", _TONES[verdict.weight]) if verdict else Cell("")
                lines.append((Cell(f"  {text}"), note_cell))
        lines += [(), (Cell("Policy  ", Tone.DIM), Cell(self.policy or "none: the cluster's settings apply"))]
        lines += [(), (Cell("Pre-flight", Tone.DIM),)]
        for finding in self.findings:
            tone = _TONES[finding.weight]
            mark = f"{self._glyph(_GLYPHS[finding.weight])} {finding.weight:6}"
            first, *rest = wrapped(finding.text, 60) or [""]
            lines.append((Cell(f"  {mark}", tone), Cell(first)))
            lines += [(Cell(" " * 10 + part),) for part in rest]
        lines.append(())
        blocked = self.blocking
        button = Cell(" Migrate ", Tone.DIM if blocked else Tone.STRONG)
        hint = self.message or ("enter migrates   up and down choose   esc leaves" if not blocked else "esc leaves")
        lines.append((button, Cell(f"  {hint}", Tone.WARN if self.message else Tone.DIM)))
        return lines

    def on_key(self, event: events.Key) -> None:
        press = press_of(event.key, event.character)
        event.stop()
        self.message = ""
        if press in ("j", "down", "tab"):
            self.index = min(len(self.targets), self.index + 1)
        elif press in ("k", "up", "shift+tab"):
            self.index = max(0, self.index - 1)
        elif press == "enter":
            if self.blocking:
                self.message = f"{self.blocking} finding{'s' if self.blocking > 1 else ''} block this."
            else:
                self.dismiss(Goal(self.targets[self.index - 1].name if self.index else ""))
                return
        elif press in ("esc", "q"):
            self.dismiss(None)
            return
        self._paint()
