"""Access credentials by guest agent: keys and passwords of Secrets are put into running guests, and kept as the Secrets
say. A user's authorized_keys file belongs to the Secrets then: keys that others wrote into it go.

Applied when the agent connects, when a Secret changes, and again now and then, because guests forget.

Source: https://kubevirt.io/user-guide/user_workloads/accessing_virtual_machines/
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import structlog

from kvtui.api.core.config import Secret
from kvtui.api.kubevirt.vmi import AccessCredential, VirtualMachineInstance
from kvtui.client.rest import Client
from kvtui.controlloop.informer import Informer
from kvtui.controlloop.recorder import EventRecorder
from kvtui.errors import InvalidObject, KvtuiError, Unreachable
from kvtui.node import guestanswers
from kvtui.node.guestagent import GuestAgents
from kvtui.node.hypervisor import AgentUnavailable, DomainGone, DomainId
from kvtui.node.status import CREDENTIALS

log = structlog.get_logger()
RESYNC = 300.0
"""Seconds after which everything is put into the guest again."""
RETRY = 15.0
"""Seconds after a failure."""
OFFLINE = "Guest agent is offline"
ADD_KEYS, SET_PASSWORD = "guest-ssh-add-authorized-keys", "guest-set-user-password"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a guest is to have."""

    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Lines of authorized_keys by user."""
    passwords: Mapping[str, bytes] = field(default_factory=dict)


def by_agent(vmi: VirtualMachineInstance) -> list[AccessCredential]:
    """The credentials that the guest agent puts into the guest."""
    return [
        c
        for c in vmi.spec.access_credentials
        if (c.ssh_public_key is not None and c.ssh_public_key.propagation_method.qemu_guest_agent is not None)
        or (c.user_password is not None and c.user_password.propagation_method.qemu_guest_agent is not None)
    ]


def needed(vmi: VirtualMachineInstance) -> frozenset[str]:
    """Commands that the guest agent must have for them."""
    found = by_agent(vmi)
    keys = {ADD_KEYS} if any(c.ssh_public_key for c in found) else set()
    return frozenset(keys | ({SET_PASSWORD} if any(c.user_password for c in found) else set()))


def secret_names(credentials: list[AccessCredential]) -> set[str]:
    return {_secret(c) for c in credentials}


def wanted(credentials: list[AccessCredential], secrets: Mapping[str, Mapping[str, bytes]]) -> Wanted:
    """The keys and passwords, from the data of the Secrets by name. Raises InvalidObject naming a Secret that lacks."""
    keys: dict[str, list[str]] = {}
    passwords: dict[str, bytes] = {}
    for credential in credentials:
        name = _secret(credential)
        if name not in secrets:
            raise InvalidObject(f"Secret {name} does not exist")
        data = sorted(secrets[name].items())
        if (key := credential.ssh_public_key) is not None and (method := key.propagation_method.qemu_guest_agent):
            for user in method.users:
                known = keys.setdefault(user, [])
                known += [line for _, text in data for line in _lines(text) if line not in known]
        if credential.user_password is not None:
            passwords |= dict(data)
    return Wanted({user: tuple(lines) for user, lines in keys.items()}, passwords)


def _secret(credential: AccessCredential) -> str:
    for source in (
        credential.ssh_public_key and credential.ssh_public_key.source.secret,
        credential.user_password and credential.user_password.source.secret,
    ):
        if source:
            return source.secret_name
    return ""


def _lines(text: bytes) -> list[str]:
    lines = (line.strip() for line in text.decode(errors="replace").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


@dataclass(slots=True)
class _Guest:
    """One that is looked after."""

    vmi: VirtualMachineInstance
    domain: DomainId
    connected: bool
    outcome: tuple[bool, str] | None
    patient_until: float
    """Time of the loop until which nothing is said about an agent that has not come yet."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class Credentials:
    """Looks after the guests of a node; `run` owns the tasks."""

    def __init__(
        self, client: Client, agents: GuestAgents, recorder: EventRecorder, changed: Callable[[str], None]
    ) -> None:
        """`changed` is told the UID of a VMI whose condition is another now."""
        self._client = client
        self._agents = agents
        self._recorder = recorder
        self._changed = changed
        self._guests: dict[str, _Guest] = {}
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._group = group
            await asyncio.get_running_loop().create_future()

    def outcome(self, uid: str) -> tuple[bool, str] | None:
        """Whether the guest has its credentials, and why not; None for one that gets none."""
        guest = self._guests.get(uid)
        return guest.outcome if guest is not None else None

    def watch(self, vmi: VirtualMachineInstance, domain: DomainId, *, connected: bool) -> None:
        """Starts looking after a guest, and hears that its agent came or went."""
        uid = vmi.metadata.uid
        if self._group is None or not by_agent(vmi):
            self.forget(uid)
            return
        guest, loop = self._guests.get(uid), asyncio.get_running_loop()
        if guest is None:
            guest = self._guests[uid] = _Guest(vmi, domain, connected, _reported(vmi), loop.time() + RETRY)
            guest.task = self._group.create_task(self._keep(guest), name=f"access credentials {uid}")
        elif guest.connected is not connected or guest.vmi.spec.access_credentials != vmi.spec.access_credentials:
            guest.connected = connected
            guest.changed.set()
        guest.vmi = vmi

    def forget(self, uid: str) -> None:
        guest = self._guests.pop(uid, None)
        if guest is not None and guest.task is not None:
            guest.task.cancel()

    async def _keep(self, guest: _Guest) -> None:
        while True:
            names = secret_names(by_agent(guest.vmi))
            async with contextlib.AsyncExitStack() as stack:
                secrets = await self._follow(guest, names, stack)
                while names == secret_names(by_agent(guest.vmi)):
                    guest.changed.clear()
                    self._tell(guest, await self._apply(guest, secrets))
                    pause = RESYNC if guest.outcome is not None and guest.outcome[0] else RETRY
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(pause):
                            await guest.changed.wait()

    async def _follow(self, guest: _Guest, names: set[str], stack: contextlib.AsyncExitStack) -> list[Informer[Secret]]:
        """Copies of the Secrets that wake the guest's task when they change."""
        namespace = guest.vmi.metadata.namespace
        informers = [
            Informer(self._client, Secret, namespace=namespace, field_selector=f"metadata.name={name}")
            for name in sorted(names)
        ]
        assert self._group is not None
        for informer in informers:
            informer.subscribe(lambda _old, _new: guest.changed.set())
            task = self._group.create_task(informer.run(), name=f"secrets of {guest.vmi.metadata.uid}")
            stack.callback(task.cancel)
            await informer.wait_synced()
        return informers

    async def _apply(self, guest: _Guest, secrets: list[Informer[Secret]]) -> tuple[bool, str]:
        if not guest.connected:
            return False, OFFLINE
        try:
            data = {
                s.metadata.name: {key: base64.b64decode(text) for key, text in s.data.items()}
                for informer in secrets
                for s in informer.all()
            }
            await self._put(guest.domain, wanted(by_agent(guest.vmi), data))
        except (AgentUnavailable, Unreachable, DomainGone):
            return False, OFFLINE
        except (KvtuiError, ValueError) as error:
            return False, guestanswers.clean(str(error))
        return True, ""

    async def _put(self, domain: DomainId, all_: Wanted) -> None:
        for user, lines in all_.keys.items():
            await self._agents.command(domain, ADD_KEYS, {"username": user, "keys": list(lines), "reset": True})
        for user, password in all_.passwords.items():
            encoded = base64.b64encode(password).decode()
            await self._agents.command(
                domain, SET_PASSWORD, {"username": user, "password": encoded, "crypted": False}, 15.0
            )

    def _tell(self, guest: _Guest, outcome: tuple[bool, str]) -> None:
        waiting = guest.outcome is None and asyncio.get_running_loop().time() < guest.patient_until
        if outcome == guest.outcome or (waiting and outcome == (False, OFFLINE)):
            return
        guest.outcome = outcome
        succeeded, message = outcome
        if succeeded:
            self._recorder.normal(guest.vmi, "AccessCredentialsSyncSuccess", "Access credentials sync successful.")
        else:
            self._recorder.warning(
                guest.vmi, "AccessCredentialsSyncFailed", f"Access credentials sync failed: {message}"
            )
        self._changed(guest.vmi.metadata.uid)


def _reported(vmi: VirtualMachineInstance) -> tuple[bool, str] | None:
    """What an agent before this one said."""
    found = next((c for c in vmi.status.conditions if c.type == CREDENTIALS), None)
    return (found.status == "True", found.message or "") if found is not None else None
