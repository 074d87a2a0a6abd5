"""Upstream's examples and our manifests are admitted, but for what needs a gate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.virtapi.cases import SHARED, admission_of, ask, request_of

DIRECTORIES = [SHARED / "data" / name for name in ("kubevirt-examples", "cdi-examples", "manifests")]
FILES = [path for directory in DIRECTORIES for path in sorted(directory.glob("*.yaml"))]
GATED = {"vmi-usb.yaml": "HostDevices", "vmi-with-sidecar-hook-configmap.yaml": "Sidecar"}


def documents(path: Path) -> list[dict[str, Any]]:
    found = [document for document in yaml.safe_load_all(path.read_text()) if document]
    for document in found:
        document["metadata"].setdefault("namespace", "default")
    return found


def running(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"domain": {"devices": {}}},
        "status": {"phase": "Running"},
    }


def case_of(document: dict[str, Any], *gates: str) -> dict[str, Any]:
    migrates = document["kind"] == "VirtualMachineInstanceMigration"
    return {
        "object": document,
        "operation": "CREATE",
        "existing": [running(document["spec"]["vmiName"])] if migrates else [],
        "config": {"developerConfiguration": {"featureGates": list(gates)}},
    }


@pytest.mark.skipif(not FILES, reason=f"no shared data in {SHARED}; set KVTUI_SHARED")
@pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])
async def test_is_admitted(path: Path) -> None:
    gate = GATED.get(path.name)
    for document in documents(path):
        case = case_of(document, *([gate] if gate else []))
        answer = await ask(admission_of(case), request_of(case))
        assert answer.denied is None, str(answer.denied)


@pytest.mark.parametrize("path", [path for path in FILES if path.name in GATED], ids=lambda path: path.name)
async def test_is_refused_without_its_gate(path: Path) -> None:
    refusals = []
    for document in documents(path):
        case = case_of(document)
        answer = await ask(admission_of(case), request_of(case))
        refusals.append(answer.denied)
    assert any(denied is not None and denied.code == 422 for denied in refusals)
