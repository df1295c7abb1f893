"""How an endpoint fares: when it is to be left alone, and when a try is too much."""

import random
import time

from registry.webhooks.endpoint import Options

FAILING = 3
"""Repositories that failed one after the other, none in between succeeding: then it is the endpoint that fails."""
_DOUBLINGS = 30


class Health:
    """Of one endpoint.

    Attributes:
        rests: how often it was left alone since it last took something.
    """

    def __init__(self, options: Options) -> None:
        self.rests = 0
        self._options = options
        self._failing: set[str] = set()
        self._rest_until = 0.0  # for want of anything that it took
        self._asked_until = 0.0  # since it asked for that

    @property
    def is_down(self) -> bool:
        """Whether the endpoint as a whole fails."""
        return len(self._failing) >= FAILING

    @property
    def rest_s(self) -> float:
        """For how many seconds nothing is to be sent."""
        return max(0.0, max(self._rest_until, self._asked_until) - time.monotonic())

    def succeeded(self) -> None:
        """Note that it took something. If it asked to be left alone it is all the same: this may have been before."""
        self._failing.clear()
        self.rests, self._rest_until = 0, 0.0

    def failed(self, repository: str) -> None:
        """Note that it did not take an event of a repository."""
        self._failing.add(repository)

    def rest(self, seconds: float) -> None:
        """Leave it alone for so long, as it asked, or for as long as before if that is longer."""
        self._asked_until = max(self._asked_until, time.monotonic() + seconds)

    def rest_longer(self) -> None:
        """Leave it alone for longer than the last time."""
        self.rests += 1
        self._rest_until = max(self._rest_until, time.monotonic() + self.backoff_s(self.rests))

    def backoff_s(self, failures: int) -> float:
        """Return the pause after so many failures: it doubles, up to a cap, and varies a little."""
        options = self._options
        pause_s = min(options.backoff_cap, options.backoff * 2 ** min(failures - 1, _DOUBLINGS))
        return float(pause_s * random.uniform(0.75, 1.0))  # noqa: S311 - no secret
