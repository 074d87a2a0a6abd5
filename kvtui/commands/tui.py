"""Open the screen on a context: `kvtui` without a command.

The terminal belongs to the screen, so logs go to a file in the state directory.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog
import yaml
from platformdirs import user_config_path, user_state_path

from kvtui.client import kubeconfig
from kvtui.client.rest import Client
from kvtui.commands.connection import kubeconfig_path, overrides_of
from kvtui.errors import InvalidObject, Usage
from kvtui.settings import ClientSettings
from kvtui.tui.app import KvtuiApp
from kvtui.tui.glyphs import chosen
from kvtui.tui.model.session import Preferences, Session
from kvtui.tui.theme import Theme, directories, load_all

_POOR_TERMINALS = ("", "dumb", "unknown")


def open_screen(options: Mapping[str, object]) -> int:
    """Runs until the user quits. Returns the exit code. Raises KvtuiError when it cannot begin."""
    if os.environ.get("TERM", "") in _POOR_TERMINALS or not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Usage("This terminal cannot show the screen view. Use kvtui get, kvtui watch.")
    themes = load_all(directories(user_config_path("kvtui")))
    preferences = preferences_of(options, themes)
    # Textual reads NO_COLOR too, but would still write grey; the theme `mono` writes no colour at all.
    os.environ.pop("NO_COLOR", None)
    log_to_file(user_state_path("kvtui", ensure_exists=True) / "kvtui.log")
    context = options.get("context")
    first = str(options.get("first") or "")
    while True:
        result = asyncio.run(_run(dict(options) | {"context": context}, preferences, themes, first))
        if result is None or not result.startswith("context "):
            return 129 if result == "hangup" else 0
        context, first = result.removeprefix("context "), ""


async def _run(
    options: dict[str, Any], preferences: Preferences, themes: Mapping[str, Theme], first: str
) -> str | None:
    path = kubeconfig_path(options)
    endpoint = await kubeconfig.load(path, context=options.get("context"), overrides=overrides_of(options))

    def contexts() -> list[str]:
        return context_names(path or kubeconfig.default_path())

    settings = ClientSettings(user_agent="kvtui-screen")
    async with Client(endpoint, settings) as client:
        session = Session(client, preferences, lambda: datetime.now().astimezone(), contexts)
        app = KvtuiApp(session, themes, first)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, app.exit, "hangup")
        return await app.run_async(mouse=False)


def preferences_of(options: Mapping[str, object], themes: Mapping[str, Theme]) -> Preferences:
    """From flags, then the environment, then the file. Raises Usage for an unknown theme."""
    saved = saved_configuration(user_config_path("kvtui") / "config.yaml")
    name = str(options.get("theme") or os.environ.get("KVTUI_THEME") or saved.get("theme") or "")
    if os.environ.get("NO_COLOR"):
        name = "mono"
    if name and name not in themes:
        raise Usage(f"There is no theme {name}; there are {', '.join(sorted(themes))}.")
    confirm = saved.get("confirm") if isinstance(saved.get("confirm"), dict) else {}
    keys = saved_configuration(user_config_path("kvtui") / "keys.yaml")
    return Preferences(
        glyphs=chosen(ascii_only=bool(options.get("ascii"))),
        theme=name or natural_theme(os.environ),
        read_only=bool(options.get("read_only") or saved.get("read_only")),
        protected=bool(saved.get("protected")),
        hold=_seconds((confirm or {}).get("hold", 3.0)),
        keys={str(k): str(v) for k, v in keys.items()},
        namespace=str(options.get("namespace") or ""),
        lab_image=str(options.get("lab_image") or os.environ.get("KVTUI_LAB_IMAGE") or saved.get("lab_image") or ""),
    )


def natural_theme(environment: Mapping[str, str]) -> str:
    """`ansi` over a terminal with few colours, else `dark`."""
    many = environment.get("COLORTERM") in ("truecolor", "24bit") or "256color" in environment.get("TERM", "")
    return "dark" if many else "ansi"


def _seconds(value: object) -> float:
    """`3s`, `3` or 3."""
    try:
        return max(0.0, float(str(value).rstrip("s")))
    except ValueError as error:
        raise Usage(f"confirm.hold: {value} is not a number of seconds") from error


def saved_configuration(path: Path) -> dict[str, Any]:
    """A YAML mapping; empty where there is no file. Raises InvalidObject with the path."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidObject(f"{path} cannot be read: {error}") from error
    if data is not None and not isinstance(data, dict):
        raise InvalidObject(f"{path} is not a mapping")
    return data or {}


def context_names(path: Path) -> list[str]:
    """Contexts of a kubeconfig; empty where it cannot be read."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return []
    entries = data.get("contexts") if isinstance(data, dict) else None
    return [str(e["name"]) for e in entries or () if isinstance(e, dict) and "name" in e]


def log_to_file(path: Path) -> None:
    """Logs of every part in this process go to the file, one JSON object a line."""
    stream = path.open("a", encoding="utf-8")
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(file=stream),
    )
