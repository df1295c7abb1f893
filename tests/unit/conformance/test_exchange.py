import json

import httpx
import pytest

from conformance.client import Credentials
from conformance.exchange import (
    SHOWN_BODY,
    SHOWN_HEADERS,
    SHOWN_VALUE,
    Exchange,
    Secrets,
    answered,
    clean,
    show_url,
    unanswered,
)

OWN = "http://127.0.0.1:5000"
NOTHING = Secrets()


def exchange(
    sent: dict[str, str] | None = None,
    received: dict[str, str] | None = None,
    answer: bytes = b"",
    secrets: Secrets = NOTHING,
) -> Exchange:
    request = httpx.Request("GET", OWN + "/v2/", headers=sent)
    return answered(httpx.Response(200, headers=received, content=answer, request=request), OWN, secrets)


def test_a_url_is_shown_without_what_may_be_secret() -> None:
    given = "/v2/a/blobs/uploads/1?_state=a%2Bb%3D&digest=sha256:0"
    assert show_url(given) == show_url(OWN + given, OWN) == "/v2/a/blobs/uploads/1?_state=...&digest=sha256:0"
    signed = "https://u:p@bucket.example.org/key?X-Amz-Signature=secret"
    assert show_url(signed, OWN) == "https://bucket.example.org/key?X-Amz-Signature=..."


def test_headers_that_hold_secrets_are_hidden() -> None:
    shown = exchange(
        {"Authorization": "Bearer abc", "Cookie": "d=1"},
        {"Set-Cookie": "e=2", "Location": "/v2/?_state=f", "ETag": '"g"', "OCI-Tag": "h"},
    )
    assert ("Authorization", "Bearer ***") in shown.sent
    assert ("Cookie", "***") in shown.sent
    assert shown.received == (
        ("Set-Cookie", "***"),
        ("Location", "/v2/?_state=..."),
        ("ETag", '"g"'),
        ("OCI-Tag", "h"),
    )


@pytest.mark.parametrize("password", ["p:ss wörd", "a/b+c=", 'quote"back\\slash', "x"])
def test_a_password_that_a_registry_sends_back_is_hidden_however_it_is_written(password: str) -> None:
    credentials = Credentials("me", password)
    secrets = Secrets(credentials.secrets())
    body = json.dumps({"raw": password, "basic": credentials.basic()}) + password
    shown = exchange({}, {"Echo": credentials.basic()}, body.encode(), secrets)
    assert "***" in shown.answer
    assert not [word for word in credentials.secrets() if word in shown.answer + str(shown.received)]


def test_a_secret_does_not_show_where_text_is_cut() -> None:
    secrets = Secrets(["secret" * 10])
    shown = exchange({}, {}, b"x" * (SHOWN_BODY - 20) + b"secret" * 10 + b"y" * 100, secrets)
    assert "secret" not in shown.answer
    assert len(shown.answer) == SHOWN_BODY


def test_what_is_kept_is_bounded_and_printable() -> None:
    many = {f"X-{number}": "v" for number in range(200)} | {"X": "w" * 100_000}
    shown = exchange({}, dict(reversed(many.items())), "é".encode() * 100_000)
    assert len(shown.received) == SHOWN_HEADERS
    assert max(len(value) for _, value in shown.received) == SHOWN_VALUE
    assert (len(shown.answer), shown.answer[-4:]) == (SHOWN_BODY, "é...")
    asked = httpx.Request("GET", OWN + "/v2/?last=one%0Atwo")
    assert unanswered(asked, "x", OWN, NOTHING).line == "GET /v2/?last=one two -> x"
    assert exchange(answer=b"\xff\x00").answer == "(2 bytes that are no text)"
    assert exchange(answer="\x1b[31m\u202e\x00".encode()).answer == "\ufffd[31m\ufffd\ufffd"


def test_text_that_is_shown_holds_no_control_characters() -> None:
    assert clean("line\n\ttab \u00e9 \x7f\x85\ud800") == "line\n\ttab \u00e9 \ufffd\ufffd\ufffd"


def test_a_request_without_an_answer_is_kept_with_the_reason() -> None:
    request = httpx.Request("PUT", "http://elsewhere/x", content=b"12345")
    kept = unanswered(request, "ReadError", OWN, NOTHING)
    assert kept.line == "PUT http://elsewhere/x -> ReadError"
    assert (kept.status, kept.body) == (None, "5 bytes")
    stream = httpx.Request("PUT", OWN + "/x", content=iter([b"1"]))
    assert unanswered(stream, "ReadError", OWN, NOTHING).body == "a stream of unsaid length"
