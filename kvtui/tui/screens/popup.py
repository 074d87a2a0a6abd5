"""What popups share: a box in the upper third, the list behind stays visible, `esc` removes it."""

from __future__ import annotations

from typing import TypeVar

from textual.screen import ModalScreen

from kvtui.tui.widgets.text_pane import TextPane

T = TypeVar("T")


class Popup(ModalScreen[T]):
    """A modal box. Subclasses compose one container with the class `box`."""

    AUTO_FOCUS = ""
    CSS_PATH = "popup.tcss"
    BINDINGS = []


def scroll_by_key(pane: TextPane, press: str) -> bool:
    """Movement keys of text panes. False when the press is none of them."""
    page = pane.page
    steps = {
        "j": 1, "down": 1, "k": -1, "up": -1, "pgdn": page, "ctrl+f": page, "pgup": -page, "ctrl+b": -page,
        "ctrl+d": page // 2, "ctrl+u": -(page // 2), "G": 10**9, "end": 10**9, "g": -(10**9), "home": -(10**9),
    }.get(press)  # fmt: skip
    if steps is not None:
        pane.scroll_lines(steps)
        return True
    if press in ("h", "left", "l", "right"):
        pane.scroll_sideways(-8 if press in ("h", "left") else 8)
        return True
    return False
