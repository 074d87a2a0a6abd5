"""Rules that the shared cases do not ask about, one row each."""

from __future__ import annotations

from typing import Any

import pytest

from kvtui.api.admission import AdmissionRequest, Denied, UserInfo
from kvtui.virtapi.admission.cdi_clone import CLONES_FROM
from kvtui.virtapi.admission.view import Right
from kvtui.virtapi.readers import RawReader
from kvtui.virtapi.review import VirtAdmission, allowed, refused, request_from
from tests.virtapi.cases import CHANCE, Cluster, kubevirt

Object = dict[str, Any]


def resource(api_version: str, kind: str, spec: Object | None = None, **metadata: Any) -> Object:
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": "x", "namespace": "demo", **metadata},
        "spec": spec or {},
    }


def request(
    item: Object, old: Object | None = None, *, operation: str = "CREATE", plural: str = ""
) -> AdmissionRequest:
    group, _, version = item["apiVersion"].rpartition("/")
    return AdmissionRequest(
        operation="UPDATE" if old is not None else operation,  # type: ignore[arg-type]
        group=group,
        version=version,
        resource=plural or item["kind"].lower() + "s",
        namespace=item["metadata"].get("namespace", ""),
        name=item["metadata"]["name"],
        object=item,
        old_object=old,
        user=UserInfo("jane"),
    )


async def verdict(asked: AdmissionRequest, *existing: Object, refuses: set[Right] | None = None) -> tuple[int, str]:
    """Code and message; 200 and nothing when it passes."""
    admission = VirtAdmission(RawReader(Cluster(existing, refuses or set())), chance=lambda: CHANCE)
    try:
        await admission.mutate(asked)
        await admission.validate(asked)
    except Denied as denied:
        return denied.code, str(denied).strip()
    return 200, ""


def clone(**spec: Any) -> Object:
    source = {"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": "web"}
    return resource("clone.kubevirt.io/v1beta1", "VirtualMachineClone", {"source": source, **spec})


def export(kind: str, group: str | None, name: str = "web") -> Object:
    source = {"kind": kind, "name": name} | ({"apiGroup": group} if group is not None else {})
    return resource("export.kubevirt.io/v1", "VirtualMachineExport", {"source": source})


def data_volume(source: Object, **spec: Any) -> Object:
    storage = {"resources": {"requests": {"storage": "1Gi"}}}
    return resource("cdi.kubevirt.io/v1beta1", "DataVolume", {"source": source, "storage": storage, **spec})


ROWS: list[tuple[str, Object, int, str]] = [
    ("clone label filters", clone(labelFilters=["!"]), 422, "a negation character is not a valid filter"),
    (
        "clone filter with inner negation",
        clone(annotationFilters=["a!b"]),
        422,
        (
            "spec.annotations filter a!b is invalid: cannot contain a negation character (!); FilterRules: "
            "NegationChar can be only used at the beginning of the filter"
        ),
    ),
    (
        "clone filter with inner wildcard",
        clone(template={"labelFilters": ["a*b"]}),
        422,
        (
            "spec.template.labels filter a*b is invalid: cannot contain a wildcard character (*); FilterRules: "
            "WildcardChar can be only at the end of the filter"
        ),
    ),
    ("clone patch", clone(patches=["{"]), 422, "patch is not valid JSON ({)"),
    (
        "clone target kind",
        clone(target={"apiGroup": "kubevirt.io", "kind": "Pod", "name": "a"}),
        422,
        "Target kind is not supported",
    ),
    ("export of a VM", export("VirtualMachine", "kubevirt.io"), 200, ""),
    ("export without group", export("VirtualMachine", None), 422, "VM API group must be kubevirt.io"),
    (
        "export without name",
        export("VirtualMachine", "kubevirt.io", ""),
        422,
        "Virtual Machine name must not be empty",
    ),
    ("export of a Pod", export("Pod", ""), 422, "invalid kind"),
    ("s3 scheme with credentials", data_volume({"s3": {"url": "s3://bucket/key", "secretRef": "s"}}), 200, ""),
    (
        "s3 scheme without credentials",
        data_volume({"s3": {"url": "s3://bucket/key"}}),
        422,
        "spec.source Invalid source URL scheme: s3://bucket/key",
    ),
    (
        "two sources",
        data_volume({"blank": {}, "upload": {}}),
        422,
        "Multiple Data volume sources",
    ),
    (
        "checksum of another length",
        data_volume({"http": {"url": "http://h/a", "checksum": "md5:ab"}}),
        422,
        "Invalid checksum format: invalid md5 hash length: expected 32 hex characters, got 2",
    ),
    (
        "checksum algorithm",
        data_volume({"http": {"url": "http://h/a", "checksum": "crc:ab"}}),
        422,
        (
            "Invalid checksum format: unsupported hash algorithm 'crc': "
            "supported algorithms are: md5, sha1, sha256, sha512"
        ),
    ),
    (
        "archive from a registry",
        data_volume({"registry": {"url": "docker://r/a"}}, contentType="archive"),
        422,
        "ContentType must be kubevirt when Source is Registry",
    ),
    (
        "spread ratio of threads",
        resource(
            "instancetype.kubevirt.io/v1beta1",
            "VirtualMachinePreference",
            {"cpu": {"preferredCPUTopology": "spread", "spreadOptions": {"across": "CoresThreads", "ratio": 3}}},
        ),
        422,
        "only a ratio of 2 (1 core 2 threads) is allowed when spreading vCPUs over cores and threads",
    ),
]


@pytest.mark.parametrize(("item", "code", "message"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
async def test_creation(item: Object, code: int, message: str) -> None:
    assert await verdict(request(item)) == (code, message)


async def test_a_clone_without_target_gets_one() -> None:
    admission = VirtAdmission(RawReader(Cluster()), chance=lambda: CHANCE)
    changed, _ = await admission.mutate(request(clone()))
    assert changed["spec"]["target"] == {
        "apiGroup": "kubevirt.io",
        "kind": "VirtualMachine",
        "name": f"clone-web-{CHANCE.suffix}",
    }


def rights(*, subresource: bool, pods: bool) -> set[Right]:
    """What jane may not do in the namespace `images`."""
    refused_rights = set()
    if not subresource:
        refused_rights.add(Right("jane", (), "create", "cdi.kubevirt.io", "datavolumes", "source", "images"))
    if not pods:
        refused_rights.add(Right("jane", (), "create", "", "pods", "", "images"))
    return refused_rights


@pytest.mark.parametrize(("subresource", "pods", "code"), [(True, False, 200), (False, True, 200), (False, False, 422)])
async def test_clones_from_elsewhere_need_rights_there(subresource: bool, pods: bool, code: int) -> None:
    item = data_volume({"pvc": {"namespace": "images", "name": "golden"}})
    answer = await verdict(request(item), refuses=rights(subresource=subresource, pods=pods))
    assert answer[0] == code
    if code == 422:
        assert answer[1] == "User jane has insufficient permissions in clone source namespace images"


async def test_where_a_volume_may_be_cloned_from_is_written_by_admission_alone() -> None:
    for namespace, wanted in (("images", "images"), ("demo", None)):
        image = {"source": {"pvc": {"namespace": namespace, "name": "image"}}}
        golden = {**resource("cdi.kubevirt.io/v1beta1", "DataSource", image)}
        admission = VirtAdmission(RawReader(Cluster((golden,))), chance=lambda: CHANCE)
        item = resource("cdi.kubevirt.io/v1beta1", "DataVolume", {"sourceRef": {"kind": "DataSource", "name": "x"}})
        item["metadata"]["annotations"] = {CLONES_FROM: "secret", "mine": "kept"}
        changed, _ = await admission.mutate(request(item))
        assert changed["metadata"]["annotations"] == {"mine": "kept"} | ({CLONES_FROM: wanted} if wanted else {})
    old = {**item, "metadata": {**item["metadata"], "annotations": {}}}
    code, message = await verdict(request(item, old))
    assert (code, message) == (422, f"annotation {CLONES_FROM} may not be changed")


async def test_clones_at_home_need_no_more_rights() -> None:
    item = data_volume({"pvc": {"namespace": "demo", "name": "golden"}})
    refused_right = Right("jane", (), "create", "", "pods", "", "demo")
    assert await verdict(request(item), refuses={refused_right}) == (200, "")


async def test_there_is_one_kubevirt() -> None:
    assert await verdict(request(kubevirt({})), kubevirt({})) == (400, "Kubevirt is already created")


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        (
            {"additionalGuestMemoryOverheadRatio": "0.5"},
            "ratio provided, 0.5, cannot be smaller than 1.0",
        ),
        (
            {"developerConfiguration": {"featureGates": ["Root"], "disabledFeatureGates": ["Root"]}},
            "feature gate Root cannot be in both featureGates and disabledFeatureGates",
        ),
        ({"tlsConfiguration": {"ciphers": ["ROT13"]}}, "ROT13 is not a valid cipher"),
    ],
)
async def test_configuration_is_checked(configuration: Object, message: str) -> None:
    assert await verdict(request(kubevirt(configuration), kubevirt({}))) == (422, message)


async def test_placement_stays_while_guests_run() -> None:
    new = kubevirt({})
    new["spec"]["workloads"] = {"nodePlacement": {"nodeSelector": {"zone": "a"}}}
    vmi = resource("kubevirt.io/v1", "VirtualMachineInstance", {"domain": {"devices": {}}})
    assert (await verdict(request(new, kubevirt({}))))[0] == 200
    assert (await verdict(request(new, kubevirt({})), vmi))[0] == 422


async def test_deprecated_gates_are_answered_with_warnings() -> None:
    new = kubevirt({"developerConfiguration": {"featureGates": ["MultiArchitecture"]}})
    warnings = await VirtAdmission(RawReader(Cluster())).validate(request(new, kubevirt({})))
    assert warnings == ["feature gate MultiArchitecture is deprecated, but will be honored for now."]


async def test_cdi_stays_while_it_has_work() -> None:
    cdi = resource("cdi.kubevirt.io/v1beta1", "CDI", {"uninstallStrategy": "BlockUninstallIfWorkloadsExist"})
    asked = AdmissionRequest(
        operation="DELETE", group="cdi.kubevirt.io", version="v1beta1", resource="cdis", name="cdi", old_object=cdi
    )
    volume = data_volume({"blank": {}})
    assert await verdict(asked) == (200, "")
    assert (await verdict(asked, volume))[0] == 400


def test_reviews_become_requests() -> None:
    item = clone()
    review = {
        "request": {
            "uid": "1",
            "operation": "CREATE",
            "resource": {"group": "clone.kubevirt.io", "version": "v1beta1", "resource": "virtualmachineclones"},
            "namespace": "demo",
            "name": "x",
            "object": item,
            "userInfo": {"username": "jane", "groups": ["a"], "extra": {"k": ["v"]}},
            "dryRun": True,
        }
    }
    asked = request_from(review)
    assert (asked.group, asked.resource, asked.user.groups, asked.dry_run) == (
        "clone.kubevirt.io",
        "virtualmachineclones",
        ("a",),
        True,
    )
    assert allowed(review, item, []) == {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {"uid": "1", "allowed": True},
    }
    changed = allowed(review, {**item, "spec": {"a": 1}}, ["careful"])["response"]
    assert changed["patchType"] == "JSONPatch"
    assert changed["warnings"] == ["careful"]
    no = refused(review, Denied("no", code=422, reason="Invalid"))["response"]
    assert no["status"] == {"status": "Failure", "message": "no", "code": 422, "reason": "Invalid"}
