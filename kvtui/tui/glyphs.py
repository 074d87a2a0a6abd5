"""The signs of the screen in two sets: Unicode, and ASCII for terminals that show nothing else."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Glyphs:
    """One sign per meaning; every sign is one cell wide."""

    ok: str
    busy: str
    move: str
    warn: str
    fail: str
    hold: str
    off: str
    unknown: str
    cursor: str
    mark: str
    up: str
    down: str
    line: str
    full: str
    empty: str
    best: str
    levels: str
    """From low to high."""
    cut: str = "~"

    def of(self, tone: str) -> str:
        """The sign of a state tone; a blank for plain tones."""
        return str(getattr(self, tone, " "))

    def bar(self, share: float, width: int, best: float | None = None) -> str:
        """A bar of `width` cells; between `share` and `best` (both 0 to 1) another sign."""
        filled = round(max(0.0, min(1.0, share)) * width)
        reached = max(filled, round(max(0.0, min(1.0, best or 0.0)) * width))
        return self.full * filled + self.best * (reached - filled) + self.empty * (width - reached)

    def spark(self, values: list[float], width: int, top: float | None = None) -> str:
        """The last `width` values, each as high as its share of `top` (by default the largest)."""
        shown = values[-width:]
        high = top or max(shown, default=0.0) or 1.0
        last = len(self.levels) - 1
        return "".join(self.levels[max(0, min(last, round(v / high * last)))] for v in shown).rjust(width)


UNICODE = Glyphs(
    ok="●", busy="◐", move="⇄", warn="▲", fail="✖", hold="‖", off="○", unknown="?", cursor=">", mark="x",
    up="▲", down="▼", line="─", full="█", empty="░", best="▒", levels="▁▂▃▄▅▆▇█",
)  # fmt: skip
ASCII = Glyphs(
    ok="*", busy="~", move="%", warn="!", fail="#", hold="=", off=".", unknown="?", cursor=">", mark="x",
    up="^", down="v", line="-", full="#", empty=".", best="=", levels=".:-=+*##@",
)  # fmt: skip


def chosen(*, ascii_only: bool, environment: Mapping[str, str] | None = None) -> Glyphs:
    """ASCII when asked for, when the locale is not UTF-8, or on terminals known to lack the signs."""
    env = os.environ if environment is None else environment
    locale = env.get("LC_ALL") or env.get("LC_CTYPE") or env.get("LANG") or ""
    utf8 = "utf-8" in locale.lower() or "utf8" in locale.lower()
    term = env.get("TERM", "")
    poor = term in ("linux", "dumb") or term.startswith("vt")
    if ascii_only or env.get("KVTUI_ASCII") == "1" or not utf8 or poor:
        return ASCII
    return UNICODE
