"""`necrostack run`: run a Spine, and feed it."""

from __future__ import annotations

import argparse
import asyncio
import logging
import time
import traceback

from necrostack.backend import BackendStats
from necrostack.cli.apps import load_app, place_of
from necrostack.cli.arguments import add_app, add_backend, add_feed, add_json, seconds, whole_number
from necrostack.cli.failures import CommandError, Exit
from necrostack.cli.feed import ENVELOPE, Feed, exit_code, find_bad_lines, source_of
from necrostack.cli.lines import STDIN, FeedBroken, Source
from necrostack.cli.progress import Watch
from necrostack.cli.signals import Signals
from necrostack.cli.summary import show_report
from necrostack.cli.terminal import Terminal, counted
from necrostack.errors import BackendUnavailable, ConfigurationError, MaxStepsExceeded, NecroStackError
from necrostack.memory import InMemoryBackend
from necrostack.report import RunReport
from necrostack.spine import Spine

REFRESH = 0.2
"""Seconds between two looks at how far it is."""

SHOWN_BAD_LINES = 20
"""How many bad lines `--check` names one by one."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.description = (
        "Run a Spine until SIGTERM or Ctrl-C, which drain it (the second one cancels), or, with --until-idle,"
        " until nothing is left to do."
    )
    add_app(parser)
    add_backend(parser)
    parser.add_argument(
        "--feed",
        metavar="FILE",
        help="enqueue the events in FILE while it runs, one JSON object a line, plain or gzip; - is stdin",
    )
    add_feed(parser)
    parser.add_argument("--check", action="store_true", help="read the whole feed first; end with 6 if a line is bad")
    parser.add_argument(
        "--until-idle", action="store_true", help="end when the feed is at its end and nothing is left to do"
    )
    parser.add_argument("--concurrency", metavar="N", type=whole_number, help="handle N deliveries at once")
    parser.add_argument("--max-steps", metavar="N", type=whole_number, help="end after N deliveries if more come")
    parser.add_argument(
        "--drain-timeout",
        metavar="SECONDS",
        type=seconds,
        help="how long running handlers get after the first signal",
    )
    add_json(parser, "end with the report as one JSON object, the last line on stdout")


def execute(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Run it."""
    if arguments.check and arguments.feed in (None, STDIN):
        msg = "--check reads a feed twice; name a file with --feed FILE"
        raise CommandError(msg, Exit.USAGE)
    spine = _configured(load_app(arguments.app, arguments.backend), arguments)
    source = None if arguments.feed is None else source_of(arguments.feed)
    if arguments.check:
        check(arguments, spine, terminal)
    with terminal.logging(logging.DEBUG if arguments.verbose else logging.INFO):
        return asyncio.run(_Running(spine, source, arguments, terminal).run())


def _configured(spine: Spine, arguments: argparse.Namespace) -> Spine:
    named = {name: getattr(arguments, name) for name in ("concurrency", "max_steps", "drain_timeout")}
    changes = {name: value for name, value in named.items() if value is not None}
    try:
        return spine.with_settings(**changes) if changes else spine
    except ConfigurationError as error:
        raise CommandError(str(error), Exit.USAGE) from error


def check(arguments: argparse.Namespace, spine: Spine, terminal: Terminal) -> None:
    """Read the whole feed, and name its bad lines.

    Raises:
        CommandError: There are some (exit code 6), or the feed cannot be read to its end.
    """
    lines, bad = 0, 0
    try:
        for found in find_bad_lines(
            source_of(arguments.feed), spine.backend.max_event_size + ENVELOPE, arguments.from_line
        ):
            lines += 1
            if found is not None:
                bad += 1
                if bad <= SHOWN_BAD_LINES:
                    terminal.error(f"{arguments.feed}, {found}")
    except FeedBroken as broken:
        msg = f"{arguments.feed}, after {counted(lines, 'event')}: {broken}"
        raise CommandError(msg, Exit.CHECK_FAILED) from broken
    if bad:
        msg = f"{bad} of {counted(lines, 'line')} of {arguments.feed} are no events; nothing was enqueued"
        raise CommandError(msg, Exit.CHECK_FAILED)
    terminal.note(f"{counted(lines, 'line')} of {arguments.feed} checked, nothing is wrong")


class _Running:
    """One run, with its feed, its signals and what is shown of it."""

    def __init__(self, spine: Spine, source: Source | None, arguments: argparse.Namespace, terminal: Terminal) -> None:
        self._arguments = arguments
        self._terminal = terminal
        self._watch = Watch(spine.settings.instrumentation)
        # Watching costs a little for each delivery, so only who needs it pays.
        is_watched = source is not None or terminal.is_watched
        self._spine = spine.with_settings(instrumentation=self._watch) if is_watched else spine
        # What such a backend holds is gone with this process.
        self._forgets = isinstance(spine.backend, InMemoryBackend)
        self._feed = None if source is None else self._feed_of(source)

    def _feed_of(self, source: Source) -> Feed:
        return Feed(
            source,
            self._spine.backend,
            self._spine.emit,
            first_line=self._arguments.from_line,
            skips=self._arguments.on_bad_line == "skip",
            max_outage=self._spine.settings.max_outage,
            is_windowed=self._forgets,
            on_kept=self._watch.began if self._forgets else lambda _: None,
            on_skipped=self._terminal.note,
        )

    async def run(self) -> int:
        """Run until idle, stopped or broken, and say how it went."""
        without_feed_until_idle = self._arguments.until_idle and self._feed is None
        running = asyncio.create_task(self._spine.run_until_idle() if without_feed_until_idle else self._spine.run())
        showing = asyncio.create_task(self._show()) if self._terminal.is_watched else None
        with Signals(self._drain, running.cancel) as signals:
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

    def _drain(self) -> None:
        """Read no more, and let what is in work come to its end."""
        if self._feed is not None:
            self._feed.stop()
        if self._feed is not None and self._forgets:
            # What the feed put into memory would be lost: it is handled, unless that takes too long.
            self._spine.stop_when_idle()
            asyncio.get_running_loop().call_later(self._spine.settings.drain_timeout, self._spine.stop)
        else:
            self._spine.stop()

    async def _give(self, feed: Feed, running: asyncio.Task[RunReport]) -> None:
        """Feed until the end of the feed or of the run."""
        await asyncio.sleep(0)  # the run begins first, so that it can be told to end
        feeding = asyncio.create_task(feed.run())
        try:
            await asyncio.wait({running, feeding}, return_when=asyncio.FIRST_COMPLETED)
            feed.stop()
            await asyncio.wait({feeding}, timeout=self._spine.settings.drain_timeout)
        finally:
            feeding.cancel()
            await asyncio.wait({feeding})
        if feed.error is not None:
            self._terminal.error(f"{feed.error}; {feed.how_to_go_on} when it is mended")
        elif feed.is_at_end and not feed.kept + feed.skipped:
            beginning = self._arguments.from_line
            more = f" from line {beginning} on" if beginning > 1 else ""
            self._terminal.note(f"{feed.source.name} holds no events{more}")
        if self._arguments.until_idle or not feed.is_at_end:
            self._spine.stop_when_idle()
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
        if report is not None:
            show_report(self._terminal, report, self._feed, as_json=self._arguments.json)
        await self._spine.aclose()
        if error is not None:
            return Exit.NO_BACKEND if isinstance(error, BackendUnavailable) else Exit.FAILED
        return exit_code(self._feed, signals.first, is_cancelled=running.cancelled())

    def _tell_error(self, error: Exception) -> None:
        if self._arguments.verbose:
            traceback.print_exception(error)
        if isinstance(error, NecroStackError):
            self._terminal.error(str(error))
        else:
            notes = "".join(f", {note}" for note in getattr(error, "__notes__", ()))
            self._terminal.error(f"{type(error).__name__}: {error}{notes}{place_of(error)}")

    async def _tell_what_is_left(self, signals: Signals) -> None:
        """Say what was not done, and how to go on."""
        stopped = "stopped" if signals.first is None else f"stopped by {signals.first.name}"
        left = (await self._spine.backend.admin.stats()) if self._forgets else BackendStats()
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
            await asyncio.sleep(REFRESH)
            watch, feed = self._watch, self._feed
            rate = watch.settled_deliveries / (time.monotonic() - started)
            parts = [f"{watch.settled_deliveries} handled", f"{rate:.0f}/s"]
            if watch.dead:
                parts.append(counted(watch.dead, "dead letter"))
            if feed is not None:
                parts.insert(0, f"{counted(feed.kept, 'line')} kept")
            self._terminal.status(", ".join(parts), None if feed is None else feed.progress)
