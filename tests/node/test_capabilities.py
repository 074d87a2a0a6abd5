"""What libvirt says of a node, as labels by which schedulers choose."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from kvtui.node import capabilities

HOST = """
<capabilities><host><uuid>u</uuid><cpu><arch>{arch}</arch><counter name="tsc" frequency="2500" scaling="yes"/></cpu>
<secmodel><model>dac</model><baselabel type="kvm">+64055:+64056</baselabel></secmodel></host>
<guest><arch name="{arch}"><machine canonical="pc-q35-7.2">q35</machine><machine>microvm</machine></arch></guest>
<guest><arch name="other"><machine>elsewhere</machine></arch></guest></capabilities>
"""
GUESTS = """
<domainCapabilities><cpu>
<mode name="host-passthrough" supported="yes"/>
<mode name="host-model" supported="{host_model}"><model>EPYC</model><vendor>AMD</vendor>
<feature policy="require" name="x2apic"/><feature policy="disable" name="svm"/></mode>
<mode name="custom" supported="yes"><model usable="yes">Nehalem</model><model usable="no">EPYC-Rome</model>
<model usable="unknown">Penryn</model><model usable="yes">qemu64</model><model>486</model></mode></cpu>
<features><hyperv supported="yes">
<enum name="features"><value>vpindex</value><value>stimer</value><value>relaxed</value>
</enum></hyperv></features></domainCapabilities>
"""
MODEL, MIGRATION = "cpu-model.node.kubevirt.io/", "cpu-model-migration.node.kubevirt.io/"


def _labels(arch: str = "x86_64", host_model: str = "yes", configured: dict[str, bool] | None = None) -> dict[str, str]:
    host = capabilities.host(ElementTree.fromstring(HOST.format(arch=arch)))
    guests = capabilities.guests(ElementTree.fromstring(GUESTS.format(host_model=host_model)))
    return capabilities.labels(host, guests, configured)


def _below(prefix: str, labels: dict[str, str]) -> set[str]:
    return {key.removeprefix(prefix) for key in labels if key.startswith(prefix)}


def test_models_that_are_not_ruled_out_are_offered_and_all_known_ones_migrate() -> None:
    assert _below(MODEL, _labels()) == {"Nehalem", "Penryn"}
    assert _below(MIGRATION, _labels()) == {"Nehalem", "Penryn", "EPYC-Rome", "EPYC"}


def test_the_cluster_says_which_models_are_obsolete_beyond_the_usual_ones() -> None:
    assert _below(MODEL, _labels(configured={"Penryn": True, "qemu64": False})) >= {"Nehalem"}
    assert "Penryn" not in _below(MODEL, _labels(configured={"Penryn": True}))
    assert "node-labeller.kubevirt.io/obsolete-host-model" not in _labels(configured={"EPYC": False})
    assert _labels(configured={"EPYC": True})["node-labeller.kubevirt.io/obsolete-host-model"] == "true"


def test_the_host_model_is_told_with_what_it_demands() -> None:
    labels = _labels()
    assert labels["host-model-cpu.node.kubevirt.io/EPYC"] == "true"
    assert _below("host-model-required-features.node.kubevirt.io/", labels) == {"x2apic"}
    assert labels["cpu-vendor.node.kubevirt.io/AMD"] == "true"
    without = _labels(host_model="no")
    assert not _below("host-model-cpu.node.kubevirt.io/", without)
    assert not _below("cpu-vendor.node.kubevirt.io/", without)


def test_machines_timers_and_enlightenments_are_told_in_kubernetes_words() -> None:
    labels = _labels()
    assert _below("machine-type.node.kubevirt.io/", labels) == {"q35", "pc-q35-7.2", "microvm"}
    assert labels["cpu-timer.node.kubevirt.io/tsc-frequency"] == "2500"
    assert labels["cpu-timer.node.kubevirt.io/tsc-scalable"] == "true"
    assert _below("hyperv.node.kubevirt.io/", labels) == {"base", "time", "vpindex", "synictimer"}


@pytest.mark.parametrize(("arch", "vendors"), [("aarch64", {"AMD"}), ("s390x", {"IBM"})])
def test_other_architectures_name_no_models(arch: str, vendors: set[str]) -> None:
    labels = _labels(arch)
    assert not _below(MODEL, labels)
    assert _below("cpu-vendor.node.kubevirt.io/", labels) == vendors
    assert bool(_below("host-model-cpu.node.kubevirt.io/", labels)) is (arch == "s390x")


def test_a_name_that_cannot_be_a_label_is_left_out() -> None:
    host = capabilities.host(ElementTree.fromstring(HOST.format(arch="x86_64")))
    odd = replace(host, machines=("ok", "not ok", "-x", "y" * 64))
    found = capabilities.labels(odd, capabilities.Guests(usable=(), known=()))
    assert _below("machine-type.node.kubevirt.io/", found) == {"ok"}
    assert (host.user.uid, host.user.gid) == (64055, 64056)
