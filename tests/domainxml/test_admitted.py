"""What admission takes becomes a domain that libvirt's schema takes, or is refused in a sentence with the field."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kvtui.api.kubevirt.config import KubeVirtConfiguration
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.wire import evolve, from_wire, to_wire
from kvtui.domainxml import (
    BlockSizes,
    Bridged,
    Context,
    ConversionError,
    DiskFacts,
    HostCell,
    Placement,
    cluster_of,
    convert,
    finish,
    ownership_of,
    placeholder_count,
    pretty,
)
from kvtui.virtapi.admission import vmi_mutate
from kvtui.virtapi.admission.config import ClusterConfig
from kvtui.virtapi.admission.vmi_spec import validate_instance

from . import plausible
from .builders import UUID
from .layout import NodePaths

SCHEMA = Path("/usr/share/libvirt/schemas/domain.rng")
OLDEST = (9, 0, 0)
"""libvirt whose schema is enough for these domains."""
CONFIGURATION = from_wire(plausible.CONFIGURATION, KubeVirtConfiguration)
NAMES = ("d0", "d1", "d2", "d3", "fs")


def _admitted(document: plausible.Wire) -> VirtualMachineInstance | None:
    """With all defaults; None if it is refused."""
    config = ClusterConfig(CONFIGURATION, "kubevirt")
    given_ = from_wire(document, VirtualMachineInstance)
    vmi = vmi_mutate.created(given_, config, uuid=UUID, now="2026-01-01T00:00:00Z")
    if validate_instance(vmi, config, by_component=False):
        return None
    plugged = [
        {"name": i.name, "podInterfaceName": "eth0", "infoSource": "multus-status"}
        for i in vmi.spec.domain.devices.interfaces
    ]
    status = from_wire({"status": {**to_wire(vmi.status), "interfaces": plugged}}, VirtualMachineInstance).status
    return evolve(vmi, status=status)


contexts = st.builds(
    Context,
    kvm=st.booleans(),
    allow_emulation=st.just(value=True),
    cpu_set=st.just(tuple(range(8))),
    numa=st.sampled_from(((), (HostCell(0, ((0, 4), (1, 5)), {0: 10, 1: 20}), HostCell(1, ((2, 6), (3, 7)), {})))),
    block_volumes=st.sampled_from((frozenset[str](), frozenset({"d0", "d2"}))),
    block_sizes=st.just(dict.fromkeys(NAMES, BlockSizes(512, 4096, 0))),
    device_env=st.just(plausible.DEVICES),
    sriov_addresses=st.just({"n1": "0000:03:00.1", "n2": "0000:03:00.2"}),
    cluster=st.just(cluster_of(CONFIGURATION)),
    paths=st.just(NodePaths("/state", "/run/kvtui/0", {name: f"/claims/{name}" for name in NAMES})),
)


def _defined(vmi: VirtualMachineInstance, context: Context) -> str:
    placement = Placement(
        ownership=ownership_of(vmi),
        interfaces={
            name: Bridged("br", f"tap{n}", f"02:00:00:00:02:{n:02x}", 1450)
            for n, name in enumerate(("default", "n0", "n1", "n2"))
        },
        disks=dict.fromkeys(NAMES, DiskFacts(direct_io=True, allocated=True)),
        serial_log="/state/log",
        placeholders=placeholder_count(vmi),
        libvirt=OLDEST,
    )
    return pretty(finish(convert(vmi, context), placement))


def test_what_is_admitted_becomes_a_valid_domain(tmp_path: Path) -> None:
    if not SCHEMA.exists() or not shutil.which("xmllint"):
        pytest.skip("needs libvirt's schemas (libvirt-daemon) and xmllint (libxml2-utils)")
    refused: list[ConversionError] = []
    documents: set[str] = set()

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(plausible.documents(), contexts)
    def converts(document: plausible.Wire, context: Context) -> None:
        vmi = _admitted(document)
        if vmi is None:
            return
        try:
            documents.add(_defined(vmi, context))
        except ConversionError as refusal:
            refused.append(refusal)

    converts()
    assert len(documents) > 20
    assert all(str(refusal) and refusal.field.startswith(("spec.", "metadata.")) for refusal in refused)
    files = []
    for number, text in enumerate(sorted(documents)):
        files.append(tmp_path / f"{number}.xml")
        files[-1].write_text(text)
    answer = subprocess.run(
        ["xmllint", "--noout", "--relaxng", SCHEMA, *files], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, "\n".join(line for line in answer.stderr.splitlines() if "validates" not in line)
