"""Small disk images and real image servers: HTTP(S) by aiohttp, an OCI registry by Debian's docker-registry."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import io
import json
import shutil
import ssl
import subprocess
import tarfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

MIB = 2**20


def raw_disk(size: int = 4 * MIB) -> bytes:
    """A disk with data at both ends and a hole between."""
    return b"\xaa" * 65536 + bytes(size - 2 * 65536) + b"\x55" * 65536


def qcow2(path: Path, content: bytes) -> Path:
    raw = path.with_suffix(".raw")
    raw.write_bytes(content)
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, path], check=True)
    return path


@dataclass
class Authority:
    """A CA and a server certificate for localhost, 127.0.0.1 and further addresses and names."""

    pem: str
    context: ssl.SSLContext


def authority(directory: Path, *hosts: str) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kvtui test CA")])
    now = datetime.now(UTC)

    def build(subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
        )

    ca = build(name, key.public_key()).add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
    ca_cert = ca.sign(key, hashes.SHA256())
    leaf = ec.generate_private_key(ec.SECP256R1())
    alternatives: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    for host in hosts:
        try:
            alternatives.append(x509.IPAddress(ip_address(host)))
        except ValueError:
            alternatives.append(x509.DNSName(host))
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    certificate = (
        build(subject, leaf.public_key())
        .add_extension(x509.SubjectAlternativeName(alternatives), False)
        .sign(key, hashes.SHA256())
    )
    pem = directory / "server.pem"
    pem.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + leaf.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem)
    return Authority(ca_cert.public_bytes(serialization.Encoding.PEM).decode(), context)


@dataclass
class ImageServer:
    """Serves bytes by path; `log` has every request's path, authorization and extra header."""

    files: dict[str, bytes] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)
    """Paths whose answer breaks off after so many bytes."""
    log: list[tuple[str, str, str]] = field(default_factory=list)
    url: str = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.log.append((request.path, request.headers.get("Authorization", ""), request.headers.get("X-Extra", "")))
        if request.path in self.redirects:
            raise web.HTTPFound(self.redirects[request.path])
        body = self.files.get(request.path)
        if body is None:
            raise web.HTTPNotFound
        if request.path in self.cut:
            response = web.StreamResponse(headers={"Content-Length": str(len(body))})
            await response.prepare(request)
            await response.write(body[: self.cut[request.path]])
            assert request.transport is not None
            request.transport.abort()
            return response
        return web.Response(body=body, content_type="application/octet-stream")


@contextlib.asynccontextmanager
async def image_server(host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> AsyncIterator[ImageServer]:
    server = ImageServer()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, host, 0, ssl_context=tls)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    server.url = f"{'https' if tls else 'http'}://{host}:{port}"
    try:
        yield server
    finally:
        await runner.cleanup()


@dataclass(frozen=True)
class OciRegistry:
    """A running registry, and a push of an image that holds these files."""

    address: str

    def push(
        self,
        name: str,
        layers: list[dict[str, bytes]],
        directory: Path,
        *,
        arch: str = "amd64",
        env: tuple[str, ...] = (),
        account: str = "",
    ) -> str:
        """Returns the docker:// reference. `account` is a user and a password with a colon between."""
        layout = oci_layout(directory, layers, arch=arch, env=env)
        target = f"docker://{self.address}/{name}"
        options = ["--dest-tls-verify=false", *(["--dest-creds", account] if account else [])]
        subprocess.run(
            ["skopeo", "copy", "--insecure-policy", *options, f"oci:{layout}:latest", target],
            check=True,
            capture_output=True,
        )
        return target


def oci_layout(
    directory: Path, layers: list[dict[str, bytes]], *, arch: str = "amd64", env: tuple[str, ...] = ()
) -> Path:
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def blob(data: bytes, media: str) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": media, "digest": f"sha256:{digest}", "size": len(data)}

    packed, diffs = [], []
    for files in layers:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for path, content in files.items():
                member = tarfile.TarInfo(path)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        diffs.append("sha256:" + hashlib.sha256(buffer.getvalue()).hexdigest())
        data = gzip.compress(buffer.getvalue(), 1, mtime=0)
        packed.append(blob(data, "application/vnd.oci.image.layer.v1.tar+gzip"))
    config = {
        "architecture": arch,
        "os": "linux",
        "config": {"Env": list(env)},
        "rootfs": {"type": "layers", "diff_ids": diffs},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob(json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json"),
        "layers": packed,
    }
    entry = blob(json.dumps(manifest).encode(), "application/vnd.oci.image.manifest.v1+json")
    entry["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return directory


@contextlib.asynccontextmanager
async def oci_registry(directory: Path, host: str = "127.0.0.1") -> AsyncIterator[OciRegistry]:
    """Debian's docker-registry on a free port. Skips the test where the program is missing."""
    if shutil.which("docker-registry") is None or shutil.which("skopeo") is None:
        pytest.skip("docker-registry and skopeo are not installed")
    listener = await asyncio.start_server(lambda r, w: None, host, 0)
    port = listener.sockets[0].getsockname()[1]
    listener.close()
    await listener.wait_closed()
    config = directory / "registry.yml"
    storage = {"filesystem": {"rootdirectory": str(directory / "registry")}}
    config.write_text(json.dumps({"version": 0.1, "storage": storage, "http": {"addr": f"{host}:{port}"}}))
    process = await asyncio.create_subprocess_exec(
        "docker-registry", "serve", str(config), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(20):
            while b"listening on" not in await process.stderr.readline():
                pass
        drain = asyncio.create_task(process.stderr.read(), name="registry stderr")
        yield OciRegistry(f"{host}:{port}")
    finally:
        process.terminate()
        await process.wait()
        await drain
