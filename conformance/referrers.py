"""Checks of the section "Listing Referrers", which belongs to "Content Discovery"."""

from collections.abc import Callable
from typing import Any

import httpx

from conformance import content, expect
from conformance.check import Level, Section, check
from conformance.client import Params
from conformance.content import JSON, Manifest
from conformance.discovery import pages
from conformance.push_manifests import put_by_sha512
from conformance.trial import Trial

REFERRERS = Section.LISTING_REFERRERS
MUST, SHOULD = Level.MUST, Level.SHOULD

MANY_REFERRERS = 25


def get_referrers(trial: Trial, repository: str, digest: str, params: Params = ()) -> httpx.Response:
    """One page of the referrers of a digest."""
    return trial.get(f"/v2/{repository}/referrers/{digest}", params)


def require_referrers(trial: Trial, repository: str) -> None:
    """Leave the check to `empty-list`, which fails then, when the registry has no referrers API.

    Raises:
        expect.NotApplicable: the API answers 404, 405 or 501.
    """
    response = get_referrers(trial, repository, content.absent_digest())
    if response.status_code in (404, 405, 501):
        found = f"{expect.describe(response)}: there is no referrers API"
        raise expect.NotApplicable(found, see="listing-referrers/empty-list")


def referrers(trial: Trial, repository: str, digest: str, params: Params = ()) -> dict[str, JSON]:
    """All descriptors that refer to a digest, by their own digests."""
    found: dict[str, JSON] = {}
    for response in pages(trial, f"/v2/{repository}/referrers/{digest}", params):
        for descriptor in _descriptors(response):
            expect.that(descriptor["digest"] not in found, f"{expect.describe(response)} with a descriptor twice")
            found[descriptor["digest"]] = descriptor
    return found


@check(REFERRERS, MUST)
def empty_list(trial: Trial) -> None:
    """A digest that nothing refers to is answered 200 with an empty index, not 404."""
    repository = trial.repository()
    manifest = trial.publish(repository, content.image(), "v1")
    for digest in (manifest.digest, content.absent_digest()):
        listed = _descriptors(get_referrers(trial, repository, digest))
        expect.that(not listed, f"the referrers of {digest} are {listed}")


@check(REFERRERS, MUST)
def never_404(trial: Trial) -> None:
    """A registry that has the referrers API does not answer it with 404, in a repository that does not exist either."""
    existing = trial.repository()
    trial.publish(existing, content.image(), "v1")
    require_referrers(trial, existing)
    expect.status(get_referrers(trial, trial.repository(), content.absent_digest()), 200)


@check(REFERRERS, MUST)
def invalid_digest(trial: Trial) -> None:
    """A digest of invalid syntax is answered 400."""
    repository = trial.repository()
    trial.publish(repository, content.image(), "v1")
    require_referrers(trial, repository)
    for digest in ("nonsense", "sha256:abc"):
        expect.status(get_referrers(trial, repository, digest), 400)


@check(REFERRERS, MUST)
def image_with_artifact_type(trial: Trial) -> None:
    """An image with `artifactType` is listed with media type, size, digest, artifactType and annotations."""
    annotations = {"org.opencontainers.image.created": "2024-01-01T00:00:00Z", "org.example": "\u00e9 \u4e2d"}
    _listed(
        trial, lambda subject: content.artifact("application/vnd.example.sig", subject=subject, annotations=annotations)
    )


@check(REFERRERS, MUST)
def artifact_type_of_the_config(trial: Trial) -> None:
    """An image without `artifactType` is listed with its config's media type."""
    _listed(trial, lambda subject: content.image(config_type="application/vnd.example.config.v1+json", subject=subject))


@check(REFERRERS, MUST)
def empty_artifact_type(trial: Trial) -> None:
    """An image whose `artifactType` is the empty string is listed with its config's media type."""
    _listed(trial, lambda subject: content.image(artifactType="", subject=subject))


@check(REFERRERS, MUST)
def index_with_artifact_type(trial: Trial) -> None:
    """An index with `artifactType` is listed with it and its annotations."""
    _listed(
        trial,
        lambda subject: content.index(
            [], subject=subject, artifactType="application/vnd.example.bundle", annotations={"org.example": "index"}
        ),
    )


@check(REFERRERS, MUST)
def index_without_artifact_type(trial: Trial) -> None:
    """An index without `artifactType` is listed without it."""
    _listed(trial, lambda subject: content.index([], subject=subject))


@check(REFERRERS, MUST)
def before_the_subject(trial: Trial) -> None:
    """Referrers pushed before their subject are listed, before it is pushed and after."""
    repository, subject = trial.repository(), content.image()
    require_referrers(trial, repository)
    referrer = trial.publish(repository, content.artifact(subject=subject.descriptor()))
    _expect_listed(referrers(trial, repository, subject.digest), referrer)
    trial.publish(repository, subject, "v1")
    _expect_listed(referrers(trial, repository, subject.digest), referrer)


@check(REFERRERS, MUST)
def under_two_tags(trial: Trial) -> None:
    """A referrer that was pushed under two tags is listed once."""
    repository = trial.repository()
    require_referrers(trial, repository)
    subject = trial.publish(repository, content.image(), "v1")
    referrer = trial.publish(repository, content.artifact(subject=subject.descriptor()), "one", "two")
    _expect_listed(referrers(trial, repository, subject.digest), referrer)


@check(REFERRERS, MUST)
def of_a_sha512_digest(trial: Trial) -> None:
    """Referrers of a subject that is named by its sha512 digest are listed, where such digests are supported."""
    repository, subject = trial.repository(), content.index([], algorithm="sha512")
    require_referrers(trial, repository)
    put_by_sha512(trial, repository, subject)
    referrer = trial.publish(repository, content.artifact(subject=subject.descriptor()))
    _expect_listed(referrers(trial, repository, subject.digest), referrer)


@check(REFERRERS, MUST)
def of_this_repository_only(trial: Trial) -> None:
    """Referrers in another repository are not listed."""
    here, elsewhere = trial.repository(), trial.repository()
    require_referrers(trial, here)
    subject = content.image()
    for repository in (here, elsewhere):
        trial.publish(repository, subject, "v1")
    trial.publish(elsewhere, content.artifact(subject=subject.descriptor()))
    listed = referrers(trial, here, subject.digest)
    expect.that(not listed, f"referrers of another repository are listed: {sorted(listed)}")


@check(REFERRERS, MUST)
def many_referrers(trial: Trial) -> None:
    """All of 25 referrers are listed, on one page or by following Link."""
    repository, subject = trial.repository(), content.image()
    require_referrers(trial, repository)
    pushed = {
        trial.publish(repository, content.index([], subject=subject.descriptor())).digest for _ in range(MANY_REFERRERS)
    }
    listed = set(referrers(trial, repository, subject.digest))
    expect.that(listed == pushed, f"{len(listed & pushed)} of {len(pushed)} referrers are listed")


@check(REFERRERS, SHOULD)
def filter_is_supported(trial: Trial) -> None:
    """Referrers can be filtered by `artifactType`."""
    repository, subject, _ = _two_types(trial)
    response = get_referrers(trial, repository, subject, [("artifactType", "application/vnd.example.one")])
    _expect_applied(expect.status(response, 200))


@check(REFERRERS, MUST)
def filter_is_applied_and_announced(trial: Trial) -> None:
    """A filtered list holds the artifactType asked for and no other, and OCI-Filters-Applied says so."""
    repository, subject, by_type = _two_types(trial)
    for wanted in by_type:
        params = [("artifactType", wanted)]
        response = expect.status(get_referrers(trial, repository, subject, params), 200)
        listed = set(referrers(trial, repository, subject, params))
        if "OCI-Filters-Applied" not in response.headers and listed == set(by_type.values()):
            raise expect.NotApplicable("the filter is ignored", see="listing-referrers/filter-is-supported")
        _expect_applied(response)
        expect.that(listed == {by_type[wanted]}, f"the filter {wanted} lists {sorted(listed)}")


@check(REFERRERS, MUST)
def filter_that_nothing_matches(trial: Trial) -> None:
    """A filter that no referrer matches gives an empty index."""
    repository, subject, by_type = _two_types(trial)
    params = [("artifactType", "application/vnd.example.none")]
    response = expect.status(get_referrers(trial, repository, subject, params), 200)
    listed = set(referrers(trial, repository, subject, params))
    if "OCI-Filters-Applied" not in response.headers and listed == set(by_type.values()):
        raise expect.NotApplicable("the filter is ignored", see="listing-referrers/filter-is-supported")
    expect.that(not listed, f"a filter that nothing matches lists {sorted(listed)}")


def _descriptors(response: httpx.Response) -> list[JSON]:
    """The descriptors in an answer of the referrers API, which is an index."""
    expect.header(expect.status(response, 200), "Content-Type", content.INDEX)
    index = expect.json_object(response)
    kind = (index.get("schemaVersion"), index.get("mediaType", content.INDEX))
    expect.that(kind == (2, content.INDEX), f"{expect.describe(response)} with schemaVersion and mediaType {kind}")
    listed: Any = index.get("manifests")
    well_formed = isinstance(listed, list) and all(isinstance(one, dict) and "digest" in one for one in listed)
    expect.that(well_formed, f"{expect.describe(response)} whose `manifests` is {listed!r}, no list of descriptors")
    descriptors: list[JSON] = listed
    return descriptors


def _expect_listed(listed: dict[str, JSON], referrer: Manifest) -> None:
    """Expect the one descriptor that belongs to the referrer."""
    expect.that(set(listed) == {referrer.digest}, f"the referrers are {sorted(listed)}, expected {referrer.digest}")
    value = referrer.json
    fallback = value["config"]["mediaType"] if "config" in value else None
    wanted = {
        "mediaType": referrer.media_type,
        "size": len(referrer.data),
        "artifactType": value.get("artifactType") or fallback,
        "annotations": value.get("annotations") or None,
    }
    found = {name: listed[referrer.digest].get(name) or None for name in wanted}
    expect.that(found == wanted, f"the descriptor says {found}, expected {wanted}")


def _listed(trial: Trial, make: Callable[[JSON], Manifest]) -> None:
    """Push a subject and what `make` makes to refer to it, and expect that to be listed."""
    repository = trial.repository()
    require_referrers(trial, repository)
    subject = trial.publish(repository, content.image(), "v1")
    referrer = trial.publish(repository, make(subject.descriptor()))
    _expect_listed(referrers(trial, repository, subject.digest), referrer)


def _two_types(trial: Trial) -> tuple[str, str, dict[str, str]]:
    """A repository, a subject's digest, and the digests of its two referrers by their types."""
    repository, subject = trial.repository(), content.image()
    require_referrers(trial, repository)
    by_type = {}
    for kind in ("application/vnd.example.one", "application/vnd.example.two+json"):
        by_type[kind] = trial.publish(repository, content.artifact(kind, subject=subject.descriptor())).digest
    return repository, subject.digest, by_type


def _expect_applied(response: httpx.Response) -> None:
    applied = [one.strip() for one in expect.header(response, "OCI-Filters-Applied").split(",")]
    expect.that("artifactType" in applied, f"{expect.describe(response)} with OCI-Filters-Applied: {applied}")
