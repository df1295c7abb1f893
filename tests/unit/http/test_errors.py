"""The table of errors: every exception has a place, every code of the specification is used."""

import json
from pathlib import Path

import pytest

from auth.errors import AuthError, TooManyAttempts, Unauthenticated
from registry.errors import (
    ManifestReferenceUnknown,
    MethodNotAllowed,
    RangeInvalid,
    ReadOnly,
    RegistryError,
    TagFixed,
    TooManyWatchers,
    UploadOutOfOrder,
)
from registry.http.errors import TABLE, error_reply
from storage.errors import InvalidKey, StorageError

ROOT = Path(__file__).parents[3]
SPEC_CODES = {
    "BLOB_UNKNOWN",
    "BLOB_UPLOAD_INVALID",
    "BLOB_UPLOAD_UNKNOWN",
    "DIGEST_INVALID",
    "MANIFEST_BLOB_UNKNOWN",
    "MANIFEST_INVALID",
    "MANIFEST_UNKNOWN",
    "NAME_INVALID",
    "NAME_UNKNOWN",
    "SIZE_INVALID",
    "DENIED",
    "UNAUTHORIZED",
    "UNSUPPORTED",
    "TOOMANYREQUESTS",
}
"""All of the specification's."""


def every(kind: type[Exception]) -> set[type[Exception]]:
    return {kind}.union(*(every(below) for below in kind.__subclasses__()))


def make(kind: type[Exception]) -> Exception:
    if kind is ManifestReferenceUnknown:
        return ManifestReferenceUnknown(["sha256:a", "sha256:b"])
    if kind is MethodNotAllowed:
        return MethodNotAllowed("no", allowed=["GET", "PUT"])
    if issubclass(kind, RangeInvalid):
        return kind("no", size=5)
    if issubclass(kind, ReadOnly | TooManyAttempts | TooManyWatchers):
        return kind("no", retry_after=5)
    if issubclass(kind, TagFixed):
        return kind("no", tag="1.0")
    if issubclass(kind, UploadOutOfOrder):
        return kind("no", offset=5)
    return kind("no")


def test_every_exception_of_the_domain_has_a_place() -> None:
    bases = {RegistryError, StorageError, AuthError}
    defects = {InvalidKey}  # a key is the server's own: a wrong one is a defect, and a 500
    raised = set().union(*(every(base) for base in bases)) - bases - defects
    assert {kind for kind in raised if not any(above in TABLE for above in kind.__mro__)} == set()


def test_every_code_of_the_specification_is_used_and_no_other() -> None:
    assert {code for _, code in TABLE.values()} == SPEC_CODES


def test_every_code_is_documented() -> None:
    text = (ROOT / "docs/protocol.md").read_text()
    for status, code in TABLE.values():
        row = next(line for line in text.splitlines() if line.startswith(f"| `{code}`"))
        assert str(status) in row


@pytest.mark.parametrize("kind", TABLE)
def test_a_refusal_becomes_json_in_the_form_of_the_specification(kind: type[Exception]) -> None:
    reply = error_reply(make(kind))
    content = json.loads(reply.body)
    assert set(content) == {"errors"}
    for entry in content["errors"]:
        assert set(entry) == {"code", "message", "detail"}
        assert (reply.status, entry["code"]) == TABLE[kind]
        assert entry["message"]
    assert 400 <= reply.status < 600


def test_each_missing_digest_has_an_entry() -> None:
    entries = json.loads(error_reply(ManifestReferenceUnknown(["sha256:a", "sha256:b"])).body)["errors"]
    assert [entry["detail"] for entry in entries] == [{"digest": "sha256:a"}, {"digest": "sha256:b"}]


def test_a_defect_keeps_its_text_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    reply = error_reply(KeyError("a secret"))
    assert reply.status == 500
    assert b"secret" not in reply.body
    assert "a secret" in caplog.text


def test_a_challenge_goes_with_401_alone() -> None:
    assert (b"www-authenticate", b"Bearer x") in error_reply(Unauthenticated("no"), b"Bearer x").headers
    assert b"www-authenticate" not in dict(error_reply(ReadOnly("no", retry_after=5), b"Bearer x").headers)
