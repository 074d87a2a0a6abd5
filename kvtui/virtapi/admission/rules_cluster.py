"""Webhooks for the KubeVirt resource and for evictions.

Source: control plane facts 1.5, 5.10 and 8.9.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.api.kubevirt.config import KubeVirt
from kvtui.virtapi.admission import kubevirt_cr
from kvtui.virtapi.admission.causes import refuse

if TYPE_CHECKING:
    from kvtui.virtapi.admission.call import Call
    from kvtui.virtapi.admission.view import ClusterView


def validate_kubevirt_create(call: Call, view: ClusterView) -> list[str]:
    kubevirt_cr.refuse_second(view)
    return kubevirt_cr.warnings(call.new(KubeVirt).spec)


def validate_kubevirt_update(call: Call, view: ClusterView) -> list[str]:
    new, old = call.checked(KubeVirt), call.old(KubeVirt)
    refuse(kubevirt_cr.validate_update(new.spec, old.spec, view))
    return kubevirt_cr.warnings(new.spec)
