"""Random type-valid VMIs: every field of every type, with words that mean something often enough to get far."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

from kvtui.api.kubevirt.domain import Devices, DomainSpec, InterfaceMasquerade
from kvtui.api.kubevirt.vmi import (
    CloudInitNoCloudSource,
    ContainerDiskSource,
    EmptyDiskSource,
    Network,
    PersistentVolumeClaimVolumeSource,
    SecretVolumeSource,
    VirtualMachineInstance,
    VirtualMachineInstanceSpec,
    VirtualMachineInstanceStatus,
    Volume,
)
from kvtui.api.meta import ObjectMeta
from kvtui.api.wire import evolve

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

NAMES = ("a", "b", "c", "default")
WORDS = (
    "virtio", "sata", "scsi", "usb", "none", "native", "stop", "auto", "shared", "supplementalPool", "host-model",
    "host-passthrough", "Nehalem", "tablet", "amd64", "arm64", "s390x", "q35", "1Gi", "2Mi", "512Mi", "memory", "cpu",
    "require", "absent", "down", "Ready", "vda", "sdb", "0000:81:01.0", "Paused", "Terminate", "Reboot", "TCP", "UDP",
    "02:00:00:00:00:01", "1", "3", "500m", "bridge", "",
)  # fmt: skip
HOSTILE = (
    "<x/>", "</name>", "\"'", "&amp;", "]]>", "<!--", "a,b=c", "../../etc/passwd", "/", "..", "\x00", "\x1b[2J",
    "\ud7ff\ufffe", "\u202e", "'><script>", "%n%s", "a" * 300, "\n<domain>",
)  # fmt: skip

texts = st.one_of(st.sampled_from(NAMES), st.sampled_from(WORDS), st.sampled_from(HOSTILE), st.text(max_size=12))
integers = st.one_of(st.integers(0, 8), st.integers(-(2**31), 2**31 - 1))


def of_type(kind: inspect.Type) -> SearchStrategy[Any]:
    """Values of a wire type; absent fields are the rule and get rarer near the top."""
    if isinstance(kind, inspect.Metadata):
        return of_type(kind.type)
    if isinstance(kind, inspect.UnionType):
        return st.one_of(*(of_type(member) for member in kind.types))
    if isinstance(kind, inspect.StructType):
        return struct(kind)
    if isinstance(kind, inspect.ListType):
        return st.lists(of_type(kind.item_type), max_size=3)
    if isinstance(kind, inspect.DictType):
        return st.dictionaries(texts, of_type(kind.value_type), max_size=2)
    if isinstance(kind, inspect.StrType):
        return texts
    if isinstance(kind, inspect.BoolType):
        return st.booleans()
    if isinstance(kind, inspect.IntType):
        return integers
    if isinstance(kind, inspect.FloatType):
        return st.floats(allow_nan=False, allow_infinity=False, width=32)
    return st.none()


ALWAYS: dict[type, tuple[str, ...]] = {DomainSpec: ("devices", "cpu"), Devices: ("disks", "interfaces")}
"""Fields drawn every time, since most of the converter is about them."""
_STRUCTS: dict[type, SearchStrategy[Any]] = {}


def struct(kind: inspect.StructType) -> SearchStrategy[Any]:
    if kind.cls not in _STRUCTS:
        _STRUCTS[kind.cls] = _struct(kind.cls, {field.name: of_type(field.type) for field in kind.fields})
    return _STRUCTS[kind.cls]


def _struct(cls: type, fields: dict[str, SearchStrategy[Any]]) -> SearchStrategy[Any]:
    always = [*(["name"] if "name" in fields else []), *ALWAYS.get(cls, ())]

    @st.composite
    def build(draw: st.DrawFn) -> Any:
        chosen = draw(st.lists(st.sampled_from(sorted(fields)), max_size=4, unique=True)) if fields else []
        return cls(**{name: draw(fields[name]) for name in dict.fromkeys(always + chosen)})

    return build()


def _type(cls: type) -> inspect.StructType:
    found = inspect.type_info(cls)
    assert isinstance(found, inspect.StructType)
    return found


def _mostly(text: str) -> SearchStrategy[str]:
    return st.sampled_from([text] * 40 + list(HOSTILE))


_SPEC = _type(VirtualMachineInstanceSpec)
_PARTS = {field.name: of_type(field.type) for field in _SPEC.fields if field.name in ("domain", "volumes", "networks")}
_STATUS = of_type(_type(VirtualMachineInstanceStatus))


def _coherent(draw: st.DrawFn, spec: VirtualMachineInstanceSpec) -> VirtualMachineInstanceSpec:
    """The spec with a network for every interface, a volume for every disk, and known words where few are known."""
    devices = spec.domain.devices
    interfaces = [
        evolve(interface, masquerade=InterfaceMasquerade(), binding=None) if draw(st.booleans()) else interface
        for interface in devices.interfaces
    ]
    volumes = [Volume(name=disk.name, **draw(st.sampled_from(SOURCES))) for disk in devices.disks]
    domain = evolve(
        spec.domain,
        devices=evolve(devices, interfaces=interfaces),
        reboot_policy=draw(st.sampled_from([None, "Reboot", "Terminate"])),
    )
    return evolve(
        spec,
        architecture=draw(st.sampled_from([None, "amd64", "amd64", "arm64", "s390x"])),
        domain=domain,
        networks=[*spec.networks, *(Network(name=interface.name) for interface in interfaces)],
        volumes=[*spec.volumes, *volumes],
    )


SOURCES: list[dict[str, Any]] = [
    {"container_disk": ContainerDiskSource(image="x")},
    {"empty_disk": EmptyDiskSource(capacity="1Gi")},
    {"persistent_volume_claim": PersistentVolumeClaimVolumeSource(claim_name="c")},
    {"cloud_init_no_cloud": CloudInitNoCloudSource(user_data="x")},
    {"secret": SecretVolumeSource(secret_name="s")},
]


@st.composite
def vmis(draw: st.DrawFn) -> VirtualMachineInstance:
    """A VMI whose parts are random, more often than not with volumes and networks that its devices name."""
    spec = msgspec.structs.replace(draw(of_type(_SPEC)), **{name: draw(part) for name, part in _PARTS.items()})
    if draw(st.integers(0, 9)):
        spec = _coherent(draw, spec)
    return VirtualMachineInstance(
        metadata=ObjectMeta(
            name=draw(_mostly("vm")),
            namespace=draw(_mostly("ns")),
            uid="6f1c2f0e-3b5a-4d0e-9a61-0c8d2d7b1a10",
            annotations=draw(st.dictionaries(st.sampled_from(ANNOTATIONS), texts, max_size=2)),
        ),
        spec=spec,
        status=draw(_STATUS),
    )


ANNOTATIONS = (
    "kubevirt.io/placePCIDevicesOnRootComplex",
    "kubevirt.io/pci-interface-slot-count",
    "kubevirt.io/ignitiondata",
    "kubevirt.io/qgs-socket-path",
    "kubevirt.io/memfd",
)
