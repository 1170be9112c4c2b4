"""Retention: handled events are kept for replay for a while, and then forgotten."""

from __future__ import annotations

import time

from necrostack.errors import BackendError
from necrostack.log import logger
from necrostack_redis.config import RedisSettings
from necrostack_redis.keys import Keys
from necrostack_redis.link import Link
from necrostack_redis.scripts import TRIM

_INTERVAL = 10.0
"""Seconds between two looks at what may be forgotten."""

_AT_ONCE = 1000
"""How many events one call forgets at the most: the server does nothing else meanwhile."""


class Trimmer:
    """Forgets what need not be kept any more, never what some group still needs. Every worker that pulls does it."""

    def __init__(self, link: Link, keys: Keys, settings: RedisSettings) -> None:
        self._link = link
        self._keys = keys
        self._settings = settings
        self._next = time.monotonic() + _INTERVAL

    async def trim_if_due(self) -> None:
        """Forget some of what is too old or too much, if that was not done lately."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _INTERVAL
        length, age = self._settings.retain_length, self._settings.retain_age
        before = None if age is None else int((time.time() - age) * 1000)
        try:
            _, has_more = await trim(self._link, self._keys, length, before, forget_letters=True)
        except BackendError as error:
            logger.debug("not_trimmed", extra={"error": str(error)})
            return
        if has_more:
            self._next = now


async def trim(
    link: Link, keys: Keys, max_length: int | None, before: int | None, *, forget_letters: bool = False
) -> tuple[int, bool]:
    """Forget some of the oldest events.

    Args:
        link: To the server.
        keys: Whose events.
        max_length: How many to leave; None for any number.
        before: The millisecond before which to forget what was kept; None for none.
        forget_letters: Whether to forget redriven dead letters that old, too.

    Returns:
        How many were forgotten, and whether there may be more.
    """
    args = (
        "" if max_length is None else max_length,
        "" if before is None else f"{max(before, 0)}-0",
        _AT_ONCE,
        before * 1000 if forget_letters and before is not None else "",
    )
    count, has_more = await link.run(TRIM, (keys.events, keys.dead, keys.redriven), args)
    return count, bool(has_more)
