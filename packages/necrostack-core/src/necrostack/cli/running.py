"""One run in this process, with its feed, its signals and what is shown of it."""

from __future__ import annotations

import argparse
import asyncio
import time
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext

from necrostack.backend import BackendStats
from necrostack.cli.apps import place_of
from necrostack.cli.failures import Exit
from necrostack.cli.feed import Feed, exit_code
from necrostack.cli.feeding import feed_of, is_shown, progress_line, tell_end_of_feed
from necrostack.cli.health import Alone, Health, served
from necrostack.cli.lines import Source
from necrostack.cli.progress import Watch
from necrostack.cli.service import Service
from necrostack.cli.signals import Signals
from necrostack.cli.summary import show_report
from necrostack.cli.terminal import Terminal, counted
from necrostack.errors import BackendUnavailable, MaxStepsExceeded, NecroStackError, explain
from necrostack.instrumentation import together
from necrostack.memory import InMemoryBackend
from necrostack.report import RunReport
from necrostack.spine import Spine


class Running:
    """One run, with its feed, its signals and what is shown of it.

    Attributes:
        spine: What runs.
    """

    def __init__(
        self,
        spine: Spine,
        source: Source | None,
        arguments: argparse.Namespace,
        terminal: Terminal,
        service: Service | None = None,
    ) -> None:
        self._arguments = arguments
        self._terminal = terminal
        self._service = service
        self._watch = Watch()
        # Watching costs a little for each delivery, so only who needs it pays.
        is_watched = source is not None or terminal.is_watched
        watching = together(self._watch, spine.settings.instrumentation)
        self.spine = spine.with_settings(instrumentation=watching) if is_watched else spine
        self._is_draining = False
        self._health: Health | None = None
        if arguments.health is not None:
            self._health = Health(self.spine, lambda: self._is_draining, arguments.max_stall)
            self.spine = self._health.spine
        # What such a backend holds is gone with this process.
        self._forgets = isinstance(spine.backend, InMemoryBackend)
        self._feed = None if source is None else self._feed_of(source)

    def _feed_of(self, source: Source) -> Feed:
        on_kept = self._watch.began if self._forgets else lambda _: None
        return feed_of(source, self.spine, self._arguments, self._terminal, is_windowed=self._forgets, on_kept=on_kept)

    async def run(self) -> int:
        """Run until idle, stopped or broken, and say how it went."""
        if self._health is None:
            return await self._run()
        async with self._told(self._health):
            return await self._run()

    def _told(self, health: Health) -> AbstractAsyncContextManager[object]:
        """Tell how it is to whoever asks, as long as this is entered."""
        return served(Alone(health), self._arguments.health, self._terminal)

    async def _run(self) -> int:
        without_feed_until_idle = self._arguments.until_idle and self._feed is None
        running = asyncio.create_task(self.spine.run_until_idle() if without_feed_until_idle else self.spine.run())
        showing = asyncio.create_task(self._show()) if is_shown(self._feed, self._terminal) else None
        beating = nullcontext() if self._health is None else self._health.beating()
        served = nullcontext() if self._service is None else self._service.told(self.spine.started, lambda: True)
        with Signals(self._drain, running.cancel) as signals, self._led(running), beating, served:
            try:
                if self._feed is not None:
                    await self._give(self._feed, running)
                await asyncio.wait({running})
            finally:
                # Also when a handler ends the process: what is kept of the feed must be told then, too.
                if showing is not None:
                    showing.cancel()
                code = await self._end(running, signals)
        return code

    def _led(self, running: asyncio.Task[RunReport]) -> AbstractContextManager[object]:
        """Be led by somebody else than signals, as long as this is entered."""
        return nullcontext()

    def _drain(self) -> None:
        """Read no more, and let what is in work come to its end."""
        self._is_draining = True
        if self._service is not None:
            self._service.draining()
        if self._feed is not None:
            self._feed.stop()
        if self._feed is not None and self._forgets:
            # What the feed put into memory would be lost: it is handled, unless that takes too long.
            self.spine.stop_when_idle()
            asyncio.get_running_loop().call_later(self.spine.settings.drain_timeout, self.spine.stop)
        else:
            self.spine.stop()

    async def _give(self, feed: Feed, running: asyncio.Task[RunReport]) -> None:
        """Feed until the end of the feed or of the run."""
        await asyncio.sleep(0)  # the run begins first, so that it can be told to end
        feeding = asyncio.create_task(feed.run())
        try:
            await asyncio.wait({running, feeding}, return_when=asyncio.FIRST_COMPLETED)
            feed.stop()
            await asyncio.wait({feeding}, timeout=self.spine.settings.drain_timeout)
        finally:
            feeding.cancel()
            await asyncio.wait({feeding})
        tell_end_of_feed(feed, self._arguments.from_line, self._terminal)
        if self._arguments.until_idle or not feed.is_at_end:
            self.spine.stop_when_idle()
        if not feeding.cancelled():
            feeding.result()

    # --- the end --------------------------------------------------------------------------------------------

    async def _end(self, running: asyncio.Task[RunReport], signals: Signals) -> int:
        """Tell how it went, and close the backend."""
        if not running.done():
            running.cancel()
            await asyncio.wait({running})
        error = None if running.cancelled() else running.exception()
        report = error.report if isinstance(error, MaxStepsExceeded) else None
        if error is None and not running.cancelled():
            report = running.result()
        if isinstance(error, Exception):
            self._tell_error(error)
        if running.cancelled():
            self._terminal.note("cancelled; what was in work is handed back and not done")
        await self._tell_what_is_left(signals)
        self._show_report(report)
        await self.spine.aclose()
        if error is not None:
            return Exit.NO_BACKEND if isinstance(error, BackendUnavailable) else Exit.FAILED
        return exit_code(self._feed, signals.first, is_cancelled=running.cancelled())

    def _show_report(self, report: RunReport | None) -> None:
        if report is not None:
            show_report(self._terminal, report, self._feed, as_json=self._arguments.json)

    def _tell_error(self, error: Exception) -> None:
        if self._arguments.verbose:
            self._terminal.traceback(error)
        if isinstance(error, NecroStackError):
            self._terminal.error(str(error))
        else:
            notes = "".join(f", {note}" for note in getattr(error, "__notes__", ()))
            self._terminal.error(f"{type(error).__name__}: {explain(error)}{notes}{place_of(error)}")

    async def _tell_what_is_left(self, signals: Signals) -> None:
        """Say what was not done, and how to go on."""
        stopped = "stopped" if signals.first is None else f"stopped by {signals.first.name}"
        left = (await self.spine.backend.admin.stats()) if self._forgets else BackendStats()
        if not left.idle:
            events = left.queued + left.pending + left.scheduled
            lost = f"{stopped}: {counted(events, 'event')} not handled, and gone with this process's memory"
            line = self._watch.first_unfinished()
            more = "" if line is None else f"; --from-line {line} goes on with the first line that was not finished"
            self._terminal.note(f"{lost}{more}")
        elif self._feed is not None and self._feed.error is None and not self._feed.is_at_end:
            self._terminal.note(f"{stopped}: {self._feed.how_to_go_on}")

    # --- progress -------------------------------------------------------------------------------------------

    async def _show(self) -> None:
        """Show how far it is, again and again."""
        started = time.monotonic()
        while True:
            await asyncio.sleep(self._terminal.refresh)
            self._show_progress(self._watch.settled_deliveries, self._watch.dead, time.monotonic() - started)

    def _show_progress(self, settled: int, dead: int, seconds: float) -> None:
        text = progress_line(self._feed, settled, dead, seconds)
        self._terminal.progress(text, None if self._feed is None else self._feed.progress)
