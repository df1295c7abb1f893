"""The checks, on a registry that follows the specification and on one that breaks it in a known way."""

import inspect
import re

import pytest

from conformance.check import Check, Level, Outcome, Section, add, check, registered
from conformance.client import Client
from conformance.expect import Lacking
from conformance.result import Result
from conformance.runner import run_one
from conformance.trial import Names, Trial
from tests.unit.conformance import tiny as tiny_module
from tests.unit.conformance.serving import tiny

CHECKS = {check.name: check for check in registered()}

FAULTS = {
    "Link for n=0": ["listing-tags/limit-of-zero"],
    "Link without rel": ["listing-tags/links"],
    "a byte too few in ranges": [f"pulling-blobs/range-{one}" for one in ("closed", "open", "suffix", "clamped")],
    "any digest": [
        "pushing-blobs/digest-mismatch-stores-nothing",
        "pushing-blobs/sha512-mismatch-stores-nothing",
        "pushing-manifests/sha512-mismatch",
        "single-post/single-post-invalid-digest",
        "pushing-blobs/invalid-digest",
        "pushing-blobs/unsupported-algorithm",
        "single-post/single-post-mismatch",
        "pushing-a-blob-in-chunks/digest-mismatch",
        "pushing-manifests/digest-mismatch",
    ],
    "any tag": ["pushing-manifests/invalid-tag-parameter"],
    "artifactType for all": ["listing-referrers/index-without-artifact-type"],
    "blobs of all repositories": ["pulling-blobs/blob-of-another-repository"],
    "cancel does nothing": ["cancel-a-blob-upload/cancelled-session-is-gone"],
    "chunks in any order": [
        "pushing-a-blob-in-chunks/first-chunk-not-at-zero",
        "pushing-a-blob-in-chunks/chunk-left-out",
        "pushing-a-blob-in-chunks/chunk-repeated",
        "pushing-a-blob-in-chunks/chunk-overlapping",
        "pushing-a-blob-in-chunks/last-chunk-out-of-order",
        "pushing-a-blob-in-chunks/recovery-after-416",
        "pushing-a-blob-in-chunks/malformed-content-range",
    ],
    "codes of its own": [
        "error-codes/codes-of-the-table",
        "error-codes/manifest-unknown",
        "error-codes/blob-unknown",
        "error-codes/name-invalid",
        "push/missing-blob",
    ],
    "errors of its own format": ["error-codes/error-format", "push/missing-manifest"],
    "everything is there": [
        "pulling-manifests/unknown-tag",
        "pulling-manifests/unknown-digest",
        "checking-if-content-exists-in-the-registry/head-unknown-manifest",
        "deleting-manifests/delete-manifest",
    ],
    "filter not announced": ["listing-referrers/filter-is-applied-and-announced"],
    "last is included": ["listing-tags/last", "listing-tags/last-of-all", "listing-tags/links"],
    "manifests written anew": [
        "pulling-manifests/get-by-tag",
        "pushing-manifests/exact-bytes",
        "pushing-manifests/image",
        "pushing-manifests/index",
        "pushing-manifests/docker-image",
    ],
    "mount without a blob": ["mounting-a-blob-from-another-repository/mount"],
    "n is ignored": ["listing-tags/limit", "listing-tags/limit-of-zero", "listing-tags/last"],
    "no OCI-Subject": ["pushing-manifests-with-subject/subject-header"],
    "no OCI-Tag": ["pushing-manifests/tag-parameters"],
    "no Range in chunks": ["pushing-a-blob-in-chunks/chunks-in-order", "pushing-a-blob-in-chunks/status"],
    "no annotations": ["listing-referrers/image-with-artifact-type"],
    "no conditions": ["pulling-manifests/manifest-if-none-match"],
    "no digest header": ["pulling-manifests/digest-header", "checking-if-content-exists-in-the-registry/head-manifest"],
    "no filter": ["listing-referrers/filter-is-supported"],
    "no limit": ["pushing-manifests/too-large"],
    "no ranges": ["pulling-blobs/range-is-supported"],
    "no referrers": ["listing-referrers/empty-list"],
    "numbered sessions": ["post-then-put/location-contains-a-uuid"],
    "one session for all": ["post-then-put/post-gives-a-session", "pushing-a-blob-in-chunks/sessions-do-not-mix"],
    "parameters on types": ["pulling-manifests/content-type"],
    "status is 200": ["pushing-a-blob-in-chunks/status"],
    "support is 500": ["determining-support/v2"],
    "tags delete manifests": ["deleting-tags/other-tags-stay"],
    "tags in reverse": ["listing-tags/complete-and-in-order"],
    "tags outlive manifests": ["deleting-manifests/delete-manifest"],
    "wrong bytes": ["pulling-blobs/get-blob", "pushing-a-blob-in-chunks/chunks-in-order", "single-post/single-post"],
    "wrong code for missing parts": ["push/missing-blob", "push/missing-manifest"],
}

LACKING = {
    "API version not said": ["legacy-docker-support-http-headers/api-version"],
    "no If-Match": ["referrers-tag-schema/conditional-push"],
    "no Link": ["listing-tags/link-is-offered"],
    "no deletion": [
        "deleting-tags/tag-deletion-is-supported",
        "deleting-manifests/manifest-deletion-is-supported",
        "deleting-blobs/blob-deletion-is-supported",
    ],
    "no mounts": ["mounting-a-blob-from-another-repository/mount-is-supported"],
    "no sha512": ["pushing-blobs/sha512-is-supported", "pushing-manifests/sha512-is-supported"],
    "no single POST": ["single-post/single-post-is-supported"],
    "no tag parameters": ["pushing-manifests/tag-parameters-are-supported"],
    "only huge chunks": ["pushing-a-blob-in-chunks/smallest-chunk"],
    "sha256 shown for sha512": ["pushing-blobs/sha512-in-the-digest-header"],
    "parts may be missing": ["push/missing-blob-is-refused", "push/missing-manifest-is-refused"],
    "tags are fixed": ["pushing-manifests/tag-may-move"],
}
"""What a registry may leave out, and the checks that say so."""

NOTHING_TO_TRY = {
    "cancel is refused": ["cancel-a-blob-upload/cancelled-session-is-gone", "cancel-a-blob-upload/cancel-twice"],
    "no Link": ["listing-tags/links"],
    "no codes": ["error-codes/manifest-unknown", "pushing-blobs/digest-mismatch-code"],
    "no deletion": [
        "deleting-tags/delete-tag",
        "deleting-tags/unknown-tag",
        "deleting-manifests/delete-manifest",
        "deleting-manifests/unknown-repository",
        "deleting-blobs/delete-blob",
    ],
    "no filter": ["listing-referrers/filter-is-applied-and-announced", "listing-referrers/filter-that-nothing-matches"],
    "no mounts": ["mounting-a-blob-from-another-repository/mount"],
    "no ranges": ["pulling-blobs/range-closed", "pulling-blobs/range-unsatisfiable"],
    "no referrers": ["listing-referrers/image-with-artifact-type", "pushing-manifests-with-subject/subject-header"],
    "no sha512": [
        "pushing-blobs/sha512",
        "pushing-a-blob-in-chunks/chunks-of-sha512",
        "pushing-manifests/sha512-mismatch",
        "pushing-manifests/tag-parameters-of-sha512",
        "listing-referrers/of-a-sha512-digest",
    ],
    "no single POST": ["single-post/single-post", "single-post/single-post-invalid-digest"],
    "no tag parameters": ["pushing-manifests/tag-parameters", "pushing-manifests/ten-tag-parameters"],
    "only huge chunks": ["pushing-a-blob-in-chunks/chunks-in-order"],
    "parts may be missing": ["push/missing-blob", "push/missing-manifest"],
    "tags are fixed": ["pushing-manifests/tag-moves"],
}
"""What there is nothing to try of, since something is lacking."""


def outcomes(url: str, names: list[str]) -> dict[str, Result]:
    with Client(url) as client:
        given = Names("test")
        return {name: run_one(CHECKS[name], client, given) for name in names}


def test_a_registry_that_follows_the_specification_passes_every_check() -> None:
    with tiny() as url:
        results = outcomes(url, list(CHECKS))
    assert {name: result.message for name, result in results.items() if result.outcome is not Outcome.PASS} == {}
    assert results["warnings/warnings"].note.startswith("0 of ")


def test_a_warning_in_any_answer_of_the_run_is_looked_at() -> None:
    with tiny("odd warning") as url:
        results = outcomes(url, ["determining-support/v2", "warnings/warnings"])
        alone = outcomes(url, ["warnings/warnings"])
    assert results["warnings/warnings"].message == 'Warning: 199 server "old", expected 299 - "TEXT"'
    assert alone["warnings/warnings"].outcome is Outcome.PASS


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_fails_the_checks_of_what_it_breaks(fault: str) -> None:
    with tiny(fault) as url:
        results = outcomes(url, FAULTS[fault])
    assert {name: result.outcome for name, result in results.items()} == dict.fromkeys(FAULTS[fault], Outcome.FAIL)
    assert all(result.message and result.exchanges for result in results.values())


@pytest.mark.parametrize("fault", LACKING)
def test_what_a_registry_may_leave_out_is_lacking(fault: str) -> None:
    with tiny(fault) as url:
        results = outcomes(url, LACKING[fault])
    assert {name: result.outcome for name, result in results.items()} == dict.fromkeys(LACKING[fault], Outcome.LACKS)
    assert {CHECKS[name].level for name in LACKING[fault]} == {Level.MAY}


@pytest.mark.parametrize("fault", NOTHING_TO_TRY)
def test_a_check_without_anything_to_try_names_one_that_tells_what_is_lacking(fault: str) -> None:
    names = NOTHING_TO_TRY[fault]
    with tiny(fault) as url:
        results = outcomes(url, names)
        assert {name: result.outcome for name, result in results.items()} == dict.fromkeys(
            names, Outcome.NOT_APPLICABLE
        )
        named = outcomes(url, [result.see for result in results.values()])
    assert all(result.finding for result in named.values())


def test_every_fault_of_the_tiny_registry_is_tried() -> None:
    named = re.findall(r'\.has\("([^"]+)"\)', inspect.getsource(tiny_module))
    assert set(named) == set(FAULTS) | set(LACKING) | set(NOTHING_TO_TRY) | {"odd warning"}


def test_only_what_a_registry_may_do_can_be_lacking() -> None:
    def lacking(trial: Trial) -> None:
        raise Lacking("no")

    for level, outcome in ((Level.MAY, Outcome.LACKS), (Level.SHOULD, Outcome.FAIL), (Level.MUST, Outcome.FAIL)):
        with Client("http://127.0.0.1:1") as client:
            result = run_one(Check("api/lacking", Section.API, level, "Something.", lacking), client, Names("test"))
        assert result.outcome is outcome


def test_every_check_says_what_it_requires_in_its_section() -> None:
    for name, one in CHECKS.items():
        assert re.fullmatch(r"[a-z-]+/[a-z0-9-]+", name)
        assert name.startswith(one.section.slug + "/")
        assert one.section.link.endswith("#" + one.section.slug)
        assert one.title.endswith(".")
    assert {one.level for one in CHECKS.values()} == set(Level)
    assert {one.section for one in CHECKS.values()} == set(Section)


def test_a_check_without_a_text_and_a_second_one_of_a_name_are_refused() -> None:
    def silent(trial: Trial) -> None:
        del trial

    with pytest.raises(ValueError, match="does not say"):
        check(Section.API, Level.MUST)(silent)
    with pytest.raises(ValueError, match="two checks"):
        add(Section.SUPPORT, Level.MUST, "v2", "Something.", silent)
    assert [one.name for one in registered()] == list(CHECKS)
