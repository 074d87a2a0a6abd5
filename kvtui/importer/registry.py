"""Pulls disks out of container images: manifests, platforms, layers, and the one file under /disk.

Source: https://github.com/opencontainers/distribution-spec, image-spec; CDI pkg/importer/transport.go for the choice
of the file; kubevirt container-disk images.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from yarl import URL

from kvtui.api.worker import Proxy
from kvtui.importer import http
from kvtui.importer.errors import ImportFailed, PullFailed
from kvtui.importer.reference import Reference
from kvtui.importer.registries_conf import Location, RegistriesConf

_MAX_DOCUMENT = 4 * 2**20
_INDEX_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
_HUB = {"docker.io": "registry-1.docker.io"}


@dataclass(frozen=True, slots=True)
class Account:
    """Credentials for a registry."""

    user: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer's blob."""

    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class Image:
    """A resolved image at the place where it was found."""

    location: Location
    digest: str
    """Of the platform's manifest: the identity of the content."""
    layers: tuple[Layer, ...]
    environment: tuple[str, ...]


class Registry:
    """A client for one pull. Raises PullFailed for what the registry refuses, ImportFailed for unusable images."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        conf: RegistriesConf,
        *,
        account: Account | None = None,
        ca_bundle: str = "",
        insecure: bool = False,
        proxy: Proxy | None = None,
    ) -> None:
        self._session = session
        self._conf = conf
        self._account = account or Account()
        self._contexts = (http.tls(ca_bundle), http.tls(ca_bundle, insecure=True))
        self._insecure = insecure
        self._proxy = proxy
        self._authorization: dict[str, str] = {}

    async def resolve(self, reference: Reference, architecture: str) -> Image:
        """The manifest for linux and this architecture (amd64, arm64, s390x), from the first place that has it."""
        failure: ImportFailed | None = None
        for location in self._conf.locations(reference):
            try:
                return await self._resolve_at(location, architecture)
            except PullFailed as error:
                failure = failure or error
        assert failure is not None
        raise failure

    @contextlib.asynccontextmanager
    async def blob(self, image: Image, layer: Layer) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes of a layer; its digest is verified at the end of the iteration."""
        async with self._get(image.location, f"blobs/{layer.digest}", "*/*") as response:
            yield _verified(http.chunks(response), layer.digest)

    async def _resolve_at(self, location: Location, architecture: str) -> Image:
        reference = location.reference
        document, digest = await self._manifest(location, reference.version, reference.digest)
        listed = document.get("mediaType") in _INDEX_TYPES or "manifests" in document
        if listed:
            chosen = _choose(document, architecture)
            document, digest = await self._manifest(location, chosen, chosen)
        config_ref = document.get("config") or {}
        config = await self._json_blob(location, str(config_ref.get("digest", "")))
        found = config.get("architecture")
        if not listed and found and found != architecture:
            raise ImportFailed(
                f'manifest image architecture: "{found}" doesn\'t match requested architecture: "{architecture}"'
            )
        labels = (config.get("config") or {}).get("Labels") or {}
        if labels.get("containers.bootc") == "1" or labels.get("ostree.bootable") == "1":
            raise ImportFailed("bootc images are not supported")
        layers = tuple(
            Layer(_digest(entry.get("digest")), int(entry.get("size", 0))) for entry in document.get("layers") or []
        )
        environment = tuple(str(e) for e in (config.get("config") or {}).get("Env") or [])
        return Image(location, digest, layers, environment)

    async def _manifest(self, location: Location, version: str, digest: str) -> tuple[dict[str, Any], str]:
        accept = ", ".join((*_INDEX_TYPES, *_MANIFEST_TYPES))
        async with self._get(location, f"manifests/{version}", accept) as response:
            body = await _document(response)
        actual = "sha256:" + hashlib.sha256(body).hexdigest()
        if digest.startswith("sha256:") and digest != actual:
            raise PullFailed(f"failed to pull image: manifest digest is {actual}, not {digest}")
        return _object(body), actual

    async def _json_blob(self, location: Location, digest: str) -> dict[str, Any]:
        if not digest:
            return {}
        async with self._get(location, f"blobs/{_digest(digest)}", "*/*") as response:
            body = await _document(response)
        if digest.startswith("sha256:") and digest != "sha256:" + hashlib.sha256(body).hexdigest():
            raise PullFailed("failed to pull image: the configuration does not have its digest")
        return _object(body)

    @contextlib.asynccontextmanager
    async def _get(self, location: Location, path: str, accept: str) -> AsyncIterator[aiohttp.ClientResponse]:
        reference = location.reference
        host = _HUB.get(reference.host, reference.host)
        insecure = location.insecure or self._insecure
        failure: ImportFailed | None = None
        for scheme in ("https", "http") if insecure else ("https",):
            url = f"{scheme}://{host}/v2/{reference.path}/{path}"
            headers = {"Accept": accept}
            try:
                async with contextlib.AsyncExitStack() as stack:
                    for attempt in (1, 2):
                        if token := self._authorization.get(f"{host}/{reference.path}"):
                            headers["Authorization"] = token
                        response = await stack.enter_async_context(
                            http.fetch(
                                self._session,
                                url,
                                context=self._contexts[insecure],
                                headers=headers,
                                proxy=self._proxy,
                                expect=(200, 401),
                            )
                        )
                        if response.status == 200:
                            break
                        if attempt == 2:
                            raise PullFailed(f"failed to pull image: {reference}: unauthorized")
                        challenge = response.headers.get("WWW-Authenticate", "")
                        await self._authorize(host, reference.path, challenge, insecure=insecure)
                    yield response
                    return
            except PullFailed:
                raise
            except ImportFailed as error:
                if "got 404" in str(error):
                    raise PullFailed(f"failed to pull image: {reference}: manifest unknown") from error
                failure = failure or error
        raise PullFailed(f"failed to pull image: {reference}: {failure}") from failure

    async def _authorize(self, host: str, path: str, challenge: str, *, insecure: bool) -> None:
        """Answers a challenge. Source: distribution-spec, token authentication."""
        scheme, _, rest = challenge.partition(" ")
        fields = dict(_CHALLENGE.findall(rest))
        basic = base64.b64encode(f"{self._account.user}:{self._account.password}".encode()).decode()
        if scheme.lower() == "basic":
            if not self._account.user:
                raise PullFailed(f"failed to pull image: {host}/{path}: unauthorized")
            self._authorization[f"{host}/{path}"] = f"Basic {basic}"
            return
        realm = fields.get("realm", "")
        if scheme.lower() != "bearer" or not realm.startswith(("https://", "http://")):
            raise PullFailed(f"failed to pull image: {host}/{path}: unauthorized")
        url = str(
            URL(realm).update_query(
                {"service": fields.get("service", ""), "scope": fields.get("scope") or f"repository:{path}:pull"}
            )
        )
        headers = {"Authorization": f"Basic {basic}"} if self._account.user else {}
        try:
            async with http.fetch(
                self._session, url, context=self._contexts[insecure], headers=headers, proxy=self._proxy
            ) as response:
                answer = _object(await _document(response))
        except ImportFailed as error:
            raise PullFailed(f"failed to pull image: {host}/{path}: unauthorized: {error}") from error
        token = answer.get("token") or answer.get("access_token") or ""
        self._authorization[f"{host}/{path}"] = f"Bearer {token}"


def _choose(index: dict[str, Any], architecture: str) -> str:
    for entry in index.get("manifests") or []:
        platform = entry.get("platform") or {}
        if platform.get("os", "linux") == "linux" and platform.get("architecture") == architecture:
            return _digest(entry.get("digest"))
    raise ImportFailed(f"no image found in image index for architecture {architecture}")


def _digest(value: object) -> str:
    text = str(value)
    if not re.fullmatch(r"sha(256|512):[0-9a-f]{64,128}", text):
        raise ImportFailed(f"invalid digest {text[:80]!r} in the image's manifest")
    return text


async def _document(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in http.chunks(response):
        body += chunk
        if len(body) > _MAX_DOCUMENT:
            raise ImportFailed("the registry's answer is larger than 4 MiB")
    return bytes(body)


def _object(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError as error:
        raise PullFailed("failed to pull image: the registry answered no JSON") from error
    if not isinstance(document, dict):
        raise PullFailed("failed to pull image: the registry answered no object")
    return document


async def _verified(chunks: AsyncIterator[bytes], digest: str) -> AsyncIterator[bytes]:
    algorithm, _, wanted = digest.partition(":")
    hasher = hashlib.new(algorithm)
    async for chunk in chunks:
        hasher.update(chunk)
        yield chunk
    if hasher.hexdigest() != wanted:
        raise PullFailed("failed to pull image: a layer does not have its digest")


def labels_of(environment: tuple[str, ...]) -> dict[str, str]:
    """Labels that an image asks for: INSTANCETYPE_KUBEVIRT_IO_DEFAULT_PREFERENCE=x and the like.

    Source: CDI pkg/importer (KUBEVIRT_IO_ variables).
    """
    labels = {}
    for entry in environment:
        name, _, value = entry.partition("=")
        domain, mark, rest = name.partition("_KUBEVIRT_IO_")
        if mark and rest and value:
            labels[f"{domain.lower().replace('_', '.')}.kubevirt.io/{rest.lower().replace('_', '-')}"] = value
    return labels
