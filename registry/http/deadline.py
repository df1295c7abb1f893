"""A connection's timer, which a busy connection puts off many times without ever arming it anew."""

import asyncio
from collections.abc import Callable

_NEVER = float("inf")


class Deadline:
    """Calls an action when its time has come. There is one action at a time: the one set last.

    A loop's timers cost a microsecond to arm and another to cancel. This one stays armed for the earliest moment it
    was ever set to; when it goes off too early, it is armed for what is left.
    """

    __slots__ = ("_action", "_armed_for", "_due", "_handle", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._action: Callable[[], None] | None = None
        self._due = _NEVER
        self._armed_for = _NEVER
        self._handle: asyncio.TimerHandle | None = None

    def set(self, seconds: float, action: Callable[[], None]) -> None:
        """Call `action` in `seconds`, instead of what was to come."""
        self._action = action
        self._due = due = self._loop.time() + seconds
        if due < self._armed_for:
            self._arm(due)

    def clear(self) -> None:
        """Call nothing, until it is set again."""
        self._due = _NEVER

    def cancel(self) -> None:
        """Call nothing any more, and let go of the action."""
        self._due = self._armed_for = _NEVER
        self._action = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _arm(self, moment: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._armed_for = moment
        self._handle = self._loop.call_at(moment, self._go_off)

    def _go_off(self) -> None:
        self._handle, self._armed_for = None, _NEVER
        if self._due == _NEVER:
            return
        # A loop's clock may be coarser than its timers.
        if self._due > self._loop.time() + 0.001:
            self._arm(self._due)
            return
        self._due = _NEVER
        if self._action is not None:
            self._action()
