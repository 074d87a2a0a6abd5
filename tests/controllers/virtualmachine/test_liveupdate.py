"""Edits of a running VM: what reaches the instance, what needs a restart, what has to wait."""

from __future__ import annotations

from typing import Any

import pytest

from kvtui.api.kubevirt.config import KubeVirtConfiguration
from kvtui.api.kubevirt.vmi import VirtualMachineInstanceSpec
from kvtui.api.wire import evolve, from_wire, to_wire
from kvtui.controllers.clusterconfig import Configuration
from kvtui.controllers.virtualmachine import liveupdate
from kvtui.controllers.virtualmachine.outcome import NOT_LIVE, Outcome
from kvtui.controllers.virtualmachine.view import View
from tests.controllers.builders import NOW, guest, merged, vm, vmi

MIGRATABLE = [{"type": "LiveMigratable", "status": "True"}]


def spec(over: dict[str, Any]) -> dict[str, Any]:
    return merged(guest(), over)


def edit(
    over: dict[str, Any], *, stage: bool = False, conditions: list[dict[str, str]] | None = None, **instance: Any
) -> Outcome:
    """What comes of editing a running VM's template like this."""
    config = Configuration(KubeVirtConfiguration(vm_rollout_strategy="Stage")) if stage else Configuration()
    present = vmi(status={"conditions": conditions if conditions is not None else MIGRATABLE}, **instance)
    wanted = from_wire(spec(over), VirtualMachineInstanceSpec)
    machine = vm(spec={"template": {"spec": to_wire(wanted)}})
    view = View(vm=machine, now=NOW, vmi=present, config=config)
    return liveupdate.evaluate(view, from_wire(guest(), VirtualMachineInstanceSpec), wanted)


def test_no_edit_changes_nothing() -> None:
    outcome = edit({})
    assert (outcome.restart, outcome.error) == (None, None)
    assert outcome.vmi == vmi(status={"conditions": MIGRATABLE})


def test_sockets_reach_the_instance() -> None:
    outcome = edit({"domain": {"cpu": {"sockets": 2}}})
    assert outcome.restart is None
    cpu = outcome.vmi.spec.domain.cpu
    assert cpu is not None
    assert (cpu.sockets, cpu.max_sockets) == (2, 4)


def test_requests_grow_with_sockets() -> None:
    resources: dict[str, Any] = {"spec": {"domain": {"resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "2"}}}}}
    outcome = edit({"domain": {"cpu": {"sockets": 3}}}, **resources)
    given = outcome.vmi.spec.domain.resources
    assert given is not None
    assert (given.requests["cpu"], given.limits["cpu"]) == ("3", "4")


@pytest.mark.parametrize(
    ("over", "message"),
    [
        ({"domain": {"cpu": {"sockets": 8}}}, liveupdate.SOCKETS_TOO_MANY),
        ({"domain": {"cpu": {"cores": 2}}}, NOT_LIVE),
        ({"domain": {"memory": {"guest": "512Mi"}}}, "memory hotplug not supported, Memory hotplug is only available"),
        (
            {"domain": {"memory": {"guest": "8Gi"}}},
            "memory hotplug not supported, Guest memory is greater than the configured maxGuest memory",
        ),
        ({"domain": {"memory": {"guest": "2049Mi"}}}, "memory hotplug not supported, Guest memory must be 2Mi aligned"),
        ({"nodeSelector": {"a": "b"}, "hostname": "other"}, NOT_LIVE),
        ({"domain": {"devices": {"rng": {}}}}, NOT_LIVE),
        ({"terminationGracePeriodSeconds": 5}, NOT_LIVE),
        ({"domain": {"devices": {"disks": []}}, "volumes": []}, NOT_LIVE),
        ({"domain": {"devices": {"interfaces": []}}, "networks": [{"name": "x", "pod": {}}]}, NOT_LIVE),
    ],
)
def test_what_needs_a_restart(over: dict[str, Any], message: str) -> None:
    outcome = edit(over)
    assert outcome.restart is not None
    assert outcome.restart.startswith(message)


def test_fewer_sockets_need_a_restart() -> None:
    outcome = edit({"domain": {"cpu": {"sockets": 1}}}, spec={"domain": {"cpu": {"sockets": 2}}})
    assert outcome.restart == liveupdate.SOCKETS_FEWER


@pytest.mark.parametrize("over", [{"domain": {"cpu": {"sockets": 2}}}, {"nodeSelector": {"a": "b"}}])
def test_without_live_update_every_edit_needs_a_restart(over: dict[str, Any]) -> None:
    assert edit(over, stage=True).restart == NOT_LIVE


def test_a_second_cpu_change_waits_for_the_first() -> None:
    outcome = edit(
        {"domain": {"cpu": {"sockets": 2}}}, conditions=[*MIGRATABLE, {"type": "HotVCPUChange", "status": "True"}]
    )
    assert outcome.error is not None
    assert outcome.error.reason == "HotPlugCPUError"


MIGRATING = {"migrationState": {"startTimestamp": "2026-03-01T11:59:00Z"}}


@pytest.mark.parametrize(
    ("over", "reason", "message"),
    [
        (
            {"domain": {"cpu": {"sockets": 9}}},
            "HotPlugCPUError",
            "Error encountered while handling CPU change request: CPU hotplug is not allowed while VMI is migrating",
        ),
        (
            {"nodeSelector": {"a": "b"}},
            "AffinityChangeError",
            (
                "Error encountered while handling node affinity change request: "
                "Node affinity should not be changed during VMI migration"
            ),
        ),
        (
            {"tolerations": [{"key": "gpu", "operator": "Exists"}]},
            "TolerationsChangeError",
            (
                "Error encountered while handling tolerations change request: "
                "tolerations should not be changed during VMI migration"
            ),
        ),
        (
            {"domain": {"memory": {"guest": "9Gi"}}},
            "HotPlugMemoryError",
            (
                "error encountered while handling memory hotplug requests: "
                "memory hotplug is not allowed while VMI is migrating"
            ),
        ),
    ],
)
def test_a_migration_holds_up_every_live_change(over: dict[str, Any], reason: str, message: str) -> None:
    present = vmi(status={"conditions": MIGRATABLE, "phase": "Running", **MIGRATING})
    wanted = from_wire(spec(over), VirtualMachineInstanceSpec)
    outcome = liveupdate.evaluate(
        View(vm=vm(), now=NOW, vmi=present), from_wire(guest(), VirtualMachineInstanceSpec), wanted
    )
    assert (outcome.restart, outcome.vmi) == (None, present)
    assert outcome.error is not None
    assert (outcome.error.reason, outcome.error.message) == (reason, message)


def test_sockets_of_a_guest_with_queues_per_cpu_need_a_restart() -> None:
    queues = {"domain": {"devices": {"networkInterfaceMultiqueue": True}}}
    wanted = from_wire(merged(spec(queues), {"domain": {"cpu": {"sockets": 2}}}), VirtualMachineInstanceSpec)
    started = from_wire(spec(queues), VirtualMachineInstanceSpec)
    present = vmi(status={"conditions": MIGRATABLE}, spec=queues)
    assert liveupdate.evaluate(View(vm=vm(), now=NOW, vmi=present), started, wanted).restart == (
        liveupdate.SOCKETS_QUEUES
    )


@pytest.mark.parametrize(("before", "restart"), [(None, None), ("5d307ca9-b3ef-428c-8861-06e72d69f223", NOT_LIVE)])
def test_an_identity_may_be_added_but_not_changed(before: str | None, restart: str | None) -> None:
    started = spec({"domain": {"firmware": {"uuid": before}}}) if before else guest()
    wanted = spec({"domain": {"firmware": {"uuid": "c6a5ca8f-1d12-4cd5-8a36-6f5ac0c14b8e"}}})
    outcome = liveupdate.evaluate(
        View(vm=vm(), now=NOW, vmi=vmi(status={"conditions": MIGRATABLE})),
        from_wire(started, VirtualMachineInstanceSpec),
        from_wire(wanted, VirtualMachineInstanceSpec),
    )
    assert outcome.restart == restart


def test_a_topology_where_there_was_none_needs_a_restart() -> None:
    started = guest()
    del started["domain"]["cpu"]
    wanted = merged(started, {"domain": {"cpu": {"sockets": 2}}})
    outcome = liveupdate.evaluate(
        View(vm=vm(), now=NOW, vmi=vmi(status={"conditions": MIGRATABLE})),
        from_wire(started, VirtualMachineInstanceSpec),
        from_wire(wanted, VirtualMachineInstanceSpec),
    )
    assert outcome.restart == NOT_LIVE


def test_memory_reaches_a_migratable_instance_and_its_requests() -> None:
    requests: dict[str, Any] = {"spec": {"domain": {"resources": {"requests": {"memory": "1Gi"}}}}}
    outcome = edit({"domain": {"memory": {"guest": "2Gi"}}}, **requests)
    assert outcome.restart is None
    assert outcome.vmi.spec.domain.memory is not None
    assert outcome.vmi.spec.domain.memory.guest == "2Gi"
    assert outcome.vmi.spec.domain.resources is not None
    assert outcome.vmi.spec.domain.resources.requests["memory"] == "2Gi"


def test_memory_of_an_instance_that_cannot_migrate_needs_a_restart() -> None:
    assert edit({"domain": {"memory": {"guest": "2Gi"}}}, conditions=[]).restart == liveupdate.MEMORY_NOT_MIGRATABLE


def test_memory_below_what_the_guest_booted_with_needs_a_restart() -> None:
    booted = {"memory": {"guestAtBoot": "3Gi"}, "conditions": MIGRATABLE, "phase": "Running"}
    present = vmi(status=booted, spec={"domain": {"memory": {"guest": "3Gi"}}})
    wanted = from_wire(spec({"domain": {"memory": {"guest": "2Gi"}}}), VirtualMachineInstanceSpec)
    outcome = liveupdate.evaluate(View(vm=vm(), now=NOW, vmi=present), wanted, wanted)
    assert outcome.restart == liveupdate.MEMORY_BELOW_BOOT


def test_placement_reaches_the_instance_for_its_next_migration() -> None:
    toleration = {"key": "gpu", "operator": "Exists"}
    outcome = edit({"nodeSelector": {"disk": "fast"}, "tolerations": [toleration]})
    assert outcome.restart is None
    assert outcome.vmi.spec.node_selector == {"disk": "fast"}
    assert [t.key for t in outcome.vmi.spec.tolerations] == ["gpu"]


HOT_VOLUME = {"name": "data", "persistentVolumeClaim": {"claimName": "data", "hotpluggable": True}}
ROOT_VOLUME = {"name": "root", "emptyDisk": {"capacity": "1Gi"}}
ROOT_DISK = {"name": "root", "disk": {"bus": "virtio"}}


def test_a_hotpluggable_volume_is_plugged_in_and_out() -> None:
    disks = [ROOT_DISK, {"name": "data", "disk": {"bus": "scsi"}}]
    outcome = edit({"domain": {"devices": {"disks": disks}}, "volumes": [ROOT_VOLUME, HOT_VOLUME]})
    assert outcome.restart is None
    assert [v.name for v in outcome.vmi.spec.volumes] == ["root", "data"]
    plugged = outcome.vmi.spec.domain.devices.disks[1]
    assert (plugged.name, plugged.serial) == ("data", "data")
    view = View(vm=vm(), now=NOW, vmi=outcome.vmi)
    plain = from_wire(guest(), VirtualMachineInstanceSpec)
    back = liveupdate.evaluate(view, plain, plain)
    assert [v.name for v in back.vmi.spec.volumes] == ["root"]
    assert [d.name for d in back.vmi.spec.domain.devices.disks] == ["root"]


@pytest.mark.parametrize(
    ("volume", "disk"),
    [
        ({"name": "data", "persistentVolumeClaim": {"claimName": "data"}}, {"name": "data", "disk": {"bus": "scsi"}}),
        (HOT_VOLUME, {"name": "data", "disk": {"bus": "sata"}}),
        ({"name": "data", "emptyDisk": {"capacity": "1Gi"}}, {"name": "data", "disk": {"bus": "scsi"}}),
    ],
)
def test_other_new_volumes_need_a_restart(volume: dict[str, Any], disk: dict[str, Any]) -> None:
    outcome = edit({"domain": {"devices": {"disks": [ROOT_DISK, disk]}}, "volumes": [ROOT_VOLUME, volume]})
    assert outcome.restart == NOT_LIVE


def test_a_disc_is_taken_out_before_another_one_goes_in() -> None:
    def with_disc(claim: str) -> VirtualMachineInstanceSpec:
        disc = {"name": "drive", "persistentVolumeClaim": {"claimName": claim, "hotpluggable": True}}
        disks = [ROOT_DISK, {"name": "drive", "cdrom": {"bus": "sata"}}]
        return from_wire(
            spec({"domain": {"devices": {"disks": disks}}, "volumes": [ROOT_VOLUME, disc]}), VirtualMachineInstanceSpec
        )

    first, second = with_disc("one"), with_disc("two")
    plain = vmi()
    present = evolve(plain, spec=evolve(plain.spec, volumes=first.volumes, domain=first.domain))
    out = liveupdate.evaluate(View(vm=vm(), now=NOW, vmi=present), first, second)
    assert out.restart is None
    assert [v.name for v in out.vmi.spec.volumes] == ["root"]
    assert [d.name for d in out.vmi.spec.domain.devices.disks] == ["root", "drive"]
    again = liveupdate.evaluate(View(vm=vm(), now=NOW, vmi=out.vmi), first, second)
    assert [v.persistent_volume_claim and v.persistent_volume_claim.claim_name for v in again.vmi.spec.volumes] == [
        None,
        "two",
    ]


def claim_volume(claim: str) -> dict[str, Any]:
    return {"name": "root", "persistentVolumeClaim": {"claimName": claim}}


def test_volumes_move_to_another_claim_by_migration_and_back_again() -> None:
    strategy: dict[str, Any] = {"spec": {"updateVolumesStrategy": "Migration"}}
    old = from_wire(spec({"volumes": [claim_volume("old")]}), VirtualMachineInstanceSpec)
    new = from_wire(spec({"volumes": [claim_volume("new")]}), VirtualMachineInstanceSpec)
    present = vmi(spec={"volumes": [claim_volume("old")]})
    outcome = liveupdate.evaluate(View(vm=vm(**strategy), now=NOW, vmi=present), old, new)
    assert outcome.restart is None
    moved = outcome.vmi.status.migrated_volumes[0]
    assert moved.source_pvc_info is not None
    assert moved.destination_pvc_info is not None
    assert (moved.source_pvc_info.claim_name, moved.destination_pvc_info.claim_name) == ("old", "new")
    assert [(c.type, c.status) for c in outcome.vmi.status.conditions] == [("VolumesChange", "True")]
    back = liveupdate.evaluate(View(vm=vm(**strategy), now=NOW, vmi=outcome.vmi), old, old)
    assert [(c.status, c.reason) for c in back.vmi.status.conditions] == [("False", "VolumesChangeCancellation")]
    replaced = liveupdate.evaluate(View(vm=vm(), now=NOW, vmi=present), old, new)
    assert replaced.restart == NOT_LIVE


BLUE = {"name": "blue", "multus": {"networkName": "blue"}}
DEFAULT = {"name": "default", "pod": {}}
DEFAULT_NIC = {"name": "default", "masquerade": {}}


def test_a_bridge_nic_is_plugged_in_and_marked_absent() -> None:
    nics = [DEFAULT_NIC, {"name": "blue", "bridge": {}}]
    outcome = edit({"domain": {"devices": {"interfaces": nics}}, "networks": [DEFAULT, BLUE]})
    assert outcome.restart is None
    assert [i.name for i in outcome.vmi.spec.domain.devices.interfaces] == ["default", "blue"]
    assert [n.name for n in outcome.vmi.spec.networks] == ["default", "blue"]
    nics[1] = {"name": "blue", "bridge": {}, "state": "absent"}
    gone = from_wire(
        spec({"domain": {"devices": {"interfaces": nics}}, "networks": [DEFAULT, BLUE]}), VirtualMachineInstanceSpec
    )
    after = liveupdate.evaluate(View(vm=vm(), now=NOW, vmi=outcome.vmi), gone, gone)
    assert after.vmi.spec.domain.devices.interfaces[1].state == "absent"


def test_a_link_is_switched() -> None:
    nics = [{**DEFAULT_NIC, "state": "down"}]
    outcome = edit({"domain": {"devices": {"interfaces": nics}}})
    assert outcome.restart is None
    assert outcome.vmi.spec.domain.devices.interfaces[0].state == "down"


@pytest.mark.parametrize(
    "nics",
    [
        [DEFAULT_NIC, {"name": "blue", "masquerade": {}}],
        [{**DEFAULT_NIC, "bootOrder": 1}],
    ],
)
def test_other_changes_of_nics_need_a_restart(nics: list[dict[str, Any]]) -> None:
    outcome = edit({"domain": {"devices": {"interfaces": nics}}, "networks": [DEFAULT, BLUE]})
    assert outcome.restart == NOT_LIVE
