"""`/v2/_catalog`: the list of repositories (Docker Registry HTTP API V2, "Listing Repositories")."""

from collections.abc import Iterator

import httpx
import pytest

from tests.factories import assert_error, digest_of, errors_of, push_blob, push_image, start_upload, walk
from tests.support.server import Connect, Server, ServerFactory, new_client

NAMES = ["a", "a-b", "a.b", "a/a", "a/b/c", "a0", "a_b", "b", "manifests/x", "z"]
"""In order of their bytes."""


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of a server that has NAMES only."""
    with Server(tmp_path_factory.mktemp("catalog")) as server, new_client(server) as client:
        for name in reversed(NAMES):
            push_blob(client, name, b"some")
        yield client


def listed(response: httpx.Response) -> list[str]:
    """The repositories of an answer, which must have the documented form."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["docker-distribution-api-version"] == "registry/2.0"
    body = response.json()
    assert list(body) == ["repositories"]
    repositories: list[str] = body["repositories"]
    return repositories


def test_repositories_are_listed_in_order_of_their_bytes(catalog: httpx.Client) -> None:
    assert sorted(NAMES) == NAMES
    response = catalog.get("/v2/_catalog")
    assert listed(response) == NAMES
    assert "link" not in response.headers


@pytest.mark.parametrize("number", [1, 3, len(NAMES) - 1, len(NAMES), 100])
def test_walking_gives_every_repository_once(catalog: httpx.Client, number: int) -> None:
    pages = [listed(page) for page in walk(catalog, f"/v2/_catalog?n={number}")]
    assert [name for page in pages for name in page] == NAMES
    assert all(len(page) == number for page in pages[:-1])
    assert pages[-1]


def test_the_link_escapes_the_name(catalog: httpx.Client) -> None:
    response = catalog.get("/v2/_catalog", params={"n": "4"})
    assert listed(response) == NAMES[:4]
    assert response.headers["link"] in {
        '</v2/_catalog?n=4&last=a%2Fa>; rel="next"',
        '</v2/_catalog?n=4&last=a/a>; rel="next"',
    }


@pytest.mark.parametrize("last", ["", "a", "a/", "b/anything", "~", "UPPER", "ä"])
def test_last_may_be_any_text(catalog: httpx.Client, last: str) -> None:
    response = catalog.get("/v2/_catalog", params={"last": last})
    assert listed(response) == [name for name in NAMES if name.encode() > last.encode()]


def test_n_of_0_is_an_empty_list_without_link(catalog: httpx.Client) -> None:
    response = catalog.get("/v2/_catalog", params={"n": "0"})
    assert listed(response) == []
    assert "link" not in response.headers


@pytest.mark.parametrize("number", ["-1", "x", "", "1.5"])
def test_n_that_is_no_number_is_400(catalog: httpx.Client, number: str) -> None:
    response = catalog.get("/v2/_catalog", params={"n": number})
    assert response.status_code == 400
    assert errors_of(response)


def test_an_empty_registry_has_an_empty_list(fresh_server: ServerFactory, connect: Connect) -> None:
    client = connect(fresh_server())
    assert listed(client.get("/v2/_catalog")) == []


def test_what_was_never_pushed_is_not_listed(fresh_server: ServerFactory, connect: Connect) -> None:
    client = connect(fresh_server())
    start_upload(client, "started")
    client.post("/v2/failed/blobs/uploads/", params={"digest": digest_of(b"x")}, content=b"y")
    client.get("/v2/asked/tags/list")
    client.post("/v2/mounted/blobs/uploads/", params={"mount": digest_of(b"x"), "from": "nobody"})
    assert listed(client.get("/v2/_catalog")) == []


def test_a_new_repository_is_listed_at_once(client: httpx.Client, repository: str) -> None:
    def names() -> set[str]:
        return {name for page in walk(client, "/v2/_catalog?n=500") for name in listed(page)}

    assert repository not in names()
    push_image(client, repository, "latest")
    assert repository in names()


def test_the_catalog_cannot_be_written(client: httpx.Client) -> None:
    for method in ("POST", "PUT", "DELETE"):
        assert_error(client.request(method, "/v2/_catalog"), 405, "UNSUPPORTED")
