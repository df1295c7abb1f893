"""Compare what a server has after a crash with what its clients were told."""

import math
import time

import httpx

from tests.factories import digest_of
from tests.faults.ledger import BLOB, MANIFEST, REFERRER, TAG, THERE, Key, Ledger, Session
from tests.faults.writers import ACCEPT, with_digest


class Check:
    """Asks a server for all that a ledger names, and collects what is not as it must be.

    Args:
        client: of the server.
        ledger: what clients were told.
        at: when the server crashed, in seconds since the epoch, if the ledger goes on after that.

    Attributes:
        losses: a line for each thing that was acknowledged and is not so, or that is there by halves.
        found: what the server has.
    """

    def __init__(self, client: httpx.Client, ledger: Ledger, *, at: float = math.inf) -> None:
        self.losses: list[str] = []
        self.found: dict[Key, str | None] = {}
        self._client = client
        self._ledger = ledger
        self._at = at

    def repository(self, name: str) -> None:
        """Look at every key of a repository."""
        keys = self._ledger.keys(name, at=self._at)
        for kind, look in ((BLOB, self._blob), (MANIFEST, self._manifest), (TAG, self._tag)):
            for key in keys:
                if key.kind == kind:
                    self._compare(key, look(key))
        referrers = [key for key in keys if key.kind == REFERRER]
        for subject in {key.subject for key in referrers}:
            listed = self._referrers(name, subject)
            for key in referrers:
                if key.subject == subject:
                    self._compare(key, THERE if key.name in listed else None)
        self._list_of_tags(name, [key for key in keys if key.kind == TAG])

    def settle(self) -> None:
        """Have the ledger begin anew with what was found."""
        for key, value in self.found.items():
            self._ledger.settle(key, value)

    def session(self, session: Session, *, leave: bool = False, durable: bool = True) -> None:
        """Look at an upload session; go on from where the server says it is, to the end.

        Args:
            session: what was acknowledged of it.
            leave: leave that to a writer, who begins with what the server says.
            durable: whether what was acknowledged must be there. Power loss may take it: then the server has less of
                the upload, or nothing, and says so.
        """
        response = self._client.get(session.location)
        if response.status_code == 404:
            if durable and session.ending >= self._at:
                self.losses.append(f"upload {session.location}: gone, {session.received} bytes were acknowledged")
            self._end(session)
            return
        if response.status_code != 204:
            self.losses.append(f"upload {session.location}: {response.status_code} {response.text}")
            return
        received = self._received(response, session)
        if session.ended < self._at:
            self.losses.append(f"upload {session.location}: goes on after it was acknowledged that it ended")
        elif durable and not _received_as_acknowledged(received, session):
            self.losses.append(f"upload {session.location}: has {received} bytes, {session.received} are acknowledged")
        if leave and session.ending == math.inf:
            session.received = received
        else:
            self._finish(session, received, durable=durable)

    def _finish(self, session: Session, received: int, *, durable: bool) -> None:
        digest, size = digest_of(session.content), len(session.content)
        span = {"Content-Range": f"{received}-{size - 1}"} if received < size else {}
        url = f"/v2/{session.repository}/blobs/{digest}"
        rest = session.content[received:]
        closing = self._client.put(with_digest(session.location, digest), content=rest, headers=span)
        if closing.status_code == 404 and (not durable or session.ending < self._at):
            # It found that bytes are missing, or are published already: the client begins anew.
            if self._client.get(session.location).status_code != 404:
                self.losses.append(f"upload {session.location}: 404 when it was to be finished, but it is there")
        elif closing.status_code != 201:
            self.losses.append(f"upload {session.location}: {closing.status_code} {closing.text} at its end")
        elif self._client.get(url).content != session.content:
            self.losses.append(f"upload {session.location}: finished, but blob {digest} is not what was sent")
        if closing.status_code == 201 and self._at == math.inf:
            self._ledger.settle(Key(BLOB, session.repository, digest), THERE)
        self._end(session)

    def _end(self, session: Session) -> None:
        if self._at == math.inf:
            session.ended = min(session.ended, time.time())

    def _received(self, response: httpx.Response, session: Session) -> int:
        """How many bytes the server has; `0-0` is none, or one, and no chunk that writers send ends after one."""
        last = int(response.headers["range"].partition("-")[2])
        if not 0 <= last < len(session.content):
            self.losses.append(f"upload {session.location}: has {response.headers['range']}")
        return last + 1 if last else 0

    def _compare(self, key: Key, value: str | None) -> None:
        self.found[key] = value
        possible = self._ledger.possible(key, at=self._at)
        if value not in possible:
            expected = " or ".join(sorted(str(one) for one in possible))
            self.losses.append(f"{key}: found {value}, expected {expected}")

    def _get(self, key: Key) -> httpx.Response | None:
        path = "blobs" if key.kind == BLOB else "manifests"
        try:
            response = self._client.get(f"/v2/{key.repository}/{path}/{key.name}", headers=ACCEPT)
        except httpx.RemoteProtocolError as error:
            self.losses.append(f"{key}: {error}")
            return None
        if response.status_code == 200:
            return response
        if response.status_code != 404:
            self.losses.append(f"{key}: {response.status_code} {response.text}")
        return None

    def _blob(self, key: Key) -> str | None:
        response = self._get(key)
        if response is not None and digest_of(response.content) != key.name:
            self.losses.append(f"{key}: its bytes hash to {digest_of(response.content)}")
        return None if response is None else THERE

    def _manifest(self, key: Key) -> str | None:
        """A manifest that is there has its bytes and all that it refers to."""
        if self._blob(key) is None:
            return None
        for kind, name in self._ledger.parts[key.name]:
            part = Key(kind, key.repository, name)
            there = self.found[part] if part in self.found else self._blob(part)
            if there is None:
                self.losses.append(f"{key}: refers to {kind} {name}, which is not there")
        return THERE

    def _tag(self, key: Key) -> str | None:
        """A tag that is there names a manifest that is there, and is whole."""
        response = self._get(key)
        if response is None:
            return None
        digest = digest_of(response.content)
        if response.headers["docker-content-digest"] != digest:
            self.losses.append(f"{key}: names {response.headers['docker-content-digest']}, has {digest}")
        named = Key(MANIFEST, key.repository, digest)
        if digest in self._ledger.parts and self.found.get(named) is None and self._manifest(named) is None:
            self.losses.append(f"{key}: names {digest}, which is not there")
        return digest

    def _referrers(self, repository: str, subject: str) -> set[str]:
        response = self._client.get(f"/v2/{repository}/referrers/{subject}")
        if response.status_code != 200:
            if response.status_code != 404:  # there is no such repository
                self.losses.append(f"referrers of {subject}: {response.status_code} {response.text}")
            return set()
        return {manifest["digest"] for manifest in response.json()["manifests"]}

    def _list_of_tags(self, repository: str, tags: list[Key]) -> None:
        response = self._client.get(f"/v2/{repository}/tags/list")
        listed = response.json()["tags"] if response.status_code == 200 else []
        expected = sorted(key.name for key in tags if self.found[key] is not None)
        if listed != expected:
            self.losses.append(f"tags {repository}: lists {listed}, has {expected}")


def _received_as_acknowledged(received: int, session: Session) -> bool:
    """Whether the server has what it acknowledged, and of the last chunk, if that was not answered, what may count."""
    if session.whole:
        return received in {session.received, session.sent}
    return session.received <= received <= max(session.sent, session.received)
