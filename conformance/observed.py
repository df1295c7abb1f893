"""What is to be seen in any answer of a run, for the requirements that no single request can provoke."""

import httpx

MOST_KEPT = 100


class Observed:
    """Looks at every answer.

    Attributes:
        answers: how many there were.
        warned: the `Warning` fields of each answer that had some, the first hundred of them.
        throttled: how many answers were a 429.
        unexplained: how many of these had no Retry-After.
    """

    def __init__(self) -> None:
        self.answers = 0
        self.warned: list[list[str]] = []
        self.throttled = 0
        self.unexplained = 0

    def note(self, response: httpx.Response) -> None:
        """Look at an answer."""
        self.answers += 1
        warnings = response.headers.get_list("Warning")
        if warnings and len(self.warned) < MOST_KEPT:
            self.warned.append(warnings)
        if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
            self.throttled += 1
            self.unexplained += "Retry-After" not in response.headers
