"""From arguments to a command, and from whatever it raises to an exit code."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from necrostack.cli.arguments import build_parser
from necrostack.cli.failures import CommandError, Exit
from necrostack.cli.settings import HANDED_DOWN, Settings, settle
from necrostack.cli.terminal import Terminal, quiet_pipes
from necrostack.errors import BackendUnavailable, NecroStackError, explain


def dispatch(argv: Sequence[str] | None) -> int:
    """Run the command that the arguments name, and return its exit code."""
    with quiet_pipes():
        try:
            arguments = build_parser(sys.argv[1:] if argv is None else argv).parse_args(argv)
        except SystemExit as ended:  # argparse has printed what there is to say
            return int(ended.code or 0)
        return _execute(arguments)


def _execute(arguments: argparse.Namespace) -> int:
    terminal = Terminal()
    arguments.settings = Settings()
    try:
        if arguments.split is not None:
            arguments.app, arguments.words = arguments.split(arguments)
        arguments.settings = settle(arguments, Path.cwd(), os.environ)
        # One process says it: a supervisor, not each of its workers; what is watched, not its watcher.
        if arguments.verbose and HANDED_DOWN not in os.environ and not getattr(arguments, "reload", False):
            for line in arguments.settings.told():
                terminal.note(line)
        return int(arguments.execute(arguments, terminal))
    except KeyboardInterrupt:
        terminal.interrupted()
        return Exit.INTERRUPTED
    except Exception as error:  # noqa: BLE001 -- whatever it is, a user gets one line and an exit code
        code, message = _told(error)
        if isinstance(error, CommandError) and error.setting is not None:
            message = arguments.settings.placed(error.setting, message)
        if arguments.verbose:
            terminal.traceback(error)
        terminal.error(message)
        return code


def _told(error: Exception) -> tuple[Exit, str]:
    """The exit code and the line for an error."""
    if isinstance(error, CommandError):
        return error.code, str(error)
    if isinstance(error, BackendUnavailable):
        return Exit.NO_BACKEND, str(error)
    if isinstance(error, ConnectionError):
        return Exit.NO_BACKEND, f"the backend is out of reach: {error}"
    if isinstance(error, NecroStackError):
        return Exit.FAILED, str(error)
    if isinstance(error, OSError):
        return Exit.FAILED, str(error)
    return Exit.FAILED, f"{type(error).__name__}: {explain(error)} (-v shows where)"
