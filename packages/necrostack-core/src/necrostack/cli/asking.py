"""Asking before something is done that cannot be taken back."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from necrostack.cli.failures import CommandError, Exit
from necrostack.cli.printable import printable
from necrostack.cli.terminal import Terminal


def add_yes(parser: argparse.ArgumentParser) -> None:
    """Add `--dry-run` and `--yes`."""
    parser.add_argument("--dry-run", action="store_true", help="only show what would be done")
    parser.add_argument("--yes", action="store_true", help="do not ask; needed where nobody can be asked")


def confirm(terminal: Terminal, what: str) -> None:
    """Ask whether to do it.

    Raises:
        CommandError: The answer is no, or there is nobody to ask (exit code 2).
    """
    if not can_ask():
        msg = f"{what}: say --yes to do it where nobody can be asked; nothing was done"
        raise CommandError(msg, Exit.USAGE)
    if not ask(terminal, f"{what}? [y/N] ").startswith("y"):
        msg = "not confirmed; nothing was done"
        raise CommandError(msg)


def can_ask() -> bool:
    """Say whether a person can be asked."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


def ask(terminal: Terminal, question: str) -> str:
    """Ask something on stderr, and return the answer in lower case; empty at the end of stdin."""
    terminal.clear_status()
    with _interruptible():  # before the question is seen, which may be answered by Ctrl-C at once
        sys.stderr.write(f"necrostack: {printable(question)}")
        sys.stderr.flush()
        answer = sys.stdin.readline()
    if not answer:
        sys.stderr.write("\n")
    return answer.strip().lower()


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C end the waiting: under asyncio it would only tell the loop, which has no turn meanwhile."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
