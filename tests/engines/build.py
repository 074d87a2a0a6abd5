"""Builds Kubernetes' own servers from their Go modules, once, into a cache outside the project.

Run as `python -m tests.engines.build` to fill the cache beforehand; a cold build takes some ten minutes of two cores.

Source: https://github.com/kubernetes/kubernetes (go.mod: staging modules are replaced by their published versions).
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

KUBERNETES = "v1.37.2"
STAGING = "v0.37.2"
ETCD = "v3.6.16"
SERVERS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
_FLAGS = " ".join(
    f"-X k8s.io/component-base/version.{name}={value}"
    for name, value in (
        ("gitVersion", KUBERNETES),
        ("gitMajor", "1"),
        ("gitMinor", "37"),
        ("gitCommit", "0" * 40),
        ("gitTreeState", "clean"),
    )
)


class CannotBuild(Exception):
    """Why there are no binaries; the reason of a skipped test."""


def cache() -> Path:
    base = os.environ.get("KVTUI_TEST_CACHE") or Path.home() / ".cache" / "kvtui-tests"
    return Path(base) / f"kubernetes-{KUBERNETES}"


def binaries() -> Path:
    """A directory with etcd and the three servers. Raises CannotBuild."""
    directory = cache()
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (directory / "bin" / "etcd").exists():
            _etcd(directory)
        if not all((directory / "bin" / name).exists() for name in SERVERS):
            _kubernetes(directory)
    return directory / "bin"


def suite() -> Path:
    """Kubernetes' own end-to-end suite, `e2e.test`; a cold build takes some five minutes. Raises CannotBuild."""
    directory = cache()
    directory.mkdir(parents=True, exist_ok=True)
    target = directory / "bin" / "e2e.test"
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            module = directory / "suite"
            _staged(module, "k8s.io/kubernetes/test/e2e")
            flags = f"-s -w {_FLAGS}"
            _go("test", "-c", "-ldflags", flags, "-o", str(target), "k8s.io/kubernetes/test/e2e", cwd=module)
    return target


def _go(*args: str, cwd: Path) -> None:
    environment = {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=mod -buildvcs=false", "CGO_ENABLED": "0"}
    command = ["nice", "-n", "10", "go", *args]
    result = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        raise CannotBuild(f"`go {' '.join(args[:3])}` failed: {result.stderr.strip()[-600:]}")


def _module(directory: Path, text: str) -> None:
    if shutil.which("go") is None:
        raise CannotBuild("Go is not installed, so no Kubernetes servers can be built")
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    (directory / "go.mod").write_text(text)


def _etcd(directory: Path) -> None:
    module = directory / "etcd"
    _module(module, "module kvtui.test/etcd\n\ngo 1.26.0\n")
    _go("get", f"go.etcd.io/etcd/server/v3@{ETCD}", cwd=module)
    _go("build", "-o", str(directory / "bin" / "etcd"), "go.etcd.io/etcd/server/v3", cwd=module)


def _kubernetes(directory: Path) -> None:
    module = directory / "kubernetes"
    _staged(module, *(f"k8s.io/kubernetes/cmd/{name}/app" for name in SERVERS))
    for name in SERVERS:
        target = str(directory / "bin" / name)
        _go("build", "-ldflags", f"-s -w {_FLAGS}", "-o", target, f"k8s.io/kubernetes/cmd/{name}", cwd=module)


def _staged(module: Path, *packages: str) -> None:
    """A module that can build these packages of Kubernetes, with the published versions of its staging modules."""
    head = "module kvtui.test/kubernetes\n\ngo 1.26.0\n\ngodebug default=go1.26\n\n"
    head += f"require k8s.io/kubernetes {KUBERNETES}\n"
    _module(module, head)
    _go("mod", "download", f"k8s.io/kubernetes@{KUBERNETES}", cwd=module)
    found = subprocess.run(
        ["go", "list", "-m", "-f", "{{.GoMod}}", f"k8s.io/kubernetes@{KUBERNETES}"],
        cwd=module,
        env={**os.environ, "GOFLAGS": "-mod=mod"},
        capture_output=True,
        text=True,
        check=False,
    )
    if found.returncode:
        raise CannotBuild(f"the Kubernetes module cannot be found: {found.stderr.strip()[-300:]}")
    staging = re.findall(r"^\s*(k8s\.io/[\w.-]+) => \./staging", Path(found.stdout.strip()).read_text(), re.MULTILINE)
    replaces = "".join(f"replace {name} => {name} {STAGING}\n" for name in staging)
    (module / "go.mod").write_text(head + "\n" + replaces)
    imports = "".join(f'\t_ "{name}"\n' for name in packages)
    (module / "tools.go").write_text(f"//go:build tools\n\npackage tools\n\nimport (\n{imports})\n")
    _go("mod", "tidy", cwd=module)


if __name__ == "__main__":
    try:
        print(binaries())
    except CannotBuild as reason:
        sys.exit(str(reason))
