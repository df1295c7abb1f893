"""Where a request came from, and what it said of itself: for events and the audit log."""

from registry.http.access_log import AGENT
from registry.http.request import Request
from registry.logs import request_id
from registry.services.audit import Origin


def origin_of(request: Request, *, audited: bool = True) -> Origin:
    """Return it. `audited`: whether the audit log is to tell of what the request does."""
    client, agent = request.scope.get("client"), request.scope.get(AGENT)
    return Origin(
        "" if client is None else client[0],
        request_id.get(),
        request.header(b"host") or "",
        request.method,
        (request.header(b"user-agent") or "") if agent is None else agent.decode("latin-1"),
        audited,
    )
