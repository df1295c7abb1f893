"""Signatures, against what Standard Webhooks' own documents have."""

import base64
import hashlib
import hmac

import pytest

from registry.webhooks import signature
from registry.webhooks.signature import SecretInvalid

# The specification's example of signed content, and what its reference libraries are tested with.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MESSAGE, TIMESTAMP = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330
BODY = b'{"test": 2432232314}'
SIGNED = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_it_is_the_signature_that_the_reference_has() -> None:
    found = signature.headers(signature.key_of(SECRET), MESSAGE, TIMESTAMP, BODY)
    assert found == {"webhook-id": MESSAGE, "webhook-timestamp": str(TIMESTAMP), "webhook-signature": SIGNED}


def test_any_other_text_is_a_key_as_it_stands() -> None:
    found = signature.headers(signature.key_of("plain words"), "a", 1, b"body")
    expected = base64.b64encode(hmac.new(b"plain words", b"a.1.body", hashlib.sha256).digest()).decode()
    assert found["webhook-signature"] == f"v1,{expected}"


def test_without_a_key_there_is_no_signature() -> None:
    assert signature.headers(None, "a", 1, b"body") == {"webhook-id": "a", "webhook-timestamp": "1"}


def test_a_new_secret_is_long_and_another_each_time() -> None:
    first, second = signature.new_secret(), signature.new_secret()
    assert first != second
    assert len(signature.key_of(first)) == 32


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_not base64!", "whsec_abc"])
def test_what_is_no_secret_is_refused_without_being_said(secret: str) -> None:
    with pytest.raises(SecretInvalid) as caught:
        signature.key_of(secret)
    assert "not base64!" not in str(caught.value)
