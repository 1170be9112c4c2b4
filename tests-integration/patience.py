"""Waiting for a condition, with a deadline: the only way in which these tests wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable


async def until(
    condition: Callable[[], Awaitable[object]] | Callable[[], object], what: str, *, within: float = 45.0
) -> None:
    """Wait until a condition holds.

    Args:
        condition: Returns, or awaits, something true when it does.
        what: What is waited for, to be named when it does not come.
        within: Seconds after which it is given up. Generous: a slow machine is no failure.
    """
    deadline = time.monotonic() + within
    while True:
        found = condition()
        if isinstance(found, Awaitable):
            found = await found
        if found:
            return
        assert time.monotonic() < deadline, f"{what}: not within {within:g} s"
        await asyncio.sleep(0.01)
