"""`/v2/<name>/tags/list`: order, pages, links (spec, "Listing Tags")."""

import random

import httpx
import pytest

from tests.factories import digest_of, errors_of, next_page, push_image, push_manifest, put_manifest, walk
from tests.support.server import Connect, ServerFactory

TAGS = ["0", "1.0", "1.0-rc1", "1.10", "1.9", "A", "Z", "_", "_x", "a", "a-", "a.", "aa", "latest", "z", "z" * 128]
"""In order of their bytes."""


@pytest.fixture
def tagged(client: httpx.Client, repository: str) -> str:
    """A repository with TAGS."""
    tag_all(client, repository, TAGS)
    return repository


def tag_all(client: httpx.Client, repository: str, tags: list[str]) -> None:
    """Give a new image all these tags, in random order."""
    image = push_image(client, repository)
    tags = random.sample(tags, len(tags))
    for start in range(0, len(tags), 50):
        query = [("tag", tag) for tag in tags[start : start + 50]]
        assert put_manifest(client, repository, image.digest, image.manifest, params=query).status_code == 201


def listed(response: httpx.Response, repository: str) -> list[str]:
    """The tags of an answer, which must have the specification's form."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["docker-distribution-api-version"] == "registry/2.0"
    body = response.json()
    assert set(body) == {"name", "tags"}
    assert body["name"] == repository
    tags: list[str] = body["tags"]
    return tags


def test_tags_are_listed_in_order_of_their_bytes(client: httpx.Client, tagged: str) -> None:
    assert sorted(TAGS) == TAGS
    response = client.get(f"/v2/{tagged}/tags/list")
    assert listed(response, tagged) == TAGS
    assert "link" not in response.headers


def test_a_repository_without_tags_has_an_empty_list(client: httpx.Client, repository: str) -> None:
    push_image(client, repository)
    assert listed(client.get(f"/v2/{repository}/tags/list"), repository) == []


@pytest.mark.parametrize("number", [1, 2, 5, len(TAGS) - 1])
def test_n_tags_and_a_link_to_the_rest(client: httpx.Client, tagged: str, number: int) -> None:
    response = client.get(f"/v2/{tagged}/tags/list", params={"n": number})
    assert listed(response, tagged) == TAGS[:number]
    expected = f'</v2/{tagged}/tags/list?n={number}&last={TAGS[number - 1]}>; rel="next"'
    assert response.headers["link"] == expected


@pytest.mark.parametrize("number", [len(TAGS), len(TAGS) + 1, 1000, 1_000_000, 2**31 - 1, 2**63 - 1])
def test_no_link_when_that_is_all(client: httpx.Client, tagged: str, number: int) -> None:
    response = client.get(f"/v2/{tagged}/tags/list", params={"n": number})
    assert listed(response, tagged) == TAGS
    assert "link" not in response.headers


@pytest.mark.parametrize("number", [1, 2, 3, 7, len(TAGS), 100])
def test_walking_gives_every_tag_once(client: httpx.Client, tagged: str, number: int) -> None:
    pages = [listed(page, tagged) for page in walk(client, f"/v2/{tagged}/tags/list?n={number}")]
    assert [tag for page in pages for tag in page] == TAGS
    assert all(len(page) == number for page in pages[:-1])
    assert pages[-1]


def test_walking_with_last_alone_gives_every_tag_once(client: httpx.Client, tagged: str) -> None:
    found: list[str] = []
    while True:
        query = {"n": "3", **({"last": found[-1]} if found else {})}
        page = listed(client.get(f"/v2/{tagged}/tags/list", params=query), tagged)
        found += page
        if len(page) < 3:
            break
    assert found == TAGS


def test_n_of_0_is_an_empty_list_without_link(client: httpx.Client, tagged: str) -> None:
    for query in ({"n": "0"}, {"n": "0", "last": "a"}):
        response = client.get(f"/v2/{tagged}/tags/list", params=query)
        assert listed(response, tagged) == []
        assert "link" not in response.headers


@pytest.mark.parametrize("number", ["-1", "x", "1.5", "", " 1", "+1", "0x10", "1e3", "٣"])
def test_n_that_is_no_number_is_400(client: httpx.Client, tagged: str, number: str) -> None:
    response = client.get(f"/v2/{tagged}/tags/list", params={"n": number})
    assert response.status_code == 400
    assert errors_of(response)


@pytest.mark.parametrize(
    "last",
    ["", "1.0", "1.05", "B", "zz", "~", "ä", "a b", "%", "a&n=1", "☃", "-", "x" * 500, "'; --", "sha256:abc", "2", " "],
)
def test_last_may_be_any_text(client: httpx.Client, tagged: str, last: str) -> None:
    response = client.get(f"/v2/{tagged}/tags/list", params={"last": last})
    assert listed(response, tagged) == [tag for tag in TAGS if tag.encode() > last.encode()]


def test_last_that_is_not_utf8_is_no_failure(client: httpx.Client, tagged: str) -> None:
    assert client.get(f"/v2/{tagged}/tags/list?last=%FF%FE").status_code == 200


def test_last_past_the_end_gives_nothing(client: httpx.Client, tagged: str) -> None:
    response = client.get(f"/v2/{tagged}/tags/list", params={"n": "5", "last": TAGS[-1]})
    assert listed(response, tagged) == []
    assert "link" not in response.headers


def test_a_tag_deleted_while_walking_ends_nothing(client: httpx.Client, tagged: str) -> None:
    first = client.get(f"/v2/{tagged}/tags/list", params={"n": "3"})
    assert client.delete(f"/v2/{tagged}/manifests/{TAGS[2]}").status_code == 202
    target = next_page(first)
    assert target is not None
    assert listed(client.get(target), tagged) == TAGS[3:6]


def test_six_hundred_tags(client: httpx.Client, repository: str) -> None:
    tags = sorted(f"{major}.{minor}.{patch}" for major in range(6) for minor in range(10) for patch in range(10))
    tag_all(client, repository, tags)
    assert listed(client.get(f"/v2/{repository}/tags/list"), repository) == tags
    pages = walk(client, f"/v2/{repository}/tags/list?n=77")
    assert [tag for page in pages for tag in listed(page, repository)] == tags


def test_a_page_never_has_more_than_is_configured(
    fresh_server: ServerFactory, connect: Connect, repository: str
) -> None:
    client = connect(fresh_server(STOWAGE_LISTINGS__MAX_PAGE="4"))
    tag_all(client, repository, TAGS)
    for query in ("", "?n=1000"):
        pages = [listed(page, repository) for page in walk(client, f"/v2/{repository}/tags/list{query}")]
        assert [tag for page in pages for tag in page] == TAGS
        assert max(map(len, pages)) == 4


def test_repositories_whose_names_begin_alike_keep_their_tags_apart(client: httpx.Client, repository: str) -> None:
    names = [repository, f"{repository}/a", f"{repository}-b", f"{repository}0"]
    for number, name in enumerate(names):
        push_image(client, name, f"tag-{number}")
    for number, name in enumerate(names):
        assert listed(client.get(f"/v2/{name}/tags/list"), name) == [f"tag-{number}"]


def test_tags_that_differ_in_case_are_different(client: httpx.Client, repository: str) -> None:
    lower, upper = push_image(client, repository, "tag"), push_image(client, repository, "TAG")
    assert client.get(f"/v2/{repository}/manifests/tag").content == lower.manifest
    assert client.get(f"/v2/{repository}/manifests/TAG").content == upper.manifest
    assert listed(client.get(f"/v2/{repository}/tags/list"), repository) == ["TAG", "tag"]


def test_a_tag_may_look_like_a_digest(client: httpx.Client, repository: str) -> None:
    image = push_image(client, repository)
    tag = digest_of(b"anything").replace(":", "-")
    push_manifest(client, repository, image.manifest, tag)
    assert client.get(f"/v2/{repository}/manifests/{tag}").content == image.manifest
    assert listed(client.get(f"/v2/{repository}/tags/list"), repository) == [tag]


def test_head_answers_like_get(client: httpx.Client, tagged: str) -> None:
    response = client.head(f"/v2/{tagged}/tags/list")
    assert response.status_code == 200
    assert response.content == b""
    got = client.get(f"/v2/{tagged}/tags/list")
    assert response.headers["content-length"] == got.headers["content-length"]
