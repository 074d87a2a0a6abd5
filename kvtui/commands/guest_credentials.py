"""`kvtui credentials`: ssh keys and passwords that the guest agent puts into a running guest.

They live in Secrets that the VM names in accessCredentials; only Secrets that belong to the VM are changed unless
--force says otherwise.

Source: life-cycle facts 9 (virtctl credentials).
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kvtui.commands import complete
from kvtui.commands.connection import connected, merged, run_async, server_options
from kvtui.commands.port_forward import target_of
from kvtui.commands.verb import Verb, example
from kvtui.errors import NotFound, Permanent, Usage

if TYPE_CHECKING:
    from kvtui.api.core.config import Secret
    from kvtui.api.kubevirt.vm import VirtualMachine
    from kvtui.api.kubevirt.vmi import AccessCredential
    from kvtui.client.rest import Client


@click.group("credentials")
def group() -> None:
    """Keys and passwords of a running guest, by its agent."""


def _options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.argument("vm", metavar="VM", shell_complete=complete.names("virtualmachines", "vm")),
        click.option("-u", "--user", required=True, metavar="USER", help="User in the guest."),
        click.option("-s", "--secret", "secret_name", metavar="NAME", help="The Secret.  [default: the VM's own]"),
        click.option("--force", is_flag=True, help="Also change a Secret that does not belong to the VM."),
    ):
        function = option(function)
    return server_options(function)


def _source(what: str, file_help: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def options(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in (
            click.option("-f", "--file", metavar="FILE", type=click.Path(dir_okay=False), help=file_help),
            click.option("-v", "--value", metavar="TEXT", help=f"The {what} itself."),
            click.option("--create-secret", is_flag=True, help="Make a new Secret for it and name it in the VM."),
            click.option(
                "--update-secret/--no-update-secret", default=True, show_default=True, help="Change a Secret there is."
            ),
        ):
            function = option(function)
        return function

    return options


@group.command(
    "add-ssh-key",
    cls=Verb,
    epilog=example("kvtui credentials add-ssh-key --user fedora --file ~/.ssh/id_ed25519.pub web"),
)
@_options
@_source("key", "File of the public key.")
@click.pass_context
def add_ssh_key(ctx: click.Context, /, vm: str, **options: Any) -> None:
    """Let a public key log in to a running guest."""
    key = _text(options["file"], options["value"], "key")
    run_async(_add_key(vm, key, merged(ctx, options)))


@group.command(
    "remove-ssh-key",
    cls=Verb,
    epilog=example("kvtui credentials remove-ssh-key --user fedora --file ~/.ssh/id_ed25519.pub web"),
)
@_options
@click.option("-f", "--file", metavar="FILE", type=click.Path(dir_okay=False), help="File of the public key.")
@click.option("-v", "--value", metavar="TEXT", help="The key itself.")
@click.pass_context
def remove_ssh_key(ctx: click.Context, /, vm: str, **options: Any) -> None:
    """Take a public key back."""
    key = _text(options["file"], options["value"], "key")
    run_async(_remove_key(vm, key, merged(ctx, options)))


@group.command(
    "set-password",
    cls=Verb,
    epilog=example("kvtui credentials set-password --user fedora --file password.txt web"),
)
@_options
@_source("password", "File of the password.")
@click.option("-p", "--password", metavar="TEXT", help="The password itself; others may see it in the process list.")
@click.pass_context
def set_password(ctx: click.Context, /, vm: str, **options: Any) -> None:
    """Set the password of a user in a running guest."""
    password = _text(options["file"], options["value"] or options["password"], "password")
    run_async(_set_password(vm, password, merged(ctx, options)))


def _text(file: str | None, value: str | None, what: str) -> str:
    """From exactly one of the two. Raises Usage."""
    if bool(file) == bool(value):
        raise Usage(f"give the {what} with one of --file and --value")
    if value:
        return value.strip()
    assert file is not None
    try:
        text = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Usage(f"{file} cannot be read: {error}") from error
    if not text:
        raise Usage(f"{file} is empty")
    return text


def key_secrets(vm: VirtualMachine, user: str) -> Iterator[str]:
    """Secrets whose keys the agent gives to this user."""
    for credential in vm.spec.template.spec.access_credentials:
        key = credential.ssh_public_key
        agent = key.propagation_method.qemu_guest_agent if key is not None else None
        if key is not None and agent is not None and user in agent.users and key.source.secret is not None:
            yield key.source.secret.secret_name


def password_secrets(vm: VirtualMachine) -> Iterator[str]:
    """Secrets whose passwords the agent sets."""
    for credential in vm.spec.template.spec.access_credentials:
        password = credential.user_password
        agent = password.propagation_method.qemu_guest_agent if password is not None else None
        if password is not None and agent is not None and password.source.secret is not None:
            yield password.source.secret.secret_name


async def _add_key(name: str, key: str, options: dict[str, Any]) -> None:
    async with connected(options) as (client, namespace):
        vm = await _vm(client, name, namespace)
        listed = list(key_secrets(vm, options["user"]))
        entry = {f"ssh-key-{secrets.token_hex(4)}": key}
        secret = await _put(client, vm, listed, entry, "ssh-key", _key_credential(options["user"]), options)
    click.echo(f'Successfully added the key to secret "{secret}"')


async def _set_password(name: str, password: str, options: dict[str, Any]) -> None:
    async with connected(options) as (client, namespace):
        vm = await _vm(client, name, namespace)
        entry = {options["user"]: password}
        secret = await _put(client, vm, list(password_secrets(vm)), entry, "password", _password_credential, options)
    click.echo(f'Successfully set password in secret "{secret}"')


async def _remove_key(name: str, key: str, options: dict[str, Any]) -> None:
    from kvtui.api.core.config import Secret
    from kvtui.api.wire import evolve

    async with connected(options) as (client, namespace):
        vm = await _vm(client, name, namespace)
        listed = _chosen(list(key_secrets(vm, options["user"])), options)
        changed = []
        for secret_name in listed:
            secret = await client.get(Secret, (vm.metadata.namespace, secret_name))
            kept = {k: v for k, v in secret.data.items() if base64.b64decode(v).decode(errors="replace").strip() != key}
            if len(kept) == len(secret.data):
                continue
            _check_owner(secret, vm, options)
            await client.replace(evolve(secret, data=kept))
            changed.append(secret_name)
    if not changed:
        raise NotFound(f"the key is in no secret of VM {name} for user {options['user']}", code=404)
    for secret_name in changed:
        click.echo(f'Successfully removed the key from secret "{secret_name}"')


async def _vm(client: Client, name: str, namespace: str) -> VirtualMachine:
    from kvtui.api.kubevirt.vm import VirtualMachine

    return await client.get(VirtualMachine, target_of(name, namespace).key)


def _chosen(listed: list[str], options: dict[str, Any]) -> list[str]:
    """The Secrets to look into. Raises NotFound."""
    wanted = options["secret_name"]
    if wanted and wanted not in listed:
        raise NotFound(f"secret {wanted} is not among the VM's access credentials for user {options['user']}", code=404)
    return [wanted] if wanted else listed


async def _put(
    client: Client,
    vm: VirtualMachine,
    listed: list[str],
    entry: dict[str, str],
    suffix: str,
    credential: Callable[[str], AccessCredential],
    options: dict[str, Any],
) -> str:
    """Writes an entry into a Secret of the VM, a new one where there is none. Returns its name."""
    from kvtui.api.core.config import Secret

    if options["create_secret"]:
        return await _create(client, vm, entry, suffix, credential, options["secret_name"])
    chosen = _chosen(listed, options)
    if not chosen:
        raise NotFound(
            f"VM {vm.metadata.name} has no access credential by guest agent for user {options['user']}",
            code=404,
            hint="--create-secret makes one",
        )
    if not options["update_secret"]:
        raise Permanent(f"secret {chosen[0]} exists and --no-update-secret is given")
    secret = await client.get(Secret, (vm.metadata.namespace, chosen[0]))
    _check_owner(secret, vm, options)
    data = {k: base64.b64encode(v.encode()).decode() for k, v in entry.items()}
    await client.patch(Secret, secret.key, _additions(data, present=bool(secret.data)), how=_json())
    return chosen[0]


def _additions(data: dict[str, str], *, present: bool) -> list[dict[str, Any]]:
    if not present:
        return [{"op": "add", "path": "/data", "value": data}]
    return [
        {"op": "add", "path": f"/data/{k.replace('~', '~0').replace('/', '~1')}", "value": v} for k, v in data.items()
    ]


def _json() -> Any:
    from kvtui.client.rest import Patch

    return Patch.JSON


async def _create(
    client: Client,
    vm: VirtualMachine,
    entry: dict[str, str],
    suffix: str,
    credential: Callable[[str], AccessCredential],
    name: str | None,
) -> str:
    from kvtui.api.core.config import Secret
    from kvtui.api.kubevirt.vm import VirtualMachine
    from kvtui.api.meta import ObjectMeta, OwnerReference
    from kvtui.api.wire import to_wire

    owner = OwnerReference(
        api_version="kubevirt.io/v1", kind="VirtualMachine", name=vm.metadata.name, uid=vm.metadata.uid
    )
    meta = ObjectMeta(
        name=name or "",
        generate_name="" if name else f"{vm.metadata.name}-{suffix}-",
        namespace=vm.metadata.namespace,
        owner_references=[owner],
    )
    data = {k: base64.b64encode(v.encode()).decode() for k, v in entry.items()}
    made = await client.create(Secret(metadata=meta, data=data))
    path = "/spec/template/spec/accessCredentials"
    added = to_wire(credential(made.metadata.name))
    present = vm.spec.template.spec.access_credentials
    patch = [{"op": "add", "path": f"{path}/-" if present else path, "value": added if present else [added]}]
    await client.patch(VirtualMachine, vm.key, patch, how=_json())
    return made.metadata.name


def _key_credential(user: str) -> Callable[[str], AccessCredential]:
    def made(secret: str) -> AccessCredential:
        from kvtui.api.kubevirt import vmi

        method = vmi.SSHPublicKeyAccessCredentialPropagationMethod(
            qemu_guest_agent=vmi.QemuGuestAgentSSHPublicKeyAccessCredentialPropagation(users=[user])
        )
        source = vmi.SSHPublicKeyAccessCredentialSource(secret=vmi.AccessCredentialSecretSource(secret_name=secret))
        return vmi.AccessCredential(
            ssh_public_key=vmi.SSHPublicKeyAccessCredential(propagation_method=method, source=source)
        )

    return made


def _password_credential(secret: str) -> AccessCredential:
    from kvtui.api.kubevirt import vmi

    method = vmi.UserPasswordAccessCredentialPropagationMethod(
        qemu_guest_agent=vmi.QemuGuestAgentUserPasswordAccessCredentialPropagation()
    )
    source = vmi.UserPasswordAccessCredentialSource(secret=vmi.AccessCredentialSecretSource(secret_name=secret))
    return vmi.AccessCredential(
        user_password=vmi.UserPasswordAccessCredential(propagation_method=method, source=source)
    )


def _check_owner(secret: Secret, vm: VirtualMachine, options: dict[str, Any]) -> None:
    """Raises Permanent for a Secret that others may use too."""
    if options["force"] or any(o.uid == vm.metadata.uid for o in secret.metadata.owner_references):
        return
    raise Permanent(
        f"secret {secret.metadata.name} does not have an owner reference pointing to VM {vm.metadata.name}",
        hint="--force changes it anyway",
    )
