"""The probe on a machine with any sort of virtualization: it must tell running guests from promises."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from kvtui.node.probe import Accelerator, probe_kvm

needs_qemu = pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="QEMU is not installed")


async def test_without_the_device_there_is_emulation(tmp_path: Path) -> None:
    found = await probe_kvm(device=tmp_path / "kvm")
    assert found.accelerator is Accelerator.EMULATION
    assert str(tmp_path / "kvm") in found.reason


async def test_without_qemu_there_is_nothing_to_probe_with() -> None:
    found = await probe_kvm(qemu="no-such-emulator", accel="tcg")
    assert "no-such-emulator is not installed" in found.reason


@needs_qemu
async def test_the_probe_guest_reaches_64_bit_code() -> None:
    # Under emulation it always does: this proves the ROM and the exit device, whatever the machine.
    assert (await probe_kvm(accel="tcg", cpu="max")).reason == ""


@needs_qemu
async def test_a_guest_that_cannot_reach_64_bit_code_is_told_apart() -> None:
    # A processor without long mode stands for a hypervisor that offers none: a fault there never ends the probe.
    found = await probe_kvm(accel="tcg", cpu="qemu32")
    assert found.accelerator is Accelerator.EMULATION
    assert found.reason != ""


@needs_qemu
async def test_an_emulator_that_refuses_says_why() -> None:
    found = await probe_kvm(accel="no-such-accelerator")
    assert "no-such-accelerator" in found.reason
