"""`kvtui image-upload`: a file of this machine into a DataVolume or a PersistentVolumeClaim.

Source: CDI facts 5.4; life-cycle facts 9 (virtctl image-upload).
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from kvtui.commands import complete
from kvtui.commands.connection import connected, merged, run_async, server_options
from kvtui.commands.progress import waiting
from kvtui.commands.until import until
from kvtui.commands.verb import Verb, example
from kvtui.commands.vm_manifest import data_volume
from kvtui.errors import AlreadyExists, NotFound, Permanent, Unreachable, Usage

if TYPE_CHECKING:
    from kvtui.api.cdi.datavolume import DataVolume
    from kvtui.api.core.storage import PersistentVolumeClaim
    from kvtui.client.rest import Client

PREFIX = "cdi.kubevirt.io/"
TARGET, POD_PHASE, POD_READY = (
    f"{PREFIX}storage.upload.target",
    f"{PREFIX}storage.pod.phase",
    f"{PREFIX}storage.pod.ready",
)
CONTENT_TYPE, BIND_NOW = f"{PREFIX}storage.contentType", f"{PREFIX}storage.bind.immediate.requested"
APPLY_PROFILE = f"{PREFIX}applyStorageProfile"
PROCESSING = 24 * 3600.0
"""Seconds that a conversion may take."""


@click.command(
    "image-upload",
    cls=Verb,
    epilog=example(
        "kvtui image-upload dv fedora --size 10Gi --image-path fedora.qcow2",
        "kvtui image-upload pvc disk --no-create --image-path disk.img",
    ),
)
@click.argument("words", metavar="dv|pvc NAME", nargs=-1, shell_complete=complete.names("datavolumes"))
@click.option("--size", metavar="QUANTITY", help="Size of the volume to create.")
@click.option("--image-path", metavar="FILE", help="A disk image, also compressed.")
@click.option("--archive-path", metavar="FILE", help="A tar archive, unpacked into the volume.")
@click.option("--storage-class", metavar="NAME", help="Default: the server's.")
@click.option("--access-mode", metavar="MODE", help="Default: what the class prefers.")
@click.option("--volume-mode", type=click.Choice(["filesystem", "block"]), help="Default: what the class prefers.")
@click.option("--no-create", is_flag=True, help="The volume exists already.")
@click.option("--force-bind", is_flag=True, help="Do not wait for a first VM that uses the volume.")
@click.option("--insecure", is_flag=True, help="Do not verify the proxy's certificate.")
@click.option("--uploadproxy-url", metavar="URL", help="Default: what CDIConfig says.")
@click.option(
    "--wait-secs", type=click.IntRange(1), default=300, show_default=True, metavar="SECONDS", help="For the receiver."
)
@click.option("--retry", type=click.IntRange(0), default=5, show_default=True, metavar="TIMES", help="Of the upload.")
@click.option("--datasource", is_flag=True, help="Also make a DataSource of the volume's name.")
@click.option("--default-instancetype", metavar="NAME", help="For VMs of this image.")
@click.option("--default-instancetype-kind", metavar="KIND", help="Kind of that instancetype.")
@click.option("--default-preference", metavar="NAME", help="For VMs of this image.")
@click.option("--default-preference-kind", metavar="KIND", help="Kind of that preference.")
@server_options
@click.pass_context
def command(ctx: click.Context, /, words: tuple[str, ...], **options: Any) -> None:
    """Upload a disk image of this machine."""
    if len(words) != 2 or words[0].lower() not in ("dv", "datavolume", "pvc", "persistentvolumeclaim"):
        raise Usage("name the volume: dv NAME or pvc NAME")
    _check(options)
    claim = words[0].lower() in ("pvc", "persistentvolumeclaim")
    run_async(_upload(words[1], merged(ctx, options), claim=claim))


def _check(options: dict[str, Any]) -> None:
    """Raises Usage before anything is created."""
    files = [options[name] for name in ("image_path", "archive_path") if options[name]]
    if len(files) != 1:
        raise Usage("give one of --image-path and --archive-path")
    path = Path(files[0])
    if not path.is_file():
        raise Usage(f"{path} is no file")
    if options["archive_path"] and options["volume_mode"] == "block":
        raise Usage("an archive cannot be unpacked into a block volume")
    for what in ("instancetype", "preference"):
        if options[f"default_{what}_kind"] and not options[f"default_{what}"]:
            raise Usage(f"--default-{what} must be provided with --default-{what}-kind")
    if options["no_create"] and (options["size"] or options["storage_class"]):
        raise Usage("--size and --storage-class are of no use with --no-create")


async def _upload(name: str, options: dict[str, Any], *, claim: bool) -> None:
    from kvtui.commands.upload import Upload, send, tls_context

    path = Path(options["image_path"] or options["archive_path"])
    async with connected(options) as (client, namespace):
        await _ensure(client, namespace, name, options, claim=claim)
        url, authority = await _proxy(client, options["uploadproxy_url"])
        click.echo(f"Waiting for PVC {name} upload pod to be ready...")
        async with waiting(f"waiting for the receiver of {name}"):
            await _ready(client, namespace, name, options, claim=claim)
        click.echo("Pod now ready")
        click.echo(f"Uploading data to {url}")
        upload = Upload(
            url=url,
            path=path,
            token=lambda: _token(client, namespace, name),
            tries=options["retry"],
            tls=tls_context(insecure=options["insecure"], authority=authority),
        )
        async with waiting("uploading") as progress:
            try:
                await send(upload, progress)
            except (Permanent, Unreachable):
                # The answer to a body that arrived whole may be lost with the server that would have passed it on.
                if not await _is_processed(client, namespace, name):
                    raise
        click.echo(
            "Uploading data completed successfully, waiting for processing to complete, you can hit ctrl-c "
            "without interrupting the progress"
        )
        async with waiting(f"waiting for {name} to be processed"):
            await _processed(client, namespace, name)
        click.echo("Processing completed successfully")
        if options["datasource"]:
            await _data_source(client, namespace, name, options)
    click.echo(f"Uploading {path} completed successfully")


async def _ensure(client: Client, namespace: str, name: str, options: dict[str, Any], *, claim: bool) -> None:
    """Finds the volume or creates it. Raises Permanent when it takes no upload."""
    from kvtui.api.cdi.datavolume import DataVolume
    from kvtui.api.core.storage import PersistentVolumeClaim

    key = (namespace, name)
    found = await client.find(PersistentVolumeClaim, key)
    volume = None if claim else await client.find(DataVolume, key)
    if found is None and volume is None:
        if options["no_create"]:
            kind = "PVC" if claim else "DataVolume"
            raise NotFound(f"{kind} {namespace}/{name} not found", code=404, reason="NotFound")
        click.echo(f"PVC {namespace}/{name} not found ")
        if not options["size"]:
            raise Usage("when creating a resource, the size must be specified")
        manifest = claim_manifest(name, namespace, options) if claim else volume_manifest(name, namespace, options)
        what = "persistentvolumeclaims" if claim else "datavolumes"
        root = "/api/v1" if claim else "/apis/cdi.kubevirt.io/v1beta1"
        await client.raw("POST", f"{root}/namespaces/{namespace}/{what}", body=msgspec.json.encode(manifest))
        click.echo(f"{manifest['kind']} {namespace}/{name} created")
        return
    if volume is not None and volume.spec.source is not None and volume.spec.source.upload is None:
        raise Permanent(f"DataVolume {namespace}/{name} is not for uploads: its source is another one")
    if found is not None:
        annotations = found.metadata.annotations
        if annotations.get(POD_PHASE) == "Succeeded":
            raise Permanent(f"PVC {name} already successfully imported/cloned/updated")
        if volume is None and TARGET not in annotations:
            raise Permanent(f"PVC {name} not available for upload")
    click.echo(f"Using existing PVC {namespace}/{name}")


def _labels(options: dict[str, Any]) -> dict[str, str]:
    return {
        f"instancetype.kubevirt.io/default-{key.replace('_', '-')}": options[f"default_{key}"]
        for key in ("instancetype", "instancetype_kind", "preference", "preference_kind")
        if options[f"default_{key}"]
    }


def volume_manifest(name: str, namespace: str, options: dict[str, Any]) -> dict[str, Any]:
    """A DataVolume that waits for an upload."""
    made = data_volume(
        name,
        namespace,
        {"upload": {}},
        size=options["size"],
        storage_class=options["storage_class"],
        access_mode=options["access_mode"],
    )
    if options["volume_mode"]:
        made["spec"]["storage"]["volumeMode"] = options["volume_mode"].capitalize()
    if options["archive_path"]:
        made["spec"]["contentType"] = "archive"
    if labels := _labels(options):
        made["metadata"]["labels"] = labels
    if options["force_bind"]:
        made["metadata"]["annotations"] = {BIND_NOW: ""}
    return made


def claim_manifest(name: str, namespace: str, options: dict[str, Any]) -> dict[str, Any]:
    """A PersistentVolumeClaim that waits for an upload."""
    annotations = {TARGET: ""}
    if options["archive_path"]:
        annotations[CONTENT_TYPE] = "archive"
    if options["force_bind"]:
        annotations[BIND_NOW] = ""
    spec: dict[str, Any] = {"resources": {"requests": {"storage": options["size"]}}}
    if options["access_mode"]:
        spec["accessModes"] = [options["access_mode"]]
    if options["volume_mode"]:
        spec["volumeMode"] = options["volume_mode"].capitalize()
    if options["storage_class"]:
        spec["storageClassName"] = options["storage_class"]
    labels = {APPLY_PROFILE: "true", **_labels(options)}
    metadata = {"name": name, "namespace": namespace, "annotations": annotations, "labels": labels}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}


async def _proxy(client: Client, given: str | None) -> tuple[str, str]:
    """URL and authority of the upload proxy. Raises NotFound."""
    from kvtui.api.cdi.config import CDIConfig

    config = await client.find(CDIConfig, ("", "config"))
    url = given or (config and (config.spec.upload_proxy_url_override or config.status.upload_proxy_url)) or ""
    if not url:
        raise NotFound("uploadproxy URL not found", code=404, hint="name it with --uploadproxy-url")
    if not url.startswith(("https://", "http://")):
        url = f"https://{url}"
    return url.rstrip("/"), (config.status.upload_proxy_ca or "") if config is not None else ""


async def _ready(client: Client, namespace: str, name: str, options: dict[str, Any], *, claim: bool) -> None:
    """Until something takes the upload. Raises Permanent when a first consumer is waited for, TimeoutError."""
    from kvtui.api.cdi.datavolume import DataVolume
    from kvtui.api.core.storage import PersistentVolumeClaim

    what = f"PVC {name} upload pod to be ready"

    def claim_ready(found: PersistentVolumeClaim | None) -> bool:
        return found is not None and found.metadata.annotations.get(POD_READY) == "true"

    def volume_ready(found: DataVolume | None) -> bool:
        phase = found.status.phase if found is not None else None
        if phase in ("WaitForFirstConsumer", "PendingPopulation") and not options["force_bind"]:
            raise Permanent(
                f"cannot upload to DataVolume in {phase} state, make sure the PVC is Bound, or use force-bind flag",
                hint="--force-bind binds it now",
            )
        for condition in found.status.conditions if found is not None else ():
            if condition.type == "Bound" and condition.reason == "ErrClaimNotValid":
                raise Permanent(f"PVC {name} cannot be made: {condition.message}")
        return phase == "UploadReady"

    try:
        if claim:
            await until(client, PersistentVolumeClaim, (namespace, name), claim_ready, options["wait_secs"], what)
        else:
            await until(client, DataVolume, (namespace, name), volume_ready, options["wait_secs"], what)
    except TimeoutError as error:
        why = await _last_warning(client, namespace, name)
        raise TimeoutError(f"{error}: {why}" if why else str(error)) from error


async def _last_warning(client: Client, namespace: str, name: str) -> str:
    """What was last said against the volume; ProvisioningFailed, for one, is nowhere else."""
    from kvtui.api.core.config import Event

    events = await client.list(Event, namespace, field_selector=f"involvedObject.name={name},type=Warning")
    newest = max(events.items, key=lambda e: e.last_timestamp or e.event_time or "", default=None)
    return f"{newest.reason}: {newest.message}" if newest is not None else ""


async def _processed(client: Client, namespace: str, name: str) -> None:
    from kvtui.api.core.storage import PersistentVolumeClaim

    def done(found: PersistentVolumeClaim | None) -> bool:
        if found is None:
            raise Permanent(f"PVC {name} is gone")
        return found.metadata.annotations.get(POD_PHASE) == "Succeeded"

    await until(client, PersistentVolumeClaim, (namespace, name), done, PROCESSING, f"{name} to be processed")


async def _is_processed(client: Client, namespace: str, name: str) -> bool:
    from kvtui.api.core.storage import PersistentVolumeClaim

    found = await client.find(PersistentVolumeClaim, (namespace, name))
    return found is not None and found.metadata.annotations.get(POD_PHASE) == "Succeeded"


async def _token(client: Client, namespace: str, name: str) -> str:
    body = {
        "apiVersion": "upload.cdi.kubevirt.io/v1beta1",
        "kind": "UploadTokenRequest",
        "metadata": {"generateName": "token-for-virtctl-", "namespace": namespace},
        "spec": {"pvcName": name},
    }
    path = f"/apis/upload.cdi.kubevirt.io/v1beta1/namespaces/{namespace}/uploadtokenrequests"
    answer = (await client.raw("POST", path, body=msgspec.json.encode(body))).json()
    return str((answer.get("status") or {}).get("token") or "")


async def _data_source(client: Client, namespace: str, name: str, options: dict[str, Any]) -> None:
    body = {
        "apiVersion": "cdi.kubevirt.io/v1beta1",
        "kind": "DataSource",
        "metadata": {"name": name, "namespace": namespace, "labels": _labels(options)},
        "spec": {"source": {"pvc": {"namespace": namespace, "name": name}}},
    }
    path = f"/apis/cdi.kubevirt.io/v1beta1/namespaces/{namespace}/datasources"
    with contextlib.suppress(AlreadyExists):
        await client.raw("POST", path, body=msgspec.json.encode(body))
        click.echo(f"DataSource {namespace}/{name} created")
