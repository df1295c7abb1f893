"""Checks of the section "Content Discovery": tags, and the catalogue that Docker's older API has, page by page.

Referrers are in `referrers`.
"""

import re
from collections.abc import Iterator
from typing import Any

import httpx

from conformance import content, expect
from conformance.check import Level, Section, check
from conformance.client import Params
from conformance.trial import Trial

TAGS = Section.LISTING_TAGS
CATALOG = Section.DOCKER_API
MUST, SHOULD, MAY = Level.MUST, Level.SHOULD, Level.MAY

NAMES = ["alpha", "Beta", "gamma", "Delta", "epsilon", "1.0", "1.0-rc1", "_x"]
MOST_PAGES = 100
_NEXT = re.compile(r'<([^>]*)>\s*;[^,]*\brel\s*=\s*"?next"?(?:[\s;,]|$)', re.IGNORECASE)


def next_link(response: httpx.Response) -> str | None:
    """The absolute URL of the next page (RFC 8288, which replaced RFC 5988), None on the last one."""
    if "Link" not in response.headers:
        return None
    found = _NEXT.search(response.headers["Link"])
    if found is None:
        raise expect.Failed(f'{expect.describe(response)} with a Link that has no rel="next"')
    return str(response.url.join(found.group(1)))


def pages(trial: Trial, path: str, params: Params = ()) -> Iterator[httpx.Response]:
    """The answers from the first page to the last, following Link."""
    following: str | None = path
    for _ in range(MOST_PAGES):
        response = expect.status(trial.get(following or path, params), 200)
        yield response
        following, params = next_link(response), ()
        if following is None:
            return
    raise expect.Failed(f"{path} has more than {MOST_PAGES} pages")


def tags(response: httpx.Response) -> list[str]:
    """The tags in a list of them."""
    value: Any = expect.json_object(expect.status(response, 200)).get("tags")
    expect.that(
        isinstance(value, list) and all(isinstance(one, str) for one in value),
        f"{expect.describe(response)} whose `tags` is {value!r}, no list of names",
    )
    listed: list[str] = value
    return listed


def get_tags(trial: Trial, repository: str, params: Params = ()) -> httpx.Response:
    """One page of a repository's tags."""
    return trial.get(f"/v2/{repository}/tags/list", params)


@check(TAGS, MUST)
def complete_and_in_order(trial: Trial) -> None:
    """The list holds the repository's name and each tag once, in lexical or ASCII order."""
    repository = _tagged(trial)
    response = get_tags(trial, repository)
    name = expect.json_object(response).get("name")
    expect.that(name == repository, f"{expect.describe(response)} with the name {name!r}")
    listed = [tag for page in pages(trial, f"/v2/{repository}/tags/list") for tag in tags(page)]
    expect.that(sorted(listed) == sorted(NAMES), f"the tags listed are {listed}, those pushed {NAMES}")
    expect.that(listed in _orders(), f"the tags listed are in no order: {listed}")


@check(TAGS, MUST)
def repository_without_tags(trial: Trial) -> None:
    """A repository that holds a manifest but no tag answers 200 with an empty list."""
    repository = trial.repository()
    trial.publish(repository, content.image())
    listed = tags(get_tags(trial, repository))
    expect.that(not listed, f"the tags listed are {listed}")


@check(TAGS, SHOULD)
def unknown_repository(trial: Trial) -> None:
    """The tags of a repository that does not exist answer 404."""
    expect.status(get_tags(trial, trial.repository()), 404)


@check(TAGS, MUST)
def limit(trial: Trial) -> None:
    """`n` gives that many tags from the beginning; fewer only with a Link."""
    repository = _tagged(trial)
    everything = _all_tags(trial, repository)
    response = get_tags(trial, repository, [("n", "3")])
    listed = tags(response)
    expect.that(listed == everything[: len(listed)], f"n=3 lists {listed} of {everything}")
    few_enough = len(listed) == 3 or (len(listed) < 3 and next_link(response) is not None)
    expect.that(few_enough, f"n=3 lists {len(listed)} tags of {len(everything)}")


@check(TAGS, MUST)
def limit_above_the_total(trial: Trial) -> None:
    """`n` above the number of tags gives all of them."""
    repository = _tagged(trial)
    listed = [one for page in pages(trial, f"/v2/{repository}/tags/list", [("n", "100")]) for one in tags(page)]
    expect.that(sorted(listed) == sorted(NAMES), f"n=100 lists {listed}")


@check(TAGS, MUST)
def limit_of_zero(trial: Trial) -> None:
    """`n=0` gives an empty list without a Link."""
    response = get_tags(trial, _tagged(trial), [("n", "0")])
    expect.that(not tags(response), f"n=0 lists {tags(response)}")
    expect.that("Link" not in response.headers, "n=0 is answered with a Link")


@check(TAGS, MUST)
def last(trial: Trial) -> None:
    """`last` with `n` gives the tags after that tag, without it."""
    repository = _tagged(trial)
    everything = _all_tags(trial, repository)
    listed = tags(get_tags(trial, repository, [("n", "2"), ("last", everything[2])]))
    expect.that(bool(listed) and listed == everything[3 : 3 + len(listed)], f"tags 4 and 5 are listed as {listed}")
    expect.that(len(listed) <= 2, f"n=2 lists {listed}")


@check(TAGS, MUST)
def last_without_limit(trial: Trial) -> None:
    """`last` without `n` gives all tags after that tag."""
    repository = _tagged(trial)
    everything = _all_tags(trial, repository)
    path = f"/v2/{repository}/tags/list"
    listed = [tag for page in pages(trial, path, [("last", everything[4])]) for tag in tags(page)]
    expect.that(listed == everything[5:], f"after {everything[4]} are listed {listed} of {everything}")


@check(TAGS, MUST)
def last_of_all(trial: Trial) -> None:
    """`last` with the last tag gives an empty list."""
    repository = _tagged(trial)
    listed = tags(get_tags(trial, repository, [("n", "5"), ("last", _all_tags(trial, repository)[-1])]))
    expect.that(not listed, f"after the last tag are listed {listed}")


@check(TAGS, MAY)
def link_is_offered(trial: Trial) -> None:
    """A page that is not the last has a Link to the next one."""
    response = expect.status(get_tags(trial, _tagged(trial), [("n", "3")]), 200)
    if "Link" not in response.headers:
        raise expect.Lacking(f"{expect.describe(response)} without a Link")


@check(TAGS, MUST)
def links(trial: Trial) -> None:
    """Following Link from `n=3` gives each tag once, in order."""
    repository = _tagged(trial)
    everything = _all_tags(trial, repository)
    first = get_tags(trial, repository, [("n", "3")])
    if "Link" not in first.headers:
        raise expect.NotApplicable(f"{expect.describe(first)} without a Link", see="listing-tags/link-is-offered")
    listed = [one for page in pages(trial, f"/v2/{repository}/tags/list", [("n", "3")]) for one in tags(page)]
    expect.that(listed == everything, f"the pages list {listed}, the whole list is {everything}")


@check(CATALOG, MAY)
def catalog(trial: Trial) -> None:
    """GET /v2/_catalog lists the repositories that have content, in pages when `n` is given (Docker's API)."""
    repository = trial.repository()
    trial.publish(repository, content.image(), "v1")
    params = [("n", "100"), ("last", repository[:-1])]
    first = trial.get("/v2/_catalog", params)
    if first.status_code in (401, 403, 404, 405, 501):
        raise expect.Lacking(expect.describe(first))
    for page in pages(trial, "/v2/_catalog", params):
        listed = expect.json_object(page).get("repositories")
        expect.that(isinstance(listed, list), f"{expect.describe(page)} without a list of repositories")
        if isinstance(listed, list) and repository in listed:
            return
    raise expect.Failed(f"the catalogue after {repository[:-1]} does not hold {repository}")


def _tagged(trial: Trial) -> str:
    """A repository with the tags NAMES on one manifest."""
    repository = trial.repository()
    trial.publish(repository, content.image(), *NAMES)
    return repository


def _orders() -> list[list[str]]:
    """NAMES in the orders that the specification allows: ASCII, or alphanumeric without regard to case."""
    return [sorted(NAMES), sorted(NAMES, key=str.lower), sorted(NAMES, key=str.upper)]


def _all_tags(trial: Trial, repository: str) -> list[str]:
    listed = [tag for page in pages(trial, f"/v2/{repository}/tags/list") for tag in tags(page)]
    expect.that(sorted(listed) == sorted(NAMES), f"the tags listed are {listed}, those pushed {NAMES}")
    return listed
