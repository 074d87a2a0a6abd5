"""From upstream's domain to this node's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest

from kvtui.domainxml import (
    Bridged,
    Context,
    ConversionError,
    DiskFacts,
    Ownership,
    Placement,
    convert,
    finish,
    ownership_of,
    to_text,
)
from kvtui.domainxml import metadata as ours
from kvtui.domainxml.deviations import DEVIATIONS, Stage

from .builders import NAT, UID, UUID, Element, attributes, only, vmi

NIC = {"default": Bridged("kvb0", "kvt0", "02:00:00:00:00:01")}
OWNER = Ownership(uid=UID, namespace="demo", name="web")
EMULATED = Context(kvm=False, allow_emulation=True)


def finished(context: Context | None = None, placement: Placement | None = None, **parts: Any) -> Element:
    return finish(convert(vmi(**parts), context or Context()), placement or Placement(ownership=OWNER, interfaces=NIC))


def test_the_converted_domain_is_left_as_it_was() -> None:
    converted = convert(vmi(devices=NAT), Context())
    before = to_text(converted)
    finish(converted, Placement(ownership=OWNER, interfaces=NIC))
    assert to_text(converted) == before


def test_a_domain_says_whose_it_is() -> None:
    domain = finished()
    assert only(domain, "name").text == "demo_web"
    assert only(domain, "uuid").text == UUID
    assert ours.read(domain) == OWNER


def test_a_vmi_without_a_firmware_uuid_is_refused() -> None:
    with pytest.raises(ConversionError, match="no firmware UUID"):
        finished(domain={"firmware": None})


def test_an_interface_without_a_place_on_the_node_is_refused() -> None:
    with pytest.raises(ConversionError, match="interface default has no attachment"):
        finished(placement=Placement(ownership=OWNER), devices=NAT)


@pytest.mark.parametrize(
    ("given", "facts", "cache", "io"),
    [
        ({}, DiskFacts(direct_io=True), "none", None),
        ({}, DiskFacts(direct_io=True, allocated=True), "none", "native"),
        ({}, DiskFacts(direct_io=False, allocated=True), "writethrough", None),
        ({"cache": "writeback"}, DiskFacts(direct_io=True, allocated=True), "writeback", None),
        ({"cache": "none", "io": "threads"}, DiskFacts(direct_io=True, allocated=True), "none", "threads"),
        ({}, None, None, None),
    ],
)
def test_cache_and_io_follow_what_the_files_can(
    given: dict[str, str], facts: DiskFacts | None, cache: str | None, io: str | None
) -> None:
    placement = Placement(ownership=OWNER, disks={"d": facts} if facts else {})
    domain = finished(placement=placement, devices={"disks": [{"name": "d", "disk": {"bus": "virtio"}, **given}]})
    driver = only(domain, "devices/disk/driver")
    assert (driver.get("cache"), driver.get("io")) == (cache, io)


def test_direct_io_that_is_impossible_is_refused_by_name() -> None:
    placement = Placement(ownership=OWNER, disks={"d": DiskFacts(direct_io=False)})
    with pytest.raises(ConversionError, match="does not support direct I/O") as refusal:
        finished(placement=placement, devices={"disks": [{"name": "d", "cache": "none"}]})
    assert refusal.value.field == "spec.domain.devices.disks[d].cache"


def test_an_empty_drive_needs_no_cache() -> None:
    placement = Placement(ownership=OWNER, disks={"d": DiskFacts(direct_io=True)})
    devices = {"disks": [{"name": "d", "cdrom": {"bus": "sata"}}]}
    domain = finished(placement=placement, devices=devices, spec={"volumes": []})
    assert only(domain, "devices/disk/driver").get("cache") is None


def test_sockets_log_and_confinement_are_the_nodes() -> None:
    placement = Placement(
        ownership=OWNER,
        serial_log="/vm/serial.log",
        agent_socket="/run/agent",
        emulator="/opt/qemu",
        partition="/machine/kvtui",
        unconfined=True,
    )
    domain = finished(placement=placement, devices={"logSerialConsole": False})
    assert attributes(domain, "devices/serial/log") == {"file": "/vm/serial.log", "append": "on"}
    assert attributes(domain, "devices/channel/source") == {"mode": "bind", "path": "/run/agent"}
    assert only(domain, "devices/emulator").text == "/opt/qemu"
    assert only(domain, "resource/partition").text == "/machine/kvtui"
    assert attributes(domain, "seclabel") == {"type": "none"}


@pytest.mark.parametrize(
    ("model", "host_model", "mode"),
    [
        ("host-passthrough", True, "maximum"),
        ("host-model", True, "host-model"),
        ("host-model", False, "maximum"),
        ("Nehalem", False, "custom"),
    ],
)
def test_an_emulated_cpu_is_one_that_exists(model: str, host_model: bool, mode: str) -> None:
    placement = Placement(ownership=OWNER, host_model=host_model)
    assert only(finished(EMULATED, placement, domain={"cpu": {"model": model}}), "cpu").get("mode") == mode


def test_emulation_drops_what_needs_kvm_and_nothing_else() -> None:
    hyperv = {"relaxed": {}, "vpindex": {}, "synic": {}, "spinlocks": {"spinlocks": 8191}}
    domain = {
        "cpu": {
            "model": "host-model",
            "features": [{"name": n, "policy": "require"} for n in ("invtsc", "vmx", "aes")],
        },
        "features": {"acpi": {}, "hyperv": hyperv, "pvspinlock": {}, "kvm": {"hidden": True}},
    }
    status = {"topologyHints": {"tscFrequency": 1}}
    emulated = finished(EMULATED, domain=domain, status=status)
    assert [part.tag for part in only(emulated, "features/hyperv")] == ["relaxed", "synic", "spinlocks"]
    assert emulated.find("features/pvspinlock") is None
    assert emulated.find("features/kvm/hidden") is not None
    assert emulated.find("clock") is None
    assert [feature.get("name") for feature in emulated.findall("cpu/feature")] == ["aes"]
    real = finished(domain=domain, status=status)
    assert real.find("features/hyperv/vpindex") is not None
    assert real.find("clock/timer") is not None
    assert len(real.findall("cpu/feature")) == 3


@pytest.mark.parametrize("features", [{"hyperv": {"vpindex": {}}}, {"hypervPassthrough": {}}])
def test_enlightenments_never_end_as_an_empty_element(features: dict[str, Any]) -> None:
    found = finished(EMULATED, domain={"features": features}).find("features/hyperv")
    assert found is None or found.get("mode") == "passthrough"


def test_emulated_nics_do_without_the_kernel() -> None:
    devices = {**NAT, "networkInterfaceMultiqueue": True}
    driver = only(finished(EMULATED, devices=devices), "devices/interface/driver")
    assert dict(driver.attrib) == {"queues": "1"}


def test_memory_that_may_grow_has_a_slot_and_a_cell() -> None:
    domain = finished(domain={"memory": {"guest": "1Gi", "maxGuest": "4Gi"}})
    assert only(domain, "maxMemory").get("slots") == "1"
    assert attributes(domain, "cpu/numa/cell") == {"id": "0", "cpus": "0-0", "memory": "1073741824", "unit": "b"}


@pytest.mark.parametrize(
    ("clock", "offset"),
    [
        ({"timer": {"kvm": {"present": False}}}, "utc"),
        ({"timezone": "Europe/Vienna"}, "timezone"),
        ({"utc": {"offsetSeconds": 60}}, "utc"),
    ],
)
def test_a_clock_says_how_far_it_is_off(clock: dict[str, Any], offset: str) -> None:
    assert attributes(finished(domain={"clock": clock}), "clock")["offset"] == offset


@pytest.mark.parametrize(("given", "written"), [(None, "require"), ("disable", "disable")])
def test_a_cpu_feature_says_what_is_done_with_it(given: str | None, written: str) -> None:
    domain = finished(domain={"cpu": {"features": [{"name": "pcid", "policy": given}], "model": "host-model"}})
    assert attributes(domain, "cpu/feature") == {"name": "pcid", "policy": written}


def test_our_element_survives_text_and_back() -> None:
    owner = replace(OWNER, grace_seconds=0, paused=True, stopping_since="2026-01-01T00:00:00Z", migration="m-1")
    assert ours.from_element(ours.to_element(owner, qualified=False)) == owner
    text = ElementTree.tostring(ours.to_element(owner), encoding="unicode")
    assert ours.from_element(ElementTree.fromstring(text)) == owner
    assert owner.key == ("demo", "web")


def test_a_foreign_domain_has_no_owner() -> None:
    assert ours.read(ElementTree.fromstring("<domain><metadata><other/></metadata></domain>")) is None
    assert ours.from_element(ElementTree.fromstring("<vmi/>")) is None
    damaged = ElementTree.fromstring("<vmi><uid>u</uid><grace_seconds>soon</grace_seconds></vmi>")
    found = ours.from_element(damaged)
    assert found is not None
    assert found.grace_seconds == ours.GRACE_SECONDS


@pytest.mark.parametrize(("spec", "seconds"), [({}, 30), ({"terminationGracePeriodSeconds": 0}, 0)])
def test_the_grace_period_is_half_a_minute_unless_said(spec: dict[str, Any], seconds: int) -> None:
    assert ownership_of(vmi(spec=spec)).grace_seconds == seconds


def test_a_vmi_that_starts_paused_is_paused_on_purpose() -> None:
    assert ownership_of(vmi(spec={"startStrategy": "Paused"})).paused


def test_every_deviation_has_a_reason() -> None:
    assert {deviation.stage for deviation in DEVIATIONS} == set(Stage)
    assert all(deviation.path and deviation.reason for deviation in DEVIATIONS)
