"""What every `create` does with its manifest: prints it, or sends it."""

from __future__ import annotations

import secrets
import string
from typing import Any

import click

from kvtui.commands import output
from kvtui.commands.connection import merged, run_async


def suffix() -> str:
    """Five characters that make a name new."""
    return "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(5))


def metadata(ctx: click.Context, name: str, options: dict[str, Any]) -> dict[str, Any]:
    """The name, and the namespace only where one was given."""
    namespace = options.get("namespace") or (ctx.find_object(dict) or {}).get("namespace")
    return {"name": name, "namespace": namespace} if namespace else {"name": name}


def deliver(ctx: click.Context, manifest: dict[str, Any], options: dict[str, Any], *, send: bool) -> None:
    """YAML to stdout; with `send` the object is applied instead."""
    if not send:
        click.echo(output.to_yaml(manifest), nl=False)
        return
    from kvtui.commands.apply import apply_all

    more = {"dry_run": "none", "force_conflicts": False, "format_": None}
    ctx.exit(run_async(apply_all([manifest], merged(ctx, {**options, **more}))))
