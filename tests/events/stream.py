"""A client of `/api/v1/watch`: reads server-sent events as a browser does, and comes back when it is cut off."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import httpx

WATCH = "/api/v1/watch"


@dataclass(frozen=True)
class Heard:
    """A block of the stream. `data` is None in one that only says where the stream is."""

    id: str
    event: str
    data: dict[str, Any] | None


def blocks(response: httpx.Response) -> Iterator[Heard]:
    """Yield what is heard, until the answer ends."""
    fields: dict[str, str] = {}
    for line in response.iter_lines():
        name, _, value = line.partition(": ")
        if line:
            fields[name] = value
        elif fields:
            data = fields.get("data")
            yield Heard(fields.get("id", ""), fields.get("event", ""), None if data is None else json.loads(data))
            fields = {}


def until(client: httpx.Client, wanted: Callable[[list[Heard]], bool], **query: str) -> list[Heard]:
    """Follow until there is enough, and return what was heard."""
    heard: list[Heard] = []
    with client.stream("GET", WATCH, params=query) as answer:
        assert answer.status_code == 200
        for one in blocks(answer):
            heard.append(one)
            if wanted(heard):
                break
    return heard


class Follower(threading.Thread):
    """Follows from the beginning, in a thread of its own, and comes back with Last-Event-ID whenever it is cut off.

    Attributes:
        heard: every event, in the order in which it came.
        returns: how often it came back.
    """

    def __init__(self, client: Callable[[], httpx.Client]) -> None:
        super().__init__(daemon=True)
        self._client = client
        self._stopping = False
        self.heard: list[dict[str, Any]] = []
        self.returns = -1

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopping = True
        self.join(60)
        assert not self.is_alive()

    def run(self) -> None:
        last = ""
        while not self._stopping:
            headers = {"Last-Event-ID": last} if last else {}
            try:
                with (
                    self._client() as client,
                    client.stream("GET", WATCH, params={"after": "oldest", "seconds": "2"}, headers=headers) as answer,
                ):
                    if answer.status_code != 200:
                        raise httpx.TransportError(str(answer.status_code))
                    self.returns += 1
                    for one in blocks(answer):
                        last = one.id
                        if one.data is not None:
                            self.heard.append(one.data)
            except httpx.TransportError:
                time.sleep(0.05)
