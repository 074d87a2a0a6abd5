"""The next step for a launcher, as a table of what is true."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kvtui.api.kubevirt.vmi import VirtualMachineInstance, VirtualMachineInstanceMigrationState
from kvtui.api.times import to_time
from kvtui.node.hypervisor import DomainState, DomainStatus, Reason
from kvtui.node.lifecycle import Do, Step, View, plan
from kvtui.node.state import OutgoingMigration, Record, Stage
from tests.node.builders import NODE, record, running_status, vmi

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
RUNNING = DomainStatus(DomainState.RUNNING, Reason.BOOTED)
DELETED = {"deletion_timestamp": "2026-01-31T11:59:59Z"}


def ago(seconds: float) -> str:
    return to_time(NOW - timedelta(seconds=seconds))


def down(reason: Reason) -> DomainStatus:
    return DomainStatus(DomainState.SHUTOFF, reason)


def paused(reason: Reason) -> DomainStatus:
    return DomainStatus(DomainState.PAUSED, reason)


def step(instance: VirtualMachineInstance | None, of: Record, domain: DomainStatus | None, **more: Any) -> Step:
    return plan(View(node=NODE, vmi=instance, record=of, domain=domain, now=NOW, **more))


def scheduled() -> VirtualMachineInstance:
    return vmi(status={"phase": "Scheduled", "node_name": NODE})


def running(**more: Any) -> VirtualMachineInstance:
    return vmi(status=running_status(), **more)


def test_a_ready_launcher_starts_once_the_instance_is_scheduled_here() -> None:
    ready = record(stage=Stage.READY, domain="")
    assert step(vmi(status={"phase": "Scheduling"}), ready, None).do is Do.NOTHING
    assert step(scheduled(), ready, None).do is Do.START


def test_a_start_that_was_cut_short_is_begun_again() -> None:
    assert step(scheduled(), record(stage=Stage.STARTING), down(Reason.UNKNOWN)).do is Do.START
    assert step(scheduled(), record(stage=Stage.STARTING), None).do is Do.START


def test_a_guest_that_was_started_just_before_the_agent_died_is_adopted() -> None:
    assert step(scheduled(), record(stage=Stage.STARTING), RUNNING).do is Do.ADOPT


def test_a_running_guest_is_kept_in_step() -> None:
    assert step(running(), record(), RUNNING).do is Do.SYNC


@pytest.mark.parametrize("reason", [Reason.IOERROR, Reason.WATCHDOG, Reason.UNKNOWN, Reason.USER])
def test_a_guest_that_nobody_wants_paused_is_resumed(reason: Reason) -> None:
    assert step(running(), record(), paused(reason)).do is Do.RESUME


@pytest.mark.parametrize("reason", [Reason.MIGRATION, Reason.POSTCOPY, Reason.STARTING_UP, Reason.SNAPSHOT])
def test_a_guest_that_is_paused_for_work_is_left_alone(reason: Reason) -> None:
    assert step(running(), record(), paused(reason)).do is Do.SYNC


def test_a_guest_that_a_user_paused_stays_paused() -> None:
    assert step(running(), record(paused=True), paused(Reason.USER)).do is Do.SYNC


@pytest.mark.parametrize(
    ("reason", "phase"),
    [
        (Reason.SHUTDOWN, "Succeeded"),
        (Reason.SAVED, "Succeeded"),
        (Reason.FROM_SNAPSHOT, "Succeeded"),
        (Reason.CRASHED, "Failed"),
        (Reason.DESTROYED, "Failed"),
        (Reason.UNKNOWN, "Failed"),
        (Reason.FAILED, "Failed"),
    ],
)
def test_the_end_of_a_guest_has_the_phase_of_its_reason(reason: Reason, phase: str) -> None:
    found = step(running(), record(), down(reason))
    assert (found.do, found.phase) == (Do.REPORT_END, phase)


def test_a_guest_without_acpi_that_is_destroyed_succeeded() -> None:
    assert step(running(), record(acpi=False), down(Reason.DESTROYED)).phase == "Succeeded"


def test_a_guest_that_is_destroyed_without_grace_succeeded() -> None:
    instance = running(termination_grace_period_seconds=0)
    assert step(instance, record(), down(Reason.DESTROYED)).phase == "Succeeded"


def test_a_domain_that_vanished_is_a_failure() -> None:
    found = step(running(), record(), None)
    assert (found.do, found.phase, found.reason) == (Do.REPORT_END, "Failed", "DomainVanished")


def test_a_deleted_instance_is_asked_to_shut_down_and_asked_again_every_five_seconds() -> None:
    instance = running(meta=DELETED)
    first = step(instance, record(), RUNNING)
    assert (first.do, first.wake_in) == (Do.SIGNAL, 5.0)
    waiting = step(instance, record(shutdown_since=ago(2), signalled=ago(2)), RUNNING)
    assert (waiting.do, waiting.wake_in) == (Do.NOTHING, 3.0)
    assert step(instance, record(shutdown_since=ago(5), signalled=ago(5)), RUNNING).do is Do.SIGNAL


def test_a_guest_that_does_not_obey_is_killed_when_its_grace_is_over() -> None:
    instance = running(meta=DELETED, termination_grace_period_seconds=20)
    late = record(shutdown_since=ago(18), signalled=ago(4))
    found = step(instance, late, RUNNING)
    assert (found.do, found.wake_in) == (Do.NOTHING, 1.0)
    assert step(instance, record(shutdown_since=ago(20), signalled=ago(1)), RUNNING).do is Do.KILL


def test_a_guest_that_is_shutting_down_is_not_asked_again() -> None:
    instance = running(meta=DELETED)
    busy = DomainStatus(DomainState.SHUTDOWN)
    found = step(instance, record(shutdown_since=ago(10), signalled=ago(10)), busy)
    assert (found.do, found.wake_in) == (Do.NOTHING, 20.0)


def test_no_grace_means_no_asking() -> None:
    assert step(running(meta=DELETED, termination_grace_period_seconds=0), record(), RUNNING).do is Do.KILL


def test_the_deletion_of_the_launcher_shuts_the_guest_down_too() -> None:
    assert step(running(), record(), RUNNING, pod_terminating=True).do is Do.SIGNAL


def test_a_guest_whose_instance_is_gone_gets_the_grace_that_was_remembered() -> None:
    assert step(None, record(grace=7), RUNNING).do is Do.SIGNAL
    assert step(None, record(grace=0), RUNNING).do is Do.KILL


def test_what_is_left_of_an_instance_that_is_gone_is_removed() -> None:
    assert step(None, record(), down(Reason.SHUTDOWN)).do is Do.CLEAN_UP
    assert step(None, record(stage=Stage.READY, domain=""), None).do is Do.CLEAN_UP


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_final_instance_keeps_nothing_on_the_node(phase: str) -> None:
    final = vmi(status={"phase": phase, "node_name": NODE})
    assert step(final, record(), RUNNING).do is Do.KILL
    assert step(final, record(), down(Reason.DESTROYED)).do is Do.CLEAN_UP


def test_an_instance_deleted_before_its_guest_started_ends_as_failed() -> None:
    instance = vmi(status={"phase": "Scheduled", "node_name": NODE}, meta=DELETED)
    found = step(instance, record(stage=Stage.READY, domain=""), None)
    assert (found.do, found.phase) == (Do.REPORT_END, "Failed")


def test_while_a_guest_migrates_away_nothing_else_is_done() -> None:
    moving = record(outgoing=OutgoingMigration(uid="m"))
    assert step(running(), moving, RUNNING).do is Do.NOTHING
    assert step(running(meta=DELETED), moving, RUNNING).do is Do.ABORT_MIGRATION


def test_after_a_failed_migration_the_guest_is_kept_in_step_again() -> None:
    back = record(outgoing=OutgoingMigration(uid="m", ended=ago(1), failed=True))
    assert step(running(), back, RUNNING).do is Do.SYNC


def test_the_source_is_cleaned_only_when_the_instance_is_elsewhere() -> None:
    migrated = down(Reason.MIGRATED)
    moved = record(outgoing=OutgoingMigration(uid="m", ended=ago(1)))
    assert step(running(), moved, migrated).do is Do.NOTHING
    elsewhere = vmi(status={"phase": "Running", "node_name": "node-2"})
    assert step(elsewhere, moved, migrated).do is Do.CLEAN_UP


def test_a_guest_that_runs_here_although_its_instance_is_elsewhere_is_never_killed() -> None:
    elsewhere = vmi(status={"phase": "Running", "node_name": "node-2"})
    assert step(elsewhere, record(), RUNNING).do is Do.NOTHING


def migrating(uid: str, **more: Any) -> VirtualMachineInstance:
    state = VirtualMachineInstanceMigrationState(migration_uid=uid, target_node=NODE, **more)
    return vmi(status={"phase": "Running", "node_name": "node-2", "migration_state": state})


def test_a_prepared_target_waits_for_its_guest() -> None:
    prepared = record(stage=Stage.INCOMING, incoming="m")
    assert step(migrating("m"), prepared, None).do is Do.NOTHING
    assert step(migrating("m"), prepared, paused(Reason.MIGRATION)).do is Do.NOTHING


def test_a_target_that_is_not_prepared_yet_is_not_taken_for_a_left_over_source() -> None:
    assert step(migrating("m"), record(stage=Stage.READY, incoming="m", domain=""), None).do is Do.NOTHING


def test_a_target_whose_migration_failed_is_removed() -> None:
    prepared = record(stage=Stage.INCOMING, incoming="m")
    assert step(migrating("m", failed=True), prepared, None).do is Do.CLEAN_UP
    assert step(migrating("other"), prepared, None).do is Do.CLEAN_UP


def test_a_guest_lost_in_post_copy_is_ended() -> None:
    assert step(running(), record(), paused(Reason.POSTCOPY_FAILED)).do is Do.KILL
