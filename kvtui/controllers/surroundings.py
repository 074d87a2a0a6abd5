"""What a launcher depends on beside its VMI, from the caches."""

from __future__ import annotations

from kvtui.api.core.config import NetworkAttachmentDefinition
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.controllers.context import ControllerContext
from kvtui.controllers.launcher import networks
from kvtui.controllers.launcher.render import Surroundings
from kvtui.controllers.quota import QuotaLimits


class SurroundingsOf:
    """Answers for one VMI at a time."""

    def __init__(self, context: ControllerContext) -> None:
        self._config = context.config
        self._attachments = context.informers.of(NetworkAttachmentDefinition, optional=True)
        self._quota = QuotaLimits(context)

    def of(self, vmi: VirtualMachineInstance) -> Surroundings:
        wanted = (networks.attachment_of(n, vmi.metadata.namespace) for n in vmi.spec.networks)
        found = {w: nad for w in wanted if w is not None and (nad := self._attachments.get(w)) is not None}
        return Surroundings(config=self._config.now, attachments=found, auto_limits=self._quota.limits(vmi))
