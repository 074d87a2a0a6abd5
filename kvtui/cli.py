"""Arguments in, exit code out; no logic. Every command is a module of `kvtui.commands`, imported when it is run.

Source: exit codes and output rules of the interaction design, section 20.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys

import click
from click.shell_completion import CompletionItem

from kvtui import __version__
from kvtui.commands import quick
from kvtui.commands.connection import connection_options
from kvtui.commands.exits import ExitCode, exit_code_of, report
from kvtui.errors import KvtuiError

LAZY: dict[str, tuple[str, str]] = {
    "get": ("kvtui.commands.get:command", "Show objects as a table, names, JSON or YAML."),
    "watch": ("kvtui.commands.watch:command", "Show objects and every change of them."),
    "describe": ("kvtui.commands.describe:command", "Show one object in full, with its events."),
    "events": ("kvtui.commands.events:command", "Show what happened, oldest first."),
    "logs": ("kvtui.commands.logs:command", "Show the log of a VM's launcher or of an import."),
    "top": ("kvtui.commands.top:group", "CPU and memory that VMs and nodes use."),
    "guestosinfo": ("kvtui.commands.guest:guestosinfo", "Show the guest's operating system."),
    "fslist": ("kvtui.commands.guest:fslist", "Show the guest's mounted file systems."),
    "userlist": ("kvtui.commands.guest:userlist", "Show who is logged in to the guest."),
    "objectgraph": ("kvtui.commands.objectgraph:command", "Show the objects that a VM needs."),
    "permitted-devices": ("kvtui.commands.permitted:command", "Show the host devices that VMs may have."),
    "apply": ("kvtui.commands.apply:command", "Create or change objects from manifests."),
    "diff": ("kvtui.commands.diff:command", "Show what apply would change."),
    "edit": ("kvtui.commands.edit:command", "Change an object in your editor."),
    "label": ("kvtui.commands.label:command", "Set and remove labels."),
    "scale": ("kvtui.commands.scale:command", "Set the number of VMs of a pool or replica set."),
    "delete": ("kvtui.commands.delete:command", "Delete objects."),
    "create": ("kvtui.commands.create:group", "Make manifests, or the objects themselves."),
    "expand": ("kvtui.commands.expand:command", "Show a VM with instancetype and preference filled in."),
    "start": ("kvtui.commands.power:start", "Start a VM."),
    "stop": ("kvtui.commands.power:stop", "Stop a VM."),
    "restart": ("kvtui.commands.power:restart", "Restart a VM."),
    "pause": ("kvtui.commands.power:pause", "Freeze a VM's processors."),
    "unpause": ("kvtui.commands.power:unpause", "Let a paused VM go on."),
    "soft-reboot": ("kvtui.commands.power:soft_reboot", "Ask the guest to reboot."),
    "reset": ("kvtui.commands.power:reset", "Reset a VM as its reset button would."),
    "migrate": ("kvtui.commands.migrate:migrate", "Move a running VM to another node."),
    "migrate-cancel": ("kvtui.commands.migrate:cancel", "Stop a migration; the VM stays where it is."),
    "evacuate-cancel": ("kvtui.commands.migrate:evacuate_cancel", "Withdraw the wish to move a VM off its node."),
    "cordon": ("kvtui.commands.drain:cordon", "Let no new VM start on a node."),
    "uncordon": ("kvtui.commands.drain:uncordon", "Let VMs start on a node again."),
    "drain": ("kvtui.commands.drain:drain", "Move or stop all VMs of a node."),
    "addvolume": ("kvtui.commands.volumes:add", "Plug a volume into a running VM."),
    "removevolume": ("kvtui.commands.volumes:remove", "Take a plugged volume out."),
    "image-upload": ("kvtui.commands.image_upload:command", "Upload a disk image of this machine."),
    "vmexport": ("kvtui.commands.vmexport:group", "Download disks of VMs, snapshots and claims."),
    "memory-dump": ("kvtui.commands.memory_dump:group", "A guest's memory as a file."),
    "guestfs": ("kvtui.commands.guestfs:command", "A libguestfs shell on a claim, which kvtui has not."),
    "credentials": ("kvtui.commands.guest_credentials:group", "Keys and passwords of a running guest."),
    "console": ("kvtui.commands.console:command", "Attach to a VM's serial console."),
    "vnc": ("kvtui.commands.vnc:command", "Open a VM's graphics, or take a screenshot."),
    "ssh": ("kvtui.commands.ssh:ssh", "Log in to a VM with ssh."),
    "scp": ("kvtui.commands.ssh:scp", "Copy files to or from a VM."),
    "expose": ("kvtui.commands.expose:command", "Put a Service in front of a VM."),
    "port-forward": ("kvtui.commands.port_forward:command", "Make ports of a VM reachable here."),
    "usbredir": ("kvtui.commands.usbredir:command", "Plug a USB device of this machine into a VM."),
    "domain-xml": ("kvtui.commands.domain_xml:command", "Print the libvirt domain that this node would define."),
    "adm": ("kvtui.commands.adm:group", "Administration of a KubeVirt installation."),
    "doctor": ("kvtui.commands.local:doctor", "Check what this machine needs to run VMs."),
    "local": ("kvtui.commands.local:group", "The engine on this machine."),
    "lab": ("kvtui.commands.lab:group", "Several nodes on this machine, for trying and testing."),
    "run": ("kvtui.commands.run:group", ""),
    "completion": ("kvtui.commands.completion:command", "Print the completion script of a shell."),
    "version": ("kvtui.commands.version:command", "Print the versions of kvtui and of the server."),
}
"""Command -> where it is and its one-line help; without help it is hidden."""


class LazyGroup(click.Group):
    """Imports a command's module only when that command is run or completed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name, (_, text) in LAZY.items() if text]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name.startswith(":"):
            return _place(cmd_name.removeprefix(":"))
        if cmd_name not in LAZY:
            return None
        module, _, attribute = LAZY[cmd_name][0].partition(":")
        # Parts of an engine (`run`) talk to registries and mirrors, for which the system's certificates are needed.
        with contextlib.nullcontext() if cmd_name == "run" else quick.no_certificates():
            found = getattr(importlib.import_module(module), attribute)
        assert isinstance(found, click.Command)
        return found

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """From the table, so that no command is imported for its help."""
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        shown = [(name, text) for name, (_, text) in LAZY.items() if text and name.startswith(incomplete)]
        return [CompletionItem(name, help=text) for name, text in shown]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in LAZY.items() if text])


def _place(word: str) -> click.Command:
    """`kvtui :mig` or `kvtui :console web`: the screen, opened there."""

    def callback(words: tuple[str, ...]) -> None:
        ctx = click.get_current_context()
        ctx.exit(_screen({**(ctx.find_object(dict) or {}), "first": " ".join((word, *words))}))

    return click.Command(f":{word}", callback=callback, params=[click.Argument(["words"], nargs=-1)])


def _screen(options: dict[str, object]) -> int:
    from kvtui.commands.tui import open_screen  # keeps Textual out of every other command

    return open_screen(options)


@click.group(cls=LazyGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", message="kvtui %(version)s")
@click.option("--context", metavar="NAME", help="Context of the kubeconfig to use.")
@click.option("--kubeconfig", metavar="FILE", type=click.Path(dir_okay=False), help="The kubeconfig to read.")
@click.option(
    "--data", metavar="DIR", type=click.Path(file_okay=False), help="Data directory of a local engine or lab."
)
@click.option("-n", "--namespace", metavar="NAME", help="Namespace to work in.")
@click.option("--user", "kube_user", metavar="NAME", help="User of the kubeconfig to use.")
@connection_options(hidden=False)
@click.option("--read-only", is_flag=True, help="The screen changes nothing.")
@click.option("--theme", metavar="NAME", help="Colours of the screen: dark, light, ansi, mono or one of yours.")
@click.option("--ascii", is_flag=True, help="The screen draws with ASCII only.")
@click.pass_context
def cli(ctx: click.Context, /, **options: object) -> None:
    """Run KVM virtual machines through the KubeVirt API.

    Without a command the screen opens, on the engine of this machine unless a context is named; `kvtui :mig` or
    `kvtui :console web` opens it at that place.
    """
    ctx.obj = options
    if ctx.invoked_subcommand is None:
        ctx.exit(_screen(options))


def run() -> None:
    """Runs the command line and exits. Messages go to stderr, with a hint of what to do."""
    name = os.path.basename(sys.argv[0] or "kvtui")
    program = "kubectl virt" if name == "kubectl-virt" else "kvtui"
    try:
        status = cli.main(prog_name=program, standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(ExitCode.INTERRUPTED)
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(ExitCode.USAGE)
    except BrokenPipeError:
        # The reader has gone (`kvtui get vm | head`): nothing more to say, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.FAILED)
    except TimeoutError as error:
        click.echo(f"error: {error or 'timed out'}", err=True)
        sys.exit(ExitCode.TIMED_OUT)
    except KvtuiError as error:
        report(error)
        sys.exit(exit_code_of(error))
    sys.exit(status if isinstance(status, int) else ExitCode.DONE)
