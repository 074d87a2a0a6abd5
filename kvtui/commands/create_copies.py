"""`kvtui create clone` and `create snapshot`.

Source: life-cycle facts 3 and 9 (virtctl create clone), 1.1.
"""

from __future__ import annotations

from typing import Any

import click

from kvtui.commands import complete
from kvtui.commands.connection import server_options
from kvtui.commands.deliver import deliver, metadata, suffix
from kvtui.commands.verb import Verb, example
from kvtui.errors import Usage

_SOURCES = {
    "vm": ("kubevirt.io", "VirtualMachine"),
    "snapshot": ("snapshot.kubevirt.io", "VirtualMachineSnapshot"),
}


@click.command(
    "clone",
    cls=Verb,
    epilog=example(
        "kvtui create clone --source-name web --target-name web-2 --apply",
        "kvtui create clone --source-name web --label-filter '*' --new-mac-address eth0:02-00-00-00-00-01",
    ),
)
@click.option("--name", metavar="NAME", help="Default: clone- and five random characters.")
@click.option("--source-name", required=True, metavar="NAME", shell_complete=complete.names("virtualmachines", "vm"))
@click.option("--source-type", type=click.Choice(sorted(_SOURCES)), default="vm", show_default=True)
@click.option("--target-name", metavar="NAME", help="Default: the server chooses.")
@click.option("--target-type", type=click.Choice(["vm"]), default="vm", show_default=True)
@click.option("--label-filter", "labels", multiple=True, metavar="PATTERN", help="Labels to copy; ! excludes.")
@click.option("--annotation-filter", "annotations", multiple=True, metavar="PATTERN", help="Annotations to copy.")
@click.option("--template-label-filter", "template_labels", multiple=True, metavar="PATTERN")
@click.option("--template-annotation-filter", "template_annotations", multiple=True, metavar="PATTERN")
@click.option("--new-mac-address", "macs", multiple=True, metavar="INTERFACE:MAC", help="For an interface of the copy.")
@click.option("--new-smbios-serial", metavar="TEXT", help="Serial number of the copy.")
@click.option("--apply", "send", is_flag=True, help="Create it instead of printing it.")
@server_options
@click.pass_context
def clone(ctx: click.Context, /, send: bool, **options: Any) -> None:
    """A VirtualMachineClone: a copy of a VM or of a snapshot."""
    group, kind = _SOURCES[options["source_type"]]
    spec: dict[str, Any] = {"source": {"apiGroup": group, "kind": kind, "name": options["source_name"]}}
    if options["target_name"]:
        spec["target"] = {"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": options["target_name"]}
    spec |= _filters(options["labels"], options["annotations"])
    if template := _filters(options["template_labels"], options["template_annotations"]):
        spec["template"] = template
    if options["macs"]:
        spec["newMacAddresses"] = dict(_mac(text) for text in options["macs"])
    if options["new_smbios_serial"]:
        spec["newSMBiosSerial"] = options["new_smbios_serial"]
    manifest = {
        "apiVersion": "clone.kubevirt.io/v1beta1",
        "kind": "VirtualMachineClone",
        "metadata": metadata(ctx, options["name"] or f"clone-{suffix()}", options),
        "spec": spec,
    }
    deliver(ctx, manifest, options, send=send)


def _filters(labels: tuple[str, ...], annotations: tuple[str, ...]) -> dict[str, Any]:
    found = {"labelFilters": list(labels), "annotationFilters": list(annotations)}
    return {key: patterns for key, patterns in found.items() if patterns}


def _mac(text: str) -> tuple[str, str]:
    """Interface and address. virtctl splits at the only colon, so addresses are written with dashes."""
    name, colon, address = text.partition(":")
    if not colon or not name or not address:
        raise Usage(f'failed to parse "--new-mac-address" flag: {text!r} is not INTERFACE:MAC')
    return name, address


@click.command("snapshot", cls=Verb, epilog=example("kvtui create snapshot --vm web --name before-upgrade --apply"))
@click.option("--name", metavar="NAME", help="Default: the VM's name and five random characters.")
@click.option("--vm", required=True, metavar="NAME", shell_complete=complete.names("virtualmachines", "vm"))
@click.option("--apply", "send", is_flag=True, help="Create it instead of printing it.")
@server_options
@click.pass_context
def snapshot(ctx: click.Context, /, vm: str, send: bool, **options: Any) -> None:
    """A VirtualMachineSnapshot: the state of a VM's disks."""
    manifest = {
        "apiVersion": "snapshot.kubevirt.io/v1beta1",
        "kind": "VirtualMachineSnapshot",
        "metadata": metadata(ctx, options["name"] or f"{vm}-{suffix()}", options),
        "spec": {"source": {"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": vm}},
    }
    deliver(ctx, manifest, options, send=send)
