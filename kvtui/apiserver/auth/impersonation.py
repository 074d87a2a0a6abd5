"""Acting as somebody else, for those who may.

Source: https://kubernetes.io/docs/reference/access-authn-authz/authentication/#user-impersonation.
"""

from __future__ import annotations

from urllib.parse import unquote

from multidict import CIMultiDictProxy

from kvtui.api.admission import UserInfo
from kvtui.apiserver import status
from kvtui.apiserver.auth.identity import AUTHENTICATED, UNAUTHENTICATED, split_account
from kvtui.apiserver.auth.rbac import Attributes, Authorizer

_USER = "Impersonate-User"
_GROUP = "Impersonate-Group"
_UID = "Impersonate-Uid"
_EXTRA = "impersonate-extra-"


def impersonate(headers: CIMultiDictProxy[str], user: UserInfo, authorizer: Authorizer) -> UserInfo:
    """The user that a request acts as. Raises Failure 400, 403."""
    if not any(name.lower().startswith("impersonate-") for name in headers):
        return user
    name = headers.get(_USER, "")
    groups = headers.getall(_GROUP, [])
    uid = headers.get(_UID, "")
    extra: dict[str, list[str]] = {}
    for key, value in headers.items():
        if key.lower().startswith(_EXTRA):
            extra.setdefault(unquote(key[len(_EXTRA) :]).lower(), []).append(value)
    if not name:
        raise status.bad_request("requested impersonation without impersonating a user")
    account = split_account(name)
    if account is not None:
        _require(
            authorizer,
            user,
            Attributes("impersonate", resource="serviceaccounts", namespace=account[0], name=account[1]),
        )
    else:
        _require(authorizer, user, Attributes("impersonate", resource="users", name=name))
    for group in groups:
        _require(authorizer, user, Attributes("impersonate", resource="groups", name=group))
    if uid:
        _require(authorizer, user, Attributes("impersonate", group="authentication.k8s.io", resource="uids", name=uid))
    for key, values in extra.items():
        for value in values:
            _require(
                authorizer,
                user,
                Attributes(
                    "impersonate", group="authentication.k8s.io", resource="userextras", subresource=key, name=value
                ),
            )
    if account is not None and not groups:
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{account[0]}"]
    everyone = UNAUTHENTICATED if name == "system:anonymous" else AUTHENTICATED
    if everyone not in groups:
        groups = [*groups, everyone]
    return UserInfo(name, uid=uid, groups=tuple(groups), extra=extra)


def _require(authorizer: Authorizer, user: UserInfo, wanted: Attributes) -> None:
    if authorizer.allows(user, wanted):
        return
    where = f' in the namespace "{wanted.namespace}"' if wanted.namespace else " at the cluster scope"
    raise status.forbidden(
        wanted.group,
        wanted.resource,
        wanted.name,
        f'User "{user.username}" cannot impersonate resource "{wanted.full_resource}" in API group '
        f'"{wanted.group}"{where}',
    )
