"""Clients that ask all the time, and notice every request that is not answered."""

import threading
import time

from tests.support.served import Connection

_PROMPT_SECONDS = 0.5  # half of what a server that ends leaves for a request on its way


class Caller(threading.Thread):
    """Asks one thing after the other, on connections old and new, until told to stop or kept out.

    Attributes:
        answered: how many requests got whole answers.
        kept_out: no connection was let in any more.
        faults: what became of requests that were not answered, and of answers that were not 200.
    """

    def __init__(self, port: int, target: str = "/v2/") -> None:
        super().__init__(daemon=True)
        self.answered = 0
        self.kept_out = False
        self.faults: list[str] = []
        self._port = port
        self._target = target
        self._over = threading.Event()

    def stop(self) -> None:
        """Ask nothing more."""
        self._over.set()
        self.join(120)
        assert not self.is_alive(), "a request is neither answered nor refused"

    def run(self) -> None:
        while not self._over.is_set():
            began = time.monotonic()
            try:
                connection = Connection(self._port)
            except (ConnectionRefusedError, TimeoutError):
                self.kept_out = True
                return
            with connection:
                self._ask_often(connection, began)

    def _ask_often(self, connection: Connection, began: float) -> None:
        """Ask one thing after the other.

        The server's patience begins no sooner than the connection, and then than the request before: counted from
        there, nobody is taken for prompt who was held up on the way. `began`: when the connection did.
        """
        for _ in range(50):
            asking, asked = time.monotonic(), None
            try:
                connection.ask(self._target)
                asked = time.monotonic()
                answer = connection.answer()
            except (AssertionError, OSError) as error:
                # who is slower may meet a connection that was closed as idle
                if (asked or time.monotonic()) - began < _PROMPT_SECONDS:
                    self.faults.append(f"after {self.answered} answers: {error!r}")
                return
            if answer.status != 200:
                self.faults.append(f"status {answer.status}: {answer.body!r}")
            self.answered += 1
            if self._over.is_set() or answer.headers.get("connection") == "close":
                return
            began = asking
