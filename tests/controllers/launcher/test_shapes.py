"""Parts of a launcher's Pod that no observed case shows, by what upstream's renderer does."""

from __future__ import annotations

from typing import Any

import pytest

from kvtui.api.core.node import Node
from kvtui.api.kubevirt.config import (
    DeveloperConfiguration,
    InterfaceBindingPlugin,
    KubeVirtConfiguration,
    NetworkConfiguration,
    PciHostDevice,
    PermittedHostDevices,
)
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.meta import ObjectMeta
from kvtui.api.wire import from_wire, to_wire
from kvtui.controllers.clusterconfig import Configuration
from kvtui.controllers.launcher.render import Surroundings, Unrenderable, render
from kvtui.controllers.launcher.target import Unlabelled, host_model_selector

EMULATED = DeveloperConfiguration(use_emulation=True)
GPU = {"name": "a", "deviceName": "vendor.example/A"}


def rendered(spec: dict[str, Any], **config: Any) -> dict[str, Any]:
    vmi = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {"name": "web", "namespace": "demo", "uid": "u"},
        "spec": {"architecture": "amd64", **spec},
    }
    configured = Configuration(KubeVirtConfiguration(**{"developer_configuration": EMULATED, **config}))
    pod = to_wire(render(from_wire(vmi, VirtualMachineInstance), Surroundings(config=configured)))
    return dict(pod["spec"])


def volumes(spec: dict[str, Any], **config: Any) -> list[str]:
    return [volume["name"] for volume in rendered(spec, **config)["volumes"]]


def devices(**given: Any) -> dict[str, Any]:
    return {"domain": {"devices": given}}


def test_hotplug_directory_is_left_out_where_hotplug_is_off() -> None:
    assert "hotplug-disks" in volumes(devices())
    assert "hotplug-disks" not in volumes(devices(disableHotplug=True))


def test_device_information_is_carried_to_guests_that_need_it() -> None:
    plugins = NetworkConfiguration(binding={"told": InterfaceBindingPlugin(downward_api="device-info")})
    assert "network-info-annotation" in volumes(devices(interfaces=[{"name": "a", "sriov": {}}]))
    told = devices(interfaces=[{"name": "a", "binding": {"name": "told"}}])
    assert "network-info-annotation" in volumes(told, network=plugins)
    assert "network-info-annotation" not in volumes(told)
    assert "network-info-annotation" not in volumes(devices(interfaces=[{"name": "a", "bridge": {}}]))


@pytest.mark.parametrize(
    ("given", "tun"),
    [
        ({}, True),
        ({"autoattachPodInterface": False}, False),
        ({"autoattachPodInterface": False, "interfaces": [{"name": "a", "sriov": {}}]}, True),
    ],
)
def test_any_interface_needs_tun(given: dict[str, Any], tun: bool) -> None:
    limits = rendered(devices(**given))["containers"][0]["resources"].get("limits", {})
    assert ("devices.kubevirt.io/tun" in limits) is tun


def test_labels_that_a_domain_needs_win_over_its_selector() -> None:
    spec = {
        "domain": {"cpu": {"dedicatedCpuPlacement": True}, "devices": {}},
        "nodeSelector": {
            "kubevirt.io/cpumanager": "false",
            "kubernetes.io/arch": "arm64",
            "kubevirt.io/schedulable": "no",
        },
    }
    assert rendered(spec)["nodeSelector"] == {
        "kubevirt.io/cpumanager": "true",
        "kubernetes.io/arch": "arm64",
        "kubevirt.io/schedulable": "no",
    }


def test_obsolete_host_model_comes_before_forbidden_features() -> None:
    spec = {"domain": {"cpu": {"features": [{"name": "b", "policy": "forbid"}, {"name": "a", "policy": "forbid"}]}}}
    affinity = rendered({"domain": {**spec["domain"], "devices": {}}})["affinity"]["nodeAffinity"]
    term = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"][0]
    assert [e["key"] for e in term["matchExpressions"]] == [
        "node-labeller.kubevirt.io/obsolete-host-model",
        "cpu-feature.node.kubevirt.io/b",
        "cpu-feature.node.kubevirt.io/a",
    ]


def test_devices_are_permitted_unless_the_cluster_lists_them() -> None:
    spec = devices(gpus=[GPU, {**GPU, "name": "b"}])
    assert rendered(spec)["containers"][0]["resources"]["limits"]["vendor.example/A"] == "2"
    listed = PermittedHostDevices(pci_host_devices=[PciHostDevice(pci_vendor_selector="10DE:1", resource_name="x/B")])
    assert rendered(devices(gpus=[{**GPU, "deviceName": "x/B"}]), permitted_host_devices=listed)
    wanted = devices(gpus=[GPU], hostDevices=[{"name": "c", "deviceName": "y/C"}, {"name": "d", "deviceName": "x/B"}])
    with pytest.raises(Unrenderable) as refused:
        rendered(wanted, permitted_host_devices=listed)
    assert str(refused.value) == (
        "GPU vendor.example/A is not permitted in permittedHostDevices configuration "
        "HostDevice y/C is not permitted in permittedHostDevices configuration"
    )


def test_a_migration_waits_until_the_source_says_which_cpu_it_has() -> None:
    node = Node(metadata=ObjectMeta(name="a", labels={"cpu-vendor.node.kubevirt.io/Intel": "true"}))
    with pytest.raises(Unlabelled):
        host_model_selector(node, None)
    named = Node(metadata=ObjectMeta(name="a", labels={"host-model-cpu.node.kubevirt.io/Skylake": "true"}))
    assert host_model_selector(named, None) == {"cpu-model-migration.node.kubevirt.io/Skylake": "true"}
