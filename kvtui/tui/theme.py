"""Themes are data: files of tokens, turned into Textual themes whose variables the style sheets use.

A token `state.fail` becomes `$state-fail` (a colour) and `$state-fail-style` (text styles). Users put files of the
same form into `themes/` of the configuration directory.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml
from textual.theme import Theme as TextualTheme

from kvtui.errors import InvalidObject

Look = Literal["truecolor", "ansi", "mono"]
LOOKS: tuple[Look, ...] = ("truecolor", "ansi", "mono")
TOKENS = (
    "background", "pane", "border", "border.focus", "text", "text.dim", "accent",
    "state.ok", "state.busy", "state.move", "state.warn", "state.fail", "state.hold", "state.off", "state.unknown",
    "mark", "danger", "captured", "protected", "diff.add", "diff.del",
)  # fmt: skip
_STYLES = {"bold", "dim", "italic", "underline", "reverse"}


@dataclass(frozen=True, slots=True)
class Theme:
    """A theme as its file says it."""

    name: str
    look: Look
    dark: bool
    tokens: Mapping[str, str]


def directories(config: Path | None = None) -> list[Path]:
    """Where theme files are: the source tree, an installation, the user's own. Later ones win."""
    places = [Path(__file__).parents[2] / "themes", Path(sys.prefix) / "share" / "kvtui" / "themes"]
    return [p for p in (*places, *([config / "themes"] if config else [])) if p.is_dir()]


def load_all(places: Iterable[Path]) -> dict[str, Theme]:
    """Themes by name. A file that cannot be used raises InvalidObject with its path."""
    found: dict[str, Theme] = {}
    for place in places:
        for path in sorted(place.glob("*.yaml")):
            theme = load(path)
            found[theme.name] = theme
    return found


def load(path: Path) -> Theme:
    """Raises InvalidObject."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidObject(f"the theme {path} cannot be read: {error}") from error
    if not isinstance(data, dict) or not isinstance(data.get("tokens"), dict):
        raise InvalidObject(f"the theme {path} has no tokens")
    look = data.get("look", "truecolor")
    if look not in LOOKS:
        raise InvalidObject(f"the theme {path} has the unknown look {look!r}")
    tokens = {str(k): str(v) for k, v in data["tokens"].items()}
    missing = [t for t in TOKENS if t not in tokens]
    unknown = [t for t in tokens if t not in TOKENS]
    if missing or unknown:
        raise InvalidObject(f"the theme {path} lacks {missing} and has unknown {unknown}")
    return Theme(str(data.get("name") or path.stem), look, bool(data.get("dark", True)), tokens)


def to_textual(theme: Theme) -> TextualTheme:
    """Raises InvalidObject for an unknown text style."""
    variables: dict[str, str] = {}
    for token, value in theme.tokens.items():
        color, *styles = value.split()
        if not set(styles) <= _STYLES:
            raise InvalidObject(f"theme {theme.name}: {token} has an unknown text style in {value!r}")
        name = token.replace(".", "-")
        variables[f"kv-{name}"] = color if color.startswith("#") else f"ansi_{color}"
        variables[f"kv-{name}-style"] = " ".join(styles) or "none"
    v = variables
    return TextualTheme(
        name=theme.name,
        dark=theme.dark,
        ansi=theme.look != "truecolor",
        primary=v["kv-accent"],
        secondary=v["kv-accent"],
        accent=v["kv-accent"],
        warning=v["kv-state-warn"],
        error=v["kv-state-fail"],
        success=v["kv-state-ok"],
        foreground=v["kv-text"],
        background=v["kv-background"],
        surface=v["kv-background"],
        panel=v["kv-pane"],
        boost=v["kv-pane"],
        variables={
            **variables,
            "input-cursor-background": v["kv-text"],
            "input-cursor-foreground": v["kv-background"] if theme.look == "truecolor" else "ansi_black",
            "input-cursor-text-style": "reverse" if theme.look == "mono" else "none",
            "input-selection-background": v["kv-border"],
            "block-cursor-text-style": "reverse",
            "border-blurred": v["kv-border"],
            "ansi-background": "ansi_black" if theme.dark else "ansi_white",
            "ansi-foreground": "ansi_white" if theme.dark else "ansi_black",
        },
    )
