"""What a registry has, as clients see it: everything is pulled, and every byte compared with its digest."""

import json
import threading

import httpx

from tests.factories import digest_of, pull_blob, pull_manifest, push_image
from tests.support.server import Server, new_client


def pulled(client: httpx.Client) -> dict[str, str]:
    """Pull every tag of every repository with all that it refers to. Return the tags' digests."""
    found = {}
    for name in client.get("/v2/_catalog").json()["repositories"]:
        for tag in client.get(f"/v2/{name}/tags/list").json()["tags"] or []:
            manifest = pull_manifest(client, name, tag)
            found[f"{name}:{tag}"] = digest_of(manifest)
            content = json.loads(manifest)
            for one in (content["config"], *content["layers"]):
                assert digest_of(pull_blob(client, name, one["digest"])) == one["digest"]
    return found


class Pusher(threading.Thread):
    """Pushes images, and moves and deletes tags, until it is told to leave.

    Attributes:
        done: how many images were pushed.
        faults: what was refused, or failed.
    """

    def __init__(self, server: Server, name: str) -> None:
        super().__init__(daemon=True)
        self.leave = threading.Event()
        self.done = 0
        self.faults: list[str] = []
        self._server = server
        self._name = name

    def run(self) -> None:
        try:
            with new_client(self._server) as client:
                while not self.leave.is_set():
                    push_image(client, self._name, tag=f"t{self.done % 7}", layers=1 + self.done % 3)
                    if self.done % 5 == 4:
                        status = client.delete(f"/v2/{self._name}/manifests/t{self.done % 7}").status_code
                        assert status == 202, status
                    self.done += 1
        except Exception as error:  # noqa: BLE001 - told by the test
            self.faults.append(repr(error))
