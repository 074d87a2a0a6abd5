"""Machine, firmware and kernel of a guest."""

from __future__ import annotations

from typing import Any

import pytest

from kvtui.domainxml import Cluster, Context, ConversionError
from kvtui.domainxml.architecture import Arch
from kvtui.domainxml.firmware import Demand, Firmware, choose_loader, inventory, upstream_firmware

from .builders import UUID, attributes, domain_of, only

SECURE = {"firmware": {"uuid": UUID, "bootloader": {"efi": {}}}}
AUTO = Context(cluster=Cluster(gates=frozenset({"FirmwareAutoSelection"})))


def test_uefi_without_a_word_about_secure_boot_is_secure() -> None:
    domain = domain_of(domain=SECURE)
    assert attributes(domain, "os/loader") == {"readonly": "yes", "secure": "yes", "type": "pflash"}
    assert attributes(domain, "os/nvram") == {"template": "/usr/share/edk2/ovmf/OVMF_VARS.secboot.fd"}


def test_a_launcher_that_runs_as_root_keeps_variables_in_libvirts_directory() -> None:
    assert only(domain_of(domain=SECURE), "os/nvram").text == "/var/lib/libvirt/qemu/nvram/web_VARS.fd"
    unprivileged = domain_of(domain=SECURE, status={"runtimeUser": 107})
    assert only(unprivileged, "os/nvram").text == "/var/run/kubevirt-private/libvirt/qemu/nvram/web_VARS.fd"


def test_libvirt_may_choose_the_secure_image_itself() -> None:
    domain = domain_of(AUTO, domain=SECURE)
    assert only(domain, "os").get("firmware") == "efi"
    assert [f.get("name") for f in domain.findall("os/firmware/feature")] == ["secure-boot", "enrolled-keys"]
    assert domain.find("os/loader") is None
    assert attributes(domain, "os/nvram") == {"format": "raw"}


def test_on_arm_libvirt_keeps_the_variables_of_an_image_it_chose() -> None:
    domain = domain_of(AUTO, domain={**SECURE, "machine": {"type": "virt"}}, spec={"architecture": "arm64"})
    assert only(domain, "os").get("firmware") == "efi"
    assert domain.find("os/nvram") is None


@pytest.mark.parametrize(
    ("demand", "code", "variables", "secure"),
    [
        (Demand(secure_boot=True), "OVMF_CODE.secboot.fd", "OVMF_VARS.secboot.fd", True),
        (Demand(secure_boot=False), "OVMF_CODE.secboot.fd", "OVMF_VARS.fd", False),
        (Demand(secure_boot=False, sev=True), "OVMF_CODE.cc.fd", "OVMF_VARS.fd", False),
        (Demand(secure_boot=False, snp=True), "OVMF.amdsev.fd", "", False),
        (Demand(secure_boot=False, tdx=True), "OVMF.inteltdx.fd", "", False),
        (Demand(secure_boot=True, tdx=True), "OVMF.inteltdx.secboot.fd", "", False),
    ],
)
def test_the_image_follows_the_demand(demand: Demand, code: str, variables: str, secure: bool) -> None:
    loader = choose_loader(upstream_firmware(Arch.AMD64, "/fw"), demand)
    assert loader.code == f"/fw/{code}"
    assert loader.variables == (f"/fw/{variables}" if variables else "")
    assert loader.secure is secure


def test_a_missing_image_is_named_by_what_was_asked() -> None:
    with pytest.raises(ConversionError, match=r"SecureBoot=false, SEV/SEV-ES=false, SEV-SNP=false, TDX=true"):
        choose_loader(Firmware(code="/x", variables="/y"), Demand(secure_boot=False, tdx=True))


def test_debians_large_images_come_first() -> None:
    names = ("OVMF_CODE.fd", "OVMF_VARS.fd", "OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd", "OVMF_CODE_4M.ms.fd")
    found = inventory(Arch.AMD64, [f"/usr/share/OVMF/{name}" for name in (*names, "OVMF_VARS_4M.ms.fd")])
    assert found.code == "/usr/share/OVMF/OVMF_CODE_4M.fd"
    assert found.secure_code == "/usr/share/OVMF/OVMF_CODE_4M.ms.fd"
    assert found.secure_variables == "/usr/share/OVMF/OVMF_VARS_4M.ms.fd"
    assert not found.sev_code


def test_an_image_without_its_variables_does_not_count() -> None:
    assert inventory(Arch.AMD64, ["/x/OVMF_CODE.fd"]) == Firmware()
    arm = inventory(Arch.ARM64, ["/x/AAVMF_CODE.fd", "/x/AAVMF_VARS.fd"])
    assert (arm.code, arm.variables) == ("/x/AAVMF_CODE.fd", "/x/AAVMF_VARS.fd")


def test_a_kernel_is_booted_by_the_last_part_of_its_path() -> None:
    container = {"image": "k", "kernelPath": "/boot/../boot/vmlinuz", "initrdPath": "/initrd"}
    boot = {"kernelArgs": "a=<b>&c", "container": container}
    domain = domain_of(domain={"firmware": {"uuid": UUID, "kernelBoot": boot}})
    assert only(domain, "os/kernel").text == "/var/run/kubevirt/container-disks/kernel-boot/vmlinuz"
    assert only(domain, "os/initrd").text == "/var/run/kubevirt/container-disks/kernel-boot/initrd"
    assert only(domain, "os/cmdline").text == "a=<b>&c"


@pytest.mark.parametrize(
    ("acpi", "volume", "message"),
    [
        ({}, {"secret": {"secretName": "s"}}, "No ACPI tables were set"),
        ({"slicNameRef": "other"}, {"secret": {"secretName": "s"}}, "volume for slic was not found"),
        ({"msdmNameRef": "v"}, {"configMap": {"name": "c"}}, "volume type is unsupported for msdm"),
    ],
)
def test_acpi_tables_come_out_of_secrets(acpi: dict[str, str], volume: dict[str, Any], message: str) -> None:
    with pytest.raises(ConversionError, match=message) as refusal:
        domain_of(domain={"firmware": {"uuid": UUID, "acpi": acpi}}, spec={"volumes": [{"name": "v", **volume}]})
    assert refusal.value.field == "spec.domain.firmware.acpi"


def test_ignition_and_the_debug_port_are_arguments_of_qemu() -> None:
    context = Context(launcher_verbosity=6)
    domain = domain_of(context, annotations={"kubevirt.io/ignitiondata": '{"ignition": {}}'})
    values = [argument.get("value") for argument in only(domain, "{*}commandline")]
    assert values[:2] == [
        "-fw_cfg",
        "name=opt/com.coreos/config,file=/var/run/kubevirt-ephemeral-disks/ignition-data/demo/web/data.ign",
    ]
    assert values[-1] == "isa-debugcon,iobase=0x402,chardev=firmwarelog"


@pytest.mark.parametrize(("policy", "action"), [("Reboot", "restart"), ("Terminate", "destroy")])
def test_a_reboot_does_what_its_policy_says(policy: str, action: str) -> None:
    assert only(domain_of(domain={"rebootPolicy": policy}), "on_reboot").text == action


def test_an_unknown_reboot_policy_is_refused() -> None:
    with pytest.raises(ConversionError, match="Sleep not recognized"):
        domain_of(domain={"rebootPolicy": "Sleep"})


@pytest.mark.parametrize(
    ("security", "kind", "policy"),
    [
        ({"sev": {}}, "sev", "0x1"),
        ({"sev": {"policy": {"encryptedState": True}}}, "sev", "0x5"),
        ({"snp": {}}, "sev-snp", "0x30000"),
    ],
)
def test_confidential_guests_have_a_policy(security: dict[str, Any], kind: str, policy: str) -> None:
    domain = domain_of(domain={"launchSecurity": security}, devices={"rng": {}})
    assert only(domain, "launchSecurity").get("type") == kind
    assert only(domain, "launchSecurity/policy").text == policy
    assert attributes(domain, "devices/rng/driver") == {"iommu": "on"}


def test_secure_execution_is_only_a_matter_of_the_iommu() -> None:
    domain = domain_of(
        spec={"architecture": "s390x"}, domain={"launchSecurity": {}}, devices={"disks": [{"name": "d"}]}
    )
    assert domain.find("launchSecurity") is None
    assert only(domain, "devices/disk/driver").get("iommu") == "on"


def test_without_kvm_a_guest_is_emulated_only_if_allowed() -> None:
    assert domain_of(Context(kvm=False, allow_emulation=True)).get("type") == "qemu"
    with pytest.raises(ConversionError, match="kvm not present and emulation is not allowed"):
        domain_of(Context(kvm=False))


def test_a_foreign_guest_is_emulated_without_a_screen() -> None:
    context = Context(
        host_arch=Arch.AMD64,
        emulators={Arch.ARM64: "/usr/bin/qemu-system-aarch64"},
        cluster=Cluster(gates=frozenset({"CrossArchitectureVirtualization"})),
    )
    domain = domain_of(context, spec={"architecture": "arm64"}, domain={"cpu": {"model": "host-passthrough"}})
    assert domain.get("type") == "qemu"
    assert only(domain, "devices/emulator").text == "/usr/bin/qemu-system-aarch64"
    assert only(domain, "cpu/model").text == "max"
    assert domain.find("devices/graphics") is None


def test_a_foreign_guest_needs_the_gate() -> None:
    with pytest.raises(ConversionError, match="the guest is arm64, the node is not"):
        domain_of(Context(host_arch=Arch.AMD64), spec={"architecture": "arm64"})


def test_an_unknown_architecture_is_refused() -> None:
    with pytest.raises(ConversionError, match="unsupported architecture: sparc") as refusal:
        domain_of(spec={"architecture": "sparc"})
    assert refusal.value.field == "spec.architecture"
