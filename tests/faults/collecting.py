"""Clients that push, mount, look, pull and delete the same few contents while garbage is collected."""

import random
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

import httpx

from tests.factories import OCI_MANIFEST, digest_of, image_manifest
from tests.faults.writers import with_digest
from tests.support.server import Server, new_client

CONTENTS = [random.Random(number).randbytes(size) for number, size in enumerate([10, 3000, 20_000, 70_000] * 100)]
"""What all push: so few that what one deletes another needs, so many that each is garbage now and then."""
_IMAGES = 3


class TooSlow(Exception):
    """An upload ended before its client went on with it, which stood still for so long."""


class Collected(threading.Thread):
    """Pushes images of `CONTENTS` to a repository of its own, pulls and deletes them, until told to leave.

    Args:
        servers: which share their data; any may be away for a while.
        others: repositories to mount from.
        hold_s: how long what it was told exists is there for sure.
        expire_s: how long an upload may lie.

    Attributes:
        images: digests of manifests that were acknowledged, with the contents of each.
        faults: what was not as it was told.
        done: how many images were pushed, pulled whole, and deleted.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        name: str,
        others: Sequence[str],
        seed: str,
        *,
        hold_s: float,
        expire_s: float,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self.images: dict[str, list[bytes]] = {}
        self.faults: list[str] = []
        self.done = {"pushed": 0, "pulled": 0, "deleted": 0}
        self.leave = threading.Event()
        self._servers = servers
        self._others = others
        self._hold_s = hold_s
        self._expire_s = expire_s
        self._random = random.Random(f"{seed}-{name}")

    def run(self) -> None:
        while not self.leave.is_set():
            with new_client(self._random.choice(self._servers)) as client:
                try:
                    for _ in range(20):
                        with suppress(TooSlow):
                            self._do(client)
                except httpx.TransportError:
                    time.sleep(0.1)  # it was killed
                except Exception as error:  # noqa: BLE001 - handed to the test
                    self.faults.append(repr(error))
                    return

    def pull_all(self, client: httpx.Client) -> None:
        """Pull all that was acknowledged."""
        for digest in list(self.images):
            self._pull(client, digest)

    def _do(self, client: httpx.Client) -> None:
        doing = self._random.random()
        if len(self.images) > _IMAGES:
            self._delete_image(client, self._random.choice(list(self.images)))
        elif doing < 0.5 or not self.images:
            self._push(client)
        elif doing < 0.9:
            self._pull(client, self._random.choice(list(self.images)))
        else:
            self._upload(client, self._random.choice(CONTENTS))  # and nothing ever refers to it

    def _push(self, client: httpx.Client) -> None:
        """Push an image as clients do: look for each blob, mount it or upload it, then push the manifest."""
        contents = self._random.sample(CONTENTS, 3)
        manifest = image_manifest(contents[0], contents[1:], annotations={"unique": self._random.randbytes(8).hex()})
        began = time.monotonic()
        ways = [self._provide(client, content) for content in contents]
        digest = digest_of(manifest)
        headers = {"Content-Type": OCI_MANIFEST}
        answer = client.put(f"/v2/{self.name}/manifests/t-{digest[7:19]}", content=manifest, headers=headers)
        if answer.status_code == 201:
            self.images[digest] = contents
            self.done["pushed"] += 1
        elif answer.status_code != 404 or time.monotonic() - began < self._hold_s:
            self.faults.append(f"{time.monotonic() - began:.1f} s after {ways}: {answer.status_code} {answer.text}")

    def _provide(self, client: httpx.Client, content: bytes) -> str:
        digest = digest_of(content)
        found = client.head(f"/v2/{self.name}/blobs/{digest}")
        if found.status_code == 200:
            return "told that it exists"
        if self._random.random() < 0.5:
            query = {"mount": digest, "from": self._random.choice(self._others)}
            if client.post(f"/v2/{self.name}/blobs/uploads/", params=query).status_code == 201:
                return "mounted"
        self._upload(client, content)
        return "uploaded"

    def _upload(self, client: httpx.Client, content: bytes) -> None:
        target, digest = f"/v2/{self.name}/blobs/uploads/", digest_of(content)
        began = time.monotonic()
        if self._random.random() < 0.5:
            answer = client.post(target, params={"digest": digest}, content=content)
        else:
            location = client.post(target).headers["location"]
            answer = client.put(with_digest(location, digest), content=content)
        if answer.status_code == 404 and time.monotonic() - began >= self._expire_s:
            raise TooSlow
        if answer.status_code != 201:
            self.faults.append(f"upload: {answer.status_code} {answer.text}")

    def _pull(self, client: httpx.Client, digest: str) -> None:
        found = client.get(f"/v2/{self.name}/manifests/{digest}", headers={"Accept": OCI_MANIFEST})
        if digest_of(found.content) != digest:
            self.faults.append(f"pull of manifest {digest}: {found.status_code} {found.text}")
        for content in self.images[digest]:
            blob = client.get(f"/v2/{self.name}/blobs/{digest_of(content)}")
            if blob.content != content:
                self.faults.append(f"pull of a blob of {digest}: {blob.status_code} {blob.content[:200]!r}")
        self.done["pulled"] += 1

    def _delete_image(self, client: httpx.Client, digest: str) -> None:
        """Delete an image; one that was to be deleted when the server died may be there or not."""
        contents = self.images.pop(digest)
        answer = client.delete(f"/v2/{self.name}/manifests/{digest}")
        self.done["deleted"] += 1
        if answer.status_code != 202:
            self.faults.append(f"delete: {answer.status_code} {answer.text} {len(contents)}")
