"""`kvtui edit`: an object in your editor, and back to the server.

What the server refuses is shown at the top of the file, which is opened again; nothing that was typed is lost.

Source: kubectl edit.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import click
import msgspec
import yaml

from kvtui.commands import complete, manifests, output
from kvtui.commands.connection import connected, merged, run_async, server_options
from kvtui.commands.get import targets
from kvtui.commands.verb import Verb, example
from kvtui.errors import ApiError, Conflict, KvtuiError, Permanent, Usage

_HEAD = "# Lines that begin with # are left out. An empty file cancels.\n"


@click.command("edit", cls=Verb, epilog=example("kvtui edit vm web", "EDITOR=nano kvtui edit dv/disk"))
@click.argument("kind", metavar="KIND", shell_complete=complete.kinds)
@click.argument("name", metavar="[NAME]", required=False, shell_complete=complete.objects)
@server_options
@click.pass_context
def command(ctx: click.Context, /, kind: str, name: str | None, **options: Any) -> None:
    """Change an object in the editor of $KUBE_EDITOR or $EDITOR."""
    run_async(_edit(kind, (name,) if name else (), merged(ctx, options)))


def editor() -> list[str]:
    """The user's editor, with its options."""
    return shlex.split(os.environ.get("KUBE_EDITOR") or os.environ.get("EDITOR") or "vi")


async def _edit(kind: str, names: tuple[str, ...], options: dict[str, Any]) -> None:
    from kvtui.client.discovery import Discovery

    async with connected(options) as (client, namespace):
        found = [(r, n) for r, listed in targets(await Discovery.load(client), kind, names) for n in listed]
        if len(found) != 1:
            raise Usage("name one object")
        resource, name = found[0]
        path = resource.path(namespace, name)
        before = (await client.raw("GET", path)).json()
        shown = output.to_yaml(output.without_managed_fields(before))
        await _rounds(client, path, f"{resource.printed}/{name}", shown)


async def _rounds(client: Any, path: str, what: str, shown: str) -> None:
    """Edits until the server accepts or the user gives up. Raises Permanent with the place of the text."""
    text, complaint = shown, ""
    while True:
        edited = _in_editor(_HEAD + complaint + text)
        body = "".join(line for line in edited.splitlines(keepends=True) if not line.startswith("#"))
        if body == shown or not body.strip():
            click.echo("Edit cancelled, no changes made.", err=True)
            return
        if body == text and complaint:
            raise Permanent("Edit cancelled, the text is as before", hint=f"your text is in {_keep(body)}")
        text = body
        try:
            await client.raw(
                "PUT", path, params={"fieldValidation": "Strict"}, body=msgspec.json.encode(_document(body))
            )
        except Conflict as error:
            error.hint = f"somebody changed it meanwhile; your text is in {_keep(body)}"
            raise
        except ApiError as error:
            if error.code not in (400, 422):
                error.hint = f"your text is in {_keep(body)}"
                raise
            complaint = _commented(str(error))
        except Usage as error:
            complaint = _commented(str(error))
        except KvtuiError as error:
            error.hint = f"your text is in {_keep(body)}"
            raise
        else:
            click.echo(f"{what} edited")
            return


def _document(text: str) -> dict[str, Any]:
    """Raises Usage."""
    try:
        found = yaml.load(text, Loader=manifests.Loader)  # noqa: S506  # derived from SafeLoader
    except (yaml.YAMLError, RecursionError) as error:
        raise Usage(f"this is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        raise Usage("this is no object")
    return found


def _commented(text: str) -> str:
    return "".join(f"# {line}\n" for line in f"error: {text}".splitlines()) + "#\n"


def _in_editor(text: str) -> str:
    """Raises Permanent when the editor fails."""
    with tempfile.TemporaryDirectory(prefix="kvtui-edit-") as directory:
        file = Path(directory) / "object.yaml"
        file.write_text(text, encoding="utf-8")
        words = [*editor(), str(file)]
        try:
            status = subprocess.run(words, check=False).returncode
        except OSError as error:
            raise Permanent(f"the editor {words[0]} cannot be run: {error.strerror}", hint="set $EDITOR") from error
        if status:
            raise Permanent(f"the editor {words[0]} ended with status {status}")
        try:
            return file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise Permanent(f"what the editor wrote cannot be read: {error}") from error


def _keep(text: str) -> str:
    """Saves the text where the user finds it, and nobody else."""
    descriptor, name = tempfile.mkstemp(prefix="kvtui-edit-", suffix=".yaml")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    return name
