"""What commands do that work on a registry's database and storage, whether a server runs on them or not."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from registry.cli.options import fail
from registry.errors import RegistryError
from registry.opened import Opened, open_registry
from registry.settings import Settings
from storage.errors import StorageError

T = TypeVar("T")


def in_registry(settings: Settings, work: Callable[[Opened], Awaitable[T]]) -> T:
    """Run `work` on the open database and storage, or end the command with what is wrong."""

    async def run() -> T:
        async with open_registry(settings) as opened:
            return await work(opened)

    try:
        return asyncio.run(run())
    except (RegistryError, StorageError) as error:
        fail(str(error))
