"""Upload tokens."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from kvtui.errors import Forbidden
from kvtui.virtapi.subresources.tokens import LEEWAY, LIFETIME, Token, sign, verify

NOW = 1_790_000_000.0
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
TOKEN = Token("Upload", "demo", "disk")


@pytest.mark.parametrize("later", [-LEEWAY, 0, LIFETIME, LIFETIME + LEEWAY])
def test_is_valid_for_a_while(later: float) -> None:
    assert verify(KEY.public_key(), sign(KEY, TOKEN, NOW), NOW + later) == TOKEN


@pytest.mark.parametrize("later", [-LEEWAY - 1, LIFETIME + LEEWAY + 1])
def test_is_not_valid_before_and_after(later: float) -> None:
    with pytest.raises(Forbidden, match="expired"):
        verify(KEY.public_key(), sign(KEY, TOKEN, NOW), NOW + later)


def test_other_keys_and_changed_words_are_refused() -> None:
    token = sign(KEY, TOKEN, NOW)
    head, claims, signature = token.split(".")
    other = sign(KEY, Token("Upload", "demo", "other"), NOW).split(".")[1]
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    for text in (
        "",
        "a.b",
        f"{head}.{other}.{signature}",
        f"{head}.{claims}.{signature[:-4]}",
        sign(stranger, TOKEN, NOW),
    ):
        with pytest.raises(Forbidden):
            verify(KEY.public_key(), text, NOW)
