"""The checks, on a registry that follows the specification and on one that breaks it in a known way."""

import inspect
import re

import pytest

from conformance.check import Level, Outcome, Section, add, check, registered
from conformance.client import Client
from conformance.runner import Result, run_one
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
        "pushing-blobs/invalid-digest",
        "pushing-blobs/unsupported-algorithm",
        "single-post/single-post-mismatch",
        "pushing-a-blob-in-chunks/digest-mismatch",
        "pushing-manifests/digest-mismatch",
    ],
    "artifactType for all": ["listing-referrers/index-without-artifact-type"],
    "blobs of all repositories": ["pulling-blobs/blob-of-another-repository"],
    "cancel does nothing": ["cancel-a-blob-upload/cancelled-session-is-gone"],
    "chunks in any order": [
        "pushing-a-blob-in-chunks/first-chunk-not-at-zero",
        "pushing-a-blob-in-chunks/chunk-left-out",
        "pushing-a-blob-in-chunks/chunk-repeated",
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
    "no ranges": ["pulling-blobs/range-is-supported"],
    "no referrers": ["listing-referrers/empty-list"],
    "odd warning": ["warnings/warnings"],
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

DECLINED = {
    "no deletion": [
        "deleting-tags/delete-tag",
        "deleting-manifests/delete-manifest",
        "deleting-blobs/delete-blob",
    ],
    "no limit": ["pushing-manifests/too-large"],
    "no ranges": ["pulling-blobs/range-closed", "pulling-blobs/range-unsatisfiable"],
    "no referrers": ["listing-referrers/image-with-artifact-type", "pushing-manifests-with-subject/subject-header"],
    "no filter": ["listing-referrers/filter-is-applied-and-announced"],
}


def outcomes(url: str, names: list[str]) -> dict[str, Result]:
    with Client(url) as client:
        given = Names("test")
        return {name: run_one(CHECKS[name], client, given) for name in names}


def test_a_registry_that_follows_the_specification_passes_every_check() -> None:
    with tiny() as url:
        results = outcomes(url, list(CHECKS))
    not_passed = {name: result.message for name, result in results.items() if result.outcome is not Outcome.PASS}
    assert list(not_passed) == ["warnings/warnings"], not_passed  # it sends no Warning
    assert results["warnings/warnings"].outcome is Outcome.UNSUPPORTED


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_fails_the_checks_of_what_it_breaks(fault: str) -> None:
    with tiny(fault) as url:
        results = outcomes(url, FAULTS[fault])
    assert {name: result.outcome for name, result in results.items()} == dict.fromkeys(FAULTS[fault], Outcome.FAIL)
    assert all(result.message and result.exchanges for result in results.values())


@pytest.mark.parametrize("fault", DECLINED)
def test_what_a_registry_may_leave_out_is_unsupported(fault: str) -> None:
    with tiny(fault) as url:
        results = outcomes(url, DECLINED[fault])
    expected = dict.fromkeys(DECLINED[fault], Outcome.UNSUPPORTED)
    assert {name: result.outcome for name, result in results.items()} == expected


def test_every_fault_of_the_tiny_registry_is_tried() -> None:
    named = re.findall(r'\.has\("([^"]+)"\)', inspect.getsource(tiny_module))
    assert set(named) == set(FAULTS) | set(DECLINED)


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
