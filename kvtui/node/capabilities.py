"""What libvirt says a node can do: QEMU's user, machines, CPU models and features. Pure parsers of its documents.

Whether KVM really works is not among it: libvirt cannot tell, the agent's probe can.

Source: https://libvirt.org/formatcaps.html, formatdomaincaps.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from kvtui.domainxml.context import HostCell
from kvtui.node import cpusets
from kvtui.node.identity import QemuUser

OBSOLETE = frozenset(
    name + suffix
    for name in (
        "486",
        "pentium",
        "pentium2",
        "pentium3",
        "pentiumpro",
        "coreduo",
        "n270",
        "core2duo",
        "Conroe",
        "athlon",
        "phenom",
        "qemu64",
        "qemu32",
        "kvm64",
        "kvm32",
        "Opteron_G1",
        "Opteron_G2",
    )
    for suffix in ("", "-v1")
)
GO_ARCH = {"x86_64": "amd64", "aarch64": "arm64", "s390x": "s390x"}
"""Kubernetes' names of architectures by libvirt's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """From the capabilities of a connection."""

    arch: str
    """As libvirt says it: x86_64."""
    uuid: str
    user: QemuUser
    security: str
    """Model that confines guests beyond file ownership: selinux, apparmor or empty."""
    machines: tuple[str, ...]
    """Machine types for guests of the host's architecture, aliases included."""
    deprecated: tuple[str, ...] = ()
    """Those of them that QEMU is going to drop."""
    tsc_frequency: int = 0
    tsc_scalable: bool = False
    cells: tuple[HostCell, ...] = ()
    """NUMA cells with the CPUs that are on line; empty where libvirt tells none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guests:
    """From the domain capabilities for the virtualization that is used."""

    usable: tuple[str, ...]
    """CPU models that run here, as far as libvirt knows."""
    known: tuple[str, ...]
    host_model: str = ""
    """Empty where a guest cannot have the host's model."""
    vendor: str = ""
    required: tuple[str, ...] = ()
    """Features that the host model demands."""
    passthrough: bool = False
    hyperv: tuple[str, ...] = ()
    """Enlightenments that the kernel offers to guests, in libvirt's words."""


HYPERV = {
    "vpindex": "vpindex",
    "runtime": "runtime",
    "synic": "synic",
    "stimer": "synictimer",
    "reset": "reset",
    "frequencies": "frequencies",
    "reenlightenment": "reenlightenment",
    "tlbflush": "tlbflush",
    "ipi": "ipi",
}
"""Names in labels by libvirt's; emulation offers none of them."""


def host(capabilities: Element) -> Host:
    """The host part and the machines of its own architecture."""
    arch = capabilities.findtext("host/cpu/arch", "x86_64")
    uid = gid = 0
    security = ""
    for model in capabilities.findall("host/secmodel"):
        name = model.findtext("model", "")
        if name == "dac":
            label = model.findtext("baselabel[@type='kvm']") or model.findtext("baselabel") or "+0:+0"
            uid, gid = _ids(label)
        elif name not in ("none", ""):
            security = name
    machines: list[str] = []
    deprecated: list[str] = []
    for guest in capabilities.findall("guest"):
        found = guest.find("arch")
        if found is None or found.get("name") != arch:
            continue
        for machine in found.findall("machine"):
            machines += [text for text in (machine.text or "", machine.get("canonical", "")) if text]
            if machine.get("deprecated") == "yes":
                deprecated.append(machine.text or "")
    counter = capabilities.find("host/cpu/counter[@name='tsc']")
    return Host(
        arch=arch,
        uuid=capabilities.findtext("host/uuid", ""),
        user=QemuUser(uid, gid),
        security=security,
        machines=tuple(dict.fromkeys(machines)),
        deprecated=tuple(dict.fromkeys(deprecated)),
        tsc_frequency=int(counter.get("frequency", "0")) if counter is not None else 0,
        tsc_scalable=counter is not None and counter.get("scaling") == "yes",
        cells=_cells(capabilities),
    )


def _cells(capabilities: Element) -> tuple[HostCell, ...]:
    found = []
    for cell in capabilities.findall("host/topology/cells/cell"):
        siblings = {
            int(cpu.get("id", "0")): sorted(cpusets.parse(cpu.get("siblings", "")))
            for cpu in cell.findall("cpus/cpu")
            if cpu.get("siblings")
        }
        distances = {int(d.get("id", "0")): int(d.get("value", "0")) for d in cell.findall("distances/sibling")}
        found.append(HostCell.of(int(cell.get("id", "0")), siblings, distances))
    return tuple(cell for cell in found if cell.cores)


def _ids(label: str) -> tuple[int, int]:
    uid, _, gid = label.partition(":")
    try:
        return int(uid.lstrip("+")), int(gid.lstrip("+"))
    except ValueError:
        return 0, 0


def guests(domain_capabilities: Element) -> Guests:
    """CPU models of one sort of virtualization."""
    custom = domain_capabilities.find("cpu/mode[@name='custom']")
    models = custom.findall("model") if custom is not None and custom.get("supported") == "yes" else []
    host_mode = domain_capabilities.find("cpu/mode[@name='host-model']")
    usable = host_mode is not None and host_mode.get("supported") == "yes"
    through = domain_capabilities.find("cpu/mode[@name='host-passthrough']")
    host_model, vendor = "", ""
    required: tuple[str, ...] = ()
    if usable and host_mode is not None:
        host_model = host_mode.findtext("model", "")
        vendor = host_mode.findtext("vendor", "")
        required = tuple(f.get("name", "") for f in host_mode.findall("feature") if f.get("policy") == "require")
    return Guests(
        usable=tuple(m.text or "" for m in models if m.get("usable") != "no"),
        known=tuple(m.text or "" for m in models if m.get("usable")),
        host_model=host_model,
        vendor=vendor,
        required=required,
        passthrough=through is not None and through.get("supported") == "yes",
        hyperv=tuple(v.text or "" for v in domain_capabilities.findall("features/hyperv[@supported='yes']/enum/value")),
    )


def labels(found: Host, runs: Guests, configured: Mapping[str, bool] | None = None) -> dict[str, str]:
    """Labels of the Node that schedulers and the migration controller select by.

    `configured`: models that the cluster calls obsolete beyond the usual ones, or not after all.
    """
    chosen = configured or {}
    obsolete = (OBSOLETE | {m for m, yes in chosen.items() if yes}) - {m for m, yes in chosen.items() if not yes}
    made: dict[str, str] = {}
    if chosen.get(runs.host_model):
        made[OBSOLETE_HOST] = "true"
    if found.arch == "x86_64":
        made |= {f"cpu-model.node.kubevirt.io/{m}": "true" for m in runs.usable if m not in obsolete}
        made |= {f"cpu-model-migration.node.kubevirt.io/{m}": "true" for m in runs.known if m not in obsolete}
    if found.arch != "aarch64" and runs.host_model:
        made[f"host-model-cpu.node.kubevirt.io/{runs.host_model}"] = "true"
        made[f"cpu-model-migration.node.kubevirt.io/{runs.host_model}"] = "true"
        for feature in runs.required:
            made[f"cpu-feature.node.kubevirt.io/{feature}"] = "true"
            made[f"host-model-required-features.node.kubevirt.io/{feature}"] = "true"
    vendor = "IBM" if found.arch == "s390x" else runs.vendor
    if vendor:
        made[f"cpu-vendor.node.kubevirt.io/{vendor}"] = "true"
    if found.tsc_frequency:
        made["cpu-timer.node.kubevirt.io/tsc-frequency"] = str(found.tsc_frequency)
        made["cpu-timer.node.kubevirt.io/tsc-scalable"] = "true" if found.tsc_scalable else "false"
    known = [HYPERV[name] for name in runs.hyperv if name in HYPERV]
    made |= {f"hyperv.node.kubevirt.io/{name}": "true" for name in (*known, *(("base", "time") if known else ()))}
    made |= {f"machine-type.node.kubevirt.io/{m}": "true" for m in found.machines}
    return {key: value for key, value in made.items() if _is_label(key)}


OBSOLETE_HOST = "node-labeller.kubevirt.io/obsolete-host-model"
PREFIXES = (
    OBSOLETE_HOST,
    "cpu-model.node.kubevirt.io/",
    "cpu-model-migration.node.kubevirt.io/",
    "cpu-feature.node.kubevirt.io/",
    "host-model-cpu.node.kubevirt.io/",
    "host-model-required-features.node.kubevirt.io/",
    "cpu-vendor.node.kubevirt.io/",
    "cpu-timer.node.kubevirt.io/",
    "machine-type.node.kubevirt.io/",
    "hyperv.node.kubevirt.io/",
)
"""Labels below these are ours to replace."""


def _is_label(key: str) -> bool:
    name = key.rpartition("/")[2]
    return (
        0 < len(name) <= 63
        and name[0].isalnum()
        and name[-1].isalnum()
        and all(c.isalnum() or c in "-_." for c in name)
    )
