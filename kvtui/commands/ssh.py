"""`kvtui ssh` and `scp`: the local programs, through `kvtui port-forward --stdio`.

Source: life-cycle facts 9 (virtctl ssh, scp).
"""

from __future__ import annotations

import getpass
import re
import shlex
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import click

from kvtui.commands import complete
from kvtui.commands.connection import connected, connection_words, merged, run_async, server_options
from kvtui.commands.exits import ExitCode
from kvtui.commands.port_forward import target_of
from kvtui.commands.targets import VM, Target
from kvtui.commands.verb import Verb, example
from kvtui.errors import Permanent, Usage

_REMOTE = re.compile(r"^(?P<who>(?:[^@/:]+@)?(?:[a-z]+/[^:/]+(?:/[^:/]+)?|[^:/]+)):(?P<path>.*)$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Login:
    """Where to log in and as whom."""

    target: Target
    user: str

    @property
    def host(self) -> str:
        kind = "vm" if self.target.kind == VM else "vmi"
        return f"{self.user}@{kind}.{self.target.key.name}.{self.target.key.namespace}"


def login_of(text: str, namespace: str, user: str) -> Login:
    """`[user@]TYPE/NAME[/NAMESPACE]`. A user before the name goes before the option. Raises Usage."""
    named, at, rest = text.rpartition("@")
    login = named if at else user
    if login.startswith("-") or not login.isprintable() or " " in login:
        raise Usage(f"{login!r} is no user name")
    return Login(target_of(rest, namespace), login)


def proxy_command(login: Login, port: int, options: dict[str, Any]) -> str:
    """The command by which ssh reaches the guest; unlike virtctl's it talks to the same server as this one."""
    kind = "vm" if login.target.kind == VM else "vmi"
    words = [sys.executable, "-m", "kvtui", *connection_words(options), "port-forward", "--stdio=true"]
    for name in ("kubeconfig", "context", "data"):
        if options.get(name):
            words += [f"--{name}", str(options[name])]
    words += [f"{kind}/{login.target.key.name}/{login.target.key.namespace}", str(port)]
    return shlex.join(words).replace("%", "%%")  # ssh has tokens of its own


def ssh_options(function: Any) -> Any:
    for option in (
        click.option("-p", "--port", type=click.IntRange(1, 65535), default=22, show_default=True, metavar="PORT"),
        click.option("-l", "--username", metavar="USER", help="User in the guest.  [default: yours]"),
        click.option("-i", "--identity-file", metavar="FILE", help="Private key."),
        click.option("--known-hosts", metavar="FILE", help="Keys of known hosts."),
        click.option(
            "-t", "--local-ssh-opts", "more", multiple=True, metavar="OPTION", help="Further options of the program."
        ),
        click.option("--local-ssh", is_flag=True, default=True, hidden=True),
    ):
        function = option(function)
    return server_options(function)


@click.command("ssh", cls=Verb, epilog=example("kvtui ssh fedora@vm/web", "kvtui ssh vm/web -l fedora -c 'uname -a'"))
@click.argument(
    "vm",
    metavar="[USER@]vm|vmi/NAME[/NAMESPACE]",
    shell_complete=complete.names("virtualmachineinstances", "vm"),
)
@click.option("-c", "--command", "remote", metavar="COMMAND", help="Run it instead of a shell.")
@ssh_options
@click.pass_context
def ssh(ctx: click.Context, /, vm: str, remote: str | None, **options: Any) -> None:
    """Log in to a VM with the local ssh."""
    options = merged(ctx, options)
    login = login_of(vm, run_async(_namespace(options)), options["username"] or getpass.getuser())
    words = ["ssh", *_common(login, options), login.host]
    ctx.exit(_run([*words, remote] if remote else words))


@click.command(
    "scp",
    cls=Verb,
    epilog=example("kvtui scp file.txt fedora@vm/web:/tmp/", "kvtui scp -r fedora@vm/web:/var/log logs"),
)
@click.argument("source", metavar="SOURCE")
@click.argument("destination", metavar="DESTINATION")
@click.option("-r", "--recursive", is_flag=True, help="Whole directories.")
@click.option("--preserve", is_flag=True, help="Keep times and modes.")
@ssh_options
@click.pass_context
def scp(ctx: click.Context, /, source: str, destination: str, **options: Any) -> None:
    """Copy files to or from a VM with the local scp; the VM's side is [USER@]vm/NAME[/NAMESPACE]:PATH."""
    options = merged(ctx, options)
    sides = [_REMOTE.match(side) for side in (source, destination)]
    if sum(side is not None for side in sides) != 1:
        raise Usage("one of source and destination must be [USER@]vm/NAME[/NAMESPACE]:PATH, the other a local path")
    namespace, user = run_async(_namespace(options)), options["username"] or getpass.getuser()
    words, paths, login = ["scp"], [], None
    for text, side in zip((source, destination), sides, strict=True):
        if side is None:
            paths.append(text if text.startswith(("/", ".")) else f"./{text}")  # not an option, and no host
            continue
        login = login_of(side["who"], namespace, user)
        paths.append(f"{login.host}:{side['path']}")
    assert login is not None
    words += ["-r"] if options["recursive"] else []
    words += ["-p"] if options["preserve"] else []
    ctx.exit(_run([*words, *_common(login, options), *paths]))


async def _namespace(options: dict[str, Any]) -> str:
    async with connected(options) as (_, namespace):
        return namespace


def _common(login: Login, options: dict[str, Any]) -> list[str]:
    words = ["-o", f"ProxyCommand={proxy_command(login, options['port'], options)}"]
    if options["identity_file"]:
        words += ["-i", options["identity_file"]]
    if options["known_hosts"]:
        words += ["-o", f"UserKnownHostsFile={options['known_hosts']}"]
    for text in options["more"]:
        words += shlex.split(text)
    return words


def _run(words: list[str]) -> int:
    """Runs the program in this terminal; says how it ended when it failed, and exits 1 as virtctl does."""
    try:
        process = subprocess.Popen(words)
    except FileNotFoundError as error:
        raise Permanent(f"{words[0]} is not installed", hint="apt install openssh-client") from error
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the key is the guest's
    try:
        status = process.wait()
    finally:
        signal.signal(signal.SIGINT, before)
    if status:
        click.echo(f"exit status {status}", err=True)
    return ExitCode.FAILED if status else ExitCode.DONE
