"""Retention: handled events are kept for replay for a while, and then forgotten."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from necrostack.errors import BackendError, BackendUnavailable
from necrostack.log import logger
from necrostack_redis.config import RedisSettings
from necrostack_redis.groups import ephemeral_groups, look_at, remove
from necrostack_redis.keys import Keys, name_of
from necrostack_redis.link import Link
from necrostack_redis.scripts import TRIM

_INTERVAL = 10.0
"""Seconds between two looks at what may be forgotten."""

_IF_IDLE = 30
"""How many times as long that is for a worker that was handed nothing since."""

_WARNING_INTERVAL = 600.0
"""Seconds between two warnings that history is not forgotten."""

_AT_ONCE = 1000
"""How many events one call reads at the most, to find out how many may go: the server does nothing else meanwhile."""


@dataclass(frozen=True, slots=True)
class Trimmed:
    """What a call forgot.

    Attributes:
        count: How many events.
        has_more: Whether there is more to forget.
        holder: The group that keeps the rest from being forgotten; empty if none does.
    """

    count: int
    has_more: bool
    holder: str


class Trimmer:
    """Forgets what need not be kept any more, never what some group still needs. Every worker that pulls does it.

    Attributes:
        has_work: Whether the worker was handed something since the last time.
    """

    def __init__(self, link: Link, keys: Keys, settings: RedisSettings) -> None:
        self._link = link
        self._keys = keys
        self._settings = settings
        self.has_work = False
        self._rests_since = time.monotonic()
        self._next_warning = 0.0

    async def trim_if_due(self) -> None:
        """Forget some of what is too old or too much, if that was not done lately."""
        now = time.monotonic()
        if now < self._rests_since + _INTERVAL * (1 if self.has_work else _IF_IDLE):
            return
        self._rests_since, self.has_work = now, False
        try:
            if await self._trim():
                self._rests_since = -math.inf
        except BackendUnavailable:
            return  # the pull that is to follow finds the same, and that is told
        except BackendError as error:
            # It may be that only this is forbidden.
            self._rests_since = now + _WARNING_INTERVAL
            logger.warning("not_trimmed", extra={"error": str(error)})

    async def _trim(self) -> bool:
        """Forget some; return whether there is more."""
        for name in await ephemeral_groups(self._link, self._keys):
            if await remove(self._link, Keys(self._keys.app, name), expired_only=True) == 1:
                logger.info("group_removed", extra={"group": name, "app": self._keys.app})
        length, age = self._settings.retain_length, self._settings.retain_age
        trimmed = await trim(self._link, self._keys, max_length=length, age=age, forget_letters=True)
        if trimmed.holder and time.monotonic() >= self._next_warning:
            await self._warn_of(trimmed.holder)
        return trimmed.has_more

    async def _warn_of(self, holder: str) -> None:
        """Say which group keeps history from being forgotten, if nobody serves it."""
        group = await look_at(self._link, Keys(self._keys.app, holder), self._settings.start)
        if group.stats.consumers or group.behind is None or group.ephemeral_after is not None:
            return
        self._next_warning = time.monotonic() + _WARNING_INTERVAL
        facts = {"group": holder, "events": group.stats.queued + group.stats.pending, "behind": group.behind}
        logger.warning("stream_pinned", extra={**facts, "app": self._keys.app, "history": group.stats.history})


async def trim(
    link: Link,
    keys: Keys,
    *,
    max_length: int | None,
    before: int | None = None,
    age: float | None = None,
    forget_letters: bool = False,
) -> Trimmed:
    """Forget some of the oldest events.

    Args:
        link: To the server.
        keys: Whose events.
        max_length: How many to leave; None for any number.
        before: The millisecond before which to forget what was kept; None for none.
        age: For how many seconds of the server's time to keep them instead; None for ever.
        forget_letters: Whether to forget redriven dead letters, too.
    """
    args = (
        "" if max_length is None else max_length,
        "" if before is None else max(before, 0),
        "" if age is None else int(age * 1000),
        _AT_ONCE,
        "1" if forget_letters else "",
    )
    count, has_more, holder = await link.run(TRIM, (keys.events, keys.dead, keys.redriven, keys.groups), args)
    return Trimmed(count, bool(has_more), name_of(holder))
