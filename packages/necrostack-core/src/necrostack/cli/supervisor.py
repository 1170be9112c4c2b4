"""`run --workers`: several processes handle, this one leads and feeds them."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext

from necrostack.cli.address import Address
from necrostack.cli.child import command_of
from necrostack.cli.crew import Crew
from necrostack.cli.crew_health import CrewHealth
from necrostack.cli.failures import CommandError, Exit
from necrostack.cli.feed import Feed, exit_code
from necrostack.cli.feeding import feed_of, is_shown, progress_line, tell_end_of_feed
from necrostack.cli.health import served
from necrostack.cli.lines import Source
from necrostack.cli.service import Service
from necrostack.cli.settings import HANDED_DOWN, flags_of
from necrostack.cli.signals import Signals
from necrostack.cli.summary import show_report
from necrostack.cli.terminal import Terminal, counted
from necrostack.cli.worker import FOLDER
from necrostack.spine import Spine

_OPTIONS = (
    "backend",
    "concurrency",
    "max_steps",
    "drain_timeout",
    "health",
    "max_stall",
    "log_format",
    "log_level",
    "log_repeats",
    "verbose",
)
"""What is each worker's own business."""


class Supervisor:
    """One run of several workers. It handles nothing itself, so nothing that a handler does ends it."""

    def __init__(
        self,
        spine: Spine,
        source: Source | None,
        arguments: argparse.Namespace,
        terminal: Terminal,
        service: Service | None = None,
    ) -> None:
        """Make it ready to run.

        Raises:
            CommandError: Workers cannot share the backend, or are not possible here (exit code 2).
        """
        _check(spine, arguments.workers)
        self._spine = spine
        self._arguments = arguments
        self._terminal = terminal
        self._service = service
        self._health: CrewHealth | None = None
        self._feed = None if source is None else feed_of(source, spine, arguments, terminal)

    async def run(self) -> int:
        """Run until idle, stopped or broken, and say how it went."""
        with tempfile.TemporaryDirectory(prefix="necrostack-", ignore_cleanup_errors=True) as folder:
            crew = self._crew_in(folder)
            async with self._told(crew):
                working = asyncio.create_task(crew.work())
                served = nullcontext() if self._service is None else self._service.told(crew.all_ready, self._is_well)
                with (
                    served,
                    Signals(lambda: self._drain(crew), crew.cancel, is_loop_free=True) as signals,
                    _rolling_at_hangup(crew.roll, lambda: self._drain(crew)),
                ):
                    try:
                        await self._lead(crew, working)
                    finally:
                        working.cancel()
                        await asyncio.wait({working})
                        await self._spine.aclose()
        working.result()
        return self._end(crew, signals)

    @asynccontextmanager
    async def _told(self, crew: Crew) -> AsyncIterator[None]:
        """Tell how the workers are to whoever asks, as long as this is entered."""
        address: Address | None = self._arguments.health
        if address is None:
            yield
            return
        health = self._health = CrewHealth(crew, self._spine.backend, self._arguments.max_stall)
        with health.beating():
            async with served(health, address, self._terminal):
                yield

    def _crew_in(self, folder: str) -> Crew:
        return Crew(
            self._arguments.workers,
            command_of(*flags_of(self._arguments, _OPTIONS)),
            # Whoever is started later has the same settings, whatever the file says then.
            {FOLDER: folder, HANDED_DOWN: self._arguments.settings.table},
            drain_timeout=self._spine.settings.drain_timeout,
            tell_error=self._terminal.error,
        )

    async def _lead(self, crew: Crew, working: asyncio.Task[None]) -> None:
        """Feed when everybody is there, and wait until everybody has gone."""
        gathering = asyncio.create_task(crew.all_ready())
        await asyncio.wait({gathering, working}, return_when=asyncio.FIRST_COMPLETED)
        gathering.cancel()
        showing = asyncio.create_task(self._show(crew)) if is_shown(self._feed, self._terminal) else None
        try:
            if self._feed is not None and not crew.stopping.is_set():
                await self._give(self._feed, working)
            if self._arguments.until_idle or (self._feed is not None and not self._feed.is_at_end):
                crew.finish()
            await asyncio.wait({working})
        finally:
            if showing is not None:
                showing.cancel()

    async def _give(self, feed: Feed, working: asyncio.Task[None]) -> None:
        """Feed until the end of the feed, or of the crew."""
        feeding = asyncio.create_task(feed.run())
        try:
            await asyncio.wait({working, feeding}, return_when=asyncio.FIRST_COMPLETED)
            feed.stop()
            await asyncio.wait({feeding}, timeout=self._spine.settings.drain_timeout)
        finally:
            feeding.cancel()
            await asyncio.wait({feeding})
        tell_end_of_feed(feed, self._arguments.from_line, self._terminal)
        if not feeding.cancelled():
            feeding.result()

    def _is_well(self) -> bool:
        """Whether no worker is hung; without `--health` they do not say how they are."""
        return self._health is None or self._health.ailment() is None

    def _drain(self, crew: Crew) -> None:
        if self._service is not None:
            self._service.draining()
        if self._feed is not None:
            self._feed.stop()
        crew.stop()

    def _end(self, crew: Crew, signals: Signals) -> int:
        """Tell how it went."""
        feed = self._feed
        if feed is not None and feed.error is None and not feed.is_at_end:
            stopped = "stopped" if signals.first is None else f"stopped by {signals.first.name}"
            self._terminal.note(f"{stopped}: {feed.how_to_go_on}")
        if crew.deaths:
            whose = "its" if crew.deaths == 1 else "their"
            self._terminal.note(f"{counted(crew.deaths, 'worker')} died; {whose} part is missing from these numbers")
        show_report(self._terminal, crew.report, feed, as_json=self._arguments.json)
        return crew.code or exit_code(feed, signals.first, is_cancelled=signals.is_second)

    async def _show(self, crew: Crew) -> None:
        """Show how far it is, again and again."""
        started = time.monotonic()
        while True:
            await asyncio.sleep(self._terminal.refresh)
            text = progress_line(self._feed, *crew.progress, time.monotonic() - started)
            self._terminal.progress(text, None if self._feed is None else self._feed.progress)


def _check(spine: Spine, workers: int) -> None:
    if sys.platform == "win32":
        msg = "--workers needs a POSIX system; start several processes of necrostack run instead"
        raise CommandError(msg, Exit.USAGE)
    if not spine.backend.is_shared:
        msg = (
            f"{workers} workers need a backend that processes share, and with {type(spine.backend).__name__} each "
            "would have events of its own; name another with --backend redis://…, or use --concurrency"
        )
        raise CommandError(msg, Exit.USAGE, setting="workers")


@contextmanager
def _rolling_at_hangup(roll: Callable[[], object], drain: Callable[[], object]) -> Iterator[None]:
    """Roll the workers at SIGHUP, unless it says that the terminal was closed: then drain them."""
    had_terminal = _has_terminal()

    def came() -> None:
        if had_terminal and not _has_terminal():
            drain()  # it comes more than once, from the shell and from the system
        else:
            roll()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, came)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
