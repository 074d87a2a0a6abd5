"""Members of a pool: names, volumes of their own, outdated and sick ones."""

from __future__ import annotations

from typing import Any

import pytest

from kvtui.api.core.config import ControllerRevision
from kvtui.api.kubevirt.pool import VirtualMachinePool, VirtualMachinePoolSelectionPolicy
from kvtui.api.wire import from_wire
from kvtui.controllers.pool import members
from tests.controllers.builders import NOW, guest, merged, vm, vmi


def revision(name: str | None) -> dict[str, str]:
    return {"kubevirt.io/vm-pool-revision-name": name} if name else {}


def pool(**over: Any) -> VirtualMachinePool:
    inner = guest()
    inner["volumes"] = [
        {"name": "root", "dataVolume": {"name": "disk"}},
        {"name": "shared", "persistentVolumeClaim": {"claimName": "shared"}},
        {"name": "conf", "configMap": {"name": "conf"}},
        {"name": "ci", "cloudInitNoCloud": {"secretRef": {"name": "user"}, "networkDataSecretRef": {"name": "net"}}},
    ]
    base: dict[str, Any] = {
        "metadata": {"name": "web", "namespace": "default", "uid": "pool-uid", "generation": 2},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": "web"}},
            "virtualMachineTemplate": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "runStrategy": "Always",
                    "dataVolumeTemplates": [{"metadata": {"name": "disk"}, "spec": {}}],
                    "template": {"metadata": {"labels": {"app": "web"}}, "spec": inner},
                },
            },
        },
    }
    return from_wire(merged(base, over), VirtualMachinePool)


def test_the_lowest_free_names_are_taken() -> None:
    assert members.free_indices(pool(), lambda name: name in ("web-0", "web-2", "other"), 3) == [1, 3, 4]


def test_a_member_has_its_own_volumes_and_shares_the_others() -> None:
    made = members.member(pool(), 4)
    assert made.metadata.name == "web-4"
    assert made.metadata.labels == {"app": "web", "kubevirt.io/vm-pool-revision-name": "web-2"}
    assert made.metadata.finalizers == ["pool.kubevirt.io/finalizer"]
    assert [t.metadata.name for t in made.spec.data_volume_templates if t.metadata] == ["disk-4"]
    volumes = made.spec.template.spec.volumes
    assert volumes[0].data_volume is not None
    assert volumes[0].data_volume.name == "disk-4"
    assert volumes[1].persistent_volume_claim is not None
    assert volumes[1].persistent_volume_claim.claim_name == "shared"
    assert volumes[2].config_map is not None
    assert volumes[2].config_map.name == "conf"


def test_references_get_the_index_where_wanted() -> None:
    names = {"appendIndexToConfigMapRefs": True, "appendIndexToSecretRefs": True}
    volumes = members.member(pool(spec={"nameGeneration": names}), 1).spec.template.spec.volumes
    assert volumes[2].config_map is not None
    assert volumes[2].config_map.name == "conf-1"
    source = volumes[3].cloud_init_no_cloud
    assert source is not None
    assert source.secret_ref is not None
    assert source.network_data_secret_ref is not None
    assert (source.secret_ref.name, source.network_data_secret_ref.name) == ("user-1", "net-1")


def test_a_member_is_outdated_only_when_its_template_was_different() -> None:
    same = members.revision_of(pool(metadata={"generation": 1}, spec={"replicas": 1}))
    other = members.revision_of(
        pool(metadata={"generation": 1}, spec={"virtualMachineTemplate": {"spec": {"runStrategy": "Manual"}}})
    )
    old, new = vm("web-0", metadata={"labels": revision("web-1")}), vm("web-0", metadata={"labels": revision("web-2")})
    assert not members.is_outdated(pool(), {}, new)
    assert not members.is_outdated(pool(), {"web-1": same}, old)
    assert members.is_outdated(pool(), {"web-1": other}, old)
    assert members.is_outdated(pool(), {}, old), "nobody knows what it was made from"
    assert members.is_outdated(pool(), {"web-1": same}, vm("web-0"))


def changed(**spec: Any) -> ControllerRevision:
    return members.revision_of(pool(metadata={"generation": 1}, spec={"virtualMachineTemplate": {"spec": spec}}))


RESTART = members.Renewal.INSTANCE


@pytest.mark.parametrize(
    ("of_vm", "of_vmi", "revisions", "result"),
    [
        ("web-2", "web-2", {}, None),
        (None, "web-1", {}, None),
        ("web-2", None, {}, RESTART),
        ("web-2", "web-1", {"web-1": changed()}, None),
        ("web-2", "web-1", {"web-2": changed()}, RESTART),
        ("web-2", "web-1", {"web-2": changed(), "web-1": changed(runStrategy="Manual")}, members.Renewal.LABEL),
        ("web-2", "web-1", {"web-2": changed(), "web-1": changed(template={"spec": {"hostname": "h"}})}, RESTART),
        ("web-2", "web-1", {"web-2": changed(), "web-1": changed(dataVolumeTemplates=[])}, members.Renewal.MACHINE),
    ],
)
def test_an_instance_follows_its_vm(
    of_vm: str | None,
    of_vmi: str | None,
    revisions: dict[str, ControllerRevision],
    result: members.Renewal | None,
) -> None:
    machine = vm("web-0", metadata={"labels": revision(of_vm)})
    assert members.renewal(machine, vmi("web-0", metadata={"labels": revision(of_vmi)}), revisions) is result


@pytest.mark.parametrize(
    ("over", "available"),
    [
        ({}, True),
        ({"metadata": {"deletionTimestamp": "2026-03-01T12:00:00Z"}}, False),
        ({"status": {"phase": "Scheduling"}}, False),
        ({"status": {"conditions": [{"type": "Ready", "status": "False"}]}}, False),
    ],
)
def test_an_available_instance_runs_and_stays(over: dict[str, Any], *, available: bool) -> None:
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    assert members.is_available(vmi("web-0", **merged({"status": status}, over))) is available


def test_an_update_keeps_the_firmware() -> None:
    firmware = {"uuid": "u", "serial": "s"}
    metadata = {"labels": {"gone": "x"}, "annotations": {"gone": "x"}}
    old = vm("web-0", metadata=metadata, spec={"template": {"spec": {"domain": {"firmware": firmware}}}})
    new = members.updated(pool(), old, 0)
    kept = new.spec.template.spec.domain.firmware
    assert kept is not None
    assert (kept.uuid, kept.serial) == ("u", "s")
    assert new.metadata.labels == {"app": "web", **revision("web-2")}
    assert not new.metadata.annotations


@pytest.mark.parametrize(
    ("sort", "names"),
    [
        ("AscendingOrder", ["web-0", "web-2", "web-10"]),
        ("DescendingOrder", ["web-10", "web-2", "web-0"]),
        ("Oldest", ["web-10", "web-0", "web-2"]),
        ("Newest", ["web-2", "web-0", "web-10"]),
    ],
)
def test_selection(sort: str, names: list[str]) -> None:
    vms = [
        vm("web-0", metadata={"creationTimestamp": "2026-03-01T10:00:00Z"}),
        vm("web-2", metadata={"creationTimestamp": "2026-03-01T11:00:00Z"}),
        vm("web-10", metadata={"creationTimestamp": "2026-03-01T09:00:00Z"}),
    ]
    policy = VirtualMachinePoolSelectionPolicy(sort_policy=sort)
    assert [v.metadata.name for v in members.chosen(vms, policy, pool())] == names


def test_selectors_choose_among_members() -> None:
    vms = [
        vm("web-0", spec={"template": {"metadata": {"labels": {"tier": "old"}}}}),
        vm("web-1", spec={"template": {"spec": {"nodeSelector": {"zone": "z1"}}}}),
    ]

    def chosen(**selectors: Any) -> list[str]:
        policy = from_wire({"sortPolicy": "AscendingOrder", "selectors": selectors}, VirtualMachinePoolSelectionPolicy)
        return [v.metadata.name for v in members.chosen(vms, policy, pool())]

    assert chosen(labelSelector={"matchLabels": {"tier": "old"}}) == ["web-0"]
    requirement = {"key": "zone", "operator": "In", "values": ["z1"]}
    assert chosen(nodeSelectorRequirementMatcher=[requirement]) == ["web-1"]


@pytest.mark.parametrize(
    ("maximum", "replicas", "result"), [(None, 4, 4), ("50%", 5, 2), ("100%", 5, 5), ("1%", 5, 1), (2, 5, 2), (0, 5, 1)]
)
def test_budget(maximum: int | str | None, replicas: int, result: int) -> None:
    assert members.budget(maximum, replicas) == result


SINCE_LONG = [{"type": "Ready", "status": "False", "lastTransitionTime": "2026-03-01T11:50:00Z"}]
SINCE_NOW = [{"type": "Ready", "status": "False", "lastTransitionTime": "2026-03-01T11:59:00Z"}]


@pytest.mark.parametrize(
    ("healing", "status", "sick"),
    [
        (None, {"startFailure": {"consecutiveFailCount": 9}}, False),
        ({}, {"startFailure": {"consecutiveFailCount": 3}}, True),
        ({}, {"startFailure": {"consecutiveFailCount": 2}}, False),
        ({"startUpFailureThreshold": 2}, {"startFailure": {"consecutiveFailCount": 2}}, True),
        ({}, {"printableStatus": "ErrorUnschedulable", "conditions": SINCE_LONG}, True),
        ({}, {"printableStatus": "ErrorUnschedulable", "conditions": SINCE_NOW}, False),
        ({"minFailingToStartDuration": "30s"}, {"printableStatus": "ErrImagePull", "conditions": SINCE_NOW}, True),
        ({}, {"printableStatus": "Stopped", "conditions": SINCE_LONG}, False),
    ],
)
def test_autohealing(healing: dict[str, Any] | None, status: dict[str, Any], *, sick: bool) -> None:
    over = {"spec": {"autohealing": healing}} if healing is not None else {}
    assert members.is_sick(pool(**over), vm("web-0", status=status), NOW) is sick
