"""Why a patch was refused."""

from __future__ import annotations

from kvtui.errors import Permanent


class PatchError(Permanent):
    """The patch cannot be applied; `code` is the HTTP status to answer with."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


REFUSED = "the server rejected our request due to an error in our request"
"""What a failing JSON patch operation is answered with: the real cause is not told, as upstream."""
