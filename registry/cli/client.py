"""A client of `/api/v1`: what commands ask, wherever it is answered."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote

from registry.cli.options import fail

_PROBLEM = "application/problem+json"
_JSON = "application/json"
_PAGE = 250
"""Entries that are asked for at once: few enough that a server has time for others between."""
_PLAIN = re.compile(r"[^\x00-\x1f\x7f/\ud800-\udfff]+").fullmatch

Query = Mapping[str, str | Sequence[str] | None]
"""Parameters of a query. What is None is left out."""


class Answer(NamedTuple):
    """An answer: its status, its media type without parameters, and its body."""

    status: int
    media_type: str
    body: bytes


class Question(NamedTuple):
    """A request. `path` begins after `/api/v1/` and is encoded; `content` becomes JSON, None is no body.

    `is_long`: the answer may take as long as it likes.
    """

    method: str
    path: str
    query: Sequence[tuple[str, str]] = ()
    content: Any = None
    is_long: bool = False


class Transport(Protocol):
    """Where questions are answered.

    Attributes:
        is_here: by this process, on the database here.
    """

    is_here: bool

    @property
    def host(self) -> str | None:
        """What names of images begin with there, if that is known."""

    def ask(self, question: Question) -> Answer:
        """Return the answer, or end the command with why there is none."""

    def close(self) -> None:
        """Let go of it."""


class Refused(Exception):
    """An answer that is a problem (RFC 9457). The message is its detail; `code` its word for programs."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code


class Client:
    """Asks. Opened by the first question, so that a command that was called wrongly says so first.

    Each method raises Refused, which ends the command with what it says if it does not catch it.
    """

    def __init__(self, opening: Callable[[], Transport]) -> None:
        self._opening = opening
        self._opened: Transport | None = None

    @property
    def host(self) -> str | None:
        """What names of images begin with there, if that is known."""
        return self._transport().host

    @property
    def is_here(self) -> bool:
        """Whether this process answers, on the database here."""
        return self._transport().is_here

    def get(self, path: str, query: Query | None = None, *, is_long: bool = False) -> Any:
        """Return what is there."""
        return self._ask(Question("GET", path, _pairs(query or {}), is_long=is_long))

    def find(self, path: str) -> Any | None:
        """Return what is there, or None."""
        try:
            return self.get(path)
        except Refused as refused:
            if refused.status != 404:
                raise
            return None

    def every(
        self,
        path: str,
        query: Query | None = None,
        *,
        after: str | None = None,
        most: int | None = None,
        is_long: bool = False,
    ) -> Iterator[Any]:
        """Yield all of a listing, page by page, from after what a page had as `next`; `most` entries, or all."""
        pairs, left = _pairs(query or {}), most
        while left is None or left > 0:
            limit = str(_PAGE if left is None else min(left, _PAGE))
            here = [("limit", limit), *([] if after is None else [("after", after)])]
            page = self._ask(Question("GET", path, [*pairs, *here], is_long=is_long))
            yield from page["items"]
            after = page["next"]
            if after is None:
                return
            left = None if left is None else left - len(page["items"])

    def post(self, path: str, content: Mapping[str, Any] | None = None, *, is_long: bool = False) -> Any:
        """Make something. What is None is left out of `content`."""
        return self._ask(Question("POST", path, content=_said(content or {}), is_long=is_long))

    def made(self, path: str, content: Mapping[str, Any]) -> tuple[bool, Any]:
        """Make something that may be there already. Return whether it is new, and what is there."""
        answer = self._answer(Question("POST", path, content=_said(content)))
        return answer.status == 201, json.loads(answer.body)

    def patch(self, path: str, content: Mapping[str, Any]) -> Any:
        """Change something."""
        return self._ask(Question("PATCH", path, content=content))

    def put(self, path: str, content: Mapping[str, Any] | None = None) -> None:
        """Set something."""
        self._ask(Question("PUT", path, content=content))

    def delete(self, path: str, query: Query | None = None) -> Any:
        """Remove something."""
        return self._ask(Question("DELETE", path, _pairs(query or {})))

    def close(self) -> None:
        """Let go of what was opened."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def _transport(self) -> Transport:
        if self._opened is None:
            self._opened = self._opening()
        return self._opened

    def _ask(self, question: Question) -> Any:
        answer = self._answer(question)
        return json.loads(answer.body) if answer.body else None

    def _answer(self, question: Question) -> Answer:
        answer = self._transport().ask(question)
        if answer.status >= 400:
            problem = json.loads(answer.body)
            raise Refused(answer.status, problem["code"], problem["detail"])
        return answer


def is_ours(answer: Answer) -> bool:
    """Say whether an answer is one that the API gives."""
    if answer.status == 204 and not answer.body:
        return True
    wanted = _PROBLEM if answer.status >= 400 else _JSON
    if answer.media_type != wanted or not 200 <= answer.status < 600 or 300 <= answer.status < 400:
        return False
    try:
        content = json.loads(answer.body)
    except ValueError:
        return False
    return wanted == _JSON or (isinstance(content, dict) and {"code", "detail"} <= content.keys())


def at(*parts: str, slashes: bool = False) -> str:
    """Return a path made of names, or end the command: one is none.

    Args:
        slashes: names may have some, and stand in the path as they are.
    """
    for part in parts:
        if not all(_PLAIN(one) and one not in {".", ".."} for one in (part.split("/") if slashes else [part])):
            fail(f"{part[:100]!r} is no name")
    return "/".join(quote(part, safe="/" if slashes else "") for part in parts)


def _pairs(query: Query) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, value in query.items():
        found += [(name, one) for one in ([] if value is None else [value] if isinstance(value, str) else value)]
    for name, one in found:
        if not one.isascii() and any("\ud800" <= character <= "\udfff" for character in one):
            fail(f"{name}: {one[:100]!r} is no text")  # but bytes that the terminal's encoding does not know
    return found


def _said(content: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in content.items() if value is not None}
