"""Checks of the section "API": determining support, the format and the codes of errors, warnings, methods.

The specification's table says which code stands for what, and leaves a registry free to give none. So that the right
one is given for a case is a SHOULD, and not applicable where there is none.
"""

import json
import re
from collections.abc import Callable
from functools import partial

import httpx

from conformance import content, expect
from conformance.check import Level, Section, check
from conformance.content import Manifest
from conformance.trial import Trial, blob_path, manifest_path

SUPPORT = Section.SUPPORT
CODES = Section.ERROR_CODES
MUST, SHOULD, MAY = Level.MUST, Level.SHOULD, Level.MAY

TABLE = {
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
    "UNAUTHORIZED",
    "DENIED",
    "UNSUPPORTED",
    "TOOMANYREQUESTS",
}
LEGACY = {"TAG_INVALID", "MANIFEST_UNVERIFIED"}
"""Codes that "Legacy Docker support error codes" allows."""

NO_SESSION = "00000000-0000-4000-8000-000000000000"
NO_MANIFESTS = (
    b"no manifest",
    b"",
    content.encode({"schemaVersion": 2, "mediaType": content.IMAGE, "config": "none", "layers": {}}),
)
LARGEST_WARNINGS = 4096
WARNING = re.compile(r'299 - "(?:[^"\\]|\\.)*"(?:\s*,\s*299 - "(?:[^"\\]|\\.)*")*')


@check(SUPPORT, MUST)
def v2(trial: Trial) -> None:
    """GET /v2/ answers 200."""
    expect.status(trial.get("/v2/"), 200)


@check(SUPPORT, MAY)
def v2_without_slash(trial: Trial) -> None:
    """GET /v2 answers as /v2/ does."""
    response = trial.get("/v2")
    if response.is_client_error:
        raise expect.Lacking(expect.describe(response))
    expect.status(response, 200)


@check(SUPPORT, SHOULD)
def v2_of_head(trial: Trial) -> None:
    """HEAD /v2/ answers as GET does, without a body: every server has HEAD (RFC 9110, 9.1)."""
    expect.status(trial.head("/v2/"), 200)


@check(Section.LEGACY_HEADERS, MAY)
def api_version(trial: Trial) -> None:
    """GET /v2/ answers with Docker-Distribution-Api-Version: registry/2.0, which old clients look for."""
    response = trial.get("/v2/")
    if "Docker-Distribution-Api-Version" not in response.headers:
        raise expect.Lacking("the header is not there")
    expect.header(response, "Docker-Distribution-Api-Version", "registry/2.0")


@check(CODES, MAY)
def errors_have_codes(trial: Trial) -> None:
    """Errors of every kind have a body of JSON with a code: clients can tell one from the other."""
    silent = sorted({expect.describe(response) for response in _errors(trial) if not expect.error_codes(response)})
    if silent:
        more = f", and {len(silent) - 1} more" if len(silent) > 1 else ""
        raise expect.Lacking(f"{silent[0]} without a code{more}")


@check(CODES, MUST)
def error_format(trial: Trial) -> None:
    """The body of an error, if it is JSON, is an object with `errors`, a list in which each has a `code`."""
    seen = 0
    for response in _errors(trial):
        body = _json_or_none(response)
        if body is None:
            continue
        seen += 1
        errors = body.get("errors") if isinstance(body, dict) else None
        well_formed = (
            isinstance(errors, list)
            and bool(errors)
            and all(isinstance(one, dict) and isinstance(one.get("code"), str) for one in errors)
        )
        if not well_formed:
            found = f"{expect.describe(response)} with the body {response.text[:200]!r}"
            raise expect.Failed(found, '{"errors": [{"code": "...", ...}, ...]}', response)
    trial.note = f"{seen} errors have a body of JSON"


@check(CODES, MUST)
def codes_of_the_table(trial: Trial) -> None:
    """The codes of errors, where there are any, are those of the specification's table."""
    seen = 0
    for response in _errors(trial):
        for code in expect.error_codes(response):
            seen += 1
            if code not in TABLE | LEGACY:
                found = f"{expect.describe(response)}: {code} is not in the table"
                raise expect.Failed(found, ", ".join(sorted(TABLE)), response)
    trial.note = f"{seen} errors have a code"


@check(CODES, SHOULD)
def error_messages(trial: Trial) -> None:
    """The `message` of an error, if there is one, is a string that people can read."""
    for response in _errors(trial):
        body = _json_or_none(response)
        errors = body.get("errors") if isinstance(body, dict) else None
        for one in errors if isinstance(errors, list) else []:
            message = one.get("message", "") if isinstance(one, dict) else ""
            if not isinstance(message, str):
                raise expect.Failed(f"{expect.describe(response)} with the message {message!r}", "a string", response)


@check(CODES, SHOULD)
def error_media_type(trial: Trial) -> None:
    """A JSON body of an error has the Content-Type application/json."""
    for response in _errors(trial):
        if _json_or_none(response) is not None:
            found = expect.media_type(response)
            expect.that(found == "application/json", f"{expect.describe(response)} with Content-Type: {found}")


@check(CODES, SHOULD)
def manifest_unknown(trial: Trial) -> None:
    """A manifest that is not there is MANIFEST_UNKNOWN, by tag and by digest."""
    repository = trial.repository()
    trial.publish(repository, content.image(), "v1")
    for reference in ("v2", content.absent_digest()):
        expect.code_if_any(expect.status(trial.get_manifest(repository, reference), 404), "MANIFEST_UNKNOWN")


@check(CODES, SHOULD)
def blob_unknown(trial: Trial) -> None:
    """A blob that is not there is BLOB_UNKNOWN."""
    repository = trial.repository()
    trial.push_blob(repository, content.blob())
    expect.code_if_any(expect.status(trial.get_blob(repository, content.absent_digest()), 404), "BLOB_UNKNOWN")


@check(CODES, SHOULD)
def blob_upload_unknown(trial: Trial) -> None:
    """An upload session that is not there is BLOB_UPLOAD_UNKNOWN."""
    upload = trial.start_upload(trial.repository())
    blob = content.blob()
    expect.status(upload.put(blob.digest, blob.data), 201)
    expect.code_if_any(expect.status(upload.status(), 404), "BLOB_UPLOAD_UNKNOWN")


@check(CODES, SHOULD)
def name_unknown(trial: Trial) -> None:
    """A repository that is not there is NAME_UNKNOWN when its tags are listed."""
    response = expect.status(trial.get(f"/v2/{trial.repository()}/tags/list"), 404)
    expect.code_if_any(response, "NAME_UNKNOWN")


@check(CODES, SHOULD)
def name_invalid(trial: Trial) -> None:
    """A repository name with capitals is NAME_INVALID."""
    expect.code_if_any(expect.refused(trial.post_upload(trial.repository() + "/UPPER")), "NAME_INVALID")


@check(Section.PULLING_MANIFESTS, MUST)
def invalid_names_are_refused(trial: Trial) -> None:
    """Repository names that do not match the specification's expression are refused with a status of 4xx."""
    base = trial.repository()
    for ending in ("/UPPER", "/a..b", "/a___b", "/-a", "/a-", "/.a", "/a._b", "/a*b"):
        response = trial.post_upload(base + ending)
        expect.refused(response)


@check(Section.PULLING_MANIFESTS, MUST)
def invalid_tags_are_refused(trial: Trial) -> None:
    """Tags that begin with a dash or a dot, hold other characters, or are too long are refused with a status of 4xx."""
    repository, manifest = trial.repository(), content.image()
    trial.prepare(repository, manifest)
    for tag in ("-a", ".a", "a+b", "a:b", "a*b", "x" * 129):
        expect.refused(trial.put_manifest(repository, tag, manifest))


@check(CODES, SHOULD)
def digest_invalid(trial: Trial) -> None:
    """A digest of invalid syntax in a closing PUT is DIGEST_INVALID."""
    response = trial.start_upload(trial.repository()).put("sha256:abc", content.blob().data)
    expect.code_if_any(expect.status(response, 400), "DIGEST_INVALID")


@check(CODES, SHOULD)
def manifest_invalid(trial: Trial) -> None:
    """A manifest that is not JSON, or whose fields have the wrong types, is refused with 400 and MANIFEST_INVALID."""
    for data in NO_MANIFESTS:
        response = trial.put_manifest(trial.repository(), "v1", Manifest(data, content.IMAGE))
        expect.code_if_any(expect.status(response, 400), "MANIFEST_INVALID")


@check(Section.PUSHING_MANIFESTS, MAY)
def media_type_mismatch(trial: Trial) -> None:
    """A manifest whose `mediaType` is not its Content-Type, which a client must not send, is refused."""
    repository, manifest = trial.repository(), content.image()
    trial.prepare(repository, manifest)
    response = trial.put_manifest(repository, "v1", manifest, media_type=content.INDEX)
    if response.is_success:
        raise expect.Lacking(expect.describe(response))
    expect.refused(response)


@check(Section.API, SHOULD)
def method_not_allowed(trial: Trial) -> None:
    """A method that an endpoint does not have is answered 405 with Allow (RFC 9110, 15.5.6)."""
    repository = trial.repository()
    trial.publish(repository, content.image(), "v1")
    for method, path in (
        ("PUT", f"/v2/{repository}/tags/list"),
        ("POST", manifest_path(repository, "v1")),
        ("PATCH", blob_path(repository, content.absent_digest())),
        ("DELETE", "/v2/"),
    ):
        response = expect.status(trial.client.request(method, path, body=b""), 405)
        expect.header(response, "Allow")


@check(Section.API, SHOULD)
def unknown_endpoint(trial: Trial) -> None:
    """A path that is no endpoint answers 404."""
    expect.status(trial.get(f"/v2/{trial.repository()}/nothing/here"), 404)


@check(Section.ERROR_CODES, SHOULD)
def retry_after(trial: Trial) -> None:
    """Each 429 in the whole run, if there is any, says in Retry-After when to come again."""
    seen = trial.client.observed
    expect.that(not seen.unexplained, f"{seen.unexplained} of {seen.throttled} answers of 429 were without Retry-After")
    trial.note = f"{seen.throttled} of {seen.answers} answers so far were 429"


@check(Section.WARNINGS, MUST)
def warnings(trial: Trial) -> None:
    """Each Warning in the whole run, if there is any, has the code 299, the agent `-`, no date, at most 4096 bytes.

    Nothing makes a registry warn; so all answers that this run got are looked at, and the note says how many.
    """
    repository = trial.repository()
    trial.publish(repository, content.image(), "v1")
    trial.get_manifest(repository, "v1")
    seen = trial.client.observed
    for values in seen.warned:
        for value in values:
            if WARNING.fullmatch(value) is None:
                raise expect.Failed(f"Warning: {value}", '299 - "TEXT"')
        size = sum(len(value.encode()) for value in values)
        if size > LARGEST_WARNINGS:
            raise expect.Failed(f"an answer with {size} bytes of warnings", f"at most {LARGEST_WARNINGS}")
    trial.note = f"{len(seen.warned)} of {seen.answers} answers had a Warning"


def _errors(trial: Trial) -> list[httpx.Response]:
    """Answers to requests that are wrong in many ways; those that were no errors are left out."""
    repository, manifest, ended = trial.repository(), content.image(), content.blob()
    trial.publish(repository, manifest, "v1")
    upload = trial.start_upload(repository)
    expect.status(upload.put(ended.digest, ended.data), 201)
    absent = content.absent_digest()
    wrong: list[Callable[[], httpx.Response]] = [
        lambda: trial.get_manifest(repository, "v2"),
        lambda: trial.get_manifest(repository, absent),
        lambda: trial.get_manifest(repository, "sha256:abc"),
        lambda: trial.get_manifest(trial.repository(), "v1"),
        lambda: trial.get_blob(repository, absent),
        lambda: trial.get_blob(repository, "sha256:abc"),
        lambda: trial.get(f"/v2/{trial.repository()}/tags/list"),
        lambda: trial.get(f"/v2/{repository}/tags/list", [("n", "nonsense")]),
        lambda: trial.get(f"/v2/{repository}/referrers/nonsense"),
        lambda: trial.post_upload(f"{repository}/UPPER"),
        lambda: trial.get(f"/v2/{repository}/blobs/uploads/{NO_SESSION}"),
        lambda: upload.status(),
        lambda: trial.start_upload(repository).put(absent, b"other content"),
        lambda: trial.start_upload(repository).put("sha256:abc", b"content"),
        lambda: trial.put_manifest(repository, absent, manifest),
        *(partial(trial.put_manifest, repository, "v1", Manifest(data, content.IMAGE)) for data in NO_MANIFESTS),
        lambda: trial.put_manifest(repository, "-wrong", manifest),
        lambda: trial.put_manifest(repository, "v3", content.image()),
        lambda: trial.client.request("PUT", f"/v2/{repository}/tags/list", body=b""),
        lambda: trial.client.request("DELETE", manifest_path(repository, absent)),
    ]
    return [response for response in (send() for send in wrong) if response.is_client_error]


def _json_or_none(response: httpx.Response) -> object:
    """The body when it is JSON of any kind, None when it is something else."""
    says_json = "json" in expect.media_type(response)
    try:
        value: object = json.loads(response.content)
    except ValueError:
        expect.that(not says_json or not response.content, f"{expect.describe(response)} with broken JSON")
        return None
    return value if says_json or isinstance(value, dict) else None
