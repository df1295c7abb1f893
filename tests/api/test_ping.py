"""`/v2/`: does this server speak the specification (spec, "Determining Support")."""

import httpx
import pytest

from tests.factories import assert_error

PATHS = ["/v2", "/v2/"]


@pytest.mark.parametrize("path", PATHS)
def test_support_is_an_empty_object(client: httpx.Client, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 200
    assert response.headers["docker-distribution-api-version"] == "registry/2.0"
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {}


@pytest.mark.parametrize("path", PATHS)
def test_head_has_the_same_headers_and_no_body(client: httpx.Client, path: str) -> None:
    response = client.head(path)
    assert response.status_code == 200
    assert response.content == b""
    got = client.get(path).headers
    for name in ("docker-distribution-api-version", "content-type", "content-length"):
        assert response.headers[name] == got[name]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_other_methods_are_refused(client: httpx.Client, path: str, method: str) -> None:
    response = client.request(method, path)
    assert_error(response, 405, "UNSUPPORTED")
    assert set(response.headers["allow"].split(", ")) == {"GET", "HEAD"}


@pytest.mark.parametrize("accept", ["*/*", "text/html", "application/json", ""])
def test_accept_does_not_matter(client: httpx.Client, accept: str) -> None:
    assert client.get("/v2/", headers={"Accept": accept}).status_code == 200


def test_a_query_does_not_matter(client: httpx.Client) -> None:
    assert client.get("/v2/", params={"ns": "docker.example"}).status_code == 200
