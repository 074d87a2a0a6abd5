"""Pages of a migration: the progress view with phases, memory, verdict and history."""

from __future__ import annotations

from collections.abc import Sequence

from kvtui.tui.columns.cell import Cell, Line, Sight, Tone, clean, clock_time, duration, line, moment, size
from kvtui.tui.columns.migrations import VERDICT_TONES, ended_after, phase_cell, reason, started_by
from kvtui.tui.details.common import heading, pair
from kvtui.tui.details.vm import history
from kvtui.tui.model.rows import MigrationRow
from kvtui.tui.model.transfer import Transfer, Verdict

PHASES = ("Pending", "Scheduling", "Scheduled", "PreparingTarget", "TargetReady", "Running")
_SHORT = {"PreparingTarget": "Preparing", "TargetReady": "Ready"}
_GIB = 2**30


def progress(row: MigrationRow, others: Sequence[MigrationRow], sight: Sight) -> list[Line]:
    """What one watches while memory is copied; the result once it is over."""
    lines = [_title(row, sight), _phases(row, sight), line("")]
    if not row.active:
        lines += _result(row)
    elif row.transfer.last is None:
        lines += [
            line(Cell("No transfer numbers yet.", Tone.DIM), " Phases are live."),
            *(
                [pair("Waiting", clean(text))]
                if (text := reason(row)) and row.phase in ("Pending", "Scheduling", "Scheduled")
                else []
            ),
        ]
    else:
        lines += _memory(row.transfer, sight)
    lines += _settings(row, sight)
    rest = [other for other in others if other.key != row.key]
    lines += [line(""), heading(f"HISTORY of {row.object.spec.vmi_name}"), *history(rest, sight, "No others.")]
    return lines


def _elapsed(row: MigrationRow, sight: Sight) -> float:
    state = row.object.status.migration_state if row.object.status else None
    start = moment(state.start_timestamp if state else None) or moment(row.object.metadata.creation_timestamp)
    return (sight.now - start).total_seconds() if start else 0.0


def _title(row: MigrationRow, sight: Sight) -> Line:
    source, target = row.route()
    took = ended_after(row) if not row.active else None
    return line(
        Cell(f"{row.key.namespace}/{row.object.spec.vmi_name}  ", Tone.STRONG),
        f"{source or '-'} -> {target or '-'}   ",
        phase_cell(row, sight),
        Cell(f"   {clock_time(took if took is not None else _elapsed(row, sight))}", Tone.DIM),
    )


def _phases(row: MigrationRow, sight: Sight) -> Line:
    """`Pending 2s > Scheduling 4s > RUNNING`, from the phase timestamps."""
    stamps = row.object.status.phase_transition_timestamps if row.object.status else []
    at = {s.phase: moment(s.phase_transition_timestamp) for s in stamps if s.phase}
    pieces: list[Cell | str] = []
    reached = [p for p in PHASES if p in at or p == row.phase]
    for index, phase in enumerate(reached):
        following = [t for p in (*reached[index + 1 :], "Succeeded", "Failed") if (t := at.get(p)) is not None]
        begun = at.get(phase)
        name = _SHORT.get(phase, phase)
        if pieces:
            pieces.append(Cell(" > ", Tone.DIM))
        if phase == row.phase:
            pieces.append(Cell(name.upper(), Tone.MOVE))
        elif begun is not None and following:
            pieces.append(f"{name} {duration((following[0] - begun).total_seconds())}")
        else:
            pieces.append(name)
    return line(*pieces)


def _memory(transfer: Transfer, sight: Sight) -> list[Line]:
    last = transfer.last
    assert last is not None
    share, best = transfer.share or 0.0, transfer.best_share or 0.0
    glyphs = sight.glyphs
    bar = f"[{glyphs.bar(share, 30, best)}]"
    where = f"{share * 100:.0f} %" if best - share < 0.01 else f"best {best * 100:.0f} %, now {share * 100:.0f} %"
    remaining = f"{size(last.remaining)} of {size(last.total)}"
    if best - share >= 0.01 and transfer.best is not None:
        remaining += f"   best {size(transfer.best)}, the guest is rewriting memory"
    verdict = transfer.verdict
    writes = [s.dirty_rate for s in transfer.samples]
    copies = [s.rate for s in transfer.samples]
    left = transfer.seconds_left
    age = max(0, int(sight.now.timestamp() - last.at))
    top = max(*writes[-12:], *copies[-12:], 1.0)
    return [
        pair(f"Memory pass {last.iteration}" if last.iteration else "Memory", Cell(bar, Tone.MOVE), f"  {where}"),
        pair("Remaining", remaining),
        pair("Guest writes", f"{size(transfer.write_rate, per_second=True):>12}  ",
             Cell(glyphs.spark(writes, 12, top), Tone.DIM)),
        pair("We copy", f"{size(transfer.copy_rate, per_second=True):>12}  ",
             Cell(glyphs.spark(copies, 12, top), Tone.DIM)),
        pair("Verdict", Cell(verdict.value, VERDICT_TONES.get(verdict, Tone.TEXT)), f"  {_why(transfer)}"),
        pair("Time left", f"about {clock_time(left)}" if left is not None else "-  unknown",
             Cell(f"        Expected pause  {last.downtime_ms:.0f} ms" if last.downtime_ms else "", Tone.TEXT)),
        pair("Numbers", Cell(f"node agent, {age} s old", Tone.DIM)),
    ]  # fmt: skip


def _why(transfer: Transfer) -> str:
    copied, written = transfer.copy_rate, transfer.write_rate
    match transfer.verdict:
        case Verdict.CONVERGING if written <= 0:
            return "the guest writes next to nothing"
        case Verdict.CONVERGING | Verdict.SLOW if written > 0:
            return (
                f"copying is {'only ' if copied <= 1.5 * written else ''}{copied / written:.1f} times as fast"
                " as the guest writes"
            )
        case Verdict.NOT_CONVERGING:
            return "the guest writes at least as fast as we copy"
        case Verdict.STALLED:
            return "no better remaining amount for 30 s"
        case Verdict.SWITCHING:
            return "the final pause"
        case Verdict.POST_COPY:
            return "it runs on the target already; abort is not possible"
        case _:
            return ""


def _settings(row: MigrationRow, sight: Sight) -> list[Line]:
    state = row.object.status.migration_state if row.object.status else None
    configuration = state.migration_configuration if state else None
    last = row.transfer.last
    lines = []
    timeout = configuration.completion_timeout_per_gi_b if configuration else None
    if row.active and timeout and last is not None and last.total:
        left = timeout * max(1.0, last.total / _GIB) - _elapsed(row, sight)
        end = "switched to post-copy" if configuration and configuration.allow_post_copy else "aborted"
        lines.append(pair("Deadline", f"{clock_time(left)} left, then the migration is {end}"))
    encrypted = "off" if configuration and configuration.disable_tls else "on"
    mode = (state.mode if state else None) or (last.mode if last else "") or "PreCopy"
    words = f"{mode}    Started by {started_by(row) or '-'}    "
    policy = (state.migration_policy_name if state else None) or "none"
    lines.append(pair("Mode", f"{words}Policy {policy}    Encryption {encrypted}"))
    return lines


def _result(row: MigrationRow) -> list[Line]:
    took = ended_after(row)
    after = f" after {clock_time(took)}" if took is not None else ""
    if row.phase == "Succeeded":
        last = row.transfer.last
        pause = f", pause {last.downtime_ms:.0f} ms" if last is not None and last.downtime_ms else ""
        return [line(Cell(f"SUCCEEDED{after}{pause}", Tone.OK))]
    lines = [line(Cell(f"FAILED{after}: {clean(reason(row)) or 'no reason given'}", Tone.FAIL))]
    return [*lines, pair("What to try", "r runs it again with the same settings")]
