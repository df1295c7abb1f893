"""`/v2/_catalog` (Docker Registry HTTP API V2, "Listing Repositories")."""

from auth.policy import Action
from registry.http.context import Context
from registry.http.paging import next_link, parse_page
from registry.http.replies import Answer, json_reply
from registry.http.request import Request
from registry.services import catalog


async def list_repositories(context: Context, request: Request) -> Answer:
    """List the repositories that may be pulled, in order of their bytes: 200, with a Link where there are more."""
    await context.authorize(request, Action.CATALOG, None)
    page = parse_page(context, request)
    visible = await context.policy.visible(request.principal)
    found = await catalog.page(context.database, visible, after=page.after, limit=page.limit + 1)
    shown = found[: page.limit]
    link = [next_link(context, request, page, shown[-1])] if shown and len(found) > page.limit else []
    return json_reply(200, {"repositories": shown}, link)
