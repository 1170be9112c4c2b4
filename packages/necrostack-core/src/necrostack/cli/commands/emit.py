"""`necrostack emit`: state an event, or a file of events."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from necrostack.backend import Backend
from necrostack.cli.apps import backend_of, load_app
from necrostack.cli.arguments import add_backend, add_examples, add_feed, add_json, seconds
from necrostack.cli.failures import CommandError, Exit
from necrostack.cli.feed import Feed, exit_code, source_of
from necrostack.cli.lines import STDIN
from necrostack.cli.logs import logging_as
from necrostack.cli.meter import Meter
from necrostack.cli.signals import Signals
from necrostack.cli.terminal import Terminal, counted
from necrostack.errors import EventError
from necrostack.event import Event, admit
from necrostack.memory import InMemoryBackend

_FORGETS = (
    "nothing was kept: memory:// ends with this process, so events were only checked; name a backend that "
    "lasts with --backend, or give events to a run with necrostack run APP --feed FILE"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.usage = "%(prog)s [options] [APP] TYPE [JSON|@FILE|-]\n       %(prog)s [options] --file EVENTS.ndjson [APP]"
    parser.description = (
        "Check an event, enqueue it, and print its id. APP brings the backend and the declared classes; "
        "without it --backend says where the event goes."
    )
    parser.add_argument(
        "words",
        nargs="*",
        metavar="[APP] TYPE [JSON|@FILE|-]",
        help="the event type, and the payload: a JSON object, a file with one, or stdin; {} unless given",
    )
    add_backend(parser)
    parser.add_argument("--file", metavar="FILE", help="enqueue the events in FILE, one JSON object a line; - is stdin")
    add_feed(parser)
    parser.set_defaults(split=_told_apart)
    parser.add_argument("--delay", metavar="SECONDS", type=seconds, default=0.0, help="deliver it that much later")
    add_json(parser, "print an object for each event instead of its id")
    add_examples(
        parser,
        (
            'necrostack emit shop.app ORDER_PLACED \'{"order_id": "1", "total": 25}\'',
            "one event, checked against its class",
        ),
        (
            "necrostack emit --backend redis://localhost ORDER_PAID @paid.json --delay 60",
            "one whose payload is in a file, delivered in a minute",
        ),
        (
            "zcat orders.ndjson.gz | necrostack emit shop.app --file - --json",
            "a file of events, one JSON object a line",
        ),
    )


def execute(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Enqueue it."""
    if arguments.app is not None:
        backend = load_app(arguments.app, arguments.backend).backend
    else:
        backend = backend_of(arguments.backend or "memory://")
    with logging_as(arguments, terminal):
        if arguments.file is not None:
            return asyncio.run(_emit_file(backend, arguments, terminal))
        event_type, *payload = arguments.words
        event = _event(event_type, _payload(payload[0] if payload else "{}", backend.max_event_size))
        asyncio.run(_emit(backend, event, arguments.delay))
    _show(terminal, event, as_json=arguments.json)
    _warn(terminal, backend)
    return Exit.OK


def _told_apart(arguments: argparse.Namespace) -> tuple[str | None, Sequence[str]]:
    """Split the words into APP and the rest. Of two words the second tells: a payload is {…}, @FILE or -."""
    words: list[str] = arguments.words
    if arguments.file is not None:
        if len(words) > 1:
            msg = f"with --file there is at most an APP, not {' '.join(words)!r}; see emit --help"
            raise CommandError(msg, Exit.USAGE)
        return (words[0] if words else None), ()
    if not words or len(words) > 3:
        msg = "name a TYPE and its payload, [APP] TYPE [JSON|@FILE|-], or --file FILE; see emit --help"
        raise CommandError(msg, Exit.USAGE)
    if len(words) == 1 or (len(words) == 2 and _is_payload(words[1])):
        return None, words
    return words[0], words[1:]


def _is_payload(word: str) -> bool:
    return word == STDIN or word.lstrip().startswith(("{", "@", "[", '"'))


# --- one event ------------------------------------------------------------------------------------------


def _payload(word: str, max_size: int) -> dict[str, Any]:
    """Read the payload from where the word says."""
    if word == STDIN:
        name, data = "the payload on stdin", sys.stdin.buffer.read(max_size + 1)
    elif word.startswith("@"):
        name, data = f"the payload in {word[1:]}", _read(word[1:], max_size + 1)
    else:
        name, data = "the payload", word.encode("utf-8", "surrogateescape")
    if len(data) > max_size:
        msg = f"{name} is longer than the {max_size} bytes that a payload may have"
        raise CommandError(msg)
    try:
        payload = from_json(data)
    except ValueError as error:
        msg = f"{name} is not JSON: {error}"
        raise CommandError(msg, Exit.USAGE) from error
    if not isinstance(payload, dict):
        msg = f'{name} is {json.dumps(payload)[:50]}; it must be a JSON object, such as \'{{"order_id": "1"}}\''
        raise CommandError(msg, Exit.USAGE)
    return payload


def _read(path: str, limit: int) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(limit)
    except FileNotFoundError as error:
        msg = f"there is no file {path!r}"
        raise CommandError(msg, Exit.NOT_FOUND) from error


def _event(event_type: str, payload: dict[str, Any]) -> Event:
    """Make the event, of the class that is declared for its type."""
    try:
        return Event.from_json(json.dumps({"event_type": event_type, "payload": payload}), max_size=sys.maxsize)
    except EventError as error:
        msg = f"{event_type}: {error}"
        raise CommandError(msg) from error


async def _emit(backend: Backend, event: Event, delay: float) -> None:
    async with backend:
        await _keeper(backend, delay)(event)


# --- a file ---------------------------------------------------------------------------------------------


async def _emit_file(backend: Backend, arguments: argparse.Namespace, terminal: Terminal) -> int:
    done = "checked" if isinstance(backend, InMemoryBackend) else "enqueued"
    meter = Meter(terminal, done)

    def show(kept: Sequence[tuple[int, Event]]) -> None:
        for _, event in kept:
            _show(terminal, event, as_json=arguments.json)
        if not sys.stdout.isatty():  # else there are the ids to watch
            meter.at(feed.kept, feed.progress)

    feed = Feed(
        source_of(arguments.file, "file"),
        backend,
        _keeper(backend, arguments.delay),
        first_line=arguments.from_line,
        skips=arguments.on_bad_line == "skip",
        max_outage=0.0,
        on_kept=show,
        on_skipped=terminal.note,
    )
    async with backend:
        feeding = asyncio.create_task(feed.run())
        with Signals(feed.stop, feeding.cancel) as signals:
            await asyncio.wait({feeding})
    if feed.error is not None:
        terminal.error(f"{feed.error}; {feed.how_to_go_on} when it is mended")
    elif not feed.is_at_end:
        terminal.note(f"stopped: {feed.how_to_go_on}")
    else:
        terminal.note(f"{counted(feed.kept, 'line')} of {feed.source.name} {done}")
    _warn(terminal, backend)
    return exit_code(feed, signals.first, is_cancelled=feeding.cancelled())


# --- both -----------------------------------------------------------------------------------------------


def _keeper(backend: Backend, delay: float) -> Callable[..., Awaitable[None]]:
    """What to do with events: enqueue them, or only check them where nobody would ever pull them."""
    if not isinstance(backend, InMemoryBackend):
        return partial(backend.enqueue, delay=delay)

    async def check(*events: Event) -> None:
        for event in events:
            admit(event, backend.max_event_size)

    return check


def _show(terminal: Terminal, event: Event, *, as_json: bool) -> None:
    if as_json:
        terminal.data({"id": str(event.id), "event_type": event.event_type})
    else:
        terminal.text(str(event.id))


def _warn(terminal: Terminal, backend: Backend) -> None:
    if isinstance(backend, InMemoryBackend):
        terminal.note(_FORGETS)
