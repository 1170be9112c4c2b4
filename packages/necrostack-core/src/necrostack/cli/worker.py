"""A worker: a run that is led by a supervisor, in a process of its own."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from io import TextIOWrapper

from necrostack.cli.health import Health
from necrostack.cli.lifeline import Lifeline
from necrostack.cli.messages import Ended, Order, Progress, Ready, write
from necrostack.cli.running import Running
from necrostack.cli.terminal import Terminal
from necrostack.cli.vitals import Reporter
from necrostack.log import logger
from necrostack.report import RunReport
from necrostack.spine import Spine

NUMBER = "NECROSTACK_WORKER"
"""The environment variable with a worker's number, from 1 on: no two have the same at one time."""

FOLDER = "NECROSTACK_RUN_FOLDER"
"""The environment variable with a folder that the workers of one run share. It is removed when the run is over."""


class Worker(Running):
    """One run that takes orders, and tells its supervisor how far it is and what it did."""

    def __init__(self, spine: Spine, arguments: argparse.Namespace, terminal: Terminal, lifeline: Lifeline) -> None:
        """Make it ready to run."""
        super().__init__(spine, None, arguments, terminal)
        self._lifeline = lifeline
        self._reporter: Reporter | None = None

    @asynccontextmanager
    async def _told(self, health: Health) -> AsyncIterator[None]:
        with Reporter(health, self._lifeline.tell) as self._reporter:
            yield

    @contextmanager
    def _led(self, running: asyncio.Task[RunReport]) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        actions: Mapping[Order, Callable[[], object]] = {
            Order.FINISH: self.spine.stop_when_idle,
            Order.STOP: self._drain,
            Order.CANCEL: running.cancel,
        }

        def obey(order: str) -> None:
            with suppress(RuntimeError):  # the loop is closed: what was ordered has happened
                loop.call_soon_threadsafe(actions[Order(order)])

        self._lifeline.listen(obey)
        announcing = asyncio.create_task(self._announce())
        try:
            yield
        finally:
            announcing.cancel()

    async def _announce(self) -> None:
        await self.spine.started()
        self._lifeline.tell(write(Ready()))

    def _show_progress(self, settled: int, dead: int, seconds: float) -> None:
        self._lifeline.tell(write(Progress(settled=settled, dead=dead)), may_be_lost=True)

    def _show_report(self, report: RunReport | None) -> None:
        if self._reporter is not None:
            self._reporter.tell()  # all that it counted
        self._lifeline.tell(write(Ended(report)))


@contextmanager
def among_workers(terminal: Terminal) -> Iterator[None]:
    """Write as one of several: whole lines, the log with this worker's number, clear of a status line."""
    number = int(os.environ[NUMBER])

    def add_number(record: logging.LogRecord) -> bool:
        record.worker = number
        return True

    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    terminal.shares_status = terminal.is_watched
    # A logger's filter sees its own lines alone; those of the root's handlers see everybody's.
    filtered = [logger, *logging.getLogger().handlers]
    for each in filtered:
        each.addFilter(add_number)
    try:
        yield
    finally:
        for each in filtered:
            each.removeFilter(add_number)
