"""Why an import failed, worded for the Running condition of a DataVolume.

Source: CDI importer messages (error catalogue of containerized-data-importer).
"""

from __future__ import annotations

from kvtui.errors import KvtuiError

TOO_SMALL = "DataVolume too small to contain image"


class ImportFailed(KvtuiError):
    """The attempt failed; another may succeed."""

    reason = "Error"
    fatal = False


class PullFailed(ImportFailed):
    """The bytes could not be had, or stopped coming."""

    reason = "ImagePullFailed"


class ChecksumMismatch(ImportFailed):
    """What came is not what was promised; only a new spec helps."""

    reason = "ChecksumError"
    fatal = True
    hint = "correct spec.source.http.checksum, or upload the image again"


class TooSmall(ImportFailed):
    """The image does not fit the claim."""


def simplified(message: str) -> str:
    """One line of at most 4096 bytes; the many words for "no room" become one sentence."""
    line = " ".join(message.split())
    full = (
        "is larger than the reported available",
        "no space left on device",
        "file largest block is bigger than maxblock",
        "disk quota exceeded",
    )
    if any(words in line.lower() for words in full):
        return TOO_SMALL
    return line.encode()[:4096].decode("utf-8", "ignore")
