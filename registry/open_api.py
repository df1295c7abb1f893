"""`/api/v1` where nobody is asked who they are (`auth.mode: open`): what is about content, and nothing about people."""

from collections.abc import Callable

from starlette.types import ASGIApp

from auth.errors import Unauthenticated
from registry.api.context import Api
from registry.api.mounting import ApiMount
from registry.api.paths import OPEN
from registry.http.context import Context
from registry.services.permissions import GrantPolicy
from registry.services.revision import Revision


def build_api(context: Context, undone: Callable[[str, str], None]) -> ASGIApp:
    """Return the application that answers what belongs to the API.

    Whoever reaches the server may do everything, as in the distribution API. People, rights and tokens are not there:
    what somebody did to them now would count on the day that the registry asks who is there.
    """
    database = context.database
    policy = GrantPolicy(database, Revision(database, polled=False))
    api = Api(context.settings, database, policy, _nobody, _never, context.auditor, feed=context.feed, undone=undone)
    return ApiMount(api, None, context.maintenance, modules=OPEN)


async def _nobody(name: str, password: str, address: str) -> str:
    raise Unauthenticated("nobody logs in here")


async def _never(password: str) -> str:
    raise Unauthenticated("there are no passwords here")
