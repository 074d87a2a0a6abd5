"""The guest image boots, takes its first configuration, and does what the other tests need of it."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import urllib.request
from pathlib import Path

import pytest

from kvtui.commands.engine import cache_directory
from kvtui.errors import Unsupported
from kvtui.lab.image.build import build_image
from tests.lab.guest import BOOT, guest

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="QEMU is not installed"),
]

USER_DATA = """\
#cloud-config
hostname: web-7
password: secret
chpasswd: {expire: false}
ssh_authorized_keys:
  - KEY
users:
  - default
  - name: ann
    plain_text_passwd: anns
write_files:
  - path: /etc/motd
    permissions: '0600'
    content: |
      first line
        second "line"
runcmd:
  - echo ran >> /root/ran
  - [sh, -c, 'echo "with words" >> /root/ran']
"""


@pytest.fixture(scope="module")
def image() -> Path:
    try:
        return build_image(cache_directory(), say=lambda line: None)
    except Unsupported as error:
        pytest.skip(str(error))


def cidata(place: Path, user_data: str) -> Path:
    (place / "user-data").write_text(user_data)
    (place / "meta-data").write_text("instance-id: i-1\nlocal-hostname: not-this\n")
    iso = place / "cidata.iso"
    files = [str(place / name) for name in ("user-data", "meta-data")]
    subprocess.run(["genisoimage", "-quiet", "-V", "cidata", "-J", "-r", "-o", str(iso), *files], check=True)
    return iso


def patiently(condition: str) -> str:
    """Waits in the guest, half a minute at most."""
    return f"i=0; until {condition} || [ $i = 300 ]; do usleep 100000; i=$((i+1)); done"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def test_a_guest_with_little_memory_takes_its_configuration_and_serves(image: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    web, ssh = free_port(), free_port()
    make_key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
    subprocess.run(make_key, check=True)
    public = key.with_suffix(".pub").read_text().strip()
    iso = cidata(tmp_path, USER_DATA.replace("KEY", public))
    forwards = f"hostfwd=tcp:127.0.0.1:{web}-:80,hostfwd=tcp:127.0.0.1:{ssh}-:22"
    more = (
        *("-drive", f"file={iso},if=virtio,format=raw,readonly=on"),
        *("-nic", f"user,model=virtio-net-pci,{forwards}"),
    )
    with guest(tmp_path, image, size="2G", memory=96, more=more) as console:
        console.log_in()
        waiting = patiently("[ -e /run/cloud-init/finished ]")
        console.run(waiting)
        assert console.run("hostname") == "web-7"
        assert console.run("cat /root/ran") == "ran\nwith words"
        assert console.run("cat /etc/motd") == 'first line\n  second "line"'
        assert console.run("stat -c %a /etc/motd") == "600"
        assert int(console.run("df -m / | tail -n 1 | awk '{print $2}'")) > 1800
        assert console.run("ip -4 route show default").startswith("default via 10.0.2.2")
        with urllib.request.urlopen(f"http://127.0.0.1:{web}/cgi-bin/info", timeout=30) as answer:
            assert "name: web-7" in answer.read().decode()
        console.run(patiently("grep -q ':0016 ' /proc/net/tcp /proc/net/tcp6"))
        shell = [
            *(
                "ssh",
                "-i",
                str(key),
                "-p",
                str(ssh),
                "-o",
                "StrictHostKeyChecking=no",
                "-o",
                "UserKnownHostsFile=/dev/null",
            ),
            *("-o", "BatchMode=yes", "-o", "LogLevel=ERROR", "kvtui@127.0.0.1", "id -un"),
        ]
        assert subprocess.run(shell, capture_output=True, text=True, check=True, timeout=90).stdout == "kvtui\n"
        # Passwords; and what is done once per instance is not done again after a reboot.
        console.type("reboot\r")
        console.log_in("ann", "anns")
        console.type("exit\r")
        console.log_in("kvtui", "secret")
        console.type("exit\r")
        console.log_in()
        console.run(waiting)
        assert console.run("cat /root/ran") == "ran\nwith words"


def test_the_power_button_ends_the_guest(image: Path, tmp_path: Path) -> None:
    control = tmp_path / "qmp"
    with guest(tmp_path, image, size="256M", memory=128, more=("-qmp", f"unix:{control},server,wait=off")) as console:
        console.expect("login: ", BOOT)
        press(control)
        assert console.process.wait(60) == 0


def press(control: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(control))
        lines = sock.makefile("rw")
        lines.readline()
        for command in ("qmp_capabilities", "system_powerdown"):
            lines.write(json.dumps({"execute": command}) + "\n")
            lines.flush()
            while "return" not in json.loads(lines.readline()):
                pass


@pytest.mark.skipif(not Path("/usr/share/OVMF/OVMF_CODE_4M.fd").exists(), reason="OVMF is not installed")
def test_the_image_boots_by_uefi_from_a_scsi_disk(image: Path, tmp_path: Path) -> None:
    variables = tmp_path / "vars.fd"
    shutil.copyfile("/usr/share/OVMF/OVMF_VARS_4M.fd", variables)
    overlay = tmp_path / "scsi.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", image, overlay], check=True)
    blank = tmp_path / "blank"
    blank.mkdir()
    more = (
        *("-drive", "if=pflash,unit=0,readonly=on,format=raw,file=/usr/share/OVMF/OVMF_CODE_4M.fd"),
        *("-drive", f"if=pflash,unit=1,format=raw,file={variables}"),
        *("-device", "virtio-scsi-pci", "-drive", f"id=disk,if=none,format=qcow2,file={overlay}"),
        *("-device", "scsi-hd,drive=disk,bootindex=1"),
    )
    empty = tmp_path / "empty.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", empty, "1M"], check=True)
    with guest(blank, empty, size="1M", memory=256, more=more) as console:
        console.log_in()
        assert console.run("[ -d /sys/firmware/efi ] && echo efi") == "efi"
        assert console.run("mount | grep ' on / '").startswith("/dev/sda3 ")


def test_memory_is_dirtied_at_the_wanted_rate(image: Path, tmp_path: Path) -> None:
    with guest(tmp_path, image, size="256M", memory=160) as console:
        console.log_in()
        console.run("dirty-memory 16 64 > /root/out & sleep 3")
        assert console.run("cat /root/out") == "dirtying 16 MB"
        assert int(console.run("du -m /tmp/dirty.*/data | cut -f 1")) == 16
        console.run("kill $!; wait $!; true")
        assert console.run("ls -d /tmp/dirty.* 2>/dev/null | wc -l") == "0"
