"""Collection that is asked for: begun again and again, to the end, and what is there then."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import httpx

from tests.faults.leftovers import leftovers
from tests.support.server import ROOT, Server

SOON = {
    "STOWAGE_COLLECTION__GRACE": "0s",
    "STOWAGE_COLLECTION__HOLD": "2s",
    "STOWAGE_COLLECTION__INTERVAL": "1s",
    "STOWAGE_HISTORY__WINDOW": "0s",
    "STOWAGE_BACKUP__ENABLED": "false",  # a copy of the database keeps what it names
    "STOWAGE_UPLOADS__EXPIRE": "1s",
}
"""Settings with which all is collected soon. The hold is short, or nothing would be collected meanwhile; a client
that is slower to push an image may have to begin anew; so may one that lets an upload lie."""
HOLD_S, EXPIRE_S = 2, 1
_EMPTY = ("repositories", "blobs", "links", "manifests", "tags", "tag_history", "candidates", "doomed")


class Collection(threading.Thread):
    """Runs `stowage gc --now` again and again.

    Attributes:
        ended: how many ran to their end.
        deleted: how many blobs those deleted.
        faults: what those that failed said.
    """

    def __init__(self, server: Server) -> None:
        super().__init__(daemon=True)
        self.ended = 0
        self.deleted = 0
        self.faults: list[str] = []
        self.leave = threading.Event()
        self._server = server
        self._process: subprocess.Popen[str] | None = None

    def kill(self) -> None:
        """Kill the one that runs (SIGKILL)."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)

    def run(self) -> None:
        while not self.leave.is_set():
            self._process = collecting(self._server)
            told, said = self._process.communicate(timeout=300)
            if self._process.returncode == 0:
                self.ended += 1
                self.deleted += json.loads(told)["blobs"]
            elif self._process.returncode != -signal.SIGKILL:
                self.faults.append(said)


def collecting(server: Server) -> "subprocess.Popen[str]":
    """Start `stowage gc --now` on a server's data."""
    return subprocess.Popen(
        [sys.executable, "-m", "registry", "gc", "--now", "--grace", "0s", "--json", "--data", str(server.data)],
        cwd=ROOT,
        env={**os.environ, **server.backend(), **SOON},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def delete_everything(client: httpx.Client, names: list[str]) -> None:
    """Delete every manifest that has a tag, the acknowledged and those whose push was cut short."""
    for name in names:
        listed = client.get(f"/v2/{name}/tags/list")
        for tag in listed.json()["tags"] if listed.status_code == 200 else []:
            digest = client.head(f"/v2/{name}/manifests/{tag}").headers["docker-content-digest"]
            assert client.delete(f"/v2/{name}/manifests/{digest}").status_code == 202


def collect_all(server: Server) -> None:
    """Collect until holds have ended, with what the killed left in uploads out of the way."""
    server.sql("DELETE FROM upload_sessions")
    end = time.monotonic() + 300
    while time.monotonic() < end:
        process = collecting(server)
        said = process.communicate(timeout=300)
        assert process.returncode == 0, said
        if server.sql("SELECT count(*) FROM candidates") == [("0",)]:
            return
        time.sleep(1)


def left(server: Server) -> list[str]:
    """A line for each row and each object that is left, once what crashes left without a row is swept up, too.

    The server is restarted.
    """
    found = leftovers(server)
    for table in _EMPTY:
        found += [f"{table}: {row}" for row in server.sql(f"SELECT * FROM {table}")]
    return found + server.stored.all()
