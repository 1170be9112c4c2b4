"""`necrostack run`: run a Spine, and feed it."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os

from necrostack.cli.address import listening_address
from necrostack.cli.apps import backend_of, load_app
from necrostack.cli.arguments import (
    add_app,
    add_backend,
    add_examples,
    add_feed,
    add_json,
    seconds,
    stall,
    whole_number,
)
from necrostack.cli.failures import CommandError, Exit
from necrostack.cli.feed import source_of
from necrostack.cli.feeding import check
from necrostack.cli.lifeline import GRACE, SUPERVISOR, WATCHER, Lifeline
from necrostack.cli.lines import STDIN
from necrostack.cli.logs import logging_as
from necrostack.cli.running import Running
from necrostack.cli.service import Service
from necrostack.cli.settings import HANDED_DOWN
from necrostack.cli.supervisor import Supervisor
from necrostack.cli.terminal import Terminal
from necrostack.cli.watcher import Watcher
from necrostack.cli.worker import Worker, among_workers
from necrostack.errors import ConfigurationError
from necrostack.spine import Spine


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
    parser.add_argument(
        "--workers",
        metavar="N",
        type=whole_number,
        help="handle in N processes, and replace those that die; SIGHUP replaces one after the other",
    )
    parser.add_argument("--concurrency", metavar="N", type=whole_number, help="handle N deliveries at once, per worker")
    parser.add_argument(
        "--max-steps", metavar="N", type=whole_number, help="end after N deliveries of a worker if more come"
    )
    parser.add_argument(
        "--drain-timeout",
        metavar="SECONDS",
        type=seconds,
        help="how long running handlers get after the first signal",
    )
    parser.add_argument(
        "--health",
        metavar="HOST:PORT",
        type=listening_address,
        help="tell over HTTP whether it lives (/live) and can work (/ready), and its metrics (/metrics)",
    )
    parser.add_argument(
        "--max-stall",
        metavar="SECONDS",
        type=stall,
        help="how long a handler may hold the event loop until /live fails; 60 unless given",
    )
    parser.add_argument(
        "--reload", action="store_true", help="begin again whenever a Python file under the current folder is saved"
    )
    add_json(parser, "end with the report as one JSON object, the last line on stdout")
    add_examples(
        parser,
        (
            "necrostack run shop.app --backend redis://localhost:6379 --workers 4",
            "work until SIGTERM or Ctrl-C, in four processes",
        ),
        ("necrostack run shop.app --feed orders.ndjson.gz --until-idle", "handle the events in a file, and end"),
        (
            "necrostack run shop.app --feed orders.ndjson --check --until-idle",
            "the same, but only if every line is an event",
        ),
        ("necrostack run shop.app --reload", "begin again whenever a file is saved"),
    )


def execute(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Run it."""
    # First of all: whoever started this process may end while the application is being imported.
    supervisor, watcher = Lifeline.to(SUPERVISOR), Lifeline.to(WATCHER)
    service = Service.of(os.environ)
    # Taken out, as the lines above are: it is for this process alone.
    os.environ.pop(HANDED_DOWN, None)
    if arguments.check and arguments.feed in (None, STDIN):
        msg = "--check reads a feed twice; name a file with --feed FILE"
        raise CommandError(msg, Exit.USAGE)
    if arguments.reload:
        return asyncio.run(Watcher(arguments, terminal).run())
    found = load_app(arguments.app)
    spine = _configured(found, arguments)
    for line in (supervisor, watcher):
        if line is not None:
            line.patience = spine.settings.drain_timeout + 2 * GRACE
    source = None if arguments.feed is None else source_of(arguments.feed)
    if arguments.check:
        check(arguments, spine.backend, terminal)
    with logging_as(arguments, terminal, usual=logging.INFO, tells=supervisor is None):
        if supervisor is not None:
            with among_workers(terminal):
                return _run(Worker(spine, arguments, terminal, supervisor), found)
        if arguments.workers > 1:
            return asyncio.run(Supervisor(spine, source, arguments, terminal, service).run())
        return _run(Running(spine, source, arguments, terminal, service), found)


def _run(running: Running, found: Spine) -> int:
    # Its modules know the Spine that was found, and may stop it, or emit by it.
    with found.running_as(running.spine):
        return asyncio.run(running.run())


def _configured(spine: Spine, arguments: argparse.Namespace) -> Spine:
    named = {name: getattr(arguments, name) for name in ("concurrency", "max_steps", "drain_timeout")}
    changes = {name: value for name, value in named.items() if value is not None}
    if arguments.backend is not None:
        spine = spine.with_backend(backend_of(arguments.backend))
    try:
        return spine.with_settings(**changes) if changes else spine
    except ConfigurationError as error:
        raise CommandError(str(error), Exit.USAGE) from error
