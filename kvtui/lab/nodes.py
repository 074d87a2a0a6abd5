"""Makes and removes the nodes of a lab. Both may be interrupted at any point, and both may be called again.

`lab.json` in the data directory says which lab there is, and is written before anything else is made. Nothing here
needs a living process: namespaces are held by bind mounts below /run/kvtui-lab, and what runs in them is found by
its mount namespace.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from kvtui.errors import Unsupported
from kvtui.lab import groups
from kvtui.lab.daemons import copy_capabilities, warm_capabilities, write_configuration
from kvtui.lab.plan import (
    EMPTY,
    PRIVATE,
    RUN,
    LabPlan,
    NodePlan,
    address_commands,
    choose_network,
    host_commands,
    hosts_text,
    lab_tag,
    link_commands,
    node_commands,
    plan_lab,
)
from kvtui.lab.processes import end_processes, processes_in

_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
_FORWARD_BEFORE = RUN / "ip-forward-before"
_DEFAULT_MTU = 1500
_GRACE = 5.0
"""Seconds that the processes of a node get to end."""


def read_lab(data: Path) -> LabPlan | None:
    """The lab that is recorded in `data`."""
    try:
        record = json.loads((data / "lab.json").read_text())
    except FileNotFoundError:
        return None
    return plan_lab(data, record["nodes"], ipaddress.IPv4Network(record["network"]))


def raise_nodes(data: Path, count: int, cache: Path, *, say: Callable[[str], None]) -> LabPlan:
    """Makes the lab with `count` nodes in `data`, or what is missing of it.

    Raises Unsupported when this machine or user cannot.
    """
    _check(count)
    with _one_at_a_time():
        lab = read_lab(data)
        if lab is None or len(lab.nodes) != count:
            if lab is not None:
                _remove(lab)
            lab = plan_lab(data, count, choose_network(lab_tag(data), _taken_networks()))
            _record(lab)
        if count and not _is_whole(lab):
            _remove(lab)
            say("asking libvirt what QEMU can do here; the first time takes some seconds")
            warm = warm_capabilities(cache)
            try:
                _make(lab, warm, say=say)
            except BaseException:
                _remove(lab)
                raise
    return lab


def remove_nodes(data: Path) -> LabPlan | None:
    """Removes all processes, mounts, links, routes and rules of the lab in `data`; files stay. None for no lab."""
    lab = read_lab(data) or plan_lab(data, 0, ipaddress.IPv4Network("10.128.0.0/16"))
    if not RUN.is_dir() and not lab.nodes:
        return None
    with _one_at_a_time():
        _remove(lab)
    return lab


def stop_processes(lab: LabPlan) -> None:
    """Ends everything that runs in the lab's nodes, guests included."""
    for place in sorted(lab.run.glob("node-*")) if lab.run.is_dir() else []:
        # Guests first forked from a daemon that restarts nothing; a second look catches what was just being started.
        # `ip netns exec` gives its command a mount namespace of its own; the node's name space it keeps.
        for kind in ("mnt", "uts", "mnt"):
            end_processes(processes_in(place / kind), grace=_GRACE)


def _check(count: int) -> None:
    if count and os.geteuid() != 0:
        raise Unsupported("a lab with nodes needs root, for namespaces and links", hint="use sudo, or `--nodes 0`")
    for program, package in (
        ("ip", "iproute2"),
        ("nft", "nftables"),
        ("nsenter", "util-linux"),
        ("libvirtd", "libvirt-daemon"),
    ):
        if count and shutil.which(program) is None:
            raise Unsupported(
                f"a lab needs {program}, which is not installed", hint=f"run `make setup`, or install {package}"
            )


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Labs share the host's forwarding switch and its networks, so they come and go one after the other."""
    if os.geteuid() != 0:
        yield
        return
    lock = Path("/run/lock") if Path("/run/lock").is_dir() else Path("/run")
    with (lock / "kvtui-lab.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _record(lab: LabPlan) -> None:
    lab.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = lab.data / ".lab.json.new"
    new.write_text(json.dumps({"nodes": len(lab.nodes), "network": str(lab.network)}))
    new.replace(lab.data / "lab.json")


def _is_whole(lab: LabPlan) -> bool:
    """The last step for each node is the marker in its run directory."""
    return all((node.run / "ready").exists() for node in lab.nodes)


def _make(lab: LabPlan, warm: Path, *, say: Callable[[str], None]) -> None:
    mtu = _host_mtu()
    RUN.mkdir(exist_ok=True, mode=0o700)
    lab.run.mkdir(exist_ok=True, mode=0o700)
    # A file can hold a mount namespace only on a mount that does not propagate.
    _run(["mount", "-t", "tmpfs", "-o", "mode=700,size=1m", "kvtui-lab", str(lab.run)])
    _run(["mount", "--make-private", str(lab.run)])
    _switch_forwarding_on()
    for command in host_commands(lab, mtu=mtu):
        _run(command)
    resolver = _resolver(lab.data)
    for point in (*PRIVATE.values(), *EMPTY):
        Path(point).mkdir(parents=True, exist_ok=True)
    for node in lab.nodes:
        say(f"making {node.name} ({node.address})")
        _make_node(lab, node, warm, resolver, mtu=mtu)


def _make_node(lab: LabPlan, node: NodePlan, warm: Path, resolver: Path | None, *, mtu: int) -> None:
    for name in PRIVATE:
        (node.directory / name).mkdir(parents=True, exist_ok=True)
        # QEMU's user passes through some of them, whatever the umask here.
        (node.directory / name).chmod(0o755)
    (node.directory / "hosts").write_text(hosts_text(lab))
    own_groups = groups.make(lab.tag, node.name)
    write_configuration(node, groups=bool(own_groups))
    copy_capabilities(warm, node)
    node.run.mkdir()
    for kind in ("net", "uts", "mnt"):
        node.namespace(kind).touch()
    holders = [
        f"--{option}={node.namespace(kind)}" for option, kind in (("net", "net"), ("uts", "uts"), ("mount", "mnt"))
    ]
    _run(["unshare", *holders, "--propagation", "private", "true"])
    _run_inside(node, node_commands(lab, node, resolver=resolver, groups=own_groups, pages=_page_sizes()))
    for command in link_commands(lab, node, mtu=mtu):
        _run(command)
    _run_inside(node, address_commands(lab, node))
    (node.run / "ready").touch()


def _remove(lab: LabPlan) -> None:
    stop_processes(lab)
    groups.remove(lab.tag)
    for name in _links(lab):
        _run(["ip", "link", "delete", name], check=False)
    _run(["nft", "delete", "table", "ip", lab.table], check=False)
    while lab.run.is_mount():
        _run(["umount", "--recursive", str(lab.run)])
    with contextlib.suppress(FileNotFoundError):
        lab.run.rmdir()
    _restore_forwarding()
    for point in reversed(EMPTY):
        # Made by us where the machine had none; those in use are not empty, or are a mount.
        with contextlib.suppress(OSError):
            Path(point).rmdir()


def _links(lab: LabPlan) -> list[str]:
    """Links of this lab on the host, recorded or not; the bridge comes last."""
    names = [path.name for path in Path("/sys/class/net").iterdir()]
    nodes = sorted(name for name in names if name.startswith(f"kvn-{lab.tag}-"))
    return [*nodes, *(name for name in names if name == lab.bridge)]


def _switch_forwarding_on() -> None:
    """Guests reach out through the host. What was there before the first lab comes back after the last one."""
    before = _FORWARD.read_text().strip()
    if before != "1":
        if not _FORWARD_BEFORE.exists():
            _FORWARD_BEFORE.write_text(before)
        _FORWARD.write_text("1")


def _restore_forwarding() -> None:
    others = [path for path in RUN.iterdir() if path.is_dir()] if RUN.is_dir() else []
    if not others and _FORWARD_BEFORE.exists():
        _FORWARD.write_text(_FORWARD_BEFORE.read_text())
        _FORWARD_BEFORE.unlink()


def _taken_networks() -> list[ipaddress.IPv4Network]:
    if shutil.which("ip") is None:
        return []
    routes = json.loads(_run(["ip", "-json", "-4", "route", "show", "table", "all"]) or "[]")
    return [ipaddress.IPv4Network(route["dst"]) for route in routes if route.get("dst", "default")[0].isdigit()]


def _host_mtu() -> int:
    """MTU of the way out; packets that do not fit would vanish on the way."""
    routes = json.loads(_run(["ip", "-json", "-4", "route", "show", "default"]) or "[]")
    sizes = []
    for route in routes:
        file = Path("/sys/class/net", route.get("dev", "lo"), "mtu")
        sizes.append(int(file.read_text()))
    return min([*sizes, _DEFAULT_MTU])


def _page_sizes() -> list[int]:
    """Sizes of huge pages that the kernel knows, in KiB."""
    places = Path("/sys/kernel/mm/hugepages").glob("hugepages-*kB")
    return sorted(int(p.name.removeprefix("hugepages-").removesuffix("kB")) for p in places)


def _resolver(data: Path) -> Path | None:
    """A resolv.conf that works outside of the host's loopback; None when the host's does."""
    stub = Path("/etc/resolv.conf")
    real = Path("/run/systemd/resolve/resolv.conf")
    if stub.exists() and "nameserver 127." in stub.read_text() and real.exists():
        copy = data / "nodes" / "resolv.conf"
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(real, copy)
        return copy
    return None


def _run_inside(node: NodePlan, commands: list[list[str]]) -> None:
    script = "\n".join(shlex.join(command) for command in commands)
    _run(node.enter("/bin/sh", "-ec", script))


def _run(command: list[str], *, check: bool = True) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if check and done.returncode:
        raise Unsupported(f"`{shlex.join(command[:4])} …` failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
