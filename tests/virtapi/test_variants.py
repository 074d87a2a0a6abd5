"""Rules whose neighbours the shared cases ask about: another member, another kind that carries the spec."""

from __future__ import annotations

from typing import Any

import pytest

from tests.virtapi.cases import admission_of, ask, request_of

Object = dict[str, Any]

CLAIM = {"name": "root", "persistentVolumeClaim": {"claimName": "data"}}
DISK = {"name": "root", "containerDisk": {"image": "registry.example/os/alpine:3.20"}}
RESERVATIONS = {"persistentReservationConfiguration": {"enabled": True}}
KEY = {"source": {"secret": {"secretName": "key"}}}
USERS = "accessCredentials[0].sshPublicKey.propagationMethod.qemuGuestAgent.users"
TERMS = "nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
BUS = "domain.devices.disks[0].lun.bus"
DISCONTINUED = "Passt network binding is discontinued since v1.3. Please refer to Kubevirt user guide for alternatives."


def spec_with(volume: Object = DISK, domain: Object | None = None, **more: Any) -> Object:
    devices = {"disks": [{"name": "root", "disk": {"bus": "virtio"}}], "interfaces": [{"name": "a", "masquerade": {}}]}
    whole = {"memory": {"guest": "256Mi"}, **(domain or {})}
    whole["devices"] = {**devices, **whole.get("devices", {})}
    return {"domain": whole, "networks": [{"name": "a", "pod": {}}], "volumes": [volume], **more}


def of_kind(kind: str, spec: Object) -> tuple[Object, str]:
    """An object that carries the spec, and the path of the spec in it."""
    metadata = {"name": "web", "namespace": "demo"}
    template = {"metadata": {"labels": {"app": "web"}}, "spec": spec}
    selector = {"matchLabels": {"app": "web"}}
    match kind:
        case "VirtualMachineInstance":
            item, path = {"spec": spec}, "spec"
        case "VirtualMachine":
            item, path = {"spec": {"runStrategy": "Always", "template": template}}, "spec.template.spec"
        case "VirtualMachineInstanceReplicaSet":
            item, path = {"spec": {"selector": selector, "template": template}}, "spec.template.spec"
        case _:
            machine = {"metadata": template["metadata"], "spec": {"runStrategy": "Always", "template": template}}
            item = {"spec": {"selector": selector, "virtualMachineTemplate": machine}}
            path = "spec.virtualMachineTemplate.spec.template.spec"
    version = "pool.kubevirt.io/v1beta1" if kind == "VirtualMachinePool" else "kubevirt.io/v1"
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **item}, path


async def causes(item: Object, config: Object) -> list[tuple[str, str, str]]:
    """Sort, field and message of every cause; none when the object is admitted."""
    case = {"object": item, "operation": "CREATE", "config": config}
    answer = await ask(admission_of(case), request_of(case))
    return [(cause.reason, cause.field, cause.message) for cause in answer.denied.causes] if answer.denied else []


BOTH = ("VirtualMachineInstance", "VirtualMachine")
TEMPLATES = ("VirtualMachineInstanceReplicaSet", "VirtualMachinePool")
RESERVED: Object = {"devices": {"disks": [{"name": "root", "lun": {"reservation": True}}]}}
ENCRYPTED: Object = {"launchSecurity": {"sev": {}}, "firmware": {"bootloader": {"efi": {"secureBoot": False}}}}

ROWS: list[tuple[str, tuple[str, ...], Object, Object, list[tuple[str, str, str]]]] = [
    (
        "an agent that is to write keys for nobody",
        BOTH,
        spec_with(
            accessCredentials=[{"sshPublicKey": {**KEY, "propagationMethod": {"qemuGuestAgent": {"users": []}}}}]
        ),
        {},
        [
            (
                "FieldValueInvalid",
                USERS,
                "{}.accessCredentials[0] requires at least one user to be present in the users list",
            )
        ],
    ),
    (
        "an affinity to no node",
        BOTH,
        spec_with(
            affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}
        ),
        {},
        [("FieldValueInvalid", TERMS, f"{{}}.{TERMS}: Required value: must have at least one node selector term")],
    ),
    (
        "a reservation on a disk whose bus is still open",
        ("VirtualMachine",),
        spec_with(CLAIM, RESERVED),
        RESERVATIONS,
        [("FieldValueInvalid", BUS, "Persistent reservation requires a SCSI bus, but  was specified")],
    ),
    (
        "a reservation on the bus that an instance gets",
        ("VirtualMachineInstance",),
        spec_with(CLAIM, RESERVED),
        RESERVATIONS,
        [("FieldValueInvalid", BUS, "Persistent reservation requires a SCSI bus, but sata was specified")],
    ),
    ("a reboot policy that only the schema refuses", BOTH, spec_with(domain={"rebootPolicy": "Never"}), {}, []),
    (
        "encryption in a template without architecture",
        TEMPLATES,
        spec_with(domain=ENCRYPTED),
        {},
        [("FieldValueInvalid", "architecture", "No launchSecurity support for architecture: ")],
    ),
    (
        "encryption in a template with one",
        TEMPLATES,
        spec_with(domain=ENCRYPTED, architecture="amd64"),
        {},
        [],
    ),
    (
        "a listed gate whose feature is gone",
        TEMPLATES,
        spec_with(domain={"devices": {"interfaces": [{"name": "a", "passt": {}}]}}),
        {"developerConfiguration": {"featureGates": ["Passt"]}},
        [
            (
                "FieldValueInvalid",
                "domain.devices.interfaces[0]",
                "logical a interface must have exactly one binding method or binding plugin",
            ),
            ("FieldValueNotSupported", "", DISCONTINUED),
        ],
    ),
    (
        "DHCP options twice, and out of range",
        ("VirtualMachine",),
        spec_with(
            domain={
                "devices": {
                    "interfaces": [
                        {
                            "name": "a",
                            "masquerade": {},
                            "dhcpOptions": {"privateOptions": [{"option": 1, "value": "a"}] * 2},
                        }
                    ]
                }
            }
        ),
        {},
        [
            ("FieldValueInvalid", ".", "Found Duplicates: you have provided duplicate DHCPPrivateOptions"),
            *[
                (
                    "FieldValueInvalid",
                    ".",
                    "provided DHCPPrivateOptions are out of range, must be in range 224 to 254",
                )
            ]
            * 2,
        ],
    ),
]
"""What it is about, kinds, spec, configuration, and causes with fields below the spec."""


@pytest.mark.parametrize(
    ("kind", "spec", "config", "found"),
    [(kind, *row[2:]) for row in ROWS for kind in row[1]],
    ids=[f"{row[0]} ({kind})" for row in ROWS for kind in row[1]],
)
async def test_variants(kind: str, spec: Object, config: Object, found: list[tuple[str, str, str]]) -> None:
    item, path = of_kind(kind, spec)
    whole = [
        (reason, f"{path}.{field}".rstrip(".") if field else "", message.format(path) if "{}" in message else message)
        for reason, field, message in found
    ]
    assert await causes(item, config) == whole


def cdi(kind: str, spec: Object, name: str = "a") -> Object:
    metadata = {"name": name, "namespace": "demo"}
    return {"apiVersion": "cdi.kubevirt.io/v1beta1", "kind": kind, "metadata": metadata, "spec": spec}


STAGES: Object = {"checkpoints": [{"previous": "", "current": "a"}]}
CRON: Object = {
    "template": {
        "spec": {
            "source": {"registry": {"url": "docker://registry.example/os"}},
            "storage": {"resources": {"requests": {"storage": "1Gi"}}},
        }
    },
    "schedule": "@daily",
    "managedDataSource": "os",
}
SOURCES: list[tuple[str, Object, list[tuple[str, str, str]]]] = [
    (
        "an upload's long name",
        cdi("VolumeUploadSource", {}, "a" * 64),
        [("FieldValueInvalid", "", "Name cannot be longer than 63 characters")],
    ),
    (
        "checkpoints of a download",
        cdi("VolumeImportSource", {"source": {"http": {"url": "https://images.example/a"}}, **STAGES}),
        [],
    ),
    (
        "checkpoints of oVirt's",
        cdi(
            "VolumeImportSource",
            {"source": {"imageio": {"url": "https://o.example", "diskId": "d", "secretRef": "s"}}, **STAGES},
        ),
        [
            (
                "FieldValueInvalid",
                "spec.targetClaim",
                "Unable to do multi-stage import without specifying a target claim",
            )
        ],
    ),
    (
        "old imports, said to be nothing",
        cdi("DataImportCron", {**CRON, "garbageCollect": ""}),
        [("FieldValueInvalid", "spec.GarbageCollect", "Illegal GarbageCollect value")],
    ),
]


@pytest.mark.parametrize(("item", "found"), [row[1:] for row in SOURCES], ids=[row[0] for row in SOURCES])
async def test_sources_of_data(item: Object, found: list[tuple[str, str, str]]) -> None:
    assert await causes(item, {}) == found


async def test_a_long_hardware_address_is_none_for_a_clone() -> None:
    item = {
        "apiVersion": "clone.kubevirt.io/v1beta1",
        "kind": "VirtualMachineClone",
        "metadata": {"name": "copy", "namespace": "demo"},
        "spec": {
            "source": {"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": "web"},
            "newMacAddresses": {"a": "02:00:00:00:00:00:00:01"},
        },
    }
    message = "interface a has malformed MAC address (02:00:00:00:00:00:00:01)."
    assert await causes(item, {}) == [("FieldValueInvalid", "spec.newMacAddresses.a", message)]


POLICY: Object = {
    "apiVersion": "migrations.kubevirt.io/v1alpha1",
    "kind": "MigrationPolicy",
    "metadata": {"name": "fast"},
}


@pytest.mark.parametrize(
    ("spec", "gates", "field", "message"),
    [
        (
            {"maxDowntimeMs": 300},
            [],
            "maxDowntimeMs",
            "maxDowntimeMs cannot be modified without enabling the MigrationStallDetection feature gate",
        ),
        (
            {"experimental": {"stallDetector": {"ewmaAlpha": ""}}},
            ["MigrationStallDetection"],
            "experimental.stallDetector.ewmaAlpha",
            'invalid factor "": strconv.ParseFloat: parsing "": invalid syntax',
        ),
    ],
)
async def test_migration_policies(spec: Object, gates: list[str], field: str, message: str) -> None:
    item = {**POLICY, "spec": {"selectors": {}, **spec}}
    found = await causes(item, {"developerConfiguration": {"featureGates": gates}})
    assert found == [("FieldValueInvalid", f"spec.{field}", message)]


@pytest.mark.parametrize(("labels", "what"), [({"a": "b"}, "modified on"), ({}, "removed from")])
async def test_the_label_of_a_migration_stays(labels: dict[str, str], what: str) -> None:
    metadata = {"name": "m", "namespace": "demo"}
    old = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstanceMigration",
        "metadata": {**metadata, "labels": {"kubevirt.io/vmi-name": "web"}},
        "spec": {"vmiName": "web"},
        "status": {"phase": "Running"},
    }
    new = {**old, "metadata": {**metadata, "labels": labels}}
    case = {"object": new, "oldObject": old, "operation": "UPDATE"}
    answer = await ask(admission_of(case), request_of(case))
    assert answer.denied is not None
    assert [c.message for c in answer.denied.causes] == [f"selector label can't be {what} an in-flight migration"]


async def test_features_within_others_are_on_when_mentioned() -> None:
    display: Object = {"display": {"ramFB": {}}}
    devices = {
        "disks": [{"name": "root", "disk": {"bus": "virtio"}, "blockSize": {"matchVolume": {}}}],
        "gpus": [{"name": "g", "deviceName": "vendor.example/A", "virtualGPUOptions": display}],
    }
    hyperv = {"synictimer": {"direct": {}}, "tlbflush": {"direct": {}, "extended": {"enabled": False}}}
    item, _ = of_kind("VirtualMachineInstance", spec_with(domain={"devices": devices, "features": {"hyperv": hyperv}}))
    case = {"object": item, "operation": "CREATE", "config": {}}
    mutated = (await ask(admission_of(case), request_of(case))).mutated
    assert mutated is not None
    domain = mutated["spec"]["domain"]
    on = {"enabled": True}
    assert domain["devices"]["disks"][0]["blockSize"] == {"matchVolume": on}
    assert domain["devices"]["gpus"][0]["virtualGPUOptions"] == {"display": {"ramFB": on}}
    assert domain["features"]["hyperv"]["synictimer"] == {**on, "direct": on}
    assert domain["features"]["hyperv"]["tlbflush"] == {**on, "direct": on, "extended": {"enabled": False}}
