"""ServiceAccount tokens: JWTs signed with the engine's key (ES256), bound to objects that must still exist.

Source: RFC 7519, RFC 7515, https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from kvtui.apiserver.pki import load_key
from kvtui.errors import KvtuiError

ISSUER = "https://kubernetes.default.svc.cluster.local"
AUDIENCE = ISSUER
_PART = 32
"""Bytes of each half of an ES256 signature."""


class BadToken(KvtuiError):
    """Not a token of ours, or no longer one."""


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _unb64(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


@dataclass(frozen=True, slots=True)
class Bound:
    """The object with which a token dies."""

    kind: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What a token says."""

    namespace: str
    account: str
    account_uid: str
    audiences: tuple[str, ...]
    expires: int
    """Unix seconds."""
    issued: int
    bound: Bound | None = None
    id: str = ""


class Tokens:
    """Signs and checks."""

    def __init__(self, key_file: Path) -> None:
        self._key = load_key(key_file)
        public = self._key.public_key()
        der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self._id = _b64(hashlib.sha256(der).digest())
        numbers = public.public_numbers()
        self._jwk = {
            "use": "sig",
            "kty": "EC",
            "kid": self._id,
            "crv": "P-256",
            "alg": "ES256",
            "x": _b64(numbers.x.to_bytes(_PART)),
            "y": _b64(numbers.y.to_bytes(_PART)),
        }

    def key_set(self) -> dict[str, Any]:
        """The JWKS document."""
        return {"keys": [self._jwk]}

    def issue(self, claims: Claims) -> str:
        private: dict[str, Any] = {
            "namespace": claims.namespace,
            "serviceaccount": {"name": claims.account, "uid": claims.account_uid},
        }
        if claims.bound is not None:
            private[claims.bound.kind.lower()] = {"name": claims.bound.name, "uid": claims.bound.uid}
        payload = {
            "aud": list(claims.audiences),
            "exp": claims.expires,
            "iat": claims.issued,
            "iss": ISSUER,
            "jti": secrets.token_hex(16),
            "kubernetes.io": private,
            "nbf": claims.issued,
            "sub": f"system:serviceaccount:{claims.namespace}:{claims.account}",
        }
        header = {"alg": "ES256", "kid": self._id}
        signed = f"{_b64(msgspec.json.encode(header))}.{_b64(msgspec.json.encode(payload))}"
        r, s = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_b64(r.to_bytes(_PART) + s.to_bytes(_PART))}"

    def verify(self, token: str, now: float, audiences: Sequence[str] = (AUDIENCE,)) -> Claims:
        """The claims of a valid token for one of the audiences. Raises BadToken."""
        try:
            head, body, signature = token.split(".")
            header = msgspec.json.decode(_unb64(head))
            raw = _unb64(signature)
            if header.get("alg") != "ES256" or header.get("kid") != self._id or len(raw) != 2 * _PART:
                raise BadToken("the token is of another issuer")
            dss = encode_dss_signature(int.from_bytes(raw[:_PART]), int.from_bytes(raw[_PART:]))
            self._key.public_key().verify(dss, f"{head}.{body}".encode(), ec.ECDSA(hashes.SHA256()))
            claims = _claims(msgspec.json.decode(_unb64(body)))
        except (ValueError, binascii.Error, AttributeError, KeyError, TypeError, InvalidSignature) as error:
            raise BadToken("the token is not valid") from error
        if now >= claims.expires or now < claims.issued - 60:
            raise BadToken("the token has expired")
        if not set(audiences) & set(claims.audiences):
            raise BadToken("the token is for another audience")
        return claims


def _claims(payload: dict[str, Any]) -> Claims:
    private = payload["kubernetes.io"]
    account = private["serviceaccount"]
    bound = next(
        (
            Bound(kind, private[kind.lower()]["name"], private[kind.lower()]["uid"])
            for kind in ("Pod", "Secret", "Node")
            if kind.lower() in private
        ),
        None,
    )
    return Claims(
        namespace=private["namespace"],
        account=account["name"],
        account_uid=account["uid"],
        audiences=tuple(payload["aud"]),
        expires=int(payload["exp"]),
        issued=int(payload["nbf"]),
        bound=bound,
        id=payload.get("jti", ""),
    )
