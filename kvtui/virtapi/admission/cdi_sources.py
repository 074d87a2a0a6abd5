"""Where an image may come from: rules per sort of source.

Source: CDI facts 2.1 and 2.4, rules 14 to 25; cdi pkg/apiserver/webhooks.

One rule differs from upstream: `s3://` is taken for a source with a secretRef, see DEVIATIONS.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kvtui.virtapi.admission import go_url
from kvtui.virtapi.admission.causes import Path, invalid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kvtui.api.cdi.datavolume import (
        DataVolumeSource,
        DataVolumeSourceHTTP,
        DataVolumeSourceImageIO,
        DataVolumeSourceRegistry,
        DataVolumeSourceS3,
        DataVolumeSourceVDDK,
    )
    from kvtui.errors import Cause

DEVIATIONS = {
    "s3:// with secretRef": "a manifest of our own uses it and wins over upstream, which refuses the scheme; "
    "without secretRef it stays refused"
}
SCHEMES = ("http", "https", "gs")
CONTENT_TYPES = ("", "kubevirt", "archive")
DIGITS = {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128}
"""Hexadecimal digits of a checksum."""
_NOT_HEX = re.compile(r"[^0-9a-fA-F]")


def number_of_sources(source: DataVolumeSource) -> int:
    return sum(getattr(source, name) is not None for name in source.__struct_fields__)


def validate_count(source: DataVolumeSource | None, what: str, field: Path) -> Iterator[Cause]:
    """Exactly one; `what` names the kind in messages."""
    count = number_of_sources(source) if source is not None else 0
    if count == 0:
        yield invalid(f"Missing {what} source", field.child("source"))
    elif count > 1:
        yield invalid(f"Multiple {what} sources", field.child("source"))


def validate_content_type(content_type: str | None, field: Path) -> Iterator[Cause]:
    if (content_type or "") not in CONTENT_TYPES:
        yield invalid("ContentType not one of: kubevirt, archive", field.child("contentType"))


def validate_source(source: DataVolumeSource, content_type: str, field: Path) -> Iterator[Cause]:
    """In upstream's order; the first finding answers."""
    if source.http is not None:
        yield from _http(source.http, field)
    if source.s3 is not None:
        yield from _s3(source.s3, field)
    if source.gcs is not None:
        yield from _url(source.gcs.url, "GCS", field)
    if source.blank is not None and content_type == "archive":
        yield invalid("SourceType cannot be blank and the contentType be archive", field.child("contentType"))
    if source.registry is not None:
        yield from _registry(source.registry, content_type, field)
    if source.imageio is not None:
        yield from _imageio(source.imageio, field)
    if source.vddk is not None:
        yield from _vddk(source.vddk, field)
    for name, what, reference in (("PVC", "PVC", source.pvc), ("Snapshot", "snapshot", source.snapshot)):
        if reference is not None and not (reference.namespace and reference.name):
            own = field.child("source", name)
            yield invalid(f"{own} source {what} is not valid", own)


def _url(url: str | None, name: str, field: Path, extra_scheme: str = "") -> Iterator[Cause]:
    own, source = field.child("source", name, "url"), field.child("source")
    if not url:
        yield invalid(f"{source} source URL is empty", own)
        return
    parsed = go_url.parse(url)
    if parsed is None:
        yield invalid(f"{source} Invalid source URL: {url}", own)
    elif parsed.scheme not in (*SCHEMES, extra_scheme) or not parsed.scheme:
        yield invalid(f"{source} Invalid source URL scheme: {url}", own)


def _http(http: DataVolumeSourceHTTP, field: Path) -> Iterator[Cause]:
    yield from _url(http.url, "HTTP", field)
    if http.checksum:
        problem = checksum_problem(http.checksum)
        if problem:
            yield invalid(f"Invalid checksum format: {problem}", field.child("source", "HTTP", "checksum"))


def _s3(s3: DataVolumeSourceS3, field: Path) -> Iterator[Cause]:
    yield from _url(s3.url, "S3", field, "s3" if s3.secret_ref else "")


def checksum_problem(text: str) -> str:
    """Why the text is no `algorithm:digest`; empty when it is."""
    algorithm, colon, digest = text.strip().partition(":")
    if not colon:
        return f"invalid checksum format: expected 'algorithm:hash', got '{text}'"
    algorithm, digest = algorithm.strip().lower(), digest.strip().lower()
    if not digest:
        return "checksum hash value cannot be empty"
    if algorithm not in DIGITS:
        return f"unsupported hash algorithm '{algorithm}': supported algorithms are: md5, sha1, sha256, sha512"
    if len(digest) != DIGITS[algorithm]:
        return f"invalid {algorithm} hash length: expected {DIGITS[algorithm]} hex characters, got {len(digest)}"
    wrong = _NOT_HEX.search(digest)
    if wrong is not None:
        letter = f"U+{ord(wrong[0]):04X} '{wrong[0]}'"
        return f"checksum hash is not valid hexadecimal: encoding/hex: invalid byte: {letter}"
    return ""


def _registry(registry: DataVolumeSourceRegistry, content_type: str, field: Path) -> Iterator[Cause]:
    own = field.child("source", "Registry")
    url, stream, method = registry.url, registry.image_stream, registry.pull_method
    if content_type not in ("", "kubevirt"):
        yield invalid("ContentType must be kubevirt when Source is Registry", field.child("contentType"))
    if (url is None) == (stream is None):
        yield invalid("Source registry should have either URL or ImageStream", own)
    if url is not None:
        parsed = go_url.parse(url)
        if parsed is None:
            yield invalid(f"Illegal registry source URL {url}", own.child("URL"))
        elif parsed.scheme not in ("docker", "oci-archive"):
            yield invalid(f"Illegal registry source URL scheme {url}", own.child("URL"))
    at = own.child("importMethod")
    if method is not None and method not in ("pod", "node"):
        yield invalid(f'ImportMethod {method} is neither pod, node or ""', at)
    if stream == "":
        yield invalid("Source registry ImageStream is not valid", at)
    if stream is not None and method != "node":
        yield invalid("Source registry ImageStream is supported only with node pull import method", at)


def _imageio(imageio: DataVolumeSourceImageIO, field: Path) -> Iterator[Cause]:
    own = field.child("source", "Imageio")
    if not imageio.secret_ref or not imageio.disk_id:
        yield invalid(f"{own} source Imageio is not valid", own)
    if not imageio.cert_config_map and not imageio.insecure_skip_verify:
        yield invalid(f"{own} source Imageio requires CertConfigMap or InsecureSkipVerify", own)
    yield from _url(imageio.url, "ImageIO", field)


def _vddk(vddk: DataVolumeSourceVDDK, field: Path) -> Iterator[Cause]:
    own = field.child("source", "VDDK")
    if not all((vddk.secret_ref, vddk.uuid, vddk.backing_file, vddk.thumbprint)):
        yield invalid(f"{own} source VDDK is not valid", own)
    yield from _url(vddk.url, "VDDK", field)
