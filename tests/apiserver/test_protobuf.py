"""Bodies as client-go encodes them, against what they say."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvtui.apiserver.schema import builtin, protobuf
from kvtui.apiserver.status import Failure

ENCODED: list[tuple[dict[str, Any], str]] = [
    (
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": "a",
                "namespace": "n",
                "labels": {"x": "y"},
                "creationTimestamp": "2026-01-02T03:04:05Z",
            },
            "data": {"k": "v", "e": ""},
            "binaryData": {"b": "aGk="},
            "immutable": True,
        },
        (
            "6b3873000a0f0a0276311209436f6e6669674d6170123e0a220a016112001a016e22002a0032003800420808a5ebdcca"
            "0610005a060a017812017912050a0165120012060a016b1201761a070a01621202686920011a002200"
        ),
    ),
    (
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "s"},
            "type": "Opaque",
            "data": {"p": "c2VjcmV0"},
            "stringData": {"q": "z"},
        },
        (
            "6b3873000a0c0a027631120653656372657412300a110a017312001a0022002a00320038004200120b0a017012067365"
            "637265741a064f706171756522060a017112017a1a002200"
        ),
    ),
    (
        {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": "l"},
            "spec": {"holderIdentity": "h", "renewTime": "2026-01-02T03:04:05.123456Z", "leaseDurationSeconds": 40},
        },
        (
            "6b3873000a1f0a16636f6f7264696e6174696f6e2e6b38732e696f2f763112054c6561736512270a110a016c12001a00"
            "22002a0032003800420012120a01681028220b08a5ebdcca06108094ef3a1a002200"
        ),
    ),
    (
        {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {"namespace": "n", "verb": "get", "resource": "pods", "group": "x"}},
        },
        (
            "6b3873000a320a17617574686f72697a6174696f6e2e6b38732e696f2f7631121753656c665375626a65637441636365"
            "737352657669657712370a100a0012001a0022002a0032003800420012190a170a016e12036765741a017822002a0470"
            "6f647332003a001a08080012001a0020001a002200"
        ),
    ),
    (
        {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": "u",
                "groups": ["g"],
                "extra": {"k": ["a", "b"]},
                "nonResourceAttributes": {"path": "/x", "verb": "get"},
            },
        },
        (
            "6b3873000a2e0a17617574686f72697a6174696f6e2e6b38732e696f2f763112135375626a6563744163636573735265"
            "76696577123e0a100a0012001a0022002a00320038004200122012090a022f7812036765741a01752201672a0b0a016b"
            "12060a01610a016232001a08080012001a0020001a002200"
        ),
    ),
    (
        {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": ["a"],
                "expirationSeconds": 600,
                "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": "u"},
            },
        },
        (
            "6b3873000a280a1861757468656e7469636174696f6e2e6b38732e696f2f7631120c546f6b656e526571756573741231"
            "0a100a0012001a0022002a0032003800420012170a01611a0f0a03506f64120276311a017022017520d8041a040a0012"
            "001a002200"
        ),
    ),
    (
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "r"},
            "subjects": [{"kind": "User", "name": "u", "apiGroup": "rbac.authorization.k8s.io"}],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        },
        (
            "6b3873000a2b0a1c726261632e617574686f72697a6174696f6e2e6b38732e696f2f7631120b526f6c6542696e64696e"
            "6712610a110a017212001a0022002a0032003800420012260a04557365721219726261632e617574686f72697a617469"
            "6f6e2e6b38732e696f1a017522001a240a19726261632e617574686f72697a6174696f6e2e6b38732e696f1204526f6c"
            "651a01721a002200"
        ),
    ),
    (
        {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": "p"},
            "deleteOptions": {"gracePeriodSeconds": 0, "preconditions": {"uid": "u"}, "dryRun": ["All"]},
        },
        (
            "6b3873000a150a09706f6c6963792f763112084576696374696f6e12210a110a017012001a0022002a00320038004200"
            "120c080012030a01752a03416c6c1a002200"
        ),
    ),
]


def missing(expected: Any, found: Any, path: str = "") -> list[str]:
    """Where something expected is absent or different. Zero values that the encoder adds do not count."""
    if isinstance(expected, dict):
        if not isinstance(found, dict):
            return [path]
        return [m for k, v in expected.items() if v != "" for m in missing(v, found.get(k), f"{path}.{k}")]
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        return [m for n, pair in enumerate(zip(expected, found, strict=True)) for m in missing(*pair, f"{path}[{n}]")]
    return [] if expected == found else [path]


@pytest.mark.parametrize(
    ("expected", "encoded"), ENCODED, ids=lambda value: value["kind"] if isinstance(value, dict) else ""
)
def test_a_body_of_client_go_is_understood(expected: dict[str, Any], encoded: str) -> None:
    assert missing(expected, protobuf.decode(bytes.fromhex(encoded))) == []


def test_the_zero_time_and_the_zero_generation_are_absent() -> None:
    decoded = protobuf.decode(bytes.fromhex(ENCODED[1][1]))
    assert "generation" not in decoded["metadata"]
    assert "creationTimestamp" not in decoded["metadata"]


def message(api_version: str, kind: str, raw: bytes) -> bytes:
    """An envelope; every part is shorter than 128 bytes."""

    def part(number: int, data: bytes) -> bytes:
        return bytes((number << 3 | 2, len(data))) + data

    return protobuf.MAGIC + part(1, part(1, api_version.encode()) + part(2, kind.encode())) + part(2, raw)


def test_what_json_would_leave_out_is_left_out_and_a_pointer_to_nothing_is_not() -> None:
    claim = protobuf.decode(message("v1", "PersistentVolumeClaim", bytes.fromhex("12022a00")))
    assert claim["spec"] == {"storageClassName": ""}  # no class, rather than the default one
    volume = protobuf.decode(message("v1", "PersistentVolume", bytes.fromhex("12023200")))
    assert volume["spec"] == {}


def test_early_years_have_four_digits() -> None:
    # acquireTime{seconds: -62135596798}: two seconds after the zero time
    raw = bytes.fromhex("120d1a0b088292b8c398feffffff01")
    lease = protobuf.decode(message("coordination.k8s.io/v1", "Lease", raw))
    assert lease["spec"]["acquireTime"].startswith("0001-01-01T00:00:")


def test_a_kind_without_a_table_is_an_unsupported_media_type() -> None:
    envelope = b"\x0a\x0e" + b"\x0a\x04ex/1" + b"\x12\x06Widget" + b"\x12\x00"
    with pytest.raises(Failure) as refused:
        protobuf.decode(protobuf.MAGIC + envelope)
    assert refused.value.code == 415


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"k8s\x00\x0a", b"k8s\x00\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"]
)
def test_a_broken_body_is_a_bad_request(body: bytes) -> None:
    with pytest.raises(Failure) as refused:
        protobuf.decode(body)
    assert refused.value.code in (400, 415)


@given(st.sampled_from([bytes.fromhex(encoded) for _, encoded in ENCODED]), st.data())
def test_a_damaged_body_is_decoded_or_refused(body: bytes, data: st.DataObject) -> None:
    damaged = bytearray(body)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(4, len(body) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(4, len(body)))
    try:
        protobuf.decode(bytes(damaged[:cut]))
    except Failure as failure:
        assert failure.code in (400, 415), failure  # noqa: PT017


@pytest.mark.parametrize("name", [n for n, t in builtin.types().items() if t.kind])
def test_the_numbers_of_a_kind_are_unique(name: str) -> None:
    for reached in builtin.references(name):
        numbers = [f.number for f in builtin.types()[reached].fields if f.number]
        numbers += [number for number, _ in builtin.types()[reached].embedded]
        assert len(numbers) == len(set(numbers)), reached


def _field(number: int, content: bytes | int) -> bytes:
    if isinstance(content, int):
        return bytes([number << 3, content])
    key = number << 3 | 2
    head = bytes([key]) if key < 128 else bytes([key & 0x7F | 0x80, key >> 7])
    return head + bytes([len(content)]) + content


def test_schemas_of_items_and_of_further_properties_are_messages_of_their_own() -> None:
    text = _field(5, b"string")
    schema = _field(24, _field(1, text)) + _field(30, _field(1, 1) + _field(2, text)) + _field(33, _field(1, 0))
    version = _field(1, b"v1") + _field(4, _field(1, schema))
    kind = _field(1, b"apiextensions.k8s.io/v1") + _field(2, b"CustomResourceDefinition")
    body = protobuf.MAGIC + _field(1, kind) + _field(2, _field(2, _field(7, version)))
    found = protobuf.decode(body)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert found == {
        "items": {"type": "string"},
        "additionalProperties": {"type": "string"},
        "additionalItems": False,
    }
