"""The guest's YAML reader against a real one, on what cloud-init files look like."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from kvtui.lab.image.tree import own_files

BUSYBOX = shutil.which("busybox")
pytestmark = pytest.mark.skipif(BUSYBOX is None, reason="busybox is not installed")

DOCUMENTS = {
    "scalars": "hostname: web-0\nfqdn: web-0.example.com # where\nmanage: true\nport: 8080\nempty:\n",
    "quoting": "a: \"x: y # z\"\nb: 'it''s'\nc: \"tab\\tnew\\nline\\\\\"\n",
    "keys": "ssh_authorized_keys:\n  - ssh-rsa AAAA... me@host\n  - ssh-ed25519 BBBB== you\n",
    "list at the indent of its key": "runcmd:\n- echo one\n- echo two\n",
    "commands": 'runcmd:\n  - [ls, -l, \'/root dir\']\n  - echo "a b" > /tmp/x\n  - ["sh", "-c", "echo a, b"]\n',
    "nested list": "runcmd:\n  - - echo\n    - two words\n",
    "users": (
        "users:\n  - default\n  - name: joe\n    groups: [adm, sudo]\n    ssh_authorized_keys:\n"
        "      - ssh-rsa CCCC joe\n    shell: /bin/sh\n  - name: ann\n"
    ),
    "chpasswd": "chpasswd:\n  list: |\n    root:secret\n    joe:$6$abc\n  expire: false\n",
    "literal": (
        "write_files:\n  - path: /etc/motd\n    permissions: '0644'\n    content: |\n      Hello\n\n"
        "        indented\n      end\n"
    ),
    "literal without its last newline": "script: |-\n  one\n  two\nafter: x\n",
    "folded": "text: >\n  one\n  two\nafter: x\n",
    "block in a list": "runcmd:\n  - |\n    for i in 1 2; do\n      echo $i\n    done\n  - true\n",
    "flow map": "write_files:\n  - {path: /a, content: 'x, y', permissions: \"0600\"}\n",
    "flow over lines": "packages: [\n  one,\n  two\n]\nnext: 1\n",
    "network": (
        "version: 2\nethernets:\n  eth0:\n    match: {macaddress: '02:00:00:00:00:01'}\n    addresses:\n"
        "      - 10.0.2.2/24\n    gateway4: 10.0.2.1\n    nameservers:\n      addresses: [8.8.8.8, 1.1.1.1]\n"
    ),
    "comments": "#cloud-config\n# a comment\n---\nhostname: x\n  # indented\nb: c#d\n",
    "meta-data": "instance-id: i-1\nlocal-hostname: vm\n",
    "windows line ends": "hostname: x\r\nruncmd:\r\n  - echo hi\r\n",
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_guest_reads_what_a_real_parser_reads(name: str, tmp_path: Path) -> None:
    assert guest(DOCUMENTS[name], tmp_path) == flat(yaml.load(DOCUMENTS[name], yaml.BaseLoader))


def guest(document: str, tmp_path: Path) -> dict[str, str]:
    source = tmp_path / "document"
    source.write_bytes(document.encode())
    assert BUSYBOX is not None
    script = own_files() / "root/usr/lib/cloud/yaml.awk"
    out = subprocess.run([BUSYBOX, "awk", "-f", script, source], capture_output=True, text=True, check=True).stdout
    pairs = (line.partition("\t") for line in out.splitlines())
    return {path: value.replace("\\\\", "\0").replace("\\n", "\n").replace("\0", "\\") for path, _, value in pairs}


def flat(value: Any, path: str = "") -> dict[str, str]:
    """Paths of scalars; what is empty has none."""
    if isinstance(value, dict):
        return {k: v for key, item in value.items() for k, v in flat(item, f"{path}.{key}" if path else key).items()}
    if isinstance(value, list):
        return {k: v for n, item in enumerate(value) for k, v in flat(item, f"{path}.{n}").items()}
    return {path: value} if value != "" else {}
