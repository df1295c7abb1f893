"""Pages of listings: `n`, `last` and the Link to the next page (spec, "Listing Tags"; RFC 5988)."""

import re
from dataclasses import dataclass
from urllib.parse import quote

from registry.errors import QueryInvalid
from registry.http.context import Context
from registry.http.request import Request

_NUMBER = re.compile(r"[0-9]{1,40}\Z")
_LONGEST_LAST = 1024


@dataclass(frozen=True, slots=True)
class Page:
    """What part of a listing is asked for: up to `limit` entries after `after`."""

    limit: int
    after: str


def parse_page(context: Context, request: Request) -> Page:
    """Read `n` and `last`. Without `n`, or with a greater one, a page has `listings.max_page` entries.

    Raises:
        QueryInvalid: `n` is no whole number, or `last` is longer than anything listed.
    """
    number, after = request.query("n"), request.query("last") or ""
    if number is not None and not _NUMBER.match(number):
        raise QueryInvalid(f"n: expected a whole number of entries, got {number[:40]!r}")
    if len(after) > _LONGEST_LAST:
        raise QueryInvalid(f"last: longer than {_LONGEST_LAST} characters")
    largest = context.settings.listings.max_page
    return Page(largest if number is None else min(int(number), largest), after)


def next_link(context: Context, request: Request, page: Page, last: str, **filters: str | None) -> tuple[bytes, bytes]:
    """Return the Link header to what follows `last`."""
    query = f"n={page.limit}&last={quote(last, safe='')}"
    query += "".join(f"&{name}={quote(value, safe='')}" for name, value in filters.items() if value is not None)
    return b"link", b"<" + context.location(request, f"{request.path}?{query}") + b'>; rel="next"'
