"""Volumes as a booted guest sees them: one of every kind, in two guests that are looked at over their consoles.

`shelf` keeps to itself and has Debian's whole kernel, which knows SATA, the bus of a disk that names none. `commons`
shares directories with its node and a disk with `shelf`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import pwd
import shutil
import struct
import subprocess
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from kvtui.api.core.config import ConfigMap
from kvtui.api.core.storage import PersistentVolumeClaim
from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.client.rest import Client
from kvtui.commands.engine import cache_directory, free_port
from kvtui.errors import Unsupported
from kvtui.node import identity
from kvtui.node.downwardmetrics import DISK_BYTES
from kvtui.node.virtiofs import SERVERS
from tests.e2e.conftest import Lab, kvtui, until
from tests.e2e.guests import Console, in_node, kubectl, shell, wait_running
from tests.e2e.test_plugging import MIB, existing, loop_device
from tests.fakes.images import OciRegistry
from tests.guests.debian import SATA, build

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
SHELF, COMMONS = ("default", "shelf"), ("default", "commons")
NODE = {"kubernetes.io/hostname": "node-1"}
ACCOUNT = "reader:open sesame"
HASHED = "reader:$2b$05$ulOf7vQh7onAH2p7Cx3S0uR4cwW0mbhyvLegAigyZG6UmIOSkIu6C"
CLOUD = "quay.io/kubevirt/fedora-cloud-container-disk-demo"
"""The lab's guest, in the registry of the tests."""
GATES = ["HostDisk", "DownwardMetrics", "EnableVirtioFsStorageVolumes"]
LONG = "a-key-" + 190 * "x"

LOOK = r"""
dev() { # SERIAL: the disk
    for block in /sys/block/*; do
        serial=$(cat $block/serial 2> /dev/null || dd if=$block/device/vpd_pg80 bs=1 skip=4 2> /dev/null)
        [ "$(echo $serial)" = "$1" ] && echo /dev/${block##*/}
    done
}
size() { echo $(($(cat /sys/block/${1#/dev/}/size) * 512)); }
start() { dd if=$1 bs=512 count=1 iflag=direct 2> /dev/null | tr -d '\0 '; }
put() { printf %-512s "$2" | dd of=$1 bs=512 conv=fsync 2> /dev/null; }
files() { # DIRECTORY: a line per file
    (cd $1 && find . -type f | while read -r file; do echo "${file#./} $(base64 $file | tr -d '\n')"; done)
}
iso() { # DISK: its label and its files
    echo "label $(dd if=$1 bs=1 skip=32808 count=32 2> /dev/null | base64)"
    mount -t iso9660 -o ro $1 /mnt && files /mnt && umount /mnt
}
"""
"""What is asked of a guest, for its shell. A volume's label is at this place of every ISO."""


def user_data(name: str) -> str:
    script = "".join(f"    {line}\n" for line in LOOK.strip().splitlines())
    return f"#cloud-config\nhostname: {name}\nwrite_files:\n- path: /root/look\n  content: |\n{script}"


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def named(kind: str, name: str, version: str = "v1", **fields: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **fields}


def claim(name: str, size: str, storage_class: str = "kvtui-shared", **more: Any) -> dict[str, Any]:
    modes = ["ReadWriteOnce" if storage_class == "kvtui-local" else "ReadWriteMany"]
    asked = {"storageClassName": storage_class, "accessModes": modes, "resources": {"requests": {"storage": size}}}
    return named("PersistentVolumeClaim", name, spec={**asked, **more})


def secret(name: str, **data: str) -> dict[str, Any]:
    return named("Secret", name, stringData=data)


def machine(name: str, disks: list[dict[str, Any]], volumes: list[dict[str, Any]], **devices: Any) -> dict[str, Any]:
    spec = {
        "nodeSelector": NODE,
        "terminationGracePeriodSeconds": 0,
        "domain": {
            "memory": {"guest": "192Mi"},
            "devices": {"disks": disks, "interfaces": [{"name": "default", "masquerade": {}}], **devices},
        },
        "networks": [{"name": "default", "pod": {}}],
        "volumes": volumes,
    }
    meta = {"labels": {"app": name}, "annotations": {"note": 'a "word"'}}
    running = {"runStrategy": "Always", "template": {"metadata": meta, "spec": spec}}
    return named("VirtualMachine", name, "kubevirt.io/v1", spec=running)


def disk(name: str, **target: Any) -> dict[str, Any]:
    """The serial number is the name; SATA where there is no bus."""
    return {"name": name, "disk": target, "serial": name.upper()}


VIRTIO: dict[str, Any] = {"bus": "virtio"}
NETWORK = "version: 2\nethernets:\n  eth0:\n    dhcp4: true\n"


def shelf(image: str, host_disk: Path) -> dict[str, Any]:
    disks = [
        disk("root", **VIRTIO),
        disk("init", **VIRTIO),
        disk("config", **VIRTIO, readonly=True),
        disk("words"),
        disk("account", **VIRTIO),
        disk("self", bus="scsi"),
        {"name": "answers", "cdrom": {}},
        disk("empty", bus="scsi"),
        disk("fresh", **VIRTIO),
        disk("pristine", **VIRTIO),
        disk("books", **VIRTIO),
        disk("raw", **VIRTIO),
        disk("host", bus="scsi"),
    ]
    fields = [
        {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
        {"path": "deep/note", "fieldRef": {"fieldPath": "metadata.annotations['note']"}},
    ]
    volumes: list[dict[str, Any]] = [
        {
            "name": "root",
            "containerDisk": {"image": image, "path": "/disk/sata.qcow2", "imagePullSecret": "right"},
        },
        {"name": "init", "cloudInitConfigDrive": {"userData": user_data("shelf"), "networkData": '{"links": []}'}},
        {"name": "config", "configMap": {"name": "settings"}},
        {"name": "words", "secret": {"secretName": "words", "volumeLabel": "for-you"}},
        {"name": "account", "serviceAccount": {"serviceAccountName": "librarian"}},
        {"name": "self", "downwardAPI": {"fields": fields}},
        {"name": "answers", "sysprep": {"configMap": {"name": "answers"}}},
        {"name": "empty", "emptyDisk": {"capacity": "24Mi"}},
        {"name": "fresh", "containerDisk": {"image": "quay.io/kubevirt/plain"}},
        {"name": "pristine", "ephemeral": {"persistentVolumeClaim": {"claimName": "pristine"}}},
        {"name": "books", "persistentVolumeClaim": {"claimName": "books"}},
        {"name": "raw", "persistentVolumeClaim": {"claimName": "raw"}},
        {"name": "host", "hostDisk": {"path": str(host_disk), "type": "DiskOrCreate", "capacity": "20Mi"}},
    ]
    tagged = [{"name": "default", "masquerade": {}, "tag": "lan"}]
    return machine("shelf", disks, volumes, interfaces=tagged)


def commons(image: str) -> dict[str, Any]:
    disks = [disk("root", **VIRTIO), disk("init", **VIRTIO), {"name": "load", "disk": VIRTIO}]
    disks.append({**disk("shared", **VIRTIO), "shareable": True})
    volumes: list[dict[str, Any]] = [
        {"name": "root", "containerDisk": {"image": image}},
        {
            "name": "init",
            "cloudInitNoCloud": {"secretRef": {"name": "user"}, "networkDataBase64": encoded(NETWORK)},
        },
        {"name": "load", "downwardMetrics": {}},
        {"name": "shared", "persistentVolumeClaim": {"claimName": "shared"}},
        {"name": "settings", "configMap": {"name": "settings"}},
        {"name": "secrets", "secret": {"secretName": "words"}},
        {"name": "tree", "persistentVolumeClaim": {"claimName": "tree"}},
    ]
    volumes.append({"name": "kept", "persistentVolumeClaim": {"claimName": "kept", "readOnly": True}})
    names = ("settings", "secrets", "tree", "kept")
    shares: list[dict[str, Any]] = [{"name": name, "virtiofs": {}} for name in names]
    return machine("commons", disks, volumes, filesystems=shares)


@pytest.fixture(scope="module")
def private(lab: Lab, registry: OciRegistry) -> Iterator[str]:
    """Image of the guest for `shelf`, one of two files, in a registry that wants to know who asks."""
    try:
        guest = build(SATA, cache_directory())
    except Unsupported as error:
        pytest.skip(str(error))
    directory = lab.guest.parents[1] / "private"
    directory.mkdir()
    address = f"{lab.address}:{free_port()}"
    (directory / "accounts").write_text(HASHED)
    config = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(directory / "blobs")}},
        "http": {"addr": address},
        "auth": {"htpasswd": {"realm": "kvtui", "path": str(directory / "accounts")}},
    }
    (directory / "registry.yml").write_text(json.dumps(config))
    conf = lab.data / "registries.conf"
    before = conf.read_text()
    command = ["docker-registry", "serve", str(directory / "registry.yml")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if b"listening on" in line:
                break
        drain = threading.Thread(target=process.stderr.read, name="private registry stderr", daemon=True)
        drain.start()
        try:
            conf.write_text(f'{before}[[registry]]\nprefix = "{address}"\nlocation = "{address}"\ninsecure = true\n')
            files = {"disk/other.img": bytes(MIB), "disk/sata.qcow2": guest.read_bytes()}
            OciRegistry(address).push("disks/sata:1", [files], directory / "layout", account=ACCOUNT)
            yield f"{address}/disks/sata:1"
        finally:
            conf.write_text(before)
            process.terminate()
            process.wait()
            drain.join()
            shutil.rmtree(directory)


@pytest.fixture(scope="module")
def host_disk() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place:
        Path(place).chmod(0o711)
        yield Path(place) / "made/host.img"


def pull_secret(name: str, image: str, account: str) -> dict[str, Any]:
    entry = {"auth": encoded(account)}
    config = json.dumps({"auths": {f"http://{image.partition('/')[0]}/v2/": entry}})
    return {**secret(name, **{".dockerconfigjson": config}), "type": "kubernetes.io/dockerconfigjson"}


@pytest.fixture(scope="module")
def guests(lab: Lab, private: str, host_disk: Path) -> Iterator[None]:
    """Both, while they run or boot."""
    if not any(path.exists() for path in SERVERS):
        pytest.skip("virtiofsd is not installed")
    set_gates(lab, GATES)
    by_hand = {"accessModes": ["ReadWriteMany"], "volumeMode": "Block", "storageClassName": "by-hand"}
    blank = {"source": {"blank": {}}, "storage": claim("", "16Mi")["spec"]}
    with loop_device() as (device, _):
        retained = {"capacity": {"storage": "12Mi"}, "persistentVolumeReclaimPolicy": "Retain"}
        objects = [
            {
                **named("ConfigMap", "settings"),
                "data": {"colour": "blue", LONG + "-1": "one", LONG + "-2": "two"},
                "binaryData": {"bytes": base64.b64encode(bytes(range(256))).decode()},
            },
            named("ConfigMap", "answers", data={"Autounattend.xml": "<unattend/>"}),
            secret("words", password="open sesame"),
            secret("user", userdata=user_data("commons")),
            secret("network", networkdata=NETWORK),
            named("ServiceAccount", "librarian"),
            pull_secret("right", private, ACCOUNT),
            pull_secret("wrong", private, "reader:shut"),
            named("PersistentVolume", "raw", spec={**by_hand, **retained, "hostPath": {"path": device}}),
            claim("raw", "12Mi", "by-hand", volumeMode="Block"),
            claim("books", "32Mi", "kvtui-local"),
            claim("shared", "16Mi"),
            claim("tree", "16Mi"),
            claim("kept", "16Mi"),
            named("DataVolume", "pristine", "cdi.kubevirt.io/v1beta1", spec=blank),
        ]
        try:
            with existing(lab, *objects):
                kubectl(lab, "wait", "dv/pristine", "--for=condition=Ready", "--timeout=60s")
                with image(lab, "pristine").open("r+b") as file:
                    file.write(b"pristine")
                with existing(lab, shelf(private, host_disk), commons(CLOUD)):
                    kubectl(lab, "wait", "vm/shelf", "vm/commons", "--for=condition=Ready", "--timeout=90s")
                    yield
        finally:
            set_gates(lab, None)


def set_gates(lab: Lab, value: list[str] | None) -> None:
    body = {"spec": {"configuration": {"developerConfiguration": {"featureGates": value}}}}
    kubectl(lab, "patch", "kubevirt/kubevirt", "-n", "kubevirt", "--type=merge", "-p", json.dumps(body))


def image(lab: Lab, name: str) -> Path:
    """The file of a claim."""
    volume = kubectl(lab, "get", "pvc", name, "-o", "jsonpath={.spec.volumeName}")
    place = kubectl(lab, "get", "pv", volume, "-o", "jsonpath={.spec.local.path}{.spec.hostPath.path}")
    return Path(place) / "disk.img"


async def files(viewer: Console, command: str) -> dict[str, bytes]:
    """What `iso` or `files` of the guest says; the label is under "label"."""
    rows = (line.split(" ", 1) for line in (await viewer.do(command)).splitlines())
    return {name: base64.b64decode(data) for name, data in rows}


async def iso(viewer: Console, device: str) -> tuple[str, dict[str, bytes]]:
    found = await files(viewer, f"iso {device}")
    return found.pop("label").decode().rstrip(), found


@contextlib.asynccontextmanager
async def inside(client: Client, name: str) -> AsyncIterator[Console]:
    """A shell that knows the questions."""
    async with shell(client, name) as viewer:
        await viewer.do(". /root/look")
        yield viewer


async def firmware(client: Client, key: tuple[str, str]) -> str:
    """The UUID that a guest's machine has."""
    found = (await client.get(VirtualMachineInstance, key)).spec.domain.firmware
    assert found is not None
    return found.uuid or "?"


@pytest.mark.usefixtures("guests")
async def test_what_is_written_into_objects_is_on_labelled_disks(lab: Lab, client: Client) -> None:
    async with inside(client, "shelf") as viewer:
        label, found = await iso(viewer, "$(dev INIT)")
        meta = json.loads(found.pop("openstack/latest/meta_data.json"))
        assert label == "config-2"
        assert found == {
            "openstack/latest/user_data": user_data("shelf").encode(),
            "openstack/latest/network_data.json": b'{"links": []}',
        }
        uuid = await firmware(client, SHELF)
        nic = "/sys/class/net/eth0"
        address, mac = (await viewer.do(f"basename $(readlink -f {nic}/device/..); cat {nic}/address")).split()
        tagged = {"type": "nic", "bus": "pci", "address": address, "mac": mac, "tags": ["lan"]}
        assert meta == {"instance_id": "shelf.default", "hostname": "shelf", "uuid": uuid, "devices": [tagged]}

        settings = {"colour": b"blue", LONG + "-1": b"one", LONG + "-2": b"two", "bytes": bytes(range(256))}
        assert await iso(viewer, "$(dev CONFIG)") == ("cfgdata", settings)
        assert await iso(viewer, "$(dev WORDS)") == ("for-you", {"password": b"open sesame"})
        assert await iso(viewer, "/dev/sr0") == ("unattendCD", {"Autounattend.xml": b"<unattend/>"})

        label, account = await iso(viewer, "$(dev ACCOUNT)")
        assert (label, account.pop("namespace")) == ("cfgdata", b"default")
        claims = json.loads(base64.urlsafe_b64decode(account.pop("token").split(b".")[1] + b"=="))
        assert claims["sub"] == "system:serviceaccount:default:librarian"
        authority = await client.get(ConfigMap, ("default", "kube-root-ca.crt"))
        assert account == {key: text.encode() for key, text in authority.data.items()}

        label, own = await iso(viewer, "$(dev SELF)")
        labels = dict(line.split("=", 1) for line in own.pop("labels").decode().splitlines())
        assert labels["app"] == '"shelf"'
        assert labels["kubevirt.io"] == '"virt-launcher"'
        assert own == {"deep/note": b'a "word"'}
        read_only = await viewer.do("for d in CONFIG WORDS EMPTY; do cat /sys/block/$(basename $(dev $d))/ro; done")
        assert read_only.split() == ["1", "0", "0"]


@pytest.mark.usefixtures("guests")
async def test_directories_are_shared_and_follow_their_objects(lab: Lab, client: Client) -> None:
    async with inside(client, "commons") as viewer:
        label, found = await iso(viewer, "$(dev INIT)")
        uuid = await firmware(client, COMMONS)
        assert label == "cidata"
        assert json.loads(found.pop("meta-data")) == {"instance-id": uuid, "local-hostname": "commons"}
        assert found == {"user-data": user_data("commons").encode(), "network-config": NETWORK.encode()}

        before = await metrics(viewer)
        for name in ("settings", "secrets", "tree", "kept"):
            await viewer.do(f"mkdir /{name} && mount -t virtiofs {name} /{name}")
        assert await files(viewer, "files /secrets") == {"password": b"open sesame"}
        assert (await files(viewer, "files /settings"))["colour"] == b"blue"
        (image(lab, "kept").parent / "private").touch(mode=0o600)
        for writing in (
            "echo red > /settings/colour",
            "touch /secrets/more",
            "touch /kept/more",
            "echo > /kept/private",
        ):
            assert "Read-only file system" in await viewer.do(f"({writing}) 2>&1")
        change = {"data": {"colour": "green", LONG + "-1": None}}
        kubectl(lab, "patch", "configmap", "settings", "--type=merge", "-p", json.dumps(change))
        kubectl(lab, "annotate", "vmi/commons", "seen=now")  # else it is seen at the next look of the node
        await viewer.do("until grep -q green /settings/colour; do usleep 200000; done")
        assert set(await files(viewer, "files /settings")) == {"colour", LONG + "-2", "bytes"}

        tree = image(lab, "tree").parent
        await viewer.do("umask 022; mkdir /tree/deep && echo leaf > /tree/deep/leaf && sync")
        assert (tree / "deep/leaf").read_text() == "leaf\n"
        (tree / "from-outside").write_text("seed")
        assert await viewer.do("cat /tree/from-outside") == "seed"
        assert not (tree / "disk.img").exists()
        after = await metrics(viewer)
        assert (before["HostName"], before["VirtualizationVendor"]) == ("node-1", "kubevirt.io")
        assert int(after["Time"]) >= int(before["Time"])


async def metrics(viewer: Console) -> dict[str, str]:
    """The document on the only disk of that size, once it is there and whole."""
    find = f"load=/dev/$(basename $(dirname $(grep -lx {DISK_BYTES // 512} /sys/block/*/size)))"
    read = f"{find}; dd if=$load bs=8192 count=1 iflag=direct 2> /dev/null"
    await viewer.do(f"until [ \"$({read} | grep -c '</metrics>')\" = 1 ]; do usleep 200000; done")
    head, _, body = base64.b64decode(await viewer.do(f"{read} | base64")).partition(b"<metrics>")
    signature, busy, total, length = struct.unpack(">4siii", head)
    document = (b"<metrics>" + body)[:length]
    assert (signature, busy, total) == (b"mvbd", 0, sum(document))
    return {m.findtext("name", ""): m.findtext("value", "") for m in ElementTree.fromstring(document)}


SIZES = {"EMPTY": 24, "FRESH": 8, "PRISTINE": 16, "BOOKS": 32, "RAW": 12, "HOST": 20}
"""MiB by serial number."""


@pytest.mark.usefixtures("guests")
async def test_disks_keep_what_is_theirs_to_keep(lab: Lab, client: Client, host_disk: Path) -> None:
    books, pristine = image(lab, "books"), image(lab, "pristine")
    first = await client.get(VirtualMachineInstance, SHELF)
    async with inside(client, "shelf") as viewer:
        for serial, size in SIZES.items():
            assert await viewer.do(f"size $(dev {serial})") == str(size * MIB)
        assert await viewer.do("start $(dev PRISTINE)") == "pristine"
        for serial in SIZES:
            await viewer.do(f"put $(dev {serial}) written")
        own = owner_of_files(lab, first)
        assert own == identity.user_of(first.metadata.uid, identity.QemuUser(0, 0)).uid
        images = [path.stat() for path in (books, host_disk, pristine)]
        assert {(status.st_uid, status.st_mode & 0o777) for status in images} == {(own, 0o600)}

        larger = {"spec": {"resources": {"requests": {"storage": "64Mi"}}}}
        await client.patch(PersistentVolumeClaim, ("default", "books"), larger)
        # 5.5 % of a file system are not for the image.
        await viewer.do(f"until [ $(size $(dev BOOKS)) = {60 * MIB} ]; do usleep 200000; done")

    vm = json.loads(kubectl(lab, "get", "vm", "shelf", "-o", "json"))["spec"]["template"]["spec"]
    init = {"userDataBase64": encoded(user_data("shelf")), "networkDataSecretRef": {"name": "network"}}
    changed: dict[str, dict[str, Any]] = {
        "root": {"containerDisk": {"image": CLOUD}},  # whose kernel is faster, and SATA was seen
        "init": {"cloudInitNoCloud": init},
    }
    volumes = [{"name": v["name"], **changed[v["name"]]} if v["name"] in changed else v for v in vm["volumes"]]
    volumes.append({"name": "shared", "persistentVolumeClaim": {"claimName": "shared"}})
    disks = [*vm["domain"]["devices"]["disks"], {**disk("shared", **VIRTIO), "shareable": True}]
    body = {"volumes": volumes, "domain": {"devices": {"disks": disks}}}
    kubectl(lab, "patch", "vm", "shelf", "--type=merge", "-p", json.dumps({"spec": {"template": {"spec": body}}}))
    await asyncio.to_thread(kvtui, lab, "restart", "shelf", "--force", "--grace-period", "0")
    second = await wait_running(client, "shelf", besides=first.metadata.uid)
    async with inside(client, "commons") as writer:
        await writer.do("put $(dev SHARED) for-all")
    async with inside(client, "shelf") as viewer:
        seen = {serial: await viewer.do(f"start $(dev {serial})") for serial in (*SIZES, "SHARED")}
        assert {serial: text.strip() for serial, text in seen.items()} == {
            "EMPTY": "",
            "FRESH": "",
            "PRISTINE": "pristine",
            "BOOKS": "written",
            "RAW": "written",
            "HOST": "written",
            "SHARED": "for-all",
        }
        assert await viewer.do("size $(dev BOOKS)") == str(60 * MIB)
        label, found = await iso(viewer, "$(dev INIT)")
        assert label == "cidata"
        assert found["user-data"] == user_data("shelf").encode()
        assert found["network-config"] == NETWORK.encode()
    assert owner_of_files(lab, second) == pwd.getpwnam("libvirt-qemu").pw_uid
    assert books.read_bytes()[:7] == host_disk.read_bytes()[:7] == b"written"
    assert pristine.read_bytes()[:8] == b"pristine"


def owner_of_files(lab: Lab, instance: VirtualMachineInstance) -> int:
    """Whose the files are that were made for a guest: of one user, who alone may read them, and who runs its QEMU."""
    state = lab.data / "nodes/node-1/vms" / instance.metadata.uid
    made = [path.stat() for path in (state / "disks").iterdir()]
    assert {status.st_mode & 0o777 for status in made} == {0o600}
    (owner,) = {status.st_uid for status in made}
    assert not any((state / name).stat().st_mode & 0o007 for name in ("", "disks", "s", "console", "nvram"))
    pid = in_node(lab, "node-1", "cat", f"/run/libvirt/qemu/{'_'.join(instance.key)}.pid").strip()
    assert Path(f"/proc/{pid}").stat().st_uid == owner
    return owner


@pytest.mark.usefixtures("guests")
async def test_a_wrong_pull_secret_is_told(lab: Lab, client: Client, private: str) -> None:
    volume = {
        "name": "root",
        "containerDisk": {"image": private, "imagePullSecret": "wrong", "path": "/disk/other.img"},
    }
    with existing(lab, machine("locked-out", [disk("root", **VIRTIO)], [volume])):
        await until(client, VirtualMachine, ("default", "locked-out"), lambda v: told(v) == "ErrImagePull")


def told(vm: VirtualMachine | None) -> str:
    return (vm.status.printable_status or "") if vm is not None else ""
