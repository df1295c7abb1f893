"""The loop of `test_kill` on another registry, for comparison: prints what it lost.

python -m tests.faults --url http://127.0.0.1:5001 --rounds 30 -- registry serve config.yml
"""

import argparse
import os
import random
import subprocess
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from tests.faults.ledger import Ledger
from tests.faults.test_kill import look_at, wait_for_a_moment, write_until, writers_of
from tests.faults.writers import SHARED
from tests.support.server import Server, ServerError, new_client


class Peer(Server):
    """A registry of any make.

    Args:
        folder: where its log goes.
        url: where it listens, on loopback.
        command: what starts it, with the same data each time.
    """

    def __init__(self, folder: Path, url: str, command: list[str]) -> None:
        super().__init__(folder)
        self.host, self.port = urlsplit(url).hostname or self.host, urlsplit(url).port or 80
        self._command = command

    def start(self, *, ready_within: float = 120.0) -> None:
        """Start it and wait until GET /v2/ answers 200. Raises ServerError."""
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + ready_within
        with new_client(self) as client:
            while time.monotonic() < deadline:
                try:
                    if client.get("/v2/").status_code == 200:
                        return
                except httpx.TransportError:
                    time.sleep(0.05)
        self.kill()
        raise ServerError(f"it did not answer\n{self.log_tail()}")


def main() -> None:
    """Run the loop."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__.partition("\n")[0])
    parser.add_argument("--url", required=True)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--seed", default=os.urandom(4).hex())
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()
    moments, ledger, kinds = random.Random(arguments.seed), Ledger(), Counter[str]()
    with tempfile.TemporaryDirectory() as folder, Peer(Path(folder), arguments.url, arguments.command) as peer:
        for turn in range(arguments.rounds):
            writers = writers_of(peer, ledger, turn, arguments.seed, lenient=True)
            write_until(writers, partial(wait_for_a_moment, ledger, writers, moments), peer.kill)
            peer.start()
            losses = look_at(peer, ledger, [*(writer.repository for writer in writers), SHARED], None)
            kinds.update(loss.partition(" ")[0] for loss in losses)
            for loss in losses:
                print(f"round {turn + 1}: {loss}", flush=True)
    print(f"seed {arguments.seed}: {arguments.rounds} rounds, {ledger.acknowledged} requests acknowledged")
    print(f"lost or half there: {sum(kinds.values())} {dict(kinds)}")


if __name__ == "__main__":
    main()
