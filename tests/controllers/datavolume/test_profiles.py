"""StorageProfiles and the CDI configuration that is in force."""

from __future__ import annotations

from typing import Any

import pytest

from kvtui.api.cdi.config import CDI, CDIConfig
from kvtui.api.cdi.profile import StorageProfile
from kvtui.api.core.storage import PersistentVolume, StorageClass
from kvtui.api.wire import from_wire
from kvtui.controllers.datavolume.cdi import cdi_status, config_status
from kvtui.controllers.datavolume.profiles import resolved, sets_of
from tests.controllers.builders import NOW

RWO_F = {"accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem"}
RWX_B = {"accessModes": ["ReadWriteMany"], "volumeMode": "Block"}


def storage_class(provisioner: str, parameters: dict[str, str] | None = None, **annotations: str) -> StorageClass:
    body = {
        "metadata": {"name": "fast", "annotations": annotations},
        "provisioner": provisioner,
        "parameters": parameters or {},
    }
    return from_wire(body, StorageClass)


def profile(**spec: Any) -> StorageProfile:
    return from_wire({"metadata": {"name": "fast"}, "spec": spec}, StorageProfile)


VOLUME = from_wire({"spec": {"storageClassName": "fast", "accessModes": ["ReadOnlyMany"]}}, PersistentVolume)


@pytest.mark.parametrize(
    ("found", "wish", "sets", "strategy", "recognized"),
    [
        (storage_class("kvtui.io/local"), profile(), ["ReadWriteOnce Filesystem"], "copy", "True"),
        (storage_class("example.com/odd"), profile(), [], "copy", "False"),
        (
            storage_class("example.com/odd"),
            profile(claimPropertySets=[RWX_B], cloneStrategy="csi-clone"),
            ["ReadWriteMany Block"],
            "csi-clone",
            "False",
        ),
        (
            storage_class("openshift-storage.rbd.csi.ceph.com"),
            profile(),
            ["ReadWriteMany Block", "ReadWriteOnce Block", "ReadWriteOnce Filesystem"],
            "csi-clone",
            "True",
        ),
        (
            storage_class("driver.longhorn.io", {"migratable": "true"}),
            profile(),
            ["ReadWriteMany Block", "ReadWriteOnce Block"],
            "copy",
            "True",
        ),
        (storage_class("kubernetes.io/no-provisioner"), profile(), ["ReadOnlyMany Filesystem"], "copy", "True"),
        (
            storage_class("kvtui.io/local", None, **{"cdi.kubevirt.io/clone-strategy": "snapshot"}),
            profile(),
            ["ReadWriteOnce Filesystem"],
            "snapshot",
            "True",
        ),
    ],
)
def test_a_profile(found: StorageClass, wish: StorageProfile, sets: list[str], strategy: str, recognized: str) -> None:
    status = resolved(wish.spec, None, found, [VOLUME], NOW)
    assert [f"{s.access_modes[0]} {s.volume_mode}" for s in status.claim_property_sets] == sets
    assert (status.clone_strategy, status.conditions[0].status) == (strategy, recognized)
    assert resolved(wish.spec, status, found, [VOLUME], NOW) == status


def test_what_an_administrator_sets_counts_for_claims_at_once() -> None:
    local = storage_class("kvtui.io/local")
    assert sets_of(None, local) == ((("ReadWriteOnce",), "Filesystem"),)
    assert sets_of(profile(claimPropertySets=[RWX_B]), local) == ((("ReadWriteMany",), "Block"),)
    assert sets_of(profile(claimPropertySets=[{"accessModes": [], "volumeMode": "Block"}]), local) == sets_of(
        None, local
    )


def test_every_class_has_its_overhead() -> None:
    spec = {"filesystemOverhead": {"global": "0.1", "storageClass": {"fast": "0.2"}}, "preallocation": True}
    config = from_wire({"metadata": {"name": "config"}, "spec": spec, "status": {"uploadProxyURL": "u"}}, CDIConfig)
    other = from_wire({"metadata": {"name": "slow"}, "provisioner": "x"}, StorageClass)
    status = config_status(config, [storage_class("x"), other])
    assert status.filesystem_overhead is not None
    assert status.filesystem_overhead.storage_class == {"fast": "0.2", "slow": "0.1"}
    assert (status.preallocation, status.upload_proxy_url) == (True, "u")


def test_the_cdi_object_is_deployed() -> None:
    status = cdi_status(CDI(), NOW)
    assert status.phase == "Deployed"
    assert [(c.type, c.status) for c in status.conditions] == [
        ("Available", "True"),
        ("Progressing", "False"),
        ("Degraded", "False"),
    ]
