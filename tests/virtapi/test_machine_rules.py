"""Rules for guests that the shared cases ask about in one spelling only, one row for each other spelling."""

from __future__ import annotations

from typing import Any

import pytest

from tests.virtapi.cases import admission_of, ask, request_of

Object = dict[str, Any]

GUEST = "spec.template.spec.domain.memory.guest"
GIB = 2**30


def spec_with(**domain: Any) -> Object:
    domain = {"memory": {"guest": "1Gi"}, "devices": {}, **domain}
    return {"domain": domain, "architecture": "amd64"}


def machine(spec: Object, **more: Any) -> Object:
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": "web", "namespace": "demo"},
        "spec": {"runStrategy": "Always", "template": {"spec": spec}, **more},
    }


def instance(spec: Object) -> Object:
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {"name": "web", "namespace": "demo"},
        "spec": spec,
    }


async def causes(item: Object, old: Object | None = None, **case: Any) -> list[tuple[str, str]]:
    """Field and message of every cause; none when the object is admitted."""
    whole = {"object": item, "operation": "CREATE" if old is None else "UPDATE", "oldObject": old, **case}
    answer = await ask(admission_of(whole), request_of(whole))
    return [(cause.field, cause.message) for cause in answer.denied.causes] if answer.denied else []


MEMORY: tuple[tuple[str, Object, str], ...] = (
    ("maxGuest off the block", {"memory": {"guest": "1Gi", "maxGuest": "2147483649"}}, "MaxGuest must be 2Mi aligned"),
    ("guest off the block", {"memory": {"guest": "1025Mi", "maxGuest": "2Gi"}}, "Guest memory must be 2Mi aligned"),
    (
        "maxGuest off a large page",
        {"memory": {"guest": "1Gi", "maxGuest": "1536Mi", "hugepages": {"pageSize": "1Gi"}}},
        "MaxGuest must be 1Gi aligned",
    ),
    (
        "encrypted",
        {
            "memory": {"guest": "1Gi", "maxGuest": "2Gi"},
            "launchSecurity": {"sev": {}},
            "firmware": {"bootloader": {"efi": {"secureBoot": False}}},
        },
        "Memory hotplug is not compatible with encrypted VMs",
    ),
    (
        "several at once, the first answers",
        {"memory": {"guest": "513Mi", "maxGuest": "511Mi"}},
        "Guest memory is greater than the configured maxGuest memory",
    ),
)


@pytest.mark.parametrize(("domain", "message"), [row[1:] for row in MEMORY], ids=[row[0] for row in MEMORY])
async def test_room_for_more_memory_must_be_usable(domain: Object, message: str) -> None:
    assert await causes(machine(spec_with(**domain))) == [(GUEST, message)]


@pytest.mark.parametrize("passthrough", [{}, {"enabled": True}, {"enabled": False}])
async def test_hyperv_features_and_their_passthrough_exclude_each_other_however_set(passthrough: Object) -> None:
    features = {"hypervPassthrough": passthrough, "hyperv": {"relaxed": {}}}
    assert await causes(instance(spec_with(features=features))) == [
        (
            "spec.domain.features.hyperv",
            (
                "Cannot explicitly set hyperV features if HypervPassthrough is being used. "
                "Please use either HyperV or HypervPassthrough."
            ),
        )
    ]


async def test_panic_devices_are_refused_for_the_architecture_and_for_their_model() -> None:
    spec = spec_with(devices={"panicDevices": [{"model": "lamp"}]}) | {"architecture": "s390x"}
    found = await causes(machine(spec))
    assert [message for _, message in found] == [
        "custom panic devices are not supported on s390x architecture",
        "invalid PanicDeviceModel(lamp)",
    ]


@pytest.mark.parametrize("security", [{}, {"sev": {}}])
async def test_any_launch_security_asks_s390x_for_secure_execution(security: Object) -> None:
    assert await causes(machine(spec_with(launchSecurity=security) | {"architecture": "s390x"})) == []


def template(name: str, namespace: str = "", **spec: Any) -> Object:
    storage = {"resources": {"requests": {"storage": "1Gi"}}}
    return {"metadata": {"name": name, "namespace": namespace}, "spec": {"storage": storage, **spec}}


def with_templates(*templates: Object) -> Object:
    volumes = [
        {"name": item["metadata"]["name"], "dataVolume": {"name": item["metadata"]["name"]}} for item in templates
    ]
    return machine(spec_with() | {"volumes": volumes}, dataVolumeTemplates=list(templates))


async def test_a_template_may_name_a_source_and_a_reference_to_one() -> None:
    both = template("a", source={"blank": {}}, sourceRef={"kind": "DataSource", "name": "x"})
    assert await causes(with_templates(both)) == []


async def test_every_template_from_elsewhere_is_named_but_only_when_templates_change() -> None:
    foreign = with_templates(template("a", "far", source={"blank": {}}), template("b", "off", source={"blank": {}}))
    assert [field for field, _ in await causes(foreign)] == [
        "spec.dataVolumeTemplates[0]",
        "spec.dataVolumeTemplates[1]",
    ]
    labelled = {**foreign, "metadata": {**foreign["metadata"], "labels": {"a": "b"}}}
    assert await causes(labelled, foreign) == []


CLONE = "clone.kubevirt.io/v1beta1"
CLONES: tuple[tuple[str, Object, list[tuple[str, str]]], ...] = (
    ("no kind", {"source": {"apiGroup": "kubevirt.io", "kind": "", "name": "web"}}, [
        ("spec.Source.Kind", "Source kind is not supported"),
        ("spec.Source", "Source's Kind cannot be empty"),
    ]),
    ("odd target", {"target": {"apiGroup": "kubevirt.io", "kind": "Pod", "name": "web"}}, [
        ("spec.Target.Kind", "Target kind is not supported"),
    ]),
    ("two marks in one filter", {"labelFilters": ["*", "a*!b"]}, [
        (
            "spec.labels",
            ("spec.labels filter a*!b is invalid: cannot contain a negation character (!); FilterRules: NegationChar "
            "can be only used at the beginning of the filter"),
        ),
        (
            "spec.labels",
            ("spec.labels filter a*!b is invalid: cannot contain a wildcard character (*); FilterRules: WildcardChar "
            "can be only at the end of the filter"),
        ),
    ]),
    ("address left open", {"newMacAddresses": {"default": ""}}, []),
)  # fmt: skip


@pytest.mark.parametrize(("spec", "found"), [row[1:] for row in CLONES], ids=[row[0] for row in CLONES])
async def test_clones(spec: Object, found: list[tuple[str, str]]) -> None:
    source = {"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": "web"}
    item = {
        "apiVersion": CLONE,
        "kind": "VirtualMachineClone",
        "metadata": {"name": "c", "namespace": "demo"},
        "spec": {"source": source, **spec},
    }
    assert await causes(item) == found


async def test_a_gate_that_was_switched_off_forbids_new_clones_only() -> None:
    source = {"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": "web"}
    target = {"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": "copy"}
    item = {
        "apiVersion": CLONE,
        "kind": "VirtualMachineClone",
        "metadata": {"name": "c", "namespace": "demo"},
        "spec": {"source": source, "target": target},
    }
    off = {"developerConfiguration": {"disabledFeatureGates": ["Snapshot"]}}
    whole = {"object": item, "operation": "CREATE", "config": off}
    refused = await ask(admission_of(whole), request_of(whole))
    assert refused.denied is not None
    assert refused.denied.code == 400
    assert await causes(item, item, config=off) == []


async def test_volume_requests_ignore_an_instance_that_goes() -> None:
    vm = machine(spec_with())
    request = {
        "addVolumeOptions": {
            "name": "data",
            "disk": {"disk": {"bus": "scsi"}},
            "volumeSource": {"persistentVolumeClaim": {"claimName": "new"}},
        }
    }
    vm["status"] = {"ready": True, "volumeRequests": [request]}
    spec = spec_with() | {"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "old"}}]}
    there = instance(spec)
    assert len(await causes(vm, vm, existing=[there], subresource="status")) == 1
    there["metadata"]["deletionTimestamp"] = "2026-11-24T08:00:00Z"
    assert await causes(vm, vm, existing=[there], subresource="status") == []
