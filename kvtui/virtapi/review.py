"""virt-api's admission: its webhooks run in the embedded server, or are served as such to another one.

Source: https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/.
"""

from __future__ import annotations

import random
import string
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from kvtui.api.admission import AdmissionRequest, Denied
from kvtui.api.times import to_time
from kvtui.virtapi.admission import webhooks
from kvtui.virtapi.admission.call import Call, Chance
from kvtui.virtapi.admission.view import evaluate

if TYPE_CHECKING:
    from kvtui.virtapi.admission.view import ClusterView, Reader
    from kvtui.virtapi.admission.webhooks import Webhook

T = TypeVar("T")

_ALPHABET = string.ascii_lowercase + string.digits


def draw() -> Chance:
    """Fresh identities and the present time."""
    suffix = "".join(random.choices(_ALPHABET, k=5))  # noqa: S311 -- part of a name, no secret
    return Chance((str(uuid.uuid4()), str(uuid.uuid4())), suffix, to_time(datetime.now(UTC)))


class VirtAdmission:
    """Every rule of KubeVirt and CDI. Stateless but for what the reader keeps."""

    def __init__(self, reader: Reader, *, chance: Callable[[], Chance] = draw) -> None:
        self._reader = reader
        self._chance = chance

    async def mutate(self, request: AdmissionRequest) -> tuple[dict[str, Any], list[str]]:
        """The object to store in place of `request.object`, and warnings. Raises Denied."""
        warnings: list[str] = []
        for webhook in webhooks.of(request):
            if webhook.mutate is not None:
                changed, added = await self._run(webhook, webhook.mutate, request)
                warnings += added
                request = replace(request, object=changed)
        return request.object or {}, warnings

    async def validate(self, request: AdmissionRequest) -> list[str]:
        """Warnings. Raises Denied."""
        warnings: list[str] = []
        for webhook in webhooks.of(request):
            if webhook.validate is not None:
                warnings += await self._run(webhook, webhook.validate, request)
        return warnings

    async def _run(self, webhook: Webhook, rule: Callable[[Call, ClusterView], T], request: AdmissionRequest) -> T:
        call = Call(request, self._chance())
        try:
            return await evaluate(lambda view: rule(call, view), self._reader)
        except Denied as denied:
            raise named(denied, webhook) from denied


def named(denied: Denied, webhook: Webhook) -> Denied:
    """The refusal with the name under which it is shown to users."""
    return Denied(
        str(denied),
        code=denied.code,
        reason=denied.reason,
        causes=denied.causes,
        webhook=webhook.name,
        retry_after=denied.retry_after,
    )
