"""Messages and jobs: what was answered, what takes long, and how it ended."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

_MESSAGES = 1000
_JOBS = 100


class Severity(enum.StrEnum):
    """How a message is shown."""

    INFO = "info"
    WARN = "warn"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Message:
    """One line of the log."""

    at: datetime
    text: str
    severity: Severity = Severity.INFO
    about: str = ""
    """The object, as namespace/name."""
    detail: str = ""
    """The server's full text."""


class Outcome(enum.StrEnum):
    """Where one object of a job stands."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(slots=True)
class Step:
    """One object of a job."""

    name: str
    outcome: Outcome = Outcome.WAITING
    reason: str = ""


@dataclass(slots=True)
class Job:
    """Something that takes longer than a moment, or has several objects."""

    title: str
    started: datetime
    steps: list[Step]
    ended: datetime | None = None
    cancelled: bool = False
    retry: Callable[[list[str]], None] | None = None
    """Sends the named steps again."""

    @property
    def running(self) -> bool:
        return self.ended is None

    def count(self, outcome: Outcome) -> int:
        return sum(1 for step in self.steps if step.outcome is outcome)

    def summary(self) -> str:
        """`2 done, 1 failed`."""
        words = (Outcome.RUNNING, Outcome.WAITING, Outcome.DONE, Outcome.FAILED, Outcome.SKIPPED)
        return ", ".join(f"{n} {word.value}" for word in words if (n := self.count(word)))


@dataclass(slots=True)
class Journal:
    """Everything said and done in this session."""

    clock: Callable[[], datetime]
    messages: deque[Message] = field(default_factory=lambda: deque(maxlen=_MESSAGES))
    jobs: deque[Job] = field(default_factory=lambda: deque(maxlen=_JOBS))
    listeners: list[Callable[[], None]] = field(default_factory=list)

    def say(self, text: str, severity: Severity = Severity.INFO, *, about: str = "", detail: str = "") -> Message:
        message = Message(self.clock(), text, severity, about, detail)
        self.messages.append(message)
        self._tell()
        return message

    def begin(self, title: str, names: list[str]) -> Job:
        job = Job(title, self.clock(), [Step(name) for name in names])
        self.jobs.append(job)
        self._tell()
        return job

    def changed(self, job: Job) -> None:
        if job.running and not job.count(Outcome.WAITING) and not job.count(Outcome.RUNNING):
            job.ended = self.clock()
        self._tell()

    @property
    def running(self) -> int:
        return sum(1 for job in self.jobs if job.running)

    def _tell(self) -> None:
        for listener in list(self.listeners):
            listener()
