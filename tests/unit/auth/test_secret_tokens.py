"""Secrets that the registry makes."""

import pytest

from auth import secret_tokens


def test_a_secret_is_known_by_its_digest() -> None:
    made = secret_tokens.make()
    assert secret_tokens.is_one(made.secret)
    assert secret_tokens.digest_of(made.secret) == made.digest
    assert made.secret.startswith(made.hint) and len(made.hint) < 10
    assert made.secret != secret_tokens.make().secret


@pytest.mark.parametrize("text", ["", "stw_", "stw_x", "STW_" + "a" * 32, "stw_" + "a" * 33, "a" * 36])
def test_other_texts_are_none(text: str) -> None:
    assert not secret_tokens.is_one(text)
