"""The worker process: one Work line in, Progress lines and one Outcome line out."""

from __future__ import annotations

import asyncio
import signal
import sys
import time

from kvtui.api.wire import from_json, to_json
from kvtui.api.worker import Outcome, Progress, Work, WorkerLine
from kvtui.errors import InvalidObject
from kvtui.importer import pipeline, upload

_INTERVAL = 0.5


def _write(line: WorkerLine) -> None:
    sys.stdout.buffer.write(to_json(line) + b"\n")
    sys.stdout.buffer.flush()


class _Reporter:
    """At most two progress lines a second, and each stage's first."""

    def __init__(self) -> None:
        self._last = 0.0
        self._stage = ""

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if progress.stage != self._stage or now - self._last >= _INTERVAL:
            self._last, self._stage = now, progress.stage
            print(f"{progress.stage} {progress.percent:.1f}%", file=sys.stderr, flush=True)
            _write(WorkerLine(progress=progress))


async def _main(work: Work) -> Outcome:
    do = upload.run if work.job.upload is not None else pipeline.run
    task = asyncio.ensure_future(do(work, _Reporter()))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        return Outcome(message="stopped", reason="Error")


def main() -> int:
    line = sys.stdin.buffer.readline()
    try:
        work = from_json(line, Work)
    except InvalidObject as error:
        outcome = Outcome(message=f"the work order cannot be read: {error}", reason="Error", fatal=True)
    else:
        outcome = asyncio.run(_main(work))
    if not outcome.ok:
        print(outcome.message, file=sys.stderr, flush=True)
    _write(WorkerLine(outcome=outcome))
    return 0 if outcome.ok else 1


if __name__ == "__main__":
    raise SystemExit(main())
