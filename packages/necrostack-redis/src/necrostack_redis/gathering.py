"""Calls that are made while another one is under way: they go together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from necrostack_redis.link import Link
from necrostack_redis.scripts import Script

_MOST_CALLS, _MOST_PARTS = 200, 20_000
"""How many calls, and strings in them, go together: the server answers the first of them when it has read them all."""


@dataclass(frozen=True, slots=True)
class _Call:
    """One that waits for its turn."""

    keys: Sequence[str]
    args: Sequence[Any]
    answer: asyncio.Future[Any]


class Gatherer:
    """Runs one script for many callers.

    A call that comes alone is sent at once. Those that come before it is answered wait for that, and are sent together
    then: each is still a call of its own on the server, with an answer of its own, and they share the way there.
    """

    def __init__(self, link: Link, script: Script) -> None:
        self._link = link
        self._script = script
        self._waiting: deque[_Call] = deque()
        self._is_busy = False
        self._sending: asyncio.Task[None] | None = None

    async def run(self, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Run the script.

        Raises:
            BackendError: See `necrostack_redis.link.meaning`.
        """
        if self._is_busy:
            call = _Call(keys, args, asyncio.get_running_loop().create_future())
            self._waiting.append(call)
            return await call.answer
        self._is_busy = True
        try:
            return await self._link.run(self._script, keys, args)
        finally:
            self._go_on()

    def _go_on(self) -> None:
        """Let those go that came meanwhile."""
        self._is_busy = bool(self._waiting)
        if self._is_busy:
            self._sending = asyncio.create_task(self._send())

    async def _send(self) -> None:
        calls = self._next_calls()
        try:
            answers = await self._link.run_all(self._script, [(call.keys, call.args) for call in calls])
            for call, answer in zip(calls, answers, strict=True):
                _give(call.answer, answer)
        except BaseException as error:
            for call in calls:
                _give(call.answer, error)
            if not isinstance(error, Exception):
                raise
        finally:
            self._go_on()

    def _next_calls(self) -> list[_Call]:
        """Take those that wait, as many as may go together, without those of whom nobody waits any more."""
        calls: list[_Call] = []
        parts = 0
        while self._waiting and len(calls) < _MOST_CALLS and parts < _MOST_PARTS:
            call = self._waiting.popleft()
            if not call.answer.done():
                calls.append(call)
                parts += len(call.args)
        return calls


def _give(answer: asyncio.Future[Any], found: Any) -> None:
    if answer.done():  # whoever asked was cancelled
        return
    if isinstance(found, asyncio.CancelledError):
        answer.cancel()
    elif isinstance(found, BaseException):
        answer.set_exception(found)
    else:
        answer.set_result(found)
