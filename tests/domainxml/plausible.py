"""VMIs as people write them: fields with values that mean something, in combinations that admission may take.

Unlike `strategies`, which knows types only, these get far: most are admitted. What schemas of libvirt 9 do not know is
left out (pvpanic, ACPI's msdm, passt, discard granularity, the finer flags of tlbflush).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from .builders import UID

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

Wire = dict[str, Any]

GATES = (
    "CPUManager", "DownwardMetrics", "EnableVirtioFsStorageVolumes", "ExperimentalIgnitionSupport", "GPU",
    "HostDevices", "HostDisk", "VSOCK",
)  # fmt: skip
CONFIGURATION: Wire = {
    "developerConfiguration": {"featureGates": list(GATES)},
    "network": {"binding": {"tapped": {"domainAttachmentType": "tap"}, "own": {}}},
    "permittedHostDevices": {
        "pciHostDevices": [{"pciVendorSelector": "1:1", "resourceName": "example.com/pci"}],
        "mediatedDevices": [{"mdevNameSelector": "x", "resourceName": "example.com/mdev"}],
        "usb": [{"resourceName": "example.com/usb", "selectors": [{"vendor": "1", "product": "2"}]}],
    },
}
DEVICES = {
    "PCI_RESOURCE_EXAMPLE_COM_PCI": "0000:01:00.0,0000:02:00.0",
    "MDEV_PCI_RESOURCE_EXAMPLE_COM_MDEV": "aa618089-8b16-4d01-a136-25a0f3c73123,aa618089-8b16-4d01-a136-25a0f3c73124",
    "USB_RESOURCE_EXAMPLE_COM_USB": "1:2",
}

flags = st.booleans()
states = st.fixed_dictionaries({}, optional={"enabled": flags})
CLAIMS: tuple[Wire, ...] = ({"persistentVolumeClaim": {"claimName": "c"}}, {"dataVolume": {"name": "v"}})
VOLUMES: tuple[Wire, ...] = (
    *CLAIMS,
    {"cloudInitConfigDrive": {"userData": "x"}},
    {"cloudInitNoCloud": {"userData": "x"}},
    {"configMap": {"name": "m"}},
    {"containerDisk": {"image": "registry.example/disk:1"}},
    {"downwardAPI": {"fields": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
    {"emptyDisk": {"capacity": "1Gi"}},
    {"ephemeral": {"persistentVolumeClaim": {"claimName": "e"}}},
    {"hostDisk": {"path": "/data/x.img", "type": "DiskOrCreate", "capacity": "1Gi"}},
    {"secret": {"secretName": "s"}},
    {"sysprep": {"configMap": {"name": "answers"}}},
)
BUSES = {"amd64": ("virtio", "scsi", "sata", "usb"), "arm64": ("virtio", "scsi"), "s390x": ("virtio", "scsi")}
MACHINES = {"amd64": ("q35", "pc-q35-7.2"), "arm64": ("virt",), "s390x": ("s390-ccw-virtio",)}
VIDEOS = {"amd64": ("vga", "bochs", "virtio", "ramfb"), "arm64": ("virtio",), "s390x": ("virtio",)}
MODELS = {
    "amd64": ("host-model", "host-passthrough", "Nehalem", "Skylake-Server"),
    "arm64": ("host-passthrough",),
    "s390x": ("host-model", "z14"),
}


def _options(required: Wire | None = None, /, **optional: SearchStrategy[Any]) -> SearchStrategy[Wire]:
    given = {name: st.just(value) for name, value in (required or {}).items()}
    return st.fixed_dictionaries(given, optional=optional)


def _timer(**more: SearchStrategy[Any]) -> SearchStrategy[Wire]:
    return _options(present=flags, **more)


policies = st.sampled_from(("delay", "catchup"))
OFFSETS: tuple[Wire, ...] = ({"utc": {}}, {"utc": {"offsetSeconds": -3600}}, {"timezone": "Europe/Vienna"}, {})
clocks = st.tuples(
    st.sampled_from(OFFSETS),
    _options(
        timer=_options(
            hpet=_timer(tickPolicy=policies),
            hyperv=_timer(),
            kvm=_timer(),
            pit=_timer(tickPolicy=policies),
            rtc=_timer(tickPolicy=policies, track=st.sampled_from(("guest", "wall"))),
        )
    ),
).map(lambda parts: {**parts[0], **parts[1]})
hypervs = _options(
    {"vpindex": {}, "synic": {}, "vapic": {}},
    **dict.fromkeys(("frequencies", "ipi", "reenlightenment", "relaxed", "reset", "runtime", "tlbflush"), states),
    evmcs=states,
    spinlocks=_options(enabled=flags, spinlocks=st.sampled_from((4096, 8191))),
    synictimer=_options(enabled=flags, direct=states),
    vendorid=_options({"vendorid": "KVM Hv"}, enabled=flags),
)
features = st.one_of(
    _options(acpi=states, apic=states, hyperv=hypervs, kvm=_options(hidden=flags), pvspinlock=states),
    _options(hypervPassthrough=states, smm=st.just({"enabled": True})),
)
sizes = st.sampled_from(
    ({"custom": {"logical": 512, "physical": 4096}}, {"custom": {"logical": 4096, "physical": 4096}})
)


@st.composite
def _disk(draw: st.DrawFn, name: str, arch: str) -> Wire:
    bus, order = draw(st.sampled_from(BUSES[arch])), draw(st.none() | st.just(int(name[1:]) + 1))
    kind = draw(st.sampled_from(("disk", "disk", "cdrom")))
    if kind == "cdrom":
        drives = ("scsi", "sata") if arch == "amd64" else ("scsi",)
        target = draw(_options(bus=st.sampled_from(drives), readonly=flags, tray=st.sampled_from(("open", "closed"))))
    else:
        target = draw(_options({"bus": bus}, **({} if bus == "sata" else {"readonly": flags})))
    own = {"dedicatedIOThread": flags} if kind == "disk" and bus == "virtio" else {}
    fine = {"blockSize": sizes} if kind == "disk" and bus != "sata" else {}
    more = draw(
        _options(
            cache=st.sampled_from(("none", "writethrough", "writeback")),
            errorPolicy=st.sampled_from(("stop", "ignore", "report", "enospace")),
            io=st.sampled_from(("native", "threads")),
            serial=st.sampled_from(("D1", "a-b_c")),
            **own,
            **fine,
        )
    )
    return {"name": name, kind: target, **more, **({} if order is None else {"bootOrder": order})}


@st.composite
def _interface(draw: st.DrawFn, index: int) -> Wire:
    first: tuple[Wire, ...] = ({"masquerade": {}}, {"bridge": {}})
    later: tuple[Wire, ...] = ({"bridge": {}}, {"sriov": {}}, {"binding": {"name": "own"}})
    binding = draw(st.sampled_from(later if index else first))
    plain = "bridge" in binding or "masquerade" in binding
    more = draw(
        _options(
            acpiIndex=st.integers(1, 100).map(lambda n: 10 * n + index),
            macAddress=st.just(f"02:00:00:00:01:{index:02x}"),
            model=st.sampled_from(("virtio", "e1000", "e1000e", "ne2k_pci", "pcnet", "rtl8139")),
            **({"state": st.sampled_from(("up", "down"))} if plain else {}),
        )
    )
    return {"name": f"n{index}", **binding, **more}


def _devices(arch: str) -> SearchStrategy[Wire]:
    x86 = {
        "clientPassthrough": st.just({}),
        "gpus": st.lists(
            _options(
                {"name": "g", "deviceName": "example.com/mdev"},
                virtualGPUOptions=_options(display=_options(enabled=flags, ramFB=st.just({"enabled": False}))),
            ),
            max_size=1,
        ),
        "hostDevices": st.lists(
            st.sampled_from(("pci", "usb")).map(lambda kind: {"name": "h", "deviceName": f"example.com/{kind}"}),
            max_size=1,
        ),
        "panicDevices": st.lists(st.sampled_from(({"model": "hyperv"}, {"model": "isa"}, {})), max_size=1),
        "sound": _options({"name": "s"}, model=st.sampled_from(("ich9", "ac97"))),
    }
    watchdog = {"amd64": "i6300esb", "s390x": "diag288"}.get(arch)
    actions = _options(action=st.sampled_from(("poweroff", "reset", "shutdown")))
    dog = {"watchdog": actions.map(lambda how: {"name": "w", watchdog: how})} if watchdog else {}
    names = (
        "autoattachMemBalloon", "autoattachSerialConsole", "blockMultiQueue", "disableHotplug", "logSerialConsole",
        "networkInterfaceMultiqueue", "useVirtioTransitional",
    )  # fmt: skip
    return _options(
        **dict.fromkeys(names, flags),
        **dog,
        **(x86 if arch == "amd64" else {}),
        downwardMetrics=st.just({}),
        inputs=st.lists(
            st.sampled_from(("usb", "virtio")).map(lambda bus: {"name": "t", "type": "tablet", "bus": bus}), max_size=1
        ),
        rng=st.just({}),
        tpm=_options(enabled=flags, persistent=flags),
        video=st.sampled_from(VIDEOS[arch]).map(lambda model: {"type": model}),
    )


@st.composite
def _processor(draw: st.DrawFn, arch: str) -> tuple[Wire, Wire]:
    """cpu and resources."""
    model = draw(_options(model=st.sampled_from(MODELS[arch])))
    if draw(st.integers(0, 5)) == 0:
        counts = {"requests": {"cpu": "4", "memory": "1Gi"}, "limits": {"cpu": "4", "memory": "1Gi"}}
        own = draw(_options({"dedicatedCpuPlacement": True, "sockets": 2, "cores": 2}, isolateEmulatorThread=flags))
        return {**model, **own}, counts
    few = st.sampled_from((1, 2))
    shape = draw(_options(sockets=few, cores=few, threads=few if arch == "amd64" else st.just(1)))
    words = st.sampled_from(("require", "optional", "disable", "forbid"))
    wanted = draw(st.lists(_options({"name": "pcid"}, policy=words), max_size=1))
    return {**model, **shape, "features": wanted}, {"requests": {"memory": "1Gi"}}


def _firmware(arch: str, *, smm: bool) -> SearchStrategy[Wire]:
    secure = flags if smm and arch == "amd64" else st.just(value=False)
    efi = st.fixed_dictionaries({"secureBoot": secure}, optional={"persistent": flags}).map(lambda efi: {"efi": efi})
    bios = st.sampled_from(({"bios": {}}, {"bios": {"useSerial": True}}))
    kernel = {"image": "registry.example/k:1", "kernelPath": "/boot/vmlinuz"}
    return _options(
        bootloader=efi | bios if arch == "amd64" else efi,
        kernelBoot=_options({"container": kernel}, kernelArgs=st.just("console=ttyS0 a='<&>'")),
        serial=st.just("S-1"),
    )


ANNOTATIONS: dict[str, SearchStrategy[str]] = {
    "kubevirt.io/disablePCIHole64": st.just("true"),
    "kubevirt.io/free-page-reporting-disabled": st.just("true"),
    "kubevirt.io/ignitiondata": st.just('{"ignition": {}}'),
    "kubevirt.io/memfd": st.just("false"),
    "kubevirt.io/pci-interface-slot-count": st.sampled_from(("3", "8")),
    "kubevirt.io/placePCIDevicesOnRootComplex": st.just("true"),
}


@st.composite
def documents(draw: st.DrawFn) -> Wire:
    """A VMI's JSON, before any default."""
    arch = draw(st.sampled_from(("amd64", "amd64", "arm64", "s390x")))
    sources = draw(st.lists(st.sampled_from(VOLUMES), max_size=4))
    volumes = [{"name": f"d{n}", **source} for n, source in enumerate(sources)]
    shared = [{"name": "fs", **draw(st.sampled_from(CLAIMS))}] if draw(flags) else []
    count = draw(st.integers(0, 3))
    devices = draw(_devices(arch))
    cpu, resources = draw(_processor(arch))
    wanted = draw(st.none() | features)
    pool = draw(st.sampled_from((None, "shared", "auto", "supplementalPool")))
    domain = draw(
        _options(
            chassis=st.just({"manufacturer": "a & b", "sku": "<c>"}),
            clock=clocks,
            firmware=_firmware(arch, smm="smm" in (wanted or {})),
            machine=st.sampled_from(MACHINES[arch]).map(lambda kind: {"type": kind}),
            memory=_options(hugepages=st.just({"pageSize": "2Mi"})),
            rebootPolicy=st.sampled_from(("Reboot", "Terminate")),
        )
    )
    devices |= {
        "disks": [draw(_disk(v["name"], arch)) for v in volumes],
        "filesystems": [{"name": "fs", "virtiofs": {}} for _ in shared],
        "interfaces": [draw(_interface(n)) for n in range(count)],
    }
    domain |= {"cpu": cpu, "devices": devices, "resources": resources}
    domain |= {} if wanted is None else {"features": wanted}
    domain |= {} if pool is None else {"ioThreadsPolicy": pool}
    domain |= {"ioThreads": {"supplementalPoolThreadCount": 2}} if pool == "supplementalPool" else {}
    nets: list[Wire] = [
        {"name": f"n{n}", "multus": {"networkName": "nad"}} if n else {"name": "n0", "pod": {}} for n in range(count)
    ]
    return {
        "metadata": {
            "name": "web",
            "namespace": "demo",
            "uid": UID,
            "annotations": draw(st.fixed_dictionaries({}, optional=ANNOTATIONS)),
        },
        "spec": {
            "architecture": arch,
            "domain": domain,
            "networks": nets,
            "volumes": volumes + shared,
            **draw(_options(startStrategy=st.just("Paused"), terminationGracePeriodSeconds=st.just(0))),
        },
    }
