"""Whole domains as this node defines them, checked against libvirt's own schema."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from . import golden_files


@pytest.mark.parametrize("name", golden_files.NAMES)
def test_the_domain_is_the_golden_one(name: str) -> None:
    made = golden_files.load(name).domain()
    expected = golden_files.DIRECTORY / f"{name}.xml"
    if os.environ.get("KVTUI_UPDATE_GOLDEN"):
        expected.write_text(made)
    assert made == expected.read_text()


@pytest.mark.parametrize("name", golden_files.NAMES)
def test_libvirts_schema_accepts_it(name: str) -> None:
    if not shutil.which("virt-xml-validate") or not shutil.which("xmllint"):
        pytest.skip("virt-xml-validate (libvirt-clients) and xmllint (libxml2-utils) are not installed")
    file = golden_files.DIRECTORY / f"{name}.xml"
    answer = subprocess.run(["virt-xml-validate", str(file), "domain"], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
