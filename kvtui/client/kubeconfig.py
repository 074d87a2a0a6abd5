"""From a kubeconfig to an endpoint: address, TLS context and credentials.

Certificates, tokens and basic credentials are read here; contexts that need a plugin (exec, OIDC) are handed to
kubernetes_asyncio's loader, which is only imported then because that costs a sixth of a second.

Source: https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/
"""

from __future__ import annotations

import base64
import binascii
import os
import ssl
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from kvtui.errors import Usage

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server is and who we are there."""

    server: str
    """Base URL without trailing slash."""
    ssl_context: ssl.SSLContext | None = None
    headers: dict[str, str] = field(default_factory=dict)
    namespace: str = "default"
    context: str = ""
    user: str = ""
    server_name: str | None = None
    """Name to verify in the certificate instead of the host of `server`."""
    proxy: str | None = None
    token_file: Path | None = None
    """Read anew for each request, since such tokens are rotated."""
    groups: tuple[str, ...] = ()
    """Groups to act in, with `Impersonate-User` among the headers: one header each."""


@dataclass(frozen=True, slots=True)
class Overrides:
    """What a command line says in place of a kubeconfig; keys are the file's own."""

    cluster: str = ""
    """Name of an entry."""
    user: str = ""
    """Name of an entry."""
    cluster_fields: dict[str, Any] = field(default_factory=dict)
    user_fields: dict[str, Any] = field(default_factory=dict)


def default_path() -> Path:
    """The first file of $KUBECONFIG, else ~/.kube/config."""
    first = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    return Path(first) if first else Path.home() / ".kube" / "config"


_NOTHING = Overrides()
_CREDENTIALS = ("token", "tokenFile", "username", "password", "exec", "auth-provider")
_AUTHORITY = ("certificate-authority", "certificate-authority-data")


async def load(path: Path | None = None, *, context: str | None = None, overrides: Overrides = _NOTHING) -> Endpoint:
    """The endpoint of a context (the current one by default). Raises Usage when it cannot be read."""
    path = path or default_path()
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        if overrides.cluster_fields.get("server"):
            return _endpoint({}, dict(overrides.cluster_fields), dict(overrides.user_fields), Path.cwd() / "config", "")
        raise Usage(f"there is no kubeconfig at {path}", hint="start an engine with `kvtui local start`") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Usage(f"the kubeconfig {path} cannot be read: {error}") from error
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise Usage(f"the kubeconfig {path} is not a mapping")
    name = context or document.get("current-context") or ""
    chosen = _entry(document, "contexts", "context", name, path)
    chosen |= {k: v for k, v in (("cluster", overrides.cluster), ("user", overrides.user)) if v}
    cluster = _entry(document, "clusters", "cluster", chosen.get("cluster", ""), path)
    user = _entry(document, "users", "user", chosen.get("user", ""), path) if chosen.get("user") else {}
    cluster, user = _overridden(cluster, overrides.cluster_fields), _overridden(user, overrides.user_fields)
    if "exec" in user or "auth-provider" in user:
        return _acting_as(await _with_plugin(path, name, chosen.get("namespace") or "default"), user)
    return _endpoint(chosen, cluster, user, path, name)


def _overridden(entry: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    """The entry with other fields; what they stand in the place of goes."""
    gone = {f"{key}-data" for key in fields}
    if "token" in fields:
        gone |= {*_CREDENTIALS, *(f"client-{what}{data}" for what in ("certificate", "key") for data in ("", "-data"))}
    if "insecure-skip-tls-verify" in fields:
        gone |= {*_AUTHORITY}
    return {key: value for key, value in entry.items() if key not in gone} | fields


def _endpoint(chosen: dict[str, Any], cluster: dict[str, Any], user: dict[str, Any], path: Path, name: str) -> Endpoint:
    """Raises Usage."""
    server = str(cluster.get("server", "")).rstrip("/")
    if not server.startswith(("https://", "http://")):
        raise Usage(f"context {name!r} of {path} names no server")
    headers: dict[str, str] = {}
    token_file = None
    if token := user.get("token"):
        headers["Authorization"] = f"Bearer {token}"
    elif user.get("tokenFile"):
        token_file = path.parent / str(user["tokenFile"])
    elif user.get("username"):
        pair = f"{user['username']}:{user.get('password', '')}".encode()
        headers["Authorization"] = "Basic " + base64.b64encode(pair).decode()
    endpoint = Endpoint(
        server=server,
        ssl_context=_tls(cluster, user, path) if server.startswith("https://") else None,
        headers=headers,
        namespace=chosen.get("namespace") or "default",
        context=name,
        user=str(chosen.get("user", "")),
        server_name=cluster.get("tls-server-name"),
        proxy=cluster.get("proxy-url"),
        token_file=token_file,
    )
    return _acting_as(endpoint, user)


def _acting_as(endpoint: Endpoint, user: dict[str, Any]) -> Endpoint:
    """Impersonation, where the user's entry asks for it."""
    words = (("as", "Impersonate-User"), ("as-uid", "Impersonate-Uid"))
    headers = {header: str(user[wire]) for wire, header in words if user.get(wire)}
    groups = tuple(str(group) for group in user.get("as-groups") or ())
    return replace(endpoint, headers={**endpoint.headers, **headers}, groups=groups)


def in_cluster() -> Endpoint:
    """The endpoint that a Pod's service account gives. Raises Usage outside a Pod."""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT")
    if not host or not port:
        raise Usage("not inside a cluster: KUBERNETES_SERVICE_HOST is not set")
    return Endpoint(
        server=f"https://{host}:{port}",
        ssl_context=ssl.create_default_context(cafile=str(SERVICE_ACCOUNT / "ca.crt")),
        namespace=(SERVICE_ACCOUNT / "namespace").read_text().strip(),
        context="in-cluster",
        token_file=SERVICE_ACCOUNT / "token",
    )


def _entry(document: dict[str, Any], section: str, inner: str, name: str, path: Path) -> dict[str, Any]:
    for item in document.get(section) or []:
        if isinstance(item, dict) and item.get("name") == name:
            return dict(item.get(inner) or {})
    known = ", ".join(str(i.get("name")) for i in document.get(section) or [] if isinstance(i, dict)) or "none"
    raise Usage(f"{path} has no {inner} named {name!r} (there: {known})")


def _tls(cluster: dict[str, Any], user: dict[str, Any], path: Path) -> ssl.SSLContext:
    try:
        authority = _bytes(cluster, "certificate-authority", path)
        context = ssl.create_default_context(cadata=authority.decode("ascii") if authority else None)
        if cluster.get("insecure-skip-tls-verify"):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        certificate, key = _bytes(user, "client-certificate", path), _bytes(user, "client-key", path)
        if certificate and key:
            _load_chain(context, certificate, key)
    except (OSError, ValueError, ssl.SSLError) as error:
        raise Usage(f"the certificates of {path} cannot be used: {error}") from error
    return context


def _load_chain(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    # The ssl module takes file names only; a memory file keeps the key off the disk.
    descriptor = os.memfd_create("client") if hasattr(os, "memfd_create") else -1
    if descriptor >= 0:
        try:
            os.write(descriptor, certificate + b"\n" + key)
            context.load_cert_chain(f"/proc/self/fd/{descriptor}")
        finally:
            os.close(descriptor)
        return
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        file.write(certificate + b"\n" + key)
        file.flush()
        context.load_cert_chain(file.name)


def _bytes(section: dict[str, Any], key: str, path: Path) -> bytes | None:
    if data := section.get(f"{key}-data"):
        try:
            return base64.b64decode(str(data), validate=True)
        except binascii.Error as error:
            raise ValueError(f"{key}-data is not base64") from error
    if name := section.get(key):
        return (path.parent / str(name)).read_bytes()
    return None


async def _with_plugin(path: Path, context: str, namespace: str) -> Endpoint:
    from kubernetes_asyncio.client import Configuration
    from kubernetes_asyncio.config import ConfigException, load_kube_config

    configuration = Configuration()
    try:
        await load_kube_config(str(path), context=context, client_configuration=configuration)
    except (ConfigException, OSError) as error:
        raise Usage(f"context {context!r} of {path} cannot be used: {error}") from error
    tls = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    if not configuration.verify_ssl:
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    if configuration.cert_file:
        tls.load_cert_chain(configuration.cert_file, configuration.key_file)
    token = await configuration.get_api_key_with_prefix("BearerToken")
    return Endpoint(
        server=(configuration.host or "").rstrip("/"),
        ssl_context=tls,
        headers={"Authorization": token} if token else {},
        namespace=namespace,
        context=context,
        proxy=configuration.proxy,
    )
