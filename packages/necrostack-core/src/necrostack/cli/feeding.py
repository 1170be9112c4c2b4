"""Feeding a run: what `--feed` and its kin ask for, and what is said of it."""

from __future__ import annotations

import argparse
from typing import Any

from necrostack.backend import Backend
from necrostack.cli.failures import CommandError, Exit
from necrostack.cli.feed import ENVELOPE, Feed, find_bad_lines, source_of
from necrostack.cli.lines import FeedBroken, Source
from necrostack.cli.meter import Meter, left
from necrostack.cli.terminal import Terminal, counted
from necrostack.spine import Spine

SHOWN_BAD_LINES = 20
"""How many bad lines `--check` names one by one."""


def feed_of(source: Source, spine: Spine, arguments: argparse.Namespace, terminal: Terminal, **more: Any) -> Feed:
    """Make the feed that the arguments ask for."""
    return Feed(
        source,
        spine.backend,
        spine.emit,
        first_line=arguments.from_line,
        skips=arguments.on_bad_line == "skip",
        max_outage=spine.settings.max_outage,
        on_skipped=terminal.note,
        **more,
    )


def check(arguments: argparse.Namespace, backend: Backend, terminal: Terminal) -> None:
    """Read the whole feed, and name its bad lines.

    Raises:
        CommandError: There are some (exit code 6), or the feed cannot be read to its end.
    """
    lines, bad = 0, 0
    source, meter = source_of(arguments.feed), Meter(terminal, "checked")
    try:
        for found in find_bad_lines(source, backend.max_event_size + ENVELOPE, arguments.from_line):
            lines += 1
            meter.at(lines, source.part_read)
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


def tell_end_of_feed(feed: Feed, first_line: int, terminal: Terminal) -> None:
    """Say what was wrong with a feed, or that nothing was in it."""
    if feed.error is not None:
        terminal.error(f"{feed.error}; {feed.how_to_go_on} when it is mended")
    elif feed.is_at_end and not feed.kept + feed.skipped:
        more = f" from line {first_line} on" if first_line > 1 else ""
        terminal.note(f"{feed.source.name} holds no events{more}")


def is_shown(feed: Feed | None, terminal: Terminal) -> bool:
    """Say whether to show how far a run is. Where nobody watches, only what comes to an end is worth a line."""
    return terminal.is_watched or (feed is not None and feed.source.size is not None)


def progress_line(feed: Feed | None, settled: int, dead: int, seconds: float) -> str:
    """Say how far a run is."""
    parts = [f"{settled} handled", f"{settled / seconds:.0f}/s"]
    if dead:
        parts.append(counted(dead, "dead letter"))
    if feed is None:
        return ", ".join(parts)
    return f"{counted(feed.kept, 'line')} kept, {', '.join(parts)}{left(seconds, feed.progress)}"
