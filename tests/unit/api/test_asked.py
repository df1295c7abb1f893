"""What is done by one request at a time."""

from types import SimpleNamespace
from typing import cast

import pytest

from auth.errors import TooManyAttempts
from registry.api.asked import Asked
from registry.api.context import Api
from registry.http.request import Request

pytestmark = pytest.mark.anyio


async def test_what_takes_long_is_not_done_twice_side_by_side() -> None:
    api = cast(Api, SimpleNamespace(under_way=set()))
    asked, other = (Asked(api, cast(Request, None)) for _ in range(2))
    async with asked.alone("it is counted"):
        with pytest.raises(TooManyAttempts, match="it is counted already"):
            async with other.alone("it is counted"):
                pass
        async with other.alone("something else is"):
            pass
    with pytest.raises(ZeroDivisionError):
        async with other.alone("it is counted"):
            raise ZeroDivisionError
    async with asked.alone("it is counted"):
        pass
