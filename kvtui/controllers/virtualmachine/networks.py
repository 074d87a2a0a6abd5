"""Network interfaces of a running VM: plugged in, taken out, link switched, network changed.

Source: kubevirt pkg/network/vmliveupdate, pkg/network/controllers/vm.go; control plane facts 2.9.
"""

from __future__ import annotations

from kvtui.api.kubevirt.domain import Interface
from kvtui.api.kubevirt.vmi import Network, VirtualMachineInstance, VirtualMachineInstanceSpec
from kvtui.api.wire import evolve
from kvtui.controllers import conditions
from kvtui.controllers.virtualmachine.outcome import NOT_LIVE, Outcome
from kvtui.controllers.virtualmachine.view import View

ABSENT = "absent"


def apply(view: View, wanted: VirtualMachineInstanceSpec, vmi: VirtualMachineInstance) -> Outcome:
    """The VMI with the interfaces that the template asks for, as far as they can change live."""
    new, old = _by_name(wanted.domain.devices.interfaces), _by_name(vmi.spec.domain.devices.interfaces)
    if not new and not wanted.networks:
        # The template leaves its interface to the defaults of the VMI.
        return Outcome(vmi)
    nets, present_nets = {n.name: n for n in wanted.networks}, {n.name: n for n in vmi.spec.networks}
    result: list[Interface] = []
    networks = list(vmi.spec.networks)
    for name, present in old.items():
        target = new.get(name)
        if target is None:
            if present.state != ABSENT:
                return Outcome(vmi, NOT_LIVE)
            result.append(present)
            continue
        changed = _changed(present, target)
        if changed is None:
            return Outcome(vmi, NOT_LIVE)
        result.append(changed)
    for name, interface in new.items():
        if name in old or interface.state == ABSENT:
            continue
        if interface.bridge is None and interface.sriov is None:
            return Outcome(vmi, NOT_LIVE)
        result.append(interface)
        if name in nets and name not in present_nets:
            networks.append(nets[name])
    migratable = conditions.is_true(vmi.status.conditions, "LiveMigratable")
    final: list[Network] = []
    for network in networks:
        replaced = _network(network, nets.get(network.name), migratable=migratable)
        if replaced is None:
            return Outcome(vmi, NOT_LIVE)
        final.append(replaced)
    devices = evolve(vmi.spec.domain.devices, interfaces=result)
    spec = evolve(vmi.spec, domain=evolve(vmi.spec.domain, devices=devices), networks=final)
    return Outcome(evolve(vmi, spec=spec))


def _by_name(interfaces: list[Interface]) -> dict[str, Interface]:
    return {i.name: i for i in interfaces}


def _changed(present: Interface, target: Interface) -> Interface | None:
    """With the target's state; None when anything else differs. What defaults filled in is not a difference."""
    filled = evolve(
        target,
        state=present.state,
        model=target.model or present.model,
        mac_address=target.mac_address or present.mac_address,
    )
    if filled != present:
        return None
    return evolve(present, state=target.state)


def _network(present: Network, target: Network | None, *, migratable: bool) -> Network | None:
    if target is None or target == present:
        return present
    if present.multus is None or target.multus is None or not migratable:
        return None
    return target
