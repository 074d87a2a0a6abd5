"""What all verbs have in common: flags as Go programs take them, and the options of verbs on many VMs.

Go's flags may carry a value after `=` (`--force=true`, `-n=x`), which click refuses for switches and takes whole for
short names; and `--wait` takes its condition only after `=`, never from the next word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import click

from kvtui.commands import complete
from kvtui.commands.connection import server_options

F = TypeVar("F", bound=Callable[..., Any])

_TRUE, _FALSE = ("true", "1", "t"), ("false", "0", "f")


class OptionalValue(click.Option):
    """An option whose value may only follow `=`; without, it is `bare`."""

    def __init__(self, *args: Any, bare: str, **more: Any) -> None:
        super().__init__(*args, **more)
        self.bare = bare


class Verb(click.Command):
    """A command that takes flags as virtctl and kubectl do."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, list(self._plain(ctx, args)))

    def _plain(self, ctx: click.Context, args: list[str]) -> Iterator[str]:
        named = {name: p for p in self.get_params(ctx) if isinstance(p, click.Option) for name in p.opts}
        rest = iter(args)
        for word in rest:
            if word == "--":
                yield word
                yield from rest
                return
            name, equals, value = word.partition("=")
            option = named.get(name)
            if isinstance(option, OptionalValue) and not equals:
                yield f"{name}={option.bare}"
            elif option is not None and equals and name.startswith("--") and option.is_flag and not option.count:
                yield from self._switch(option, name, value)
            elif option is not None and equals and not name.startswith("--") and not option.is_flag:
                yield from (name, value)
            else:
                yield word

    @staticmethod
    def _switch(option: click.Option, name: str, value: str) -> Iterator[str]:
        if value.lower() in _TRUE:
            yield name
        elif value.lower() not in _FALSE:
            raise click.BadParameter(f"{value!r} is neither true nor false", param=option)
        elif option.secondary_opts:
            yield option.secondary_opts[0]


def example(*lines: str) -> str:
    """Text for the end of a command's help."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def verb_options(function: F) -> F:
    """What verbs on VMs take."""
    for option in (
        click.option("-l", "--selector", metavar="LABELS", help="All VMs with these labels."),
        click.option("-A", "--all-namespaces", is_flag=True, help="With -l: in all namespaces."),
        click.option(
            "--wait",
            cls=OptionalValue,
            bare="done",
            metavar="[=CONDITION]",
            help="Return when the VM is in the wanted state, or has this condition (Ready, phase=Running, deleted).",
        ),
        click.option(
            "--timeout", type=float, default=300.0, show_default=True, metavar="SECONDS", help="How long to wait."
        ),
        click.option("--dry-run", is_flag=True, help="Ask the server, change nothing."),
        click.option("-q", "--quiet", is_flag=True, help="Say nothing on success."),
        click.option("-o", "--output", "format_", type=click.Choice(["json"]), help="Results as JSON."),
    ):
        function = option(function)
    return server_options(function)


def vm_arguments(function: F) -> F:
    """VMs by name, offered by completion."""
    return click.argument(
        "names", metavar="[vm|vmi] NAME...", nargs=-1, shell_complete=complete.names("virtualmachines", "vm")
    )(function)
