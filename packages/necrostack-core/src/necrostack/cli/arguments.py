"""The arguments of every command, each command's own in its own file, read only when it is called."""

from __future__ import annotations

import argparse
import shutil
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any, NoReturn, Protocol, cast
from uuid import UUID

from necrostack.cli.failures import Exit
from necrostack.cli.printable import printable, without_passwords
from necrostack.cli.terminal import Terminal

COMMANDS: Mapping[str, str] = {
    "run": "run a Spine, and feed it events from a file",
    "emit": "state an event, or a file of events",
    "tail": "write the events that were kept, and those to come",
    "inspect": "show what waits, who works, and where an event is",
    "top": "watch what waits, who works and how fast",
    "dlq": "look at dead letters, and let them go again or away",
    "replay": "deliver history again",
    "doctor": "find what is wrong, and say what to do",
    "graph": "draw who listens to what, and check it",
    "schema": "write the JSON Schema or AsyncAPI document of the event types",
    "new": "make a project that passes its own tests",
    "version": "show the version",
    "completion": "write the completion script of a shell",
}
"""Every command, and what it is for in one line."""

_EPILOG = """\
exit codes:
  0  ok         3  app cannot be imported     6  check failed
  1  failure    4  backend out of reach       7  done in part
  2  usage      5  not found                130  interrupted
  Dead letters alone leave it at 0, as does a graceful stop by SIGTERM.
"""


class Command(Protocol):
    """What the module of a command has."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare its arguments."""

    def execute(self, arguments: argparse.Namespace, terminal: Terminal) -> int:
        """Do it, and return the exit code."""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that says what is wrong in one line, and whose help ends with examples.

    Attributes:
        examples: Commands as they may be typed, each with what it is for.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **settings)
        self.examples: Sequence[tuple[str, str]] = ()

    def format_help(self) -> str:
        """Write the help: how to call it, what it does, its arguments, and examples."""
        self.usage = self.usage or f"%(prog)s [options] {' '.join(_words_of(self))}".rstrip()
        width = shutil.get_terminal_size().columns - 2
        self.description = textwrap.fill(" ".join((self.description or "").split()), width)
        shown = "\n".join(f"  # {purpose}\n  {line}" for line, purpose in self.examples)
        return super().format_help() + (f"\nexamples:\n{shown}\n" if shown else "")

    def error(self, message: str) -> NoReturn:
        """End with exit code 2."""
        told = printable(without_passwords(message))
        self.exit(Exit.USAGE, f"necrostack: error: {told}; see {self.prog} --help\n")


def _words_of(parser: argparse.ArgumentParser) -> Iterator[str]:
    """What is to be said beside options, as usage shows it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield f"{action.metavar} ..."
        elif not action.option_strings:
            word = str(action.metavar or "|".join(action.choices or [action.dest]))
            yield f"[{word}]" if action.nargs == "?" else word


def add_examples(parser: argparse.ArgumentParser, *examples: tuple[str, str]) -> None:
    """Have the help of a command end with examples: each a command as it may be typed, and what it is for."""
    assert isinstance(parser, Parser)
    parser.examples = examples


def build_parser(argv: Sequence[str] | None = None) -> Parser:
    """Make the parser of the command line.

    Args:
        argv: What will be parsed, so that only its command is imported; None imports them all.
    """
    parser = Parser(
        prog="necrostack",
        description="Run, feed and look at NecroStack applications.",
        epilog=_EPILOG,
    )
    add_examples(
        parser,
        ("necrostack new shop", "make a project that passes its own tests"),
        ("necrostack run shop.app --feed orders.ndjson --until-idle", "handle the events in a file, and end"),
        ("necrostack inspect --backend redis://localhost:6379", "look at what waits, and who works"),
        ("necrostack tail --help", "see what a command takes, and examples of it"),
    )
    parser.add_argument("--version", action="store_const", const=True, help="show the version and end")
    parser.set_defaults(execute=_without_command, split=None, verbose=False)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=Parser)
    called = None if argv is None else next((word for word in argv if not word.startswith("-")), "")
    # Imported here: it reads settings as the functions below read arguments.
    from necrostack.cli.settings import announce

    for name, purpose in COMMANDS.items():
        own = commands.add_parser(
            name,
            help=purpose,
            description=f"{purpose[0].upper()}{purpose[1:]}.",
            epilog=_EPILOG,
        )
        if called in (None, name):
            command = cast("Command", import_module(f"necrostack.cli.commands.{name}"))
            command.add_arguments(own)
            _add_verbose(own)
            announce(own)
            own.set_defaults(execute=command.execute)
    return parser


def add_actions(parser: argparse.ArgumentParser) -> Callable[[str, str], Parser]:
    """Give a command actions of its own, such as `dlq list`; return what adds one: its name, and what it is for."""
    actions = parser.add_subparsers(
        title="actions", metavar="ACTION", dest="action", required=True, parser_class=Parser
    )

    def add(name: str, purpose: str) -> Parser:
        own: Parser = actions.add_parser(
            name,
            help=purpose,
            description=f"{purpose[0].upper()}{purpose[1:]}.",
            epilog=_EPILOG,
        )
        # What is said before the action must not be taken back by the default of what may follow it.
        _add_verbose(own, default=argparse.SUPPRESS)
        return own

    return add


def _add_verbose(parser: argparse.ArgumentParser, default: object = False) -> None:
    told = "show whole tracebacks, log each delivery"
    parser.add_argument("-v", "--verbose", action="store_true", default=default, help=told)


def _without_command(arguments: argparse.Namespace, terminal: Terminal) -> int:
    if arguments.version:
        from necrostack.cli.commands import version

        return version.execute(argparse.Namespace(json=False), terminal)
    terminal.error(f"name a command: {', '.join(COMMANDS)}; see necrostack --help")
    return Exit.USAGE


def whole_number(text: str, *, least: int = 1) -> int:
    """Read a number, `least` or more, for argparse."""
    if not (text.isascii() and text.isdecimal() and int(text) >= least):
        msg = f"{text!r} is no whole number, {least} or more"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def seconds(text: str) -> float:
    """Read a number of seconds, 0 or more, for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        msg = f"{text!r} is no number of seconds, 0 or more"
        raise argparse.ArgumentTypeError(msg)
    return value


def stall(text: str) -> float:
    """Read for how many seconds an event loop may be held, for argparse."""
    if (value := seconds(text)) < 0.1:
        msg = f"{text!r} is less than 0.1 seconds, in which nothing can be told"
        raise argparse.ArgumentTypeError(msg)
    return value


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        msg = f"{text!r} is no number over 0"
        raise argparse.ArgumentTypeError(msg)
    return value


def add_rate(parser: argparse.ArgumentParser) -> None:
    """Add `--rate`."""
    parser.add_argument("--rate", metavar="N", type=_rate, help="at most so many a second")


def add_interval(parser: argparse.ArgumentParser, default: float) -> None:
    """Add how often, and how many times, something is looked at. Both are None unless given."""
    told = f"from one look to the next; {default:g} unless given"
    parser.add_argument("--interval", metavar="SECONDS", type=_interval, help=told)
    count = parser.add_mutually_exclusive_group()
    count.add_argument("--count", metavar="N", type=whole_number, help="end after N looks")
    count.add_argument("--once", action="store_const", dest="count", const=1, help="the same as --count 1")


def _interval(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.1 <= value <= 86_400:
        msg = f"{text!r} is no number of seconds, from 0.1 to 86400"
        raise argparse.ArgumentTypeError(msg)
    return value


def event_id(text: str) -> UUID:
    """Read the id of an event, for argparse."""
    try:
        return UUID(text)
    except ValueError as error:
        msg = f"{text!r} is no id of an event, such as 6f1c2b52-0a53-4c5c-9d0e-2b8a1f0f7d11"
        raise argparse.ArgumentTypeError(msg) from error


def add_json(parser: argparse.ArgumentParser, what: str = "write JSON") -> None:
    """Add `--json`."""
    parser.add_argument("--json", action="store_true", help=what)


def add_backend(parser: argparse.ArgumentParser) -> None:
    """Add `--backend`."""
    parser.add_argument("--backend", metavar="URL", help="where events are kept, such as redis://localhost:6379")


def add_app(parser: argparse.ArgumentParser) -> None:
    """Add APP. It may be None, where settings do not name it either: see `apps.load_app`."""
    parser.add_argument(
        "app",
        nargs="?",
        metavar="APP",
        help="module:attribute, a Spine or a function that makes one; the current folder is looked in first",
    )


def add_feed(parser: argparse.ArgumentParser) -> None:
    """Add what `run --feed` and `emit --file` have in common."""
    parser.add_argument(
        "--from-line", metavar="N", type=whole_number, default=1, help="begin with this line (the first is 1)"
    )
    parser.add_argument(
        "--on-bad-line",
        choices=("stop", "skip"),
        default="stop",
        help="at a line that is no event: stop there (exit code 1), or put it into FILE.skipped.ndjson, "
        "go on, and end with exit code 7",
    )
