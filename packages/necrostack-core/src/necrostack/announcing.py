"""A worker says what it is and does, for as long as its run goes on."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from types import TracebackType
from typing import Self

from necrostack.backend import Backend
from necrostack.fleet import Announcement
from necrostack.log import logger
from necrostack.report import RunReport
from necrostack.tally import Tally
from necrostack.topology import Topology

PERIOD = 2.0
"""Seconds between two announcements while there is something to tell."""

_GRACE = 1.0
"""Seconds that an announcement on its way gets in the end."""


class Announcer:
    """Announces a run on its backend: an async context manager around it.

    A worker with nothing to do is silent: what it said is kept. One that has something in work says so in each period:
    if it is silent nevertheless, its event loop is blocked. Nothing here disturbs the run.
    """

    def __init__(
        self, backend: Backend, tally: Tally, topology: Topology, concurrency: int, in_work: Callable[[], int]
    ) -> None:
        self._backend = backend
        self._tally = tally
        self._topology = topology
        self._concurrency = concurrency
        self._in_work = in_work
        self._started_at = tally.now()
        # What was told last, and whether it was news.
        self._told = tally.report()
        self._was_busy = False
        self._is_first = True
        self._is_telling = self._is_over = False
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._go_on())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None, "it was entered"
        self._is_over = True
        try:
            # Cancelled on its way, it could reach the backend after the worker has left, and stay.
            if self._is_telling:
                await asyncio.wait({self._task}, timeout=_GRACE)
        finally:
            self._task.cancel()

    async def tell_if_due(self) -> None:
        """Announce the run if there is something to tell."""
        report, in_work = self._tally.report(), self._in_work()
        is_busy = in_work > 0 or _without_time(report) != _without_time(self._told)
        # Once more when it has come to rest, or what was done last would be taken for what is done now.
        if not (is_busy or self._was_busy or self._is_first) and self._backend.is_announced():
            return
        await self._backend.announce(
            Announcement(
                host=socket.gethostname(),
                pid=os.getpid(),
                version=_version(),
                python=sys.version.partition(" ")[0],
                started_at=self._started_at,
                at=self._tally.now(),
                concurrency=self._concurrency,
                in_work=in_work,
                report=report,
                recent=report.since(self._told),
                topology=self._topology,
            )
        )
        self._told, self._was_busy, self._is_first = report, is_busy, False

    async def _go_on(self) -> None:
        while not self._is_over:
            if self._backend.outage.error is None:
                self._is_telling = True
                try:
                    await self.tell_if_due()
                except Exception as error:  # noqa: BLE001 -- whoever works must not be disturbed by who looks
                    logger.debug("not_announced", extra={"error": f"{type(error).__name__}: {error}"})
                self._is_telling = False
            if not self._is_over:
                await asyncio.sleep(PERIOD)


def _without_time(report: RunReport) -> RunReport:
    return replace(report, duration=0.0)


@cache
def _version() -> str:
    from importlib.metadata import version  # for the first announcement, not for whoever imports this

    return version("necrostack-core")
