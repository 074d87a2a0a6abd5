"""From what is seen of a guest to the status of its instance."""

from __future__ import annotations

from typing import Any

import pytest

from kvtui.api.kubevirt.domain import Interface, InterfaceBridge, InterfaceMasquerade
from kvtui.api.kubevirt.vmi import (
    HotplugVolumeStatus,
    MemoryStatus,
    VirtualMachineInstance,
    VirtualMachineInstanceCondition,
    VolumeStatus,
)
from kvtui.api.wire import evolve
from kvtui.node import status
from kvtui.node.hypervisor import DomainState, DomainStatus, Reason
from kvtui.node.status import DomainNic, GuestNic, Observation
from tests.node.builders import running_status, vmi

NOW = "2026-01-31T12:00:00Z"
RUNNING = DomainStatus(DomainState.RUNNING, Reason.BOOTED)


def seen(**more: Any) -> Observation:
    return Observation(**{"domain": RUNNING, **more})


def after(instance: VirtualMachineInstance, **more: Any) -> VirtualMachineInstance:
    return evolve(instance, status=status.running(instance, seen(**more), NOW))


def reasons(instance: VirtualMachineInstance) -> dict[str, tuple[str, str | None]]:
    assert instance.status is not None
    return {c.type: (c.status, c.reason) for c in instance.status.conditions}


def test_the_first_look_makes_the_phase_running_with_its_time() -> None:
    found = after(vmi(status={"phase": "Scheduled", "node_name": "node-1"})).status
    assert found is not None
    assert found.phase == "Running"
    assert [(t.phase, t.phase_transition_timestamp) for t in found.phase_transition_timestamps] == [("Running", NOW)]


@pytest.mark.parametrize(
    ("reason", "word"), [(Reason.USER, "PausedByUser"), (Reason.IOERROR, "PausedIOError"), (Reason.WATCHDOG, None)]
)
def test_a_pause_has_the_word_of_its_reason(reason: Reason, word: str | None) -> None:
    found = after(vmi(status=running_status()), domain=DomainStatus(DomainState.PAUSED, reason))
    assert reasons(found).get("Paused", (None, None))[1] == word


def test_the_reason_of_a_pause_is_not_changed_later_and_goes_with_the_pause() -> None:
    paused = after(vmi(status=running_status()), domain=DomainStatus(DomainState.PAUSED, Reason.USER))
    still = after(paused, domain=DomainStatus(DomainState.PAUSED, Reason.IOERROR))
    assert reasons(still)["Paused"] == ("True", "PausedByUser")
    assert "Paused" not in reasons(after(still))


def test_a_successful_look_takes_the_failure_away() -> None:
    failed = vmi(status=running_status())
    failed = evolve(failed, status=status.not_synchronized(failed, "words", NOW))
    assert reasons(failed)["Synchronized"] == ("False", status.SYNC_REASON)
    again = evolve(failed, status=status.not_synchronized(failed, "other words", NOW))
    assert again == failed
    assert "Synchronized" not in reasons(after(failed))


def test_the_guest_agent_condition_is_there_while_it_is_connected() -> None:
    connected = after(vmi(status=running_status()), agent_connected=True)
    assert reasons(connected)["AgentConnected"] == ("True", None)
    assert "AgentConnected" not in reasons(after(connected))


def test_interfaces_are_merged_by_their_mac_and_guest_only_ones_come_last() -> None:
    interfaces = [
        Interface(name="default", masquerade=InterfaceMasquerade()),
        Interface(name="second", bridge=InterfaceBridge()),
    ]
    found = after(
        vmi(status=running_status(), devices={"interfaces": interfaces}),
        nics=(DomainNic("default", "02:00:00:00:00:01"), DomainNic("second", "02:00:00:00:00:02", link_up=False)),
        pod_ips={"default": ("10.244.0.2",)},
        pod_interfaces={"default": "eth0"},
        guest_nics=(
            GuestNic("lo", "00:00:00:00:00:00"),
            GuestNic("enp1s0", "02:00:00:00:00:01", ("10.0.2.2",)),
            GuestNic("enp2s0", "02:00:00:00:00:02".upper(), ("192.168.0.5", "fd00::5")),
            GuestNic("docker0", "02:42:00:00:00:00", ("172.17.0.1",)),
        ),
    ).status
    assert found is not None
    first, second, third = found.interfaces
    assert (first.name, first.ip_address, first.interface_name) == ("default", "10.244.0.2", "enp1s0")
    assert first.info_source == "domain, guest-agent"
    assert (second.ip_addresses, second.link_state) == (["192.168.0.5", "fd00::5"], "down")
    assert (third.name, third.interface_name, third.info_source) == (None, "docker0", "guest-agent")


@pytest.mark.parametrize(
    ("given", "used", "shown"),
    [
        (("10.244.0.2", "fd01::2"), ("fd10:0:2::2", "10.0.2.2"), ["10.244.0.2", "fd01::2"]),
        (("10.244.0.2", "fd01::2"), ("10.0.2.2", "fe80::1"), ["10.244.0.2"]),
        (("fd01::2",), ("10.0.2.2", "fd10:0:2::2"), ["10.0.2.2", "fd01::2"]),
        (("10.244.0.2",), (), []),
    ],
)
def test_a_family_that_the_guest_does_not_use_has_no_address(
    given: tuple[str, ...], used: tuple[str, ...], shown: list[str]
) -> None:
    found = after(
        vmi(status=running_status()),
        nics=(DomainNic("default", "02:00:00:00:00:01"),),
        pod_ips={"default": given},
        guest_nics=(GuestNic("eth0", "02:00:00:00:00:01", used),),
    ).status
    assert found is not None
    assert found.interfaces[0].ip_addresses == shown


def test_the_primary_interface_comes_first() -> None:
    interfaces = [
        Interface(name="second", bridge=InterfaceBridge()),
        Interface(name="default", masquerade=InterfaceMasquerade()),
    ]
    nics = (DomainNic("second", "02:00:00:00:00:02"), DomainNic("default", "02:00:00:00:00:01"))
    found = after(vmi(status=running_status(), devices={"interfaces": interfaces}), nics=nics).status
    assert found is not None
    assert [i.name for i in found.interfaces] == ["default", "second"]


def test_an_interface_without_guest_agent_comes_from_the_domain() -> None:
    found = after(vmi(status=running_status()), nics=(DomainNic("default", "02:00:00:00:00:01"),)).status
    assert found is not None
    assert found.interfaces[0].info_source == "domain"


def plugged(phase: str, target: str = "") -> VolumeStatus:
    return VolumeStatus(name="data", phase=phase, target=target, hotplug_volume=HotplugVolumeStatus())


def test_a_plugged_volume_is_ready_when_the_domain_has_it_and_unmounted_when_it_is_gone() -> None:
    ready = status.volume_status([plugged("AttachedToNode")], seen(targets={"data": "sda"}), {"data"})
    assert [(v.phase, v.target, v.reason) for v in ready] == [("Ready", "sda", "VolumeReady")]
    leaving = status.volume_status(ready, seen(targets={"data": "sda"}), set())
    assert leaving[0].phase == "Ready"
    gone = status.volume_status(leaving, seen(), set())
    assert (gone[0].phase, gone[0].target) == ("UnMountedFromPod", "")


def test_changes_that_were_announced_are_done_when_the_domain_has_them() -> None:
    waiting = [
        VirtualMachineInstanceCondition(type="HotVCPUChange", status="True"),
        VirtualMachineInstanceCondition(type="HotMemoryChange", status="True"),
    ]
    memory = MemoryStatus(guest_at_boot="128Mi")
    instance = vmi(status=running_status(conditions=waiting, memory=memory))
    assert set(reasons(after(instance, topology=(0, 1, 1), requested=1))) == {"HotVCPUChange", "HotMemoryChange"}
    done = after(instance, topology=(1, 1, 1), requested=128 * 2**20, memory=128 * 2**20)
    assert reasons(done) == {}
    assert done.status is not None
    assert done.status.memory is not None
    assert done.status.memory.guest_requested == "128Mi"


def test_a_patch_says_only_what_differs_and_from_which_revision() -> None:
    instance = vmi(status=running_status(fs_freeze_status="frozen"), meta={"resource_version": "7"})
    assert status.patch(instance, status.running(instance, seen(frozen=True), NOW)) is None
    assert status.patch(instance, status.running(instance, seen(), NOW)) == {
        "metadata": {"resourceVersion": "7"},
        "status": {"fsFreezeStatus": None},
    }


def test_a_guest_that_cannot_be_brought_into_step_is_reported_with_the_reason() -> None:
    instance = vmi(status=running_status())
    failed = status.running(instance, seen(), NOW, "unsupported configuration: x")
    first = next(c for c in failed.conditions if c.type == "Synchronized")
    assert (first.status, first.message) == ("False", "unsupported configuration: x")
    again = status.running(
        evolve(instance, status=failed), seen(), "2026-01-31T12:05:00Z", "unsupported configuration: x"
    )
    assert again.conditions == failed.conditions
    mended = status.running(evolve(instance, status=again), seen(), "2026-01-31T12:05:00Z")
    assert [c for c in mended.conditions if c.type == "Synchronized"] == []


def test_memory_that_cannot_be_plugged_fails_the_change_that_was_announced() -> None:
    waiting = [VirtualMachineInstanceCondition(type="HotMemoryChange", status="True")]
    failed = after(vmi(status=running_status(conditions=waiting)), memory_failure="no slot", requested=1)
    change = next(c for c in failed.status.conditions if c.type == "HotMemoryChange")
    assert (change.status, change.reason, change.message) == ("False", "Memory Hotplug Failed", "no slot")
