"""A real control plane on loopback: etcd, kube-apiserver, controller manager and scheduler.

async with running_kubernetes(tmp_path) as cluster:
    ...  # cluster.kubeconfig (admin), cluster.kubeconfig_for("name", groups)
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from cryptography.hazmat.primitives import serialization

from kvtui.apiserver.pki import KeyPair, Pki, ensure_pki, issue_client, load_key
from tests.engines.build import binaries
from tests.fakes.cluster import write_kubeconfig

NAMES = ("localhost", "127.0.0.1", "10.96.0.1", "kubernetes", "kubernetes.default", "kubernetes.default.svc")

_KUBECONFIGS = ("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig")


@dataclass(frozen=True, slots=True)
class Kubernetes:
    """Where the control plane is."""

    url: str
    pki: Pki
    directory: Path
    pids: tuple[int, ...]

    @property
    def kubeconfig(self) -> Path:
        return self.directory / "admin.kubeconfig"

    def pair(self, name: str, groups: Sequence[str] = ()) -> KeyPair:
        pair = self.pki.pair(name.replace(":", "_"))
        issue_client(self.pki, name, groups, pair)
        return pair

    def kubeconfig_for(self, name: str, groups: Sequence[str] = ()) -> Path:
        path = self.directory / f"{name.replace(':', '_')}.kubeconfig"
        write_kubeconfig(path, self.url, self.pki, self.pair(name, groups))
        return path


def free_port(host: str = "127.0.0.1") -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


@contextlib.asynccontextmanager
async def running_kubernetes(
    directory: Path, *, host: str = "127.0.0.1", managers: bool = True, schedulers: bool = True
) -> AsyncIterator[Kubernetes]:
    """Starts what is asked for, ready when it yields. Raises CannotBuild where there are no binaries."""
    programs = await asyncio.to_thread(binaries)
    pki = ensure_pki(directory / "pki", [*NAMES, host])
    ports = [free_port(host) for _ in range(5)]
    url = f"https://{host}:{ports[0]}"
    async with contextlib.AsyncExitStack() as stack:
        etcd = f"http://127.0.0.1:{ports[1]}"
        peer = f"http://127.0.0.1:{ports[2]}"
        pids = [
            await _start(
                stack,
                directory / "etcd.log",
                *(str(programs / "etcd"), "--data-dir", str(directory / "etcd")),
                *("--listen-client-urls", etcd, "--advertise-client-urls", etcd),
                *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
                *("--initial-cluster", f"default={peer}"),
            )
        ]
        front = pki.pair("front-proxy-client")
        issue_client(pki, "front-proxy-client", (), front)
        pids.append(
            await _start(
                stack,
                directory / "apiserver.log",
                str(programs / "kube-apiserver"),
                f"--etcd-servers={etcd}",
                f"--bind-address={host}",
                f"--advertise-address={host}",
                f"--secure-port={ports[0]}",
                f"--tls-cert-file={pki.server.cert}",
                f"--tls-private-key-file={pki.server.key}",
                f"--client-ca-file={pki.ca.cert}",
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--service-account-key-file={_public(pki)}",
                f"--service-account-signing-key-file={pki.token_key}",
                "--service-cluster-ip-range=10.96.0.0/16",
                "--authorization-mode=Node,RBAC",
                "--allow-privileged=true",
                f"--requestheader-client-ca-file={pki.ca.cert}",
                "--requestheader-allowed-names=front-proxy-client",
                "--requestheader-username-headers=X-Remote-User",
                "--requestheader-group-headers=X-Remote-Group",
                "--requestheader-extra-headers-prefix=X-Remote-Extra-",
                f"--proxy-client-cert-file={front.cert}",
                f"--proxy-client-key-file={front.key}",
                f"--kubelet-client-certificate={pki.agents.cert}",
                f"--kubelet-client-key={pki.agents.key}",
                f"--kubelet-certificate-authority={pki.ca.cert}",
                "--endpoint-reconciler-type=none",
            )
        )
        cluster = Kubernetes(url, pki, directory, tuple(pids))
        write_kubeconfig(cluster.kubeconfig, url, pki, pki.admin)
        await _ready(cluster)
        certificates = directory / "certificates"
        if managers:
            config = cluster.kubeconfig_for("system:kube-controller-manager")
            pids.append(
                await _start(
                    stack,
                    directory / "controller-manager.log",
                    str(programs / "kube-controller-manager"),
                    *(f"--{flag}={config}" for flag in _KUBECONFIGS),
                    f"--bind-address={host}",
                    f"--secure-port={ports[3]}",
                    f"--cert-dir={certificates}",
                    f"--service-account-private-key-file={pki.token_key}",
                    f"--root-ca-file={pki.ca.cert}",
                    f"--cluster-signing-cert-file={pki.ca.cert}",
                    f"--cluster-signing-key-file={pki.ca.key}",
                    "--use-service-account-credentials=true",
                    "--leader-elect=false",
                    f"--requestheader-client-ca-file={pki.ca.cert}",
                    f"--client-ca-file={pki.ca.cert}",
                )
            )
        if schedulers:
            config = cluster.kubeconfig_for("system:kube-scheduler")
            pids.append(
                await _start(
                    stack,
                    directory / "scheduler.log",
                    str(programs / "kube-scheduler"),
                    *(f"--{flag}={config}" for flag in _KUBECONFIGS),
                    f"--bind-address={host}",
                    f"--secure-port={ports[4]}",
                    f"--cert-dir={certificates}",
                    "--leader-elect=false",
                )
            )
        yield Kubernetes(url, pki, directory, tuple(pids))


def _public(pki: Pki) -> Path:
    path = pki.directory / "sa.pub"
    key = load_key(pki.token_key).public_key()
    path.write_bytes(key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    return path


async def _start(stack: contextlib.AsyncExitStack, log: Path, *command: str) -> int:
    output = stack.enter_context(log.open("wb"))
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
    )

    async def stop() -> None:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(20):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()

    stack.push_async_callback(stop)
    return process.pid


async def _ready(cluster: Kubernetes) -> None:
    """Asks /readyz until it answers ok; a server that ends is found by its log in the raised error."""
    context = ssl.create_default_context(cafile=str(cluster.pki.ca.cert))
    context.load_cert_chain(cluster.pki.admin.cert, cluster.pki.admin.key)
    log = cluster.directory / "apiserver.log"
    try:
        async with asyncio.timeout(90), aiohttp.ClientSession() as session:
            while True:
                try:
                    async with session.get(f"{cluster.url}/readyz", ssl=context) as response:
                        if response.status == 200:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.2)
    except TimeoutError as error:
        raise RuntimeError(f"kube-apiserver did not become ready: {log.read_text()[-2000:]}") from error
