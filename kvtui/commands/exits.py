"""Exit codes, and how an error is told.

Source: exit codes of the interaction design, section 20.
"""

from __future__ import annotations

import enum

import click

from kvtui.errors import (
    AlreadyExists,
    Conflict,
    Forbidden,
    Invalid,
    InvalidObject,
    KvtuiError,
    NotFound,
    TooManyRequests,
    Unreachable,
    Usage,
)


class ExitCode(enum.IntEnum):
    """What a script can tell from the exit status."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    NOT_ALLOWED = 4
    REFUSED = 5
    TIMED_OUT = 6
    UNREACHABLE = 7
    PARTLY = 8
    INTERRUPTED = 130


def exit_code_of(error: BaseException) -> ExitCode:
    """The exit status for an error that ended a command."""
    match error:
        case Usage() | InvalidObject():
            return ExitCode.USAGE
        case NotFound():
            return ExitCode.NOT_FOUND
        case Forbidden():
            return ExitCode.NOT_ALLOWED
        case Conflict() | AlreadyExists() | TooManyRequests():
            return ExitCode.REFUSED
        case TimeoutError():
            return ExitCode.TIMED_OUT
        case Unreachable():
            return ExitCode.UNREACHABLE
        case Invalid() if error.code == 403:
            return ExitCode.NOT_ALLOWED
        case _:
            return ExitCode.FAILED


def report(error: KvtuiError | TimeoutError) -> None:
    """The error and what can be done about it, on stderr."""
    click.echo(f"error: {error}", err=True)
    hint = error.hint if isinstance(error, KvtuiError) else ""
    if hint:
        click.echo(f"hint: {hint}", err=True)
