"""Importing what takes long."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Collect no garbage meanwhile: what imports make stays, and looking through it takes a quarter longer."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()  # nor is it looked through later
        gc.enable()
