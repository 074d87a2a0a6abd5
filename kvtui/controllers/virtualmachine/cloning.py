"""Whether a VM may have the disks cloned that its dataVolumeTemplates name.

Its DataVolumes are made by the controller, which may clone everything. What counts is the VM's own service account.

Source: kubevirt pkg/virt-controller/watch/vm/vm.go (authorizeDataVolume); cdi facts 5.1, 8.1.
"""

from __future__ import annotations

from kvtui.api.admission import UserInfo
from kvtui.api.cdi.datavolume import DataVolume
from kvtui.api.kubevirt.vmi import VirtualMachineInstanceSpec
from kvtui.api.wire import evolve
from kvtui.client.rest import Client
from kvtui.virtapi.admission import cdi_clone
from kvtui.virtapi.admission.view import ClusterView, evaluate
from kvtui.virtapi.readers import ClientReader


def account_of(spec: VirtualMachineInstanceSpec) -> str:
    volume = next((v.service_account for v in spec.volumes if v.service_account is not None), None)
    return spec.service_account_name or (volume.service_account_name if volume else None) or "default"


def user_of(namespace: str, account: str) -> UserInfo:
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
    return UserInfo(username=f"system:serviceaccount:{namespace}:{account}", groups=groups)


async def cleared(client: Client, volume: DataVolume, spec: VirtualMachineInstanceSpec) -> tuple[DataVolume, str]:
    """The volume to create, cloned from what its DataSource stands for at present; or why the VM may not have it."""
    namespace = volume.metadata.namespace
    user = user_of(namespace, account_of(spec))

    def rule(view: ClusterView) -> tuple[DataVolume, str]:
        causes = cdi_clone.validate_rights(volume, namespace, user, view)
        if causes:
            return volume, causes[0].message
        cloned = cdi_clone.origin(volume, namespace, view)
        if cloned is None:
            return volume, ""
        return evolve(volume, spec=evolve(volume.spec, source=cloned.source, source_ref=None)), ""

    return await evaluate(rule, ClientReader(client))
