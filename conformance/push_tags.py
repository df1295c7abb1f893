"""Checks of the section "Pushing Manifests" that are about tags: their forms, moving them, tags as parameters."""

import httpx

from conformance import content, expect
from conformance.check import Level, Section, check
from conformance.content import Manifest
from conformance.push_manifests import put_by_sha512
from conformance.trial import Trial

MANIFESTS = Section.PUSHING_MANIFESTS
MUST, SHOULD, MAY = Level.MUST, Level.SHOULD, Level.MAY


@check(MANIFESTS, MAY)
def tag_may_move(trial: Trial) -> None:
    """A tag that exists can be pushed again with another manifest: tags are not fixed."""
    repository, other = trial.repository(), content.image()
    trial.publish(repository, content.image(), "v1")
    trial.prepare(repository, other)
    response = trial.put_manifest(repository, "v1", other)
    if response.is_client_error:
        raise expect.Lacking(expect.describe(response))
    expect.status(response, 201)


@check(MANIFESTS, MUST)
def tag_moves(trial: Trial) -> None:
    """A tag that is pushed again names the new manifest; the old one can still be pulled by digest."""
    repository, new = trial.repository(), content.image()
    old = trial.publish(repository, content.image(), "v1")
    trial.prepare(repository, new)
    response = trial.put_manifest(repository, "v1", new)
    if response.is_client_error:
        raise expect.NotApplicable(expect.describe(response), see="pushing-manifests/tag-may-move")
    expect.status(response, 201)
    trial.expect_manifest(repository, "v1", new)
    trial.expect_manifest(repository, old.digest, old)


@check(MANIFESTS, MUST)
def tags_of_all_forms(trial: Trial) -> None:
    """Tags of all forms that the specification allows are taken, up to 128 characters."""
    repository, manifest = trial.repository(), content.image()
    trial.prepare(repository, manifest)
    for tag in ("a", "0", "_", "V1.2-rc_3", "_a--b..c__d", "x" * 128):
        expect.status(trial.put_manifest(repository, tag, manifest), 201)
        trial.expect_manifest(repository, tag, manifest)


@check(MANIFESTS, MAY)
def tag_parameters_are_supported(trial: Trial) -> None:
    """A tag given as a `tag` parameter with a digest is made."""
    repository = trial.repository()
    response, manifest = _put_with_tags(trial, repository, ["v1"])
    if response.is_client_error or trial.head_manifest(repository, "v1").status_code == 404:
        raise expect.Lacking(f"{expect.describe(response)}, and made no tag")
    trial.expect_manifest(repository, "v1", manifest)


@check(MANIFESTS, MUST)
def tag_parameters(trial: Trial) -> None:
    """OCI-Tag names each tag that was made of those given as `tag` parameters, and no other."""
    require_tag_parameters(trial)
    _push_tags(trial, ["1.2.3", "1.2", "1"])


@check(MANIFESTS, SHOULD)
def ten_tag_parameters(trial: Trial) -> None:
    """Ten tags can be given with one request."""
    require_tag_parameters(trial)
    tags = [f"v{number}" for number in range(10)]
    made = _push_tags(trial, tags)
    if made != set(tags):
        raise expect.Failed(f"of the tags {', '.join(tags)} were made {', '.join(sorted(made))}", "all")


@check(MANIFESTS, MUST)
def tag_parameters_of_sha512(trial: Trial) -> None:
    """Tags given with a sha512 digest name that manifest."""
    require_tag_parameters(trial)
    put_by_sha512(trial, trial.repository(), content.index([], algorithm="sha512"))
    _push_tags(trial, ["one", "two"], "sha512")


@check(MANIFESTS, MUST)
def invalid_tag_parameter(trial: Trial) -> None:
    """A `tag` parameter that is no tag is not made."""
    repository = trial.repository()
    require_tag_parameters(trial)
    response, _ = _put_with_tags(trial, repository, ["-bad", "b+d", "x" * 129])
    if response.is_success and "OCI-Tag" in response.headers:
        found = f"{expect.describe(response)} with OCI-Tag: {response.headers['OCI-Tag']}"
        raise expect.Failed(found, "no tag that the specification's expression does not match", response)


def require_tag_parameters(trial: Trial) -> None:
    """Leave the check to `tag-parameters-are-supported` when the registry makes no tags of parameters.

    Raises:
        expect.NotApplicable: a tag given so is not there afterwards.
    """
    repository = trial.repository()
    response, _ = _put_with_tags(trial, repository, ["v1"])
    if response.is_client_error or trial.head_manifest(repository, "v1").status_code == 404:
        see = "pushing-manifests/tag-parameters-are-supported"
        raise expect.NotApplicable(f"{expect.describe(response)}, and made no tag", see)


def _put_with_tags(
    trial: Trial, repository: str, tags: list[str], algorithm: str = "sha256"
) -> tuple[httpx.Response, Manifest]:
    """PUT a new manifest by digest, with tags as parameters."""
    manifest = content.index([], algorithm=algorithm)
    return trial.put_manifest(repository, manifest.digest, manifest, [("tag", tag) for tag in tags]), manifest


def _push_tags(trial: Trial, tags: list[str], algorithm: str = "sha256") -> set[str]:
    """Push with tags as parameters, and expect OCI-Tag to name those that were made. They are returned."""
    repository = trial.repository()
    response, manifest = _put_with_tags(trial, repository, tags, algorithm)
    expect.status(response, 201)
    made = {tag for tag in tags if trial.head_manifest(repository, tag).is_success}
    named = {one.strip() for value in response.headers.get_list("OCI-Tag") for one in value.split(",")} - {""}
    if named != made:
        found = f"{expect.describe(response)} with OCI-Tag: {', '.join(sorted(named)) or '(none)'}"
        raise expect.Failed(found, f"the tags that were made, {', '.join(sorted(made)) or '(none)'}", response)
    for tag in made:
        trial.expect_manifest(repository, tag, manifest)
    return made
