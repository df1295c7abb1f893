"""Clients as they are: they push images whose layers they share, and try again when something fails on the way."""

import random
import threading
import time
from collections.abc import Callable

import httpx

from tests.factories import OCI_MANIFEST, digest_of, image_manifest
from tests.faults.writers import with_digest

LAYERS = [random.Random(number).randbytes(size) for number, size in enumerate([700, 60_000, 300_000, 5_500_000])]
"""What all images are made of, beside a config and a layer of their own."""
_OWN = (1000, 1000, 50_000, 200_000, 200_000, 6_000_000)
_ATTEMPTS = 200


class TryAgain(Exception):
    """The request failed as requests may fail when a replica dies."""


class Pusher(threading.Thread):
    """Pushes images to a repository of its own until told to leave.

    Args:
        make_client: of what it pushes to.
        repository: where nobody else writes.
        seed: what its choices follow from.

    Attributes:
        images: manifests that were acknowledged, by tag, each with its blobs.
        retries: how often it had to try again.
        fault: what it did not expect.
    """

    def __init__(self, make_client: Callable[[], httpx.Client], repository: str, seed: str) -> None:
        super().__init__(name=repository, daemon=True)
        self.repository = repository
        self.images: dict[str, tuple[bytes, list[bytes]]] = {}
        self.retries = 0
        self.fault = ""
        self.leave = threading.Event()
        self._make_client = make_client
        self._random = random.Random(f"{seed}-{repository}")

    def run(self) -> None:
        """Push one image after the other."""
        try:
            with self._make_client() as client:
                while not self.leave.is_set():
                    self._push(client, f"t{len(self.images)}")
        except Exception as error:  # noqa: BLE001 - handed to the test
            self.fault = repr(error)

    def _push(self, client: httpx.Client, tag: str) -> None:
        config = self._random.randbytes(200)
        layers = [*self._random.sample(LAYERS, 2), self._random.randbytes(self._random.choice(_OWN))]
        for attempt in range(_ATTEMPTS):
            try:
                manifest = self._push_once(client, tag, config, layers)
            except (httpx.TransportError, TryAgain):
                self.retries += 1
                time.sleep(0.05 * min(attempt, 20))
            else:
                self.images[tag] = (manifest, [config, *layers])
                return
        raise AssertionError(f"{self.repository}:{tag} could not be pushed in {_ATTEMPTS} attempts")

    def _push_once(self, client: httpx.Client, tag: str, config: bytes, layers: list[bytes]) -> bytes:
        for content in (config, *layers):
            if self._expect(client.head(self._at(f"blobs/{digest_of(content)}")), 200, 404).status_code == 404:
                self._upload(client, content)
        manifest = image_manifest(config, layers)
        kind = {"Content-Type": OCI_MANIFEST}
        self._expect(client.put(self._at(f"manifests/{tag}"), content=manifest, headers=kind), 201)
        return manifest

    def _upload(self, client: httpx.Client, content: bytes) -> None:
        location = self._expect(client.post(self._at("blobs/uploads/")), 202).headers["location"]
        rest = content
        if self._random.random() < 0.7:  # most clients send a PATCH, and close with an empty PUT
            half = len(content) // 2 if self._random.random() < 0.3 else len(content)
            answer = self._expect(client.patch(location, content=content[:half]), 202, lost=True)
            location, rest = answer.headers["location"], content[half:]
        closing = client.put(with_digest(location, digest_of(content)), content=rest)
        self._expect(closing, 201, lost=True)

    def _at(self, path: str) -> str:
        return f"/v2/{self.repository}/{path}"

    def _expect(self, response: httpx.Response, *statuses: int, lost: bool = False) -> httpx.Response:
        """Return the response, if it has one of these statuses.

        `lost`: the session may be gone, or may have been taken further by a request whose answer was lost.
        """
        if response.status_code in statuses:
            return response
        if response.status_code in {502, 503, 504} or (lost and response.status_code == 404):
            raise TryAgain
        raise AssertionError(f"{response.request.method} {response.url}: {response.status_code} {response.text}")
