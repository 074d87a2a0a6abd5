"""Access credentials by guest agent: what is put into a guest, when, and what is said about it."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from kvtui.api.core.config import Event, Secret
from kvtui.api.kubevirt.vmi import AccessCredential, VirtualMachineInstance
from kvtui.api.wire import from_wire
from kvtui.client.rest import Patch
from kvtui.errors import InvalidObject
from kvtui.node import credentials
from kvtui.node.hypervisor import DomainId
from tests.node.builders import UUID, vmi
from tests.node.conftest import Bench, key

DOMAIN = DomainId(UUID)


def keys(secret: str, *users: str) -> AccessCredential:
    method = {"qemuGuestAgent": {"users": list(users)}}
    source = {"secret": {"secretName": secret}}
    return from_wire({"sshPublicKey": {"source": source, "propagationMethod": method}}, AccessCredential)


def passwords(secret: str) -> AccessCredential:
    body = {"source": {"secret": {"secretName": secret}}, "propagationMethod": {"qemuGuestAgent": {}}}
    return from_wire({"userPassword": body}, AccessCredential)


def by_cloud_init(secret: str) -> AccessCredential:
    body = {"source": {"secret": {"secretName": secret}}, "propagationMethod": {"noCloud": {}}}
    return from_wire({"sshPublicKey": body}, AccessCredential)


def test_a_user_has_the_keys_of_all_secrets_once_and_in_order() -> None:
    found = credentials.wanted(
        [keys("a", "root", "anna"), keys("b", "anna")],
        {"a": {"two": b"key-2\n\n# a comment\nkey-3\n", "one": b" key-1 \n"}, "b": {"x": b"key-1\nkey-4"}},
    )
    assert found.keys == {"root": ("key-1", "key-2", "key-3"), "anna": ("key-1", "key-2", "key-3", "key-4")}


def test_passwords_are_by_user_and_what_lacks_is_named() -> None:
    assert credentials.wanted([passwords("p")], {"p": {"anna": b"s"}}).passwords == {"anna": b"s"}
    with pytest.raises(InvalidObject, match="Secret p does not exist"):
        credentials.wanted([passwords("p")], {})


def test_only_what_the_agent_does_is_the_agents_and_says_what_it_takes() -> None:
    instance = vmi(access_credentials=[by_cloud_init("a")])
    assert credentials.by_agent(instance) == []
    assert credentials.needed(instance) == frozenset()
    instance = vmi(access_credentials=[keys("a", "root"), passwords("p")])
    assert credentials.needed(instance) == {credentials.ADD_KEYS, credentials.SET_PASSWORD}


def secret(name: str, **data: str) -> Secret:
    encoded = {k: base64.b64encode(v.encode()).decode() for k, v in data.items()}
    return from_wire({"metadata": {"name": name, "namespace": "default"}, "data": encoded}, Secret)


def synced(instance: VirtualMachineInstance | None) -> tuple[str, str] | None:
    for c in instance.status.conditions if instance is not None else []:
        if c.type == "AccessCredentialsSynchronized":
            return c.status, c.message or ""
    return None


def asked(bench: Bench, command: str) -> list[dict[str, Any]]:
    """Arguments of the guest agent's calls of this command."""
    calls = [json.loads(text) for text in bench.hypervisor.fakes[DOMAIN].commands]
    return [c.get("arguments", {}) for c in calls if c["execute"] == command]


async def test_secrets_reach_the_guest_and_follow_their_changes(bench: Bench) -> None:
    await bench.client.create(secret("k", one="key-1"))
    await bench.client.create(secret("p", anna="pass"))
    await bench.run(vmi(access_credentials=[keys("k", "anna"), passwords("p")]))
    bench.hypervisor.agent_connects(DOMAIN, {})
    await bench.until(VirtualMachineInstance, key(), lambda v: synced(v) == ("True", ""))
    assert asked(bench, credentials.ADD_KEYS) == [{"username": "anna", "keys": ["key-1"], "reset": True}]
    encoded = base64.b64encode(b"pass").decode()
    assert asked(bench, credentials.SET_PASSWORD)[0] == {"username": "anna", "password": encoded, "crypted": False}
    body = {"data": {"one": base64.b64encode(b"key-2").decode()}}
    await bench.client.patch(Secret, ("default", "k"), body, how=Patch.MERGE)
    await bench.eventually(lambda: asked(bench, credentials.ADD_KEYS)[-1]["keys"] == ["key-2"])
    await bench.agent.recorder.wait_written()
    events = await bench.client.list(Event, "default")
    assert "AccessCredentialsSyncSuccess" in {e.reason for e in events.items}


async def test_a_missing_secret_is_said_and_its_coming_heard(bench: Bench) -> None:
    await bench.run(vmi(access_credentials=[keys("late", "anna")]))
    bench.hypervisor.agent_connects(DOMAIN, {})
    await bench.until(VirtualMachineInstance, key(), lambda v: synced(v) == ("False", "Secret late does not exist"))
    await bench.client.create(secret("late", one="key-1"))
    await bench.until(VirtualMachineInstance, key(), lambda v: synced(v) == ("True", ""))


async def test_an_agent_that_goes_is_said_to_be_offline(bench: Bench) -> None:
    await bench.client.create(secret("k", one="key-1"))
    await bench.run(vmi(access_credentials=[keys("k", "anna")]))
    bench.hypervisor.agent_connects(DOMAIN, {})
    await bench.until(VirtualMachineInstance, key(), lambda v: synced(v) == ("True", ""))
    bench.hypervisor.agent_goes(DOMAIN)
    await bench.until(VirtualMachineInstance, key(), lambda v: synced(v) == ("False", credentials.OFFLINE))
