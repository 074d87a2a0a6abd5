"""cloud-init volumes: exactly one source of user data and of network data each, small enough to live in the object.

Source: control plane facts 5.3 (volumes[i].cloudInit*).
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING

from kvtui.virtapi.admission.causes import Path, invalid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kvtui.api.core.parts import LocalObjectReference
    from kvtui.api.kubevirt.vmi import Volume
    from kvtui.errors import Cause

LIMIT = 2048
"""Bytes of inline data, after decoding."""


def validate_cloud_init(volume: Volume, at: Path) -> list[Cause]:
    source = volume.cloud_init_no_cloud or volume.cloud_init_config_drive
    if source is None:
        return []
    member = "cloudInitNoCloud" if volume.cloud_init_no_cloud is not None else "cloudInitConfigDrive"
    own = at.child(member)
    user, found = _kind(source.secret_ref, source.user_data_base64, source.user_data, own, member, _USER)
    network, others = _kind(
        source.network_data_secret_ref, source.network_data_base64, source.network_data, own, member, _NETWORK
    )
    found += others
    if not user and not network:
        found.append(invalid(f"{own} must have at least one userdatasource or one networkdatasource set.", own))
    return found


_USER = ("userDataBase64", "userdatasource", "userdata exceeds {} byte limit. Should use UserDataSecretRef")
_NETWORK = (
    "networkDataBase64",
    "networkdata source",
    "networkdata exceeds {} byte limit. Should use NetworkDataSecretRef",
)


def _kind(
    secret: LocalObjectReference | None,
    encoded: str | None,
    plain: str | None,
    own: Path,
    member: str,
    words: tuple[str, str, str],
) -> tuple[int, list[Cause]]:
    """How many sources one sort of data has, and what is wrong with them."""
    return _count(secret, encoded, plain), list(_complaints(secret, encoded, plain, own, member, words))


def _count(secret: LocalObjectReference | None, encoded: str | None, plain: str | None) -> int:
    return sum((secret is not None and bool(secret.name), bool(encoded), bool(plain)))


def _complaints(
    secret: LocalObjectReference | None,
    encoded: str | None,
    plain: str | None,
    own: Path,
    member: str,
    words: tuple[str, str, str],
) -> Iterator[Cause]:
    base64_member, source_word, limit_words = words
    length = 0
    if encoded:
        path = own.child(base64_member)
        data = _decoded(encoded)
        if data is None:
            yield invalid(f"{path}.{member}.{base64_member} is not a valid base64 value.", path)
        length = len(data or b"")
    if plain:
        length = len(plain.encode())
    if _count(secret, encoded, plain) > 1:
        yield invalid(f"{own} must have only one {source_word} set.", own)
    if length > LIMIT:
        yield invalid(f"{own} {limit_words.format(LIMIT)} for larger data.", own)


def _decoded(text: str) -> bytes | None:
    """Standard base64 with padding; line breaks are ignored, as Go does. None when it is not that."""
    try:
        return base64.b64decode(re.sub(r"[\r\n]", "", text), validate=True)
    except (binascii.Error, ValueError):
        return None
