"""An operator's desk: the commands of a page are typed in this process, on a server of the test's own.

A page that shows what a person sees when something is wrong is only worth reading while the commands still print it.
To start a process for each of them would take minutes, so `necrostack …` is called as a function here, a worker
(`necrostack run APP &`) is a thread, and `redis-cli …` is a few bytes on a socket.
"""

from __future__ import annotations

import asyncio
import importlib
import io
import re
import runpy
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from redis_server import Server, command
from test_docs import REDIS, Block, blocks_of, matches, typed_in

from necrostack import Spine
from necrostack.backend import BackendStats
from necrostack.cli import main
from necrostack_redis import RedisBackend

PATIENCE = 20.0

T = TypeVar("T")


@dataclass(frozen=True)
class Section:
    """A chapter of a page: its heading, and what is typed in it.

    Attributes:
        heading: The words after the `#`s.
        level: How many of those there are.
        typed: Each command with what it prints.
        lines: Lines of the log that it shows.
    """

    heading: str
    level: int
    typed: tuple[tuple[str, str], ...]
    lines: tuple[str, ...]


def sections_of(page: Path) -> list[Section]:
    """Read a page: `shell-session` is what is typed, `text` in braces are lines of the log."""
    text = page.read_text("utf-8")
    found = []
    for chapter in re.split(
        r"^(?=#{2,} )", re.sub(r"^# ", "## ", text, count=1, flags=re.MULTILINE), flags=re.MULTILINE
    ):
        if heading := re.match(r"(##+) (.*)\n", chapter):
            sessions = re.findall(r"^```shell-session\n(.*?)^```$", chapter, re.MULTILINE | re.DOTALL)
            logs = re.findall(r"^```text\n(\{\"time\".*?)^```$", chapter, re.MULTILINE | re.DOTALL)
            typed = tuple(each for session in sessions for each in typed_in(session))
            lines = tuple(line for log in logs for line in log.splitlines())
            found.append(Section(heading[2], len(heading[1]) - 1, typed, lines))
    return found


def files_of(page: Path) -> list[Block]:
    """The programs that a page has the reader write."""
    return [block for block in blocks_of(page) if block.file is not None]


# --- what differs from day to day ---------------------------------------------------------------------------

_SPAN = r"\d+(?:\.\d+)?(?:s|m|h|d)(?:\d+(?:s|m|h))?"

DIFFERENT = (
    (r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<id>"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?:[:.\d]*)(?:Z| UTC|\+00:00)", "<time>"),
    (r"\b\d{13}-\d+", "<letter>"),
    (r"[\w.-]+-\d+-[0-9a-f]{8}\b", "<worker>"),
    (r"<worker> +\S+ +\d+ +\d+\.\d+.*$", "<worker> and what it says of itself"),
    (r"^(\w+)(?: +[\d.]+){7}$", r"\1 and what it did lately"),
    (rf"(?<![\w.-]){_SPAN}(?![\w-])", "<span>"),
    (r"\b\d+(?:\.\d+)? s\b", "<seconds> s"),
    (r"\b(?:\d+ of )?\d+(?:\.\d+)? MiB\b", "<size> MiB"),
    (r"\b\d+%", "<part>"),
    (r"^note     necrostack .*$", "note     <versions>"),
    (r"^note     (?:Redis|Valkey) \S+,", "note     <server>,"),
    (r"-{3,}", "---"),
    ("└─", "`-"),
    (r"(?<=\S)  +", "  "),
    (r"[ ]+$", ""),
)
"""What a page shows of one afternoon, and another one has otherwise: ids, times, names of machines, widths."""


def in_general(text: str) -> str:
    r"""Leave out what differs from one time to the next.

    >>> in_general("pending for  worker\n5.2s         vm-14872-38a9e842\n")
    'pending for  worker\n<span>  <worker>\n'
    """
    for pattern, name in DIFFERENT:
        text = re.sub(pattern, name, text, flags=re.MULTILINE)
    return text


# --- a worker ------------------------------------------------------------------------------------------------


class Worker:
    """A run in a thread, as `necrostack run APP &` is one in a process."""

    def __init__(self, spine: Spine) -> None:
        self._spine = spine
        self._loop: asyncio.AbstractEventLoop | None = None
        self._began = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._began.set()
        async with self._spine:
            await self._spine.run()

    def stop(self) -> None:
        """Let it end as by SIGTERM."""
        assert self._began.wait(PATIENCE)
        assert self._loop is not None
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._spine.stop)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the worker does not end"


# --- the desk ------------------------------------------------------------------------------------------------


@dataclass
class Desk:
    """Where the commands are typed.

    Attributes:
        server: The server that the page calls `redis://localhost:6379`.
        folder: The current folder, with the page's programs.
        names: What `$NAME` stands for on the page.
        workers: Those that were started and have not been stopped.
        log: What was logged meanwhile, as JSON.
        is_settled: Until when a worker is waited for, before somebody looks at what it did.
        moves: Whether work goes on while somebody looks, so that counts of two or three digits are of no account.
        code: With what the last command ended.
    """

    server: Server
    folder: Path
    names: dict[str, str] = field(default_factory=dict)
    workers: list[Worker] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    is_settled: Callable[[BackendStats], bool] = lambda stats: stats.queued + stats.pending == 0
    moves: bool = False
    code: int = 0

    def write(self, programs: Sequence[Block]) -> None:
        """Write the programs of the page, for this server."""
        for block in programs:
            assert block.file is not None
            (self.folder / block.file).write_text(self.here(block.text), encoding="utf-8")

    def here(self, text: str) -> str:
        """What a page writes, as it is here."""
        for name, value in self.names.items():
            text = text.replace(f"${name}", value)
        return text.replace(REDIS, self.server.url)

    def type_in(self, typed: str) -> str:
        """Do what was typed, and return what it printed."""
        printed = io.StringIO()
        words = shlex.split(self.here(typed))
        file = words.pop() if ">" in words and words.pop(-2) else None
        with redirect_stdout(printed), redirect_stderr(printed):
            self.code = self._do(words)
        if file is not None:
            (self.folder / file).write_text(printed.getvalue(), encoding="utf-8")
            return ""
        return printed.getvalue().replace(self.server.url, REDIS).replace(self._address, "localhost:6379")

    @property
    def _address(self) -> str:
        return f"127.0.0.1:{self.server.port}"

    def follow(self, typed: Sequence[tuple[str, str]]) -> None:
        """Type one command after the other, and compare what each prints with the page."""
        for number, (line, expected) in enumerate(typed):
            if line == "echo $?":
                assert expected.strip() == str(self.code), f"the exit code is {self.code}, not {expected}"
                continue
            actual = self.type_in(line)
            is_asked = number + 1 < len(typed) and typed[number + 1][0] == "echo $?"
            assert self.code == 0 or is_asked, f"{line!r} ended with {self.code}\n{actual}"
            assert matches(self.in_general(self.unnamed(expected)), self.in_general(actual)), (
                f"{line!r} printed\n{actual}\ninstead of\n{expected}"
            )

    def in_general(self, text: str) -> str:
        """Leave out what differs from one time to the next; where things move, their numbers as well."""
        general = in_general(text)
        if not self.moves:
            return general
        general = re.sub(r"\b[\d.]+/s\b", "<rate>/s", general)
        return re.sub(r"(?<![\w.:<-])[1-9]\d\d?(?![\w.:>-])", "<some>", general)

    def unnamed(self, text: str) -> str:
        """A page may name in its output what it names in its commands."""
        for name, value in self.names.items():
            text = text.replace(f"${name}", value)
        return text

    def _do(self, words: Sequence[str]) -> int:
        match words:
            case ["necrostack", "run", app, "&"]:
                self.start(app)
                return 0
            case ["kill", "%1"]:
                self.workers.pop(0).stop()
                return 0
            case ["necrostack", "inspect" | "top", *_] if self.workers:
                self.wait_for(self.is_settled)
                return main(words[1:])
            case ["necrostack", *arguments]:
                return main(arguments)
            case ["sed", *_]:
                subprocess.run(words, cwd=self.folder, check=True)
                self.forget()
                return 0
            case ["redis-cli", *parts]:
                print(command(self.server.port, *parts).decode().lstrip("+:").strip())
                return 0
            case ["python", file]:
                runpy.run_path(str(self.folder / file), run_name="__main__")
                return 0
        raise AssertionError(f"nobody here knows how to type {words}")

    # --- what goes wrong -----------------------------------------------------------------------------------

    def start(self, app: str) -> None:
        """Start a worker, and wait until it has pulled."""
        module, _, attribute = app.partition(":")
        alive = self.stats().consumers
        self.workers.append(Worker(getattr(importlib.import_module(module), attribute or "spine")()))
        self.wait_for(lambda stats: stats.consumers > alive)

    def stats(self, **settings: Any) -> BackendStats:
        async def ask(backend: RedisBackend) -> BackendStats:
            return await backend.admin.stats()

        return self.do(ask, **settings)

    def do(self, what: Callable[[RedisBackend], Coroutine[object, object, T]], **settings: Any) -> T:
        """Let a backend of the page's app do something."""

        async def done() -> T:
            async with RedisBackend(**{"url": self.server.url, "app": "kiosk", **settings}) as backend:
                return await what(backend)

        return asyncio.run(done())

    def wait_for(self, is_so: Callable[[BackendStats], bool]) -> None:
        """Wait until it is so."""
        deadline = time.monotonic() + PATIENCE
        while not is_so(self.stats()):
            assert time.monotonic() < deadline, f"it does not come to that: {self.stats()}"
            time.sleep(0.1)

    def leave(self) -> None:
        """Stop what was started, and forget the page's programs."""
        while self.workers:
            self.workers.pop().stop()
        self.forget()

    def forget(self) -> None:
        """Let the page's programs be imported anew, as by the next process."""
        for file in self.folder.glob("*.py"):
            sys.modules.pop(file.stem, None)
        importlib.invalidate_caches()
