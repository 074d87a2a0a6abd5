"""One suite for every hypervisor: our fake and libvirt's test driver behave the same towards the agent."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import uuid
from collections.abc import AsyncIterator

import pytest

from kvtui.errors import Unreachable
from kvtui.node.hypervisor import (
    Affect,
    ConnectionChanged,
    DomainGone,
    DomainId,
    DomainState,
    Event,
    Hypervisor,
    HypervisorRefused,
    LifecycleChanged,
    LifecycleKind,
    NotRunning,
    Reason,
    XmlKind,
)
from kvtui.node.libvirt_driver import LibvirtHypervisor
from kvtui.node.owner import URI
from tests.fakes.hypervisor import FakeHypervisor

ENGINE = "contract"


@pytest.fixture(params=["fake", "libvirt"])
async def hypervisor(request: pytest.FixtureRequest) -> AsyncIterator[Hypervisor]:
    made: Hypervisor = (
        FakeHypervisor(ENGINE) if request.param == "fake" else LibvirtHypervisor("test:///default", ENGINE)
    )
    running = asyncio.create_task(made.run())
    try:
        async with asyncio.timeout(10):
            await made.wait_connected()
        yield made
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        # The test driver lives as long as any handle; those in tracebacks of expected errors are cycles.
        gc.collect()


BEYOND_THE_TEST_DRIVER = pytest.mark.parametrize("hypervisor", ["fake"], indirect=True)
"""What libvirt's test driver cannot do; tests/e2e/test_node.py asks a libvirt with QEMU."""


def description(name: str, *, uid: str = "u-1", engine: str = ENGINE, id_: str = "") -> str:
    identity = id_ or str(uuid.uuid4())
    return f"""
    <domain type='test'>
      <name>{name}</name><uuid>{identity}</uuid>
      <metadata><k:vmi xmlns:k='{URI}' engine='{engine}' namespace='ns' name='{name}' uid='{uid}'/></metadata>
      <memory>131072</memory><vcpu current='1'>4</vcpu><os><type>hvm</type></os>
      <devices/>
    </domain>"""


async def test_a_defined_domain_is_listed_as_ours_and_is_down(hypervisor: Hypervisor) -> None:
    domain = await hypervisor.define(description("one", uid="u-7"))
    found = {d.id: d for d in await hypervisor.domains()}
    assert found[domain].name == "one"
    assert found[domain].owner.uid == "u-7"
    assert found[domain].status.state is DomainState.SHUTOFF


async def test_domains_of_others_are_never_listed(hypervisor: Hypervisor) -> None:
    await hypervisor.define(description("theirs", engine="another"))
    foreign = description("plain")
    await hypervisor.define(foreign[: foreign.index("<metadata>")] + foreign[foreign.index("</metadata>") + 11 :])
    assert await hypervisor.domains() == []


async def test_memory_of_running_foreign_domains_counts(hypervisor: Hypervisor) -> None:
    before = await hypervisor.foreign_memory()
    theirs = await hypervisor.define(description("theirs", engine="another"))
    ours = await hypervisor.define(description("ours"))
    await hypervisor.start(theirs)
    await hypervisor.start(ours)
    assert await hypervisor.foreign_memory() - before == 128 * 2**20


async def test_start_pause_resume_and_destroy(hypervisor: Hypervisor) -> None:
    domain = await hypervisor.define(description("one"))
    await hypervisor.start(domain)
    assert (await hypervisor.status(domain)).state is DomainState.RUNNING
    await hypervisor.suspend(domain)
    status = await hypervisor.status(domain)
    assert (status.state, status.reason) == (DomainState.PAUSED, Reason.USER)
    await hypervisor.resume(domain)
    assert (await hypervisor.status(domain)).state is DomainState.RUNNING
    await hypervisor.destroy(domain, graceful=False)
    status = await hypervisor.status(domain)
    assert (status.state, status.reason) == (DomainState.SHUTOFF, Reason.DESTROYED)


@BEYOND_THE_TEST_DRIVER
async def test_a_domain_can_be_started_paused(hypervisor: Hypervisor) -> None:
    domain = await hypervisor.define(description("one"))
    await hypervisor.start(domain, paused=True)
    assert (await hypervisor.status(domain)).state is DomainState.PAUSED


async def test_a_guest_that_obeys_ends_with_reason_shutdown(hypervisor: Hypervisor) -> None:
    domain = await hypervisor.define(description("one"))
    await hypervisor.start(domain)
    await hypervisor.shutdown(domain)
    status = await hypervisor.status(domain)
    assert (status.state, status.reason) == (DomainState.SHUTOFF, Reason.SHUTDOWN)


async def test_what_needs_a_running_domain_says_so(hypervisor: Hypervisor) -> None:
    domain = await hypervisor.define(description("one"))
    with pytest.raises(NotRunning):
        await hypervisor.shutdown(domain)
    with pytest.raises(NotRunning):
        await hypervisor.destroy(domain, graceful=False)


async def test_an_unknown_domain_is_gone_and_not_unreachable(hypervisor: Hypervisor) -> None:
    with pytest.raises(DomainGone):
        await hypervisor.status(DomainId(str(uuid.uuid4())))


async def test_an_undefined_domain_is_gone(hypervisor: Hypervisor) -> None:
    domain = await hypervisor.define(description("one"))
    await hypervisor.undefine(domain)
    with pytest.raises(DomainGone):
        await hypervisor.status(domain)
    assert await hypervisor.domains() == []


async def test_a_name_that_is_taken_is_refused_in_words(hypervisor: Hypervisor) -> None:
    await hypervisor.define(description("one"))
    with pytest.raises(HypervisorRefused, match="already exists with uuid"):
        await hypervisor.define(description("one"))


async def test_broken_descriptions_are_refused(hypervisor: Hypervisor) -> None:
    with pytest.raises(HypervisorRefused):
        await hypervisor.define("<domain><name>x</name>")


async def test_lifecycle_events_tell_the_domain_and_the_kind(hypervisor: Hypervisor) -> None:
    events: asyncio.Queue[Event] = asyncio.Queue()
    unsubscribe = hypervisor.subscribe(events.put_nowait)
    domain = await hypervisor.define(description("one"))
    await hypervisor.start(domain)
    await hypervisor.suspend(domain)
    await hypervisor.destroy(domain, graceful=False)
    kinds: list[LifecycleKind] = []
    async with asyncio.timeout(5):
        while LifecycleKind.STOPPED not in kinds:
            event = await events.get()
            if isinstance(event, LifecycleChanged) and event.domain == domain:
                kinds.append(event.kind)
    assert kinds == [LifecycleKind.DEFINED, LifecycleKind.STARTED, LifecycleKind.SUSPENDED, LifecycleKind.STOPPED]
    unsubscribe()


async def test_metadata_of_our_own_is_kept(hypervisor: Hypervisor) -> None:
    domain = await hypervisor.define(description("one"))
    assert await hypervisor.metadata(domain, "urn:test") is None
    await hypervisor.set_metadata(domain, "urn:test", "<note text='hello'/>", "t")
    kept = await hypervisor.metadata(domain, "urn:test")
    assert kept is not None
    assert "hello" in kept


async def test_both_descriptions_can_be_read(hypervisor: Hypervisor) -> None:
    domain = await hypervisor.define(description("one"))
    await hypervisor.start(domain)
    for kind in (XmlKind.LIVE, XmlKind.INACTIVE):
        assert "<name>one</name>" in await hypervisor.xml(domain, kind)


async def test_vcpus_can_be_added(hypervisor: Hypervisor) -> None:
    domain = await hypervisor.define(description("one"))
    await hypervisor.start(domain)
    await hypervisor.set_vcpus(domain, 2)
    assert "current='2'" in (await hypervisor.xml(domain)).replace('"', "'")


@BEYOND_THE_TEST_DRIVER
async def test_disks_come_and_go(hypervisor: Hypervisor) -> None:
    domain = await hypervisor.define(description("one"))
    await hypervisor.start(domain)
    disk = "<disk type='file' device='disk'><source file='/none'/><target dev='vdb' bus='virtio'/></disk>"
    await hypervisor.attach(domain, disk, Affect.LIVE)
    assert "vdb" in await hypervisor.xml(domain)
    await hypervisor.detach(domain, disk, Affect.LIVE)
    assert "vdb" not in await hypervisor.xml(domain)


async def test_facts_name_cpus_and_memory(hypervisor: Hypervisor) -> None:
    facts = await hypervisor.facts()
    assert facts.cpus > 0
    assert facts.memory > 2**30
    assert "<host>" in await hypervisor.capabilities()


async def test_while_the_daemon_is_away_calls_say_unreachable() -> None:
    fake = FakeHypervisor(ENGINE)
    running = asyncio.create_task(fake.run())
    await fake.wait_connected()
    domain = await fake.define(description("one"))
    seen: list[Event] = []
    fake.subscribe(seen.append)
    fake.disconnect()
    with pytest.raises(Unreachable):
        await fake.status(domain)
    fake.reconnect()
    assert seen == [ConnectionChanged(connected=False), ConnectionChanged(connected=True)]
    assert (await fake.status(domain)).state is DomainState.SHUTOFF
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def test_a_daemon_that_does_not_exist_is_unreachable() -> None:
    hypervisor = LibvirtHypervisor("qemu+unix:///system?socket=/nonexistent/sock", ENGINE)
    running = asyncio.create_task(hypervisor.run())
    with pytest.raises(Unreachable):
        await hypervisor.facts()
    assert not hypervisor.connected
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
