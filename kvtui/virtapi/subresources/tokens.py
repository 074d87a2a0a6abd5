"""Upload tokens: who may fill a claim, signed so that the upload endpoint need not ask.

JSON Web Tokens with RSASSA-PSS and SHA-256 (PS256).
Source: CDI facts 1.3, 5.1 and 5.4; https://datatracker.ietf.org/doc/html/rfc7519.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from kvtui.errors import Forbidden

ISSUER = "cdi-apiserver"
LIFETIME = 300
"""Seconds in which an upload may start."""
LEEWAY = 10
"""Seconds by which clocks may differ."""
UPLOAD = "Upload"
_CLAIMS = {"group": "", "version": "v1", "resource": "persistentvolumeclaims"}


@dataclass(frozen=True, slots=True)
class Token:
    """What a token allows."""

    operation: str
    namespace: str
    name: str


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError) as error:
        raise Forbidden("the token is malformed") from error


def _padding() -> padding.PSS:
    return padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=padding.PSS.DIGEST_LENGTH)


def sign(key: rsa.RSAPrivateKey, token: Token, now: float) -> str:
    """`now` in seconds since 1970."""
    header = {"alg": "PS256"}
    claims = {
        "exp": int(now) + LIFETIME,
        "iat": int(now),
        "iss": ISSUER,
        "nbf": int(now),
        "operation": token.operation,
        "name": token.name,
        "namespace": token.namespace,
        "resource": _CLAIMS,
    }
    signed = ".".join(_encode(json.dumps(part, separators=(",", ":")).encode()) for part in (header, claims))
    return f"{signed}.{_encode(key.sign(signed.encode(), _padding(), hashes.SHA256()))}"


def verify(key: rsa.RSAPublicKey, text: str, now: float) -> Token:
    """Raises Forbidden for a token that is not ours, not valid yet or not valid any more."""
    parts = text.split(".")
    if len(parts) != 3:
        raise Forbidden("the token is malformed")
    try:
        key.verify(_decode(parts[2]), ".".join(parts[:2]).encode(), _padding(), hashes.SHA256())
    except InvalidSignature as error:
        raise Forbidden("the token's signature is wrong") from error
    header, claims = (_json(part) for part in parts[:2])
    if header.get("alg") != "PS256" or claims.get("iss") != ISSUER:
        raise Forbidden("the token is not an upload token")
    if not claims.get("nbf", 0) - LEEWAY <= now <= claims.get("exp", 0) + LEEWAY:
        raise Forbidden("the token has expired")
    return Token(str(claims.get("operation")), str(claims.get("namespace")), str(claims.get("name")))


def _json(part: str) -> dict[str, Any]:
    try:
        found = json.loads(_decode(part))
    except ValueError as error:
        raise Forbidden("the token is malformed") from error
    return found if isinstance(found, dict) else {}
