"""What the registry holds after a client pushed, asked for through its API."""

import httpx

from tests.support.images import EVERY_MANIFEST, digest_of


def stored(client: httpx.Client, repository: str, reference: str) -> httpx.Response:
    """The answer to a GET of the manifest, checked against its digest."""
    answer = client.get(f"/v2/{repository}/manifests/{reference}", headers={"Accept": EVERY_MANIFEST})
    assert answer.status_code == httpx.codes.OK, answer.text
    assert answer.headers["Docker-Content-Digest"] == digest_of(answer.content)
    return answer


def stored_manifest(client: httpx.Client, repository: str, reference: str) -> httpx.Response:
    """The answer to a GET of an image's manifest, checked against its digest and the blobs that it names."""
    answer = stored(client, repository, reference)
    for blob in [answer.json()["config"], *answer.json()["layers"]]:
        head = client.head(f"/v2/{repository}/blobs/{blob['digest']}")
        assert (head.status_code, head.headers["Content-Length"]) == (httpx.codes.OK, str(blob["size"]))
    return answer


def is_missing(client: httpx.Client, repository: str, reference: str) -> bool:
    """Whether there is no such manifest."""
    status = client.head(f"/v2/{repository}/manifests/{reference}", headers={"Accept": EVERY_MANIFEST}).status_code
    assert status in {httpx.codes.OK, httpx.codes.NOT_FOUND}
    return status == httpx.codes.NOT_FOUND


def stored_tags(client: httpx.Client, repository: str) -> list[str]:
    """Every tag of the repository, in the registry's order."""
    answer = client.get(f"/v2/{repository}/tags/list")
    assert answer.status_code == httpx.codes.OK, answer.text
    return [str(tag) for tag in answer.json()["tags"]]


def listed_referrers(client: httpx.Client, repository: str, subject: str) -> list[tuple[str, str]]:
    """Digest and artifact type of each referrer of a digest that the API lists."""
    answer = client.get(f"/v2/{repository}/referrers/{subject}")
    assert answer.status_code == httpx.codes.OK, answer.text
    return [(entry["digest"], entry["artifactType"]) for entry in answer.json()["manifests"]]
