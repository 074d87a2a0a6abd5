"""`kvtui create`: manifests from a few flags, as virtctl makes them; with --apply the objects themselves."""

from __future__ import annotations

from typing import Any

import click

from kvtui.commands.connection import server_options
from kvtui.commands.create_copies import clone, snapshot
from kvtui.commands.create_types import instancetype, preference
from kvtui.commands.deliver import deliver, suffix
from kvtui.commands.verb import Verb, example
from kvtui.commands.vm_extras import Inference
from kvtui.commands.vm_manifest import VmRequest, data_volume, virtual_machine
from kvtui.errors import Usage


@click.group("create")
def group() -> None:
    """Make manifests, or with --apply the objects themselves."""


@group.command(
    "vm",
    cls=Verb,
    epilog=example(
        "kvtui create vm --name web --volume-containerdisk src:registry/image:1 --apply",
        "kvtui create vm --instancetype small --volume-pvc src:disk",
    ),
)
@click.option("--name", metavar="NAME", help="Default: vm- and five random characters.")
@click.option("--run-strategy", default="Always", show_default=True, metavar="STRATEGY")
@click.option("--termination-grace-period", type=int, default=180, show_default=True, metavar="SECONDS")
@click.option("--memory", metavar="QUANTITY", help="Guest memory.  [default: 512Mi]")
@click.option("--cpu", type=int, metavar="CORES", help="Virtual processors.")
@click.option("--instancetype", metavar="[KIND/]NAME", help="An instancetype instead of --memory and --cpu.")
@click.option("--preference", metavar="[KIND/]NAME", help="A preference.")
@click.option("--volume-containerdisk", "container_disks", multiple=True, metavar="src:IMAGE[,name:N][,bootorder:N]")
@click.option("--volume-pvc", "claims", multiple=True, metavar="src:CLAIM[,name:N][,bootorder:N]")
@click.option(
    "--volume-import",
    "imports",
    multiple=True,
    metavar="type:TYPE,size:SIZE,...",
    help="blank, ds, gcs, http, imageio, pvc, registry, s3, snapshot or vddk.",
)
@click.option("--volume-sysprep", metavar="src:NAME[,type:configMap|secret]", help="Answers for Windows' setup.")
@click.option("--infer-instancetype/--no-infer-instancetype", default=None, help="From the boot volume's labels.")
@click.option("--infer-instancetype-from", default="", metavar="VOLUME", help="From this volume's labels.")
@click.option("--infer-preference/--no-infer-preference", default=None, help="From the boot volume's labels.")
@click.option("--infer-preference-from", default="", metavar="VOLUME", help="From this volume's labels.")
@click.option("--user", metavar="NAME", help="User that cloud-init makes or changes.")
@click.option("--password-file", type=click.File("r"), help="That user's password.")
@click.option("--ssh-key", multiple=True, metavar="KEY", help="Public keys for that user.")
@click.option("--ga-manage-ssh", is_flag=True, help="Let the guest agent manage keys where SELinux would not.")
@click.option(
    "--access-cred",
    "credentials",
    multiple=True,
    metavar="src:SECRET[,type:ssh|password][,method:ga|nocloud|configdrive][,user:NAME]",
    help="Keys or a password from a Secret.",
)
@click.option(
    "--cloud-init", type=click.Choice(["nocloud", "configdrive", "none"]), default="nocloud", show_default=True
)
@click.option("--cloud-init-user-data", metavar="BASE64", help="User data instead of what the flags above make.")
@click.option("--cloud-init-network-data", metavar="BASE64", help="Network data.")
@click.option(
    "--port", "ports", type=int, multiple=True, metavar="PORT", help="Ports that reach in; without any, all do."
)
@click.option("--apply", "send", is_flag=True, help="Create it instead of printing it.")
@server_options
@click.pass_context
def create_vm(ctx: click.Context, /, send: bool, **options: Any) -> None:
    """A VirtualMachine."""
    if options["instancetype"] and (options["memory"] or options["cpu"]):
        raise Usage("--instancetype takes the place of --memory and --cpu")
    inference = {what: _inference(what, options) for what in ("instancetype", "preference")}
    namespace = options["namespace"] or (ctx.find_object(dict) or {}).get("namespace")
    password = options["password_file"].read().strip() if options["password_file"] else ""
    request = VmRequest(
        name=options["name"] or f"vm-{suffix()}",
        namespace=namespace or "",
        run_strategy=options["run_strategy"],
        grace=options["termination_grace_period"],
        memory=options["memory"] or ("" if options["instancetype"] else "512Mi"),
        cores=options["cpu"],
        instancetype=options["instancetype"] or "",
        preference=options["preference"] or "",
        container_disks=options["container_disks"],
        claims=options["claims"],
        imports=options["imports"],
        user=options["user"] or "",
        password=password,
        ssh_keys=options["ssh_key"],
        cloud_init=options["cloud_init"],
        user_data_base64=options["cloud_init_user_data"] or "",
        network_data_base64=options["cloud_init_network_data"] or "",
        ports=options["ports"],
        infer_instancetype=inference["instancetype"],
        infer_preference=inference["preference"],
        sysprep=options["volume_sysprep"] or "",
        manage_keys=options["ga_manage_ssh"],
        credentials=options["credentials"],
    )
    deliver(ctx, virtual_machine(request), options, send=send)


def _inference(what: str, options: dict[str, Any]) -> Inference:
    """Raises Usage."""
    found = Inference(options[f"infer_{what}"], options[f"infer_{what}_from"])
    if options[what] and found.explicit:
        raise Usage(f"--{what} takes the place of --infer-{what} and --infer-{what}-from")
    # Sizes that somebody has given are meant, whatever a volume would say.
    if what == "instancetype" and not found.explicit and (options["memory"] or options["cpu"]):
        return Inference(wanted=False)
    return found


@group.command(
    "dv",
    cls=Verb,
    epilog=example("kvtui create dv --name disk --size 10Gi --http https://server/image.qcow2 --apply"),
)
@click.option("--name", required=True, metavar="NAME")
@click.option("--size", metavar="QUANTITY", help="Size of the disk; clones take their source's.")
@click.option("--http", metavar="URL", help="Import from a web server.")
@click.option("--registry", metavar="docker://IMAGE", help="Import from a registry.")
@click.option("--pvc", metavar="[NAMESPACE/]NAME", help="Clone a claim.")
@click.option("--blank", is_flag=True, help="An empty disk.")
@click.option("--checksum", metavar="ALGORITHM:HEX", help="What --http must bring.")
@click.option("--storage-class", metavar="NAME", help="Default: the server's.")
@click.option("--access-mode", metavar="MODE", help="Default: what the class prefers.")
@click.option("--apply", "send", is_flag=True, help="Create it instead of printing it.")
@server_options
@click.pass_context
def create_dv(ctx: click.Context, /, send: bool, **options: Any) -> None:
    """A DataVolume."""
    sources = [name for name in ("http", "registry", "pvc", "blank") if options[name]]
    if len(sources) != 1:
        raise Usage("name exactly one of --http, --registry, --pvc and --blank")
    if options["checksum"] and sources != ["http"]:
        raise Usage("--checksum goes with --http")
    body: dict[str, Any]
    match sources[0]:
        case "http":
            body = {
                "http": {"url": options["http"]} | ({"checksum": options["checksum"]} if options["checksum"] else {})
            }
        case "registry":
            body = {"registry": {"url": options["registry"]}}
        case "pvc":
            namespace, _, name = options["pvc"].rpartition("/")
            body = {"pvc": {"namespace": namespace or options["namespace"] or "default", "name": name}}
        case _:
            body = {"blank": {}}
    manifest = data_volume(
        options["name"],
        options["namespace"] or "",
        body,
        size=options["size"],
        storage_class=options["storage_class"],
        access_mode=options["access_mode"],
    )
    deliver(ctx, manifest, options, send=send)


for made in (instancetype, preference, clone, snapshot):
    group.add_command(made)
