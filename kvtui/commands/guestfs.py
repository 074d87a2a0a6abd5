"""`kvtui guestfs`: takes virtctl's flags, and says why there is no libguestfs shell here.

Source: life-cycle facts 9 (virtctl guestfs).
"""

from __future__ import annotations

import click

from kvtui.commands import complete
from kvtui.commands.connection import server_options
from kvtui.commands.verb import Verb, example
from kvtui.errors import Unsupported


@click.command("guestfs", cls=Verb, epilog=example("kvtui guestfs disk"))
@click.argument("claim", metavar="PVC", shell_complete=complete.names("persistentvolumeclaims"))
@click.option("--image", metavar="IMAGE", help="Container image with libguestfs.")
@click.option("--pull-policy", type=click.Choice(["Always", "IfNotPresent", "Never"]), help="For that image.")
@click.option("--kvm/--no-kvm", default=True, show_default=True, help="Use hardware virtualization.")
@click.option("--root", is_flag=True, help="Run as root.")
@click.option("--uid", metavar="UID", help="User to run as.")
@click.option("--gid", metavar="GID", help="Group to run as.")
@click.option("--fsGroup", metavar="GID", help="Group of the volume's files.")
@click.option("--vm", metavar="NAME", help="Run where this VM would.")
@server_options
def command(claim: str, **_: object) -> None:
    """Open a libguestfs shell on a claim: kvtui cannot, since that is a container."""
    raise Unsupported(
        f"no libguestfs shell can be opened on {claim}: it is a container, and kvtui runs virtual machines only",
        hint="give the claim to a VM that has the tools, or use virt-rescue on the disk of a stopped VM",
    )
