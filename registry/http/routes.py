"""Every URL of the distribution API and of the token server, in one table (spec, "Endpoints").

A repository's name may hold slashes and even words like `blobs`, so it takes what is left of the last fixed part.
More is needed nowhere: the last two or three parts of a path tell what it is.
"""

import importlib
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from registry.errors import EndpointUnknown, MethodNotAllowed
from registry.http import blobs, catalog, health, manifests, past, referrers, tags, uploads
from registry.http.replies import Answer
from registry.oci.moments import RESERVED

Handler = Callable[..., Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Route:
    """A pattern of paths and its handlers by method. Named groups become the handler's arguments.

    `name` is what metrics and traces call it. `word` is in every path that fits: to miss it takes a tenth of what it
    takes a pattern not to match.
    """

    name: str
    word: str
    pattern: re.Pattern[str]
    handlers: Mapping[str, Handler]


def _route(name: str, pattern: str, word: str, **handlers: Handler) -> Route:
    # RFC 9110 section 9.1: HEAD is there wherever GET is; the server leaves the body out.
    if "GET" in handlers:
        handlers.setdefault("HEAD", handlers["GET"])
    return Route(name, word, re.compile(pattern + r"\Z", re.DOTALL), handlers)


def _of_token_server(name: str) -> Handler:
    """Return a handler of `registry.http.token`, imported when it is asked for: where nobody logs in it never is."""

    async def handle(context: Any, request: Any) -> Answer:
        if context.login is None:
            raise EndpointUnknown("there is no such endpoint")
        handler: Handler = getattr(importlib.import_module("registry.http.token"), name)
        return await handler(context, request)

    return handle


READING = frozenset({"GET", "HEAD"})
"""Methods that change nothing: they are served while the registry is read-only."""

_get_token, _post_token, _get_keys = map(_of_token_server, ("get_token", "post_token", "get_keys"))

ALWAYS = frozenset({_post_token})
"""Handlers that are there while the registry is read-only, whatever their method: to log in is no change of it."""

_NAME = f"/v2/(?P<name>(?!{RESERVED}).+)"
_PAST = f"/v2/(?P<name>(?={RESERVED}).+)"

# The busiest first.
ROUTES = (
    _route(
        "manifest",
        f"{_NAME}/manifests/(?P<reference>[^/]+)",
        "/manifests/",
        GET=manifests.get_manifest,
        HEAD=manifests.head_manifest,
        PUT=manifests.put_manifest,
        DELETE=manifests.delete_manifest,
    ),
    _route("uploads", f"{_NAME}/blobs/uploads/?", "/blobs/uploads", POST=uploads.start_upload),
    _route(
        "blob",
        f"{_NAME}/blobs/(?P<digest>[^/]+)",
        "/blobs/",
        GET=blobs.get_blob,
        HEAD=blobs.head_blob,
        DELETE=blobs.delete_blob,
    ),
    _route(
        "upload",
        f"{_NAME}/blobs/uploads/(?P<upload>[^/]+)",
        "/blobs/uploads/",
        GET=uploads.get_upload,
        PATCH=uploads.append_chunk,
        PUT=uploads.finish_upload,
        DELETE=uploads.cancel_upload,
    ),
    _route("tags", f"{_NAME}/tags/list", "/tags/list", GET=tags.list_tags),
    _route("referrers", f"{_NAME}/referrers/(?P<digest>[^/]+)", "/referrers/", GET=referrers.list_referrers),
    _route("catalog", "/v2/_catalog", "/v2/_catalog", GET=catalog.list_repositories),
    _route("support", "/v2/?", "/v2", GET=health.support),
    _route("token", "/token", "/token", GET=_get_token, POST=_post_token),
    _route("token_keys", "/token/keys", "/token/keys", GET=_get_keys),
)


_THEN: Mapping[Handler, Handler] = {
    manifests.get_manifest: past.get_manifest,
    manifests.head_manifest: past.head_manifest,
    blobs.get_blob: past.get_blob,
    blobs.head_blob: past.head_blob,
    tags.list_tags: past.list_tags,
    referrers.list_referrers: past.list_referrers,
}
# The same paths below a moment, after all others, which pay nothing for them. What is not for reading is refused by one
# handler.
_ALL = (
    *ROUTES,
    *(
        replace(
            route,
            pattern=re.compile(route.pattern.pattern.replace(_NAME, _PAST), re.DOTALL),
            handlers={method: _THEN.get(one, past.refuse) for method, one in route.handlers.items()},
        )
        for route in ROUTES
        if route.pattern.pattern.startswith(_NAME)
    ),
)

NAMES: Mapping[Handler, str] = {
    **{handler: route.name for route in ROUTES for handler in route.handlers.values()},
    **{then: f"past_{route.name}" for route in ROUTES for now, then in _THEN.items() if now in route.handlers.values()},
    past.refuse: "past_refused",
}
"""The name of the route of each handler, as metrics and traces call it."""


def find(method: str, path: str) -> tuple[Handler, dict[str, Any]]:
    """Return the handler of a request and its arguments.

    Raises:
        EndpointUnknown: no pattern fits.
        MethodNotAllowed: one fits, and has no such method.
    """
    for route in _ALL:
        match = route.pattern.match(path) if route.word in path else None
        if match is None:
            continue
        handler = route.handlers.get(method)
        if handler is None:
            raise MethodNotAllowed(f"{method[:40]} is not possible here", allowed=sorted(route.handlers))
        return handler, match.groupdict()
    raise EndpointUnknown("there is no such endpoint")
