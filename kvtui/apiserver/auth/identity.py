"""Authentication: client certificates, bearer tokens, impersonation.

Source: https://kubernetes.io/docs/reference/access-authn-authz/authentication/.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import Any

from kvtui.api.admission import UserInfo
from kvtui.apiserver import status
from kvtui.apiserver.auth.tokens import BadToken, Claims, Tokens
from kvtui.apiserver.store import Store

AUTHENTICATED = "system:authenticated"
UNAUTHENTICATED = "system:unauthenticated"
ANONYMOUS = UserInfo("system:anonymous", groups=(UNAUTHENTICATED,))
_PREFIX = "system:serviceaccount:"
_BOUND_BUCKETS = {"Pod": "pods", "Secret": "secrets", "Node": "nodes"}


def from_certificate(peer: Mapping[str, Any] | None) -> UserInfo | None:
    """The user of a verified client certificate (as `ssl` describes it): CN and O."""
    if not peer:
        return None
    name, groups = "", []
    for pairs in peer.get("subject", ()):
        for key, value in pairs:
            if key == "commonName":
                name = value
            elif key == "organizationName":
                groups.append(value)
    if not name:
        return None
    return UserInfo(name, groups=(*groups, AUTHENTICATED))


def of_account(namespace: str, name: str, uid: str, extra: dict[str, list[str]] | None = None) -> UserInfo:
    return UserInfo(
        f"{_PREFIX}{namespace}:{name}",
        uid=uid,
        groups=("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED),
        extra=extra or {},
    )


class Authenticator:
    """Turns credentials into users."""

    def __init__(
        self,
        store: Store,
        tokens: Tokens,
        *,
        clock: Callable[[], float],
        static: Mapping[str, UserInfo] | None = None,
    ) -> None:
        self._store = store
        self._tokens = tokens
        self._clock = clock
        self._static = dict(static or {})
        """SHA-256 of a token in hex -> user."""
        self._verified: dict[str, tuple[Claims, int]] = {}

    def of_token(self, token: str, audiences: tuple[str, ...] | None = None) -> UserInfo:
        """Raises Failure 401 for a token that is not valid now."""
        digest = hashlib.sha256(token.encode()).hexdigest()
        for known, user in self._static.items():
            if hmac.compare_digest(known, digest):
                return user
        try:
            claims = self._claims(token, digest, audiences)
        except BadToken as error:
            raise status.unauthorized() from error
        return self._account(claims)

    def claims_of(self, token: str, audiences: tuple[str, ...]) -> Claims:
        """Raises BadToken."""
        return self._tokens.verify(token, self._clock(), audiences)

    def _claims(self, token: str, digest: str, audiences: tuple[str, ...] | None) -> Claims:
        if audiences is not None:
            return self._tokens.verify(token, self._clock(), audiences)
        cached = self._verified.get(digest)
        if cached is not None and self._clock() < cached[1]:
            return cached[0]
        claims = self._tokens.verify(token, self._clock())
        if len(self._verified) > 1000:
            self._verified.clear()
        self._verified[digest] = (claims, claims.expires)
        return claims

    def _account(self, claims: Claims) -> UserInfo:
        account = self._store.bucket("serviceaccounts").get((claims.namespace, claims.account))
        if account is None or account.uid != claims.account_uid:
            raise status.unauthorized()
        extra: dict[str, list[str]] = {}
        if claims.id:
            extra["authentication.kubernetes.io/credential-id"] = [f"JTI={claims.id}"]
        if claims.bound is not None:
            bucket = self._store.bucket(_BOUND_BUCKETS[claims.bound.kind])
            namespace = "" if claims.bound.kind == "Node" else claims.namespace
            record = bucket.get((namespace, claims.bound.name))
            if record is None or record.uid != claims.bound.uid:
                raise status.unauthorized()
            prefix = f"authentication.kubernetes.io/{claims.bound.kind.lower()}"
            extra[f"{prefix}-name"] = [claims.bound.name]
            extra[f"{prefix}-uid"] = [claims.bound.uid]
        return of_account(claims.namespace, claims.account, claims.account_uid, extra)


def split_account(username: str) -> tuple[str, str] | None:
    """Namespace and name of a ServiceAccount's user name."""
    if not username.startswith(_PREFIX):
        return None
    namespace, _, name = username[len(_PREFIX) :].partition(":")
    return (namespace, name) if namespace and name else None
