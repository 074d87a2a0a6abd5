"""For any VMI: a well-formed document that holds the given texts and nothing else, or a ConversionError."""

from __future__ import annotations

from xml.etree import ElementTree

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.wire import from_wire
from kvtui.domainxml import (
    Bridged,
    Cluster,
    Context,
    ConversionError,
    DiskFacts,
    HostCell,
    Placement,
    convert,
    finish,
    live,
    ownership_of,
    placeholder_count,
    settle,
    to_text,
)

from . import strategies

Element = ElementTree.Element

contexts = st.builds(
    Context,
    kvm=st.booleans(),
    allow_emulation=st.just(value=True),
    cpu_set=st.sampled_from([(), (0, 1, 2, 3), tuple(range(64))]),
    numa=st.sampled_from([(), (HostCell(0, ((0, 1), (2, 3)), {0: 10}), HostCell(1, ((4, 5),), {}))]),
    block_volumes=st.sampled_from([frozenset[str](), frozenset({"a", "default"})]),
    device_env=st.just({"PCI_RESOURCE_A": "0000:01:00.0,0000:02:00.0", "USB_RESOURCE_B": "x"}),
    cluster=st.just(Cluster(gates=frozenset({"FirmwareAutoSelection", "PCINUMAAwareTopology"}))),
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(strategies.vmis(), contexts)
def test_any_vmi_converts_or_is_refused(vmi: VirtualMachineInstance, context: Context) -> None:
    try:
        domain = convert(vmi, context)
    except ConversionError as refusal:
        _names_a_field(refusal)
        return
    _same(ElementTree.fromstring(to_text(domain)), domain)
    facts = DiskFacts(direct_io=True, allocated=True)
    placement = Placement(
        ownership=ownership_of(vmi),
        interfaces=dict.fromkeys((*strategies.NAMES, *strategies.HOSTILE), Bridged("br", "tap", "02:00:00:00:00:01")),
        disks=dict.fromkeys(strategies.NAMES, facts),
        serial_log="/log",
    )
    try:
        finished = finish(domain, placement)
    except ConversionError as refusal:
        _names_a_field(refusal)
        return
    text = to_text(finished)
    _same(ElementTree.fromstring(text), finished)
    assert live.parse(text).owner == ownership_of(vmi)
    assert placeholder_count(vmi) >= 0
    settle(finished)


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(min_size=1, max_size=40), st.sampled_from(strategies.HOSTILE)))
def test_no_text_of_a_user_becomes_markup(text: str) -> None:
    wire = {
        "metadata": {"name": "vm", "namespace": "ns", "uid": "u"},
        "spec": {
            "networks": [{"name": text, "pod": {}}],
            "domain": {
                "chassis": {"manufacturer": text, "serial": text},
                "clock": {"timezone": text},
                "cpu": {"model": text, "features": [{"name": text, "policy": text}]},
                "firmware": {"uuid": text, "serial": text, "kernelBoot": {"kernelArgs": text}},
                "machine": {"type": text},
                "memory": {"guest": "1Gi"},
                "devices": {
                    "disks": [{"name": text, "cdrom": {"bus": "sata"}, "serial": text, "io": text, "cache": text}],
                    "interfaces": [{"name": text, "masquerade": {}, "model": text, "macAddress": text}],
                    "watchdog": {"name": text, "i6300esb": {"action": text}},
                    "sound": {"name": text},
                    "video": {"type": text},
                    "panicDevices": [{"model": text}],
                },
            },
        },
    }
    try:
        domain = convert(from_wire(wire, VirtualMachineInstance), Context())
    except ConversionError as refusal:
        _names_a_field(refusal)
        return
    plain = from_wire(_with(wire, text, "plain"), VirtualMachineInstance)
    assert _shape(ElementTree.fromstring(to_text(domain))) == _shape(convert(plain, Context()))


def _names_a_field(refusal: ConversionError) -> None:
    assert refusal.field.startswith(("spec", "metadata"))
    assert str(refusal)


def _with(value: object, old: str, new: str) -> object:
    if isinstance(value, dict):
        return {key: _with(item, old, new) for key, item in value.items()}
    if isinstance(value, list):
        return [_with(item, old, new) for item in value]
    return new if value is old else value


def _shape(node: Element) -> list[object]:
    return [node.tag, sorted(node.attrib), [_shape(child) for child in node]]


def _same(parsed: Element, made: Element) -> None:
    """The document reads back as it was made; a carriage return is a line break to XML."""
    assert parsed.tag == made.tag
    assert parsed.attrib == made.attrib
    assert (parsed.text or "") == (made.text or "").replace("\r\n", "\n").replace("\r", "\n")
    assert len(parsed) == len(made)
    for one, other in zip(parsed, made, strict=True):
        _same(one, other)
