"""`/v2/<name>/tags/list` (spec, "Listing Tags")."""

from auth.policy import Action
from registry.db import repositories, tags
from registry.errors import NameUnknown
from registry.http.context import Context
from registry.http.paging import next_link, parse_page
from registry.http.replies import Answer, json_reply
from registry.http.request import Request
from registry.oci.names import parse_repository


async def list_tags(context: Context, request: Request, name: str) -> Answer:
    """List tags in order of their bytes: 200, with a Link to the next page where there is one."""
    repository = parse_repository(name)
    await context.authorize(request, Action.PULL, repository)
    page = parse_page(context, request)
    if await repositories.find(context.database, repository) is None:
        raise NameUnknown(f"there is no repository {repository}", detail={"name": repository})
    found = await tags.page(context.database, repository, after=page.after, limit=page.limit + 1)
    shown = found[: page.limit]
    link = [next_link(context, request, page, shown[-1])] if shown and len(found) > page.limit else []
    return json_reply(200, {"name": repository, "tags": shown}, link)
