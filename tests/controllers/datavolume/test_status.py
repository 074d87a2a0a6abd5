"""Phases, conditions and progress of a DataVolume, in upstream's order and words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from kvtui.api.cdi.datavolume import DataVolume
from kvtui.api.core.pod import Pod
from kvtui.api.core.storage import PersistentVolumeClaim, StorageClass
from kvtui.api.meta import ObjectMeta
from kvtui.api.wire import from_wire
from kvtui.controllers.datavolume import names, status

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WAITS = StorageClass(metadata=ObjectMeta(name="local"), provisioner="p", volume_binding_mode="WaitForFirstConsumer")


def dv(phase: str = "", progress: str = "") -> DataVolume:
    body: dict[str, Any] = {"metadata": {"name": "d", "namespace": "ns"}, "spec": {"source": {"blank": {}}}}
    body["status"] = {k: v for k, v in {"phase": phase, "progress": progress}.items() if v}
    return from_wire(body, DataVolume)


def claim(phase: str = "Bound", **annotations: str) -> PersistentVolumeClaim:
    marks = {getattr(names, key): value for key, value in annotations.items()}
    return from_wire(
        {"metadata": {"name": "d", "namespace": "ns", "annotations": marks}, "status": {"phase": phase}},
        PersistentVolumeClaim,
    )


def pod(phase: str, state: dict[str, Any] | None = None, progress: str = "") -> Pod:
    statuses = [{"name": "importer", "state": state}] if state else []
    annotations = {"kvtui.io/progress": progress} if progress else {}
    return from_wire(
        {
            "metadata": {"name": "p", "annotations": annotations},
            "status": {"phase": phase, "containerStatuses": statuses},
        },
        Pod,
    )


def view(
    dv_: DataVolume, claim_: PersistentVolumeClaim | None, pod_: Pod | None = None, kind: str = "import", **more: Any
) -> status.View:
    return status.View(dv_, claim_, pod_, more.get("storage_class"), kind, NOW, more.get("refusal"))


RUNNING = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}


@pytest.mark.parametrize(
    ("situation", "phase"),
    [
        (view(dv(), None), "Pending"),
        (view(dv(), None, refusal=status.Refusal("ErrClaimNotValid", "x")), ""),
        (view(dv(), claim("Pending"), storage_class=WAITS), "WaitForFirstConsumer"),
        (view(dv(), claim("Pending", IMMEDIATE=""), storage_class=WAITS), "Pending"),
        (view(dv("Pending"), claim()), "PVCBound"),
        (view(dv("PVCBound"), claim(), pod("Pending")), "ImportScheduled"),
        (view(dv("PVCBound"), claim(), pod("Pending"), "clone"), "CloneScheduled"),
        (view(dv("ImportScheduled"), claim(), pod("Running", RUNNING)), "ImportInProgress"),
        (view(dv("ImportInProgress"), claim(), pod("Failed")), "ImportInProgress"),
        (view(dv("ImportInProgress"), claim()), "ImportInProgress"),
        (view(dv("ImportInProgress"), claim(POD_PHASE="Succeeded")), "Succeeded"),
        (view(dv("ImportInProgress"), claim(FATAL="true")), "Failed"),
        (view(dv("ImportInProgress"), claim("Lost")), "Failed"),
        (view(dv(), claim("Pending", POPULATED_FOR="d")), "Succeeded"),
        (view(dv(), claim(), kind="external"), "Succeeded"),
        (view(dv("Succeeded"), None), "Succeeded"),
    ],
)
def test_phases(situation: status.View, phase: str) -> None:
    assert status.phase_of(situation) == phase


def conditions(situation: status.View) -> dict[str, tuple[str, str, str]]:
    return {c.type: (c.status, c.reason or "", c.message or "") for c in status.next_status(situation).conditions}


def test_conditions_of_a_transfer_from_first_to_last() -> None:
    assert conditions(view(dv(), claim("Pending"), storage_class=WAITS)) == {
        "Bound": ("False", "Pending", "PVC d Pending"),
        "Ready": ("False", "", ""),
        "Running": ("False", "", ""),
    }
    assert conditions(view(dv("ImportScheduled"), claim(), pod("Running", RUNNING))) == {
        "Bound": ("True", "Bound", "PVC d Bound"),
        "Ready": ("False", "TransferRunning", ""),
        "Running": ("True", "Pod is running", ""),
    }
    assert conditions(view(dv("ImportInProgress"), claim(POD_PHASE="Succeeded"))) == {
        "Bound": ("True", "Bound", "PVC d Bound"),
        "Ready": ("True", "", ""),
        "Running": ("False", "Completed", "Import Complete"),
    }


def test_a_failed_try_shows_its_words_and_stays_in_progress() -> None:
    ended = {"terminated": {"exitCode": 1, "reason": "Error", "message": "Unable to process data: x"}}
    situation = view(dv("ImportInProgress"), claim(POD_RESTARTS="3"), pod("Failed", ended))
    assert conditions(situation)["Running"] == ("False", "Error", "Unable to process data: x")
    assert status.next_status(situation).restart_count == 3
    assert not status.is_fatal(pod("Failed", ended))


def test_a_wrong_checksum_is_fatal() -> None:
    ended = {"terminated": {"exitCode": 1, "reason": "ChecksumError", "message": "checksum validation failed"}}
    assert status.is_fatal(pod("Failed", ended))


def test_a_refused_claim_is_told_in_bound_and_ready() -> None:
    found = conditions(view(dv(), None, refusal=status.Refusal("ErrClaimNotValid", "no class")))
    assert found["Bound"] == ("False", "ErrClaimNotValid", "no class")
    assert found["Ready"] == ("False", "ErrClaimNotValid", "no class")


@pytest.mark.parametrize(
    ("before", "sent", "phase", "shown"),
    [
        ("", "", "PVCBound", "N/A"),
        ("N/A", '{"percent": 42.131}', "ImportInProgress", "42.13%"),
        ("42.13%", '{"percent": 7}', "ImportInProgress", "42.13%"),
        ("42.13%", '{"percent": 100}', "ImportInProgress", "99.99%"),
        ("42.13%", "{hostile", "ImportInProgress", "42.13%"),
        ("42.13%", "", "Succeeded", "100.0%"),
    ],
)
def test_progress_never_falls_and_ends_with_success(before: str, sent: str, phase: str, shown: str) -> None:
    situation = view(dv(phase, before), claim(), pod("Running", RUNNING, sent))
    assert status.progress_of(situation, phase) == shown


def test_a_condition_that_did_not_change_keeps_its_times() -> None:
    first = status.next_status(view(dv(), claim()))
    later = status.View(
        from_wire({"metadata": {"name": "d"}, "status": {}}, DataVolume), claim(), None, None, "import", NOW
    )
    again = status.next_status(later)
    assert again.conditions == first.conditions
