"""The small devices, each by a table."""

from __future__ import annotations

from typing import Any

import pytest

from kvtui.api.kubevirt.config import KubeVirtConfiguration
from kvtui.api.wire import from_wire
from kvtui.domainxml import Cluster, Context, ConversionError, UnsupportedDevice, cluster_of

from .builders import UUID, attributes, domain_of, only

ARM, S390X = {"architecture": "arm64"}, {"architecture": "s390x"}


@pytest.mark.parametrize(
    ("spec", "watchdog", "model"),
    [({}, {"i6300esb": {"action": "reset"}}, "i6300esb"), (S390X, {"diag288": {"action": "reset"}}, "diag288")],
)
def test_watchdog_model_follows_the_architecture(spec: dict[str, Any], watchdog: dict[str, Any], model: str) -> None:
    domain = domain_of(spec=spec, devices={"watchdog": {"name": "dog", **watchdog}})
    assert attributes(domain, "devices/watchdog") == {"model": model, "action": "reset"}
    assert attributes(domain, "devices/watchdog/alias") == {"name": "ua-dog"}


@pytest.mark.parametrize("spec", [ARM, {}, S390X])
def test_a_watchdog_of_another_architecture_is_unsupported(spec: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedDevice) as refusal:
        domain_of(spec=spec, devices={"watchdog": {"name": "dog"}})
    assert refusal.value.field == "spec.domain.devices.watchdog"


@pytest.mark.parametrize(
    ("tpm", "model", "kept"),
    [({}, "tpm-tis", None), ({"persistent": True}, "tpm-crb", "yes"), ({"persistent": False}, "tpm-tis", None)],
)
def test_a_persistent_tpm_keeps_its_state(tpm: dict[str, Any], model: str, kept: str | None) -> None:
    domain = domain_of(devices={"tpm": tpm})
    assert only(domain, "devices/tpm").get("model") == model
    assert only(domain, "devices/tpm/backend").get("persistent_state") == kept


def test_a_tpm_can_be_switched_off() -> None:
    assert domain_of(devices={"tpm": {"enabled": False}}).find("devices/tpm") is None


@pytest.mark.parametrize(("model", "card"), [(None, "ich9"), ("ich9", "ich9"), ("ac97", "ac97"), ("sb16", "ich9")])
def test_a_sound_card_is_ich9_unless_it_is_ac97(model: str | None, card: str) -> None:
    assert only(domain_of(devices={"sound": {"name": "s", "model": model}}), "devices/sound").get("model") == card


@pytest.mark.parametrize(
    ("spec", "efi", "vga", "expected"),
    [
        ({}, False, False, {"type": "vga", "heads": "1", "vram": "16384"}),
        ({}, True, False, {"type": "bochs", "heads": "1"}),
        ({}, True, True, {"type": "vga", "heads": "1", "vram": "16384"}),
        (ARM, True, False, {"type": "virtio", "heads": "1"}),
        (S390X, False, False, {"type": "virtio", "heads": "1"}),
    ],
)
def test_the_screen_follows_architecture_and_firmware(
    spec: dict[str, Any], efi: bool, vga: bool, expected: dict[str, str]
) -> None:
    firmware = {"uuid": UUID, "bootloader": {"efi": {"secureBoot": False}}} if efi else {"uuid": UUID}
    domain = domain_of(Context(cluster=Cluster(vga_for_efi=vga)), spec=spec, domain={"firmware": firmware})
    assert attributes(domain, "devices/video/model") == expected


@pytest.mark.parametrize(
    ("spec", "inputs", "expected"),
    [
        ({}, [], []),
        ({}, [{"name": "t", "type": "tablet"}], ["tablet-usb"]),
        (ARM, [], ["tablet-usb", "keyboard-usb"]),
        (ARM, [{"name": "t", "type": "tablet", "bus": "virtio"}], ["tablet-virtio", "keyboard-usb"]),
        (S390X, [], ["keyboard-virtio"]),
    ],
)
def test_a_screen_brings_the_input_devices_it_needs(
    spec: dict[str, Any], inputs: list[dict[str, str]], expected: list[str]
) -> None:
    domain = domain_of(spec=spec, devices={"inputs": inputs})
    assert [f"{i.get('type')}-{i.get('bus')}" for i in domain.findall("devices/input")] == expected
    dark = domain_of(spec=spec, devices={"inputs": inputs, "autoattachGraphicsDevice": False})
    assert len(dark.findall("devices/input")) == len(inputs)


@pytest.mark.parametrize("device", [{"type": "mouse"}, {"type": "tablet", "bus": "ps2"}])
def test_other_input_devices_are_unsupported(device: dict[str, str]) -> None:
    with pytest.raises(UnsupportedDevice, match="unsupported"):
        domain_of(devices={"inputs": [{"name": "i", **device}]})


@pytest.mark.parametrize(
    ("devices", "model"),
    [
        ({}, "none"),
        ({"inputs": [{"name": "t", "type": "tablet"}]}, "qemu-xhci"),
        ({"disks": [{"name": "d", "disk": {"bus": "usb"}}]}, "qemu-xhci"),
        ({"clientPassthrough": {}}, "qemu-xhci"),
        ({"inputs": [{"name": "t", "type": "tablet", "bus": "virtio"}]}, "none"),
    ],
)
def test_usb_is_there_when_something_needs_it(devices: dict[str, Any], model: str) -> None:
    assert only(domain_of(devices=devices), "devices/controller[@type='usb']").get("model") == model


def test_without_hotplug_the_scsi_controller_comes_only_with_a_scsi_disk() -> None:
    bare = domain_of(devices={"disableHotplug": True})
    assert bare.find("devices/controller[@type='scsi']") is None
    disk = {"disableHotplug": True, "disks": [{"name": "d", "lun": {"bus": "scsi"}}]}
    assert domain_of(devices=disk).find("devices/controller[@type='scsi']") is not None


def test_the_pci_hole_can_be_closed() -> None:
    annotation = {"kubevirt.io/disablePCIHole64": "True"}
    assert attributes(domain_of(annotations=annotation), "devices/controller[@type='pci']/pcihole64") == {"unit": "KiB"}
    assert domain_of(annotations=annotation, spec=ARM).find("devices/controller[@type='pci']") is None


def test_no_console_no_serial_controller_yet_a_guest_agent() -> None:
    domain = domain_of(devices={"autoattachSerialConsole": False})
    assert domain.find("devices/serial") is None
    assert domain.find("devices/controller[@type='virtio-serial']") is None
    assert only(domain, "devices/channel/target").get("name") == "org.qemu.guest_agent.0"


@pytest.mark.parametrize(
    ("cluster", "asked", "logged"),
    [(True, None, True), (False, None, False), (True, False, False), (False, True, True)],
)
def test_the_vmi_has_the_last_word_on_the_console_log(cluster: bool, asked: bool | None, logged: bool) -> None:
    context = Context(cluster=Cluster(serial_console_log=cluster))
    domain = domain_of(context, devices={"logSerialConsole": asked})
    assert (domain.find("devices/serial/log") is not None) is logged


@pytest.mark.parametrize(
    ("devices", "cluster", "expected"),
    [
        ({}, Cluster(), {"model": "virtio-non-transitional", "freePageReporting": "on"}),
        ({}, Cluster(free_page_reporting=False), {"model": "virtio-non-transitional", "freePageReporting": "off"}),
        ({"autoattachMemBalloon": False}, Cluster(), {"model": "none"}),
    ],
)
def test_the_balloon(devices: dict[str, Any], cluster: Cluster, expected: dict[str, str]) -> None:
    assert attributes(domain_of(Context(cluster=cluster), devices=devices), "devices/memballoon") == expected


def test_a_balloon_without_period_collects_nothing() -> None:
    domain = domain_of(Context(cluster=Cluster(balloon_stats_period=0)))
    assert domain.find("devices/memballoon/stats") is None


@pytest.mark.parametrize("cpu", [{"isolateEmulatorThread": True}, {"realtime": {}}])
def test_fast_guests_give_no_pages_back(cpu: dict[str, Any]) -> None:
    assert only(domain_of(domain={"cpu": cpu}), "devices/memballoon").get("freePageReporting") == "off"


def test_devices_without_settings() -> None:
    domain = domain_of(
        devices={
            "clientPassthrough": {},
            "downwardMetrics": {},
            "panicDevices": [{"model": "pvpanic"}, {"model": "hyperv"}],
            "filesystems": [{"name": "share", "virtiofs": {}}, {"name": "none"}],
        },
        status={"VSOCKCID": 7},
    )
    assert len(domain.findall("devices/redirdev")) == 4
    assert [panic.get("model") for panic in domain.findall("devices/panic")] == ["pvpanic", "hyperv"]
    assert only(domain, "devices/filesystem/target").get("dir") == "share"
    assert attributes(domain, "devices/vsock/cid") == {"auto": "no", "address": "7"}
    assert domain.findall("devices/channel/target")[1].get("name") == "org.github.vhostmd.1"
    assert attributes(domain, "memoryBacking/access") == {"mode": "shared"}


@pytest.mark.parametrize(
    ("memory", "resources", "expected"),
    [
        ({"guest": "1Gi"}, {}, "1073741824"),
        (None, {"requests": {"memory": "1M"}, "limits": {"memory": "2M"}}, "1000000"),
        (None, {"limits": {"memory": "2M"}}, "2000000"),
        ({"guest": "1500m"}, {}, "1"),
    ],
)
def test_memory_is_whole_bytes(memory: dict[str, str] | None, resources: dict[str, Any], expected: str) -> None:
    assert only(domain_of(domain={"memory": memory, "resources": resources}), "memory").text == expected


def test_negative_memory_is_refused() -> None:
    with pytest.raises(ConversionError, match="must be greater than or equal to 0") as refusal:
        domain_of(domain={"memory": {"guest": "-1Gi"}})
    assert refusal.value.field == "spec.domain.memory.guest"


def test_mainframes_have_no_memfd() -> None:
    memory = {"memory": {"guest": "1Gi", "hugepages": {"pageSize": "1Mi"}}}
    domain = domain_of(domain=memory, spec=S390X)
    assert [part.tag for part in only(domain, "memoryBacking")] == ["hugepages"]
    assert domain.find("cpu/numa") is None


def test_cluster_settings_fill_in_for_what_they_leave_out() -> None:
    configuration = from_wire(
        {
            "smbios": {"manufacturer": "Example"},
            "memBalloonStatsPeriod": 0,
            "virtualMachineOptions": {"disableFreePageReporting": {}, "disableSerialConsoleLog": {}},
            "network": {
                "binding": {
                    "a": {"domainAttachmentType": "tap"},
                    "b": {"domainAttachmentType": "managedTap"},
                    "c": {"sidecarImage": "x"},
                }
            },
            "developerConfiguration": {"featureGates": ["X"]},
        },
        KubeVirtConfiguration,
    )
    cluster = cluster_of(configuration)
    assert (cluster.smbios.manufacturer, cluster.smbios.family, cluster.smbios.product) == (
        "Example",
        "KubeVirt",
        "None",
    )
    assert cluster.balloon_stats_period == 0
    assert not cluster.free_page_reporting
    assert not cluster.serial_console_log
    assert cluster.tap_bindings == {"a", "b"}
    assert cluster.gates == {"X"}
    assert cluster_of(None) == Cluster()


@pytest.mark.parametrize(
    ("features", "path", "expected"),
    [
        ({"hypervPassthrough": {"enabled": True}}, "features/hyperv", {"mode": "passthrough"}),
        ({"hyperv": {"spinlocks": {"enabled": False}}}, "features/hyperv/spinlocks", {"state": "off"}),
        ({"hyperv": {"synictimer": {"direct": {"enabled": False}}}}, "features/hyperv/stimer/direct", {"state": "off"}),
        ({"hyperv": {"vendorid": {"vendorid": "x"}}}, "features/hyperv/vendor_id", {"state": "on", "value": "x"}),
        ({"pvspinlock": {}}, "features/pvspinlock", {"state": "on"}),
        ({"kvm": {"hidden": False}}, "features/kvm/hidden", {"state": "off"}),
    ],
)
def test_hypervisor_features(features: dict[str, Any], path: str, expected: dict[str, str]) -> None:
    assert attributes(domain_of(domain={"features": features}), path) == expected


@pytest.mark.parametrize(
    ("policy", "hertz", "timers"), [("require", 3, 1), ("force", 3, 1), ("optional", 3, 0), ("require", 0, 0)]
)
def test_a_fixed_tsc_is_for_guests_that_rely_on_it(policy: str, hertz: int, timers: int) -> None:
    cpu = {"cpu": {"features": [{"name": "invtsc", "policy": policy}]}}
    domain = domain_of(domain=cpu, status={"topologyHints": {"tscFrequency": hertz}})
    assert len(domain.findall("clock/timer[@name='tsc']")) == timers


def test_the_root_complex_fills_up() -> None:
    disks = [{"name": f"d{n}", "disk": {"bus": "virtio"}} for n in range(30)]
    with pytest.raises(ConversionError, match="No space left on the root PCI bus"):
        domain_of(devices={"disks": disks}, annotations={"kubevirt.io/placePCIDevicesOnRootComplex": "true"})
