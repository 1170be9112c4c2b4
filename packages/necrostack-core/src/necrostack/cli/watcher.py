"""`run --reload`: a run in a process of its own, started again whenever a source file was saved."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from necrostack.cli.child import Child, command_of, told
from necrostack.cli.failures import CommandError, Exit
from necrostack.cli.lifeline import GRACE, WATCHER
from necrostack.cli.lines import STDIN
from necrostack.cli.settings import flags_of
from necrostack.cli.signals import Signals
from necrostack.cli.terminal import Terminal

POLL = 0.5
"""Seconds between two looks at the files."""

_OPTIONS = (
    "backend",
    "feed",
    "from_line",
    "on_bad_line",
    "check",
    "until_idle",
    "workers",
    "concurrency",
    "max_steps",
    "drain_timeout",
    "health",
    "max_stall",
    "log_format",
    "log_level",
    "log_repeats",
    "json",
    "verbose",
)
_DRAIN_TIMEOUT = 20.0
"""Seconds, unless the command line names others: what the application says cannot be known here."""

Files = Mapping[str, tuple[int, int]]
"""Source files, and of each when it was changed, in nanoseconds, and how long it is."""


class Watcher:
    """Runs a command, and again when a file was saved. It imports nothing of the application: that may be broken."""

    def __init__(self, arguments: argparse.Namespace, terminal: Terminal) -> None:
        """Make it ready to watch the current folder.

        Raises:
            CommandError: That is not possible here (exit code 2).
        """
        if sys.platform == "win32":
            msg = "--reload needs a POSIX system"
            raise CommandError(msg, Exit.USAGE)
        if arguments.feed == STDIN:
            msg = "--reload feeds again at each start, and stdin can be read once; name a file with --feed FILE"
            raise CommandError(msg, Exit.USAGE)
        self._command = command_of(*flags_of(arguments, _OPTIONS))
        named = arguments.drain_timeout
        self._deadline = (_DRAIN_TIMEOUT if named is None else named) + GRACE
        self._terminal = terminal
        terminal.shares_status = terminal.is_watched
        self._child: Child | None = None
        self._stopping = asyncio.Event()

    async def run(self) -> int:
        """Watch until stopped; return the exit code of what ran then."""
        files = find_files(Path.cwd())
        with Signals(self._stop, self._stop, is_loop_free=True) as signals:
            while True:
                child = self._child = await Child.start(self._command, {}, WATCHER, lambda: None)
                if self._stopping.is_set():
                    self._stop()
                files = await self._run_until_saved(child, files)
                if self._stopping.is_set():
                    break
        if signals.first is signal.SIGINT:
            return Exit.INTERRUPTED
        return max(child.code or 0, Exit.OK)

    async def _run_until_saved(self, child: Child, files: Files) -> Files:
        """Let it run until a file was saved, or all is over; return the files as they are then."""
        ending = asyncio.create_task(child.ended())
        saving = asyncio.create_task(wait_for_change(Path.cwd(), files))
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({ending, saving, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if ending.done() and not self._stopping.is_set():
                self._terminal.note(f"the run {told(ending.result())}; it begins again when a file is saved")
                await asyncio.wait({saving, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if saving.done() and not self._stopping.is_set():
                files, name = saving.result()
                self._terminal.note(f"{name} was saved; the run begins again")
                child.send_signal(signal.SIGTERM)
                await asyncio.wait({ending, stopping}, timeout=self._deadline, return_when=asyncio.FIRST_COMPLETED)
                if not ending.done() and not self._stopping.is_set():
                    child.send_signal(signal.SIGTERM)  # the second one cancels
            await ending
        finally:
            saving.cancel()
            stopping.cancel()
        return files

    def _stop(self) -> None:
        """Hand a signal on: the first drains, the second cancels."""
        self._stopping.set()
        if self._child is not None and self._child.code is None:
            self._child.send_signal(signal.SIGTERM)


async def wait_for_change(folder: Path, files: Files) -> tuple[Files, str]:
    """Wait until source files have changed, and for a moment nothing more; return them, and the name of one."""
    now = files
    while now == files:
        await asyncio.sleep(POLL)
        now = find_files(folder)
    while True:
        await asyncio.sleep(POLL)
        before, now = now, find_files(folder)
        if now == before:
            changed = sorted(name for name, _ in {*now.items()} ^ {*files.items()})
            return now, changed[0] if changed else "a file"


def find_files(folder: Path) -> Files:
    """Find the Python files in a folder and under it, but for hidden folders and virtual environments."""
    found: dict[str, tuple[int, int]] = {}
    for place, folders, names in os.walk(folder):
        if "pyvenv.cfg" in names:
            folders.clear()
            continue
        folders[:] = [name for name in folders if not name.startswith((".", "__pycache__", "node_modules"))]
        for name in names:
            if name.endswith(".py"):
                path = Path(place, name)
                with suppress(OSError):  # saved by way of another name, or gone meanwhile
                    facts = path.stat()
                    found[str(path.relative_to(folder))] = (facts.st_mtime_ns, facts.st_size)
    return found
