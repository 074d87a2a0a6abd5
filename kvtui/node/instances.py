"""VMIs and Pods that concern this node, from caches that follow the labels the control plane sets."""

from __future__ import annotations

from collections.abc import Callable

from kvtui.api.core.pod import Pod
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.wire import ObjectKey
from kvtui.client.rest import Client
from kvtui.controlloop.informer import Informer
from kvtui.node.state import Record
from kvtui.settings import ControlLoopSettings

NODE_LABEL = "kubevirt.io/nodeName"
TARGET_LABEL = "kubevirt.io/migrationTargetNodeName"


class NodeCaches:
    """Informers for one node. Objects that have not been given to the node yet are asked for one by one."""

    def __init__(self, client: Client, node: str, settings: ControlLoopSettings | None = None) -> None:
        self._client = client
        self.here = Informer(client, VirtualMachineInstance, label_selector=f"{NODE_LABEL}={node}", settings=settings)
        self.arriving = Informer(
            client, VirtualMachineInstance, label_selector=f"{TARGET_LABEL}={node}", settings=settings
        )
        self.pods = Informer(client, Pod, field_selector=f"spec.nodeName={node}", settings=settings)
        self.here.store.add_index("uid", lambda vmi: (vmi.metadata.uid,))

    @property
    def all(self) -> tuple[Informer[VirtualMachineInstance], Informer[VirtualMachineInstance], Informer[Pod]]:
        return (self.here, self.arriving, self.pods)

    def on_vmi(self, look: Callable[[str], None]) -> None:
        """Calls `look` with the UID of each VMI that changes."""

        def handler(old: VirtualMachineInstance | None, new: VirtualMachineInstance | None) -> None:
            found = new or old
            if found is not None:
                look(found.metadata.uid)

        self.here.subscribe(handler)
        self.arriving.subscribe(handler)

    def cached(self, record: Record) -> VirtualMachineInstance | None:
        for informer in (self.here, self.arriving):
            vmi = informer.get(record.key)
            if vmi is not None and vmi.metadata.uid == record.uid:
                return vmi
        return None

    async def find(self, record: Record) -> VirtualMachineInstance | None:
        """The VMI of a record; None when the API says that it does not exist (any more)."""
        vmi = self.cached(record)
        if vmi is not None:
            return vmi
        found = await self._client.find(VirtualMachineInstance, ObjectKey(*record.key))
        return found if found is not None and found.metadata.uid == record.uid else None

    def pod(self, record: Record) -> Pod | None:
        pod = self.pods.get((record.namespace, record.pod))
        return pod if pod is not None and pod.metadata.uid == record.pod_uid else None
