"""`kvtui completion`: the script that teaches a shell to complete kvtui's words."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from kvtui.commands.verb import Verb, example


@click.command("completion", cls=Verb, epilog=example("source <(kvtui completion bash)"))
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script: `source <(kvtui completion bash)`."""
    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(click.get_current_context().find_root().command, {}, "kvtui", "_KVTUI_COMPLETE").source())
