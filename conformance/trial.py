"""What a check works with: a client, repository names that nobody used, and the ways to put content there."""

import os
from collections.abc import Iterable
from urllib.parse import urljoin

import httpx

from conformance import expect
from conformance.client import Body, Client, Headers, Params
from conformance.content import MANIFEST_TYPES, Blob, Manifest

ACCEPT_MANIFESTS = {"Accept": ", ".join(MANIFEST_TYPES)}
OCTETS = "application/octet-stream"


class Names:
    """Names of repositories, new in each run: `PREFIX/RUN-LABEL`.

    Args:
        prefix: one or more components, e.g. `conformance`.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.run = os.urandom(4).hex()
        self._given = 0

    def fresh(self, label: str) -> str:
        """A name that nothing has used. `label` (lower case letters, digits, dashes) tells what it is for."""
        self._given += 1
        return f"{self.prefix}/{self.run}-{self._given}-{label[:40].strip('-')}"


class Upload:
    """An upload session: the location that the registry gave last."""

    def __init__(self, trial: "Trial", response: httpx.Response) -> None:
        self._trial = trial
        self.location = ""
        self.follow(response)

    def follow(self, response: httpx.Response) -> httpx.Response:
        """Use the Location of an answer from now on."""
        self.location = urljoin(str(response.url), expect.header(response, "Location"))
        return response

    def patch(self, data: Body, headers: Headers = ()) -> httpx.Response:
        """Send a chunk, and follow the Location when it was taken."""
        sent = [("Content-Type", OCTETS), *dict(headers).items()]
        response = self._trial.client.request("PATCH", self.location, body=data, headers=sent)
        return self.follow(response) if response.status_code == httpx.codes.ACCEPTED else response

    def chunk(self, data: bytes, start: int) -> httpx.Response:
        """Send a chunk that begins at `start`, with its Content-Range."""
        return self.patch(data, {"Content-Range": f"{start}-{start + len(data) - 1}"})

    def put(self, digest: str | None, data: Body = b"", headers: Headers = ()) -> httpx.Response:
        """Close the session, with the last chunk or all of the blob when `data` is given."""
        params = [] if digest is None else [("digest", digest)]
        sent = [("Content-Type", OCTETS), *dict(headers).items()]
        return self._trial.client.request("PUT", self.location, params=params, body=data, headers=sent)

    def status(self) -> httpx.Response:
        """Ask how far the upload is."""
        return self._trial.client.request("GET", self.location)

    def cancel(self) -> httpx.Response:
        """End the session without a blob."""
        return self._trial.client.request("DELETE", self.location)


class Trial:
    """One run of one check.

    Args:
        client: connected to the registry.
        names: where repository names come from.
        label: the check's name, to be seen in the repositories' names.

    Attributes:
        note: what the report says beside the outcome.
    """

    def __init__(self, client: Client, names: Names, label: str) -> None:
        self.client = client
        self.note = ""
        self._names = names
        self._label = label

    def repository(self) -> str:
        """A repository name that nothing has used."""
        return self._names.fresh(self._label)

    # Requests

    def get(self, path: str, params: Params = (), headers: Headers = (), without: Iterable[str] = ()) -> httpx.Response:
        """GET a path or URL."""
        return self.client.request("GET", path, params=params, headers=headers, without=without)

    def head(self, path: str, headers: Headers = ()) -> httpx.Response:
        """HEAD a path or URL."""
        return self.client.request("HEAD", path, headers=headers)

    def get_manifest(self, repository: str, reference: str) -> httpx.Response:
        """GET a manifest by tag or digest, with an Accept of all types that may come."""
        return self.get(manifest_path(repository, reference), headers=ACCEPT_MANIFESTS)

    def head_manifest(self, repository: str, reference: str) -> httpx.Response:
        """HEAD a manifest by tag or digest, with an Accept of all types that may come."""
        return self.head(manifest_path(repository, reference), ACCEPT_MANIFESTS)

    def put_manifest(
        self,
        repository: str,
        reference: str,
        manifest: Manifest,
        params: Params = (),
        *,
        media_type: str | None = None,
        if_match: str | None = None,
    ) -> httpx.Response:
        """PUT a manifest's bytes; nothing is expected of the answer."""
        headers = {"Content-Type": media_type or manifest.media_type}
        if if_match is not None:
            headers["If-Match"] = if_match
        path = manifest_path(repository, reference)
        return self.client.request("PUT", path, params=params, headers=headers, body=manifest.data)

    def get_blob(self, repository: str, digest: str, headers: Headers = ()) -> httpx.Response:
        """GET a blob."""
        return self.get(blob_path(repository, digest), headers=headers)

    def post_upload(self, repository: str, params: Params = (), body: bytes = b"") -> httpx.Response:
        """POST for an upload session, a mount, or with a blob."""
        headers = {"Content-Type": OCTETS} if body else {}
        path = f"/v2/{repository}/blobs/uploads/"
        return self.client.request("POST", path, params=params, headers=headers, body=body)

    def delete(self, path: str) -> httpx.Response:
        """DELETE a path."""
        return self.client.request("DELETE", path)

    # Content

    def start_upload(self, repository: str, params: Params = ()) -> Upload:
        """Obtain an upload session."""
        return Upload(self, expect.status(self.post_upload(repository, params), 202))

    def push_blob(self, repository: str, blob: Blob) -> httpx.Response:
        """Push a blob by POST then PUT; its answer is a 201."""
        params = [] if blob.algorithm == "sha256" else [("digest-algorithm", blob.algorithm)]
        return expect.status(self.start_upload(repository, params).put(blob.digest, blob.data), 201)

    def prepare(self, repository: str, manifest: Manifest) -> None:
        """Push what a manifest refers to."""
        for blob in manifest.blobs:
            self.push_blob(repository, blob)
        for child in manifest.children:
            self.publish(repository, child)

    def publish(self, repository: str, manifest: Manifest, *tags: str) -> Manifest:
        """Push a manifest with all that it refers to, under each tag, or by digest when there is none."""
        self.prepare(repository, manifest)
        for reference in tags or (manifest.digest,):
            expect.status(self.put_manifest(repository, reference, manifest), 201)
        return manifest

    def expect_manifest(self, repository: str, reference: str, manifest: Manifest) -> httpx.Response:
        """GET a manifest and compare its bytes."""
        return expect.body(expect.status(self.get_manifest(repository, reference), 200), manifest.data)

    def expect_blob(self, repository: str, blob: Blob) -> httpx.Response:
        """GET a blob and compare its bytes."""
        return expect.body(expect.status(self.get_blob(repository, blob.digest), 200), blob.data)


def manifest_path(repository: str, reference: str) -> str:
    """The path of a manifest, by tag or digest."""
    return f"/v2/{repository}/manifests/{reference}"


def blob_path(repository: str, digest: str) -> str:
    """The path of a blob."""
    return f"/v2/{repository}/blobs/{digest}"
