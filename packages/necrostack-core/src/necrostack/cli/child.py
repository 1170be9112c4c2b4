"""A worker, seen from its supervisor: a process, and the line to it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Self

from necrostack.cli.messages import Ended, Order, Progress, Ready, Vitals, read
from necrostack.report import RunReport

_LONGEST_MESSAGE = 16 * 1_048_576
"""Bytes. A report has a hundred or so for each Organ."""

_LAST_WORDS = 2.0
"""Seconds that are waited for the end of the line after that of the process: what forked from it may hold it."""


class Child:
    """A process that was started here, and drains when this one is gone.

    Attributes:
        pid: Its process id.
        started_at: When it was started, by the monotonic clock.
        is_ready: Whether it pulls.
        is_orderly: Whether its run came to an end that it could tell of.
        progress: How many deliveries it settled, and how many dead letters came of them, as it told last.
        vitals: How it is, as it told last; None as long as it has not.
        heard_at: When that was, by the monotonic clock.
        report: What it did; None as long as it has not told.
        code: Its exit code as `subprocess` has it, negative for a signal; None while it runs.
        is_over: Whether it has ended, and all that it told was heard.
    """

    def __init__(self, process: asyncio.subprocess.Process, changed: Callable[[], object]) -> None:
        self.pid = process.pid
        self.started_at = time.monotonic()
        self.is_ready = self.is_orderly = False
        self.progress = Progress(settled=0, dead=0)
        self.vitals: Vitals | None = None
        self.heard_at = self.started_at
        self.report: RunReport | None = None
        self.code: int | None = None
        self.is_over = False
        self._process = process
        self._changed = changed

    @classmethod
    async def start(
        cls, command: Sequence[str], environment: Mapping[str, str], line: str, changed: Callable[[], object]
    ) -> Self:
        """Start a process.

        Args:
            command: What is run.
            environment: What is added to the environment.
            line: What it knows this process as: `SUPERVISOR` or `WATCHER`.
            changed: Called whenever one of the attributes has changed.
        """
        ours, theirs = socket.socketpair()
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                env={**os.environ, **environment, line: str(theirs.fileno())},
                pass_fds=[theirs.fileno()],
                # Ctrl-C in a terminal goes to its foreground group: to this process alone, which tells the others.
                start_new_session=True,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        child = cls(process, changed)
        reader, child._writer = await asyncio.open_unix_connection(sock=ours, limit=_LONGEST_MESSAGE)
        child._listening = asyncio.create_task(child._listen(reader))
        return child

    _writer: asyncio.StreamWriter
    _listening: asyncio.Task[None]

    def tell(self, order: Order) -> None:
        """Tell it what to do; nothing happens when it has ended."""
        if not self._writer.is_closing():
            self._writer.write(f"{order}\n".encode())

    def send_signal(self, number: int) -> None:
        """Send it a signal; nothing happens when it has ended."""
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def ended(self) -> int:
        """Wait for its end; return `code`."""
        self.code = await self._process.wait()
        await asyncio.wait({self._listening}, timeout=_LAST_WORDS)
        self._listening.cancel()
        self._writer.close()
        self.is_over = True
        self._changed()
        return self.code

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        with suppress(ConnectionError):
            async for line in reader:
                match read(line):
                    case Ready():
                        self.is_ready = True
                    case Progress() as progress:
                        self.progress = progress
                    case Vitals() as vitals:
                        self.vitals, self.heard_at = vitals, time.monotonic()
                    case Ended(report):
                        self.is_orderly, self.report = True, report
                self._changed()


def command_of(app: str | None, options: Mapping[str, object]) -> list[str]:
    """Write the command that runs APP in a process of its own.

    Args:
        app: APP; None when that process finds it among its settings.
        options: Options by their names in Python; what is None or False is left out.
    """
    words = []
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(option)
        elif value is not None and value is not False:
            words.append(f"{option}={value}")
    # -P: modules of the current folder must not stand in for those of the standard library.
    return [sys.executable, "-P", "-m", "necrostack", "run", *words, *([] if app is None else [app])]


def told(code: int) -> str:
    """Say how a process ended, by the code that `subprocess` has for it."""
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
