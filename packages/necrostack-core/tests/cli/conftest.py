"""What the tests of the command line share: an application to name, and a way to call `main`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from necrostack import Event, InMemoryBackend, Spine
from necrostack.backend import Admin, Backend
from necrostack.cli import main
from necrostack.delivery import Delivery, Settlement

APP = """\
from typing import Literal

from pydantic import BaseModel

from necrostack import Event, InMemoryBackend, Organ, Spine


class Count(BaseModel, frozen=True):
    n: int


class Counted(Event):
    event_type: Literal["CLI_COUNTED"] = "CLI_COUNTED"
    payload: Count


class Doubled(Event):
    event_type: Literal["CLI_DOUBLED"] = "CLI_DOUBLED"
    payload: Count


class Doubler(Organ[Counted]):
    listens_to = [Counted]

    async def handle(self, event: Counted) -> Doubled:
        if event.payload.n < 0:
            raise ValueError("a negative count")
        return Doubled(payload=Count(n=2 * event.payload.n))


class Printer(Organ[Doubled]):
    listens_to = [Doubled]

    def handle(self, event: Doubled) -> None:
        print("doubled", event.payload.n)


def spine() -> Spine:
    return Spine([Doubler(), Printer()])
"""


@dataclass(frozen=True)
class Ended:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def told(self) -> list[str]:
        """The lines on stderr that are no log."""
        return [line for line in self.err.splitlines() if not line.startswith("{")]


class Lasting(Backend):
    """A backend that outlives the command: what it holds is held by the test."""

    def __init__(self) -> None:
        self.inner = InMemoryBackend(history=2000)

    @property
    def admin(self) -> Admin:
        return self.inner.admin

    async def enqueue(self, *events: Event, delay: float = 0.0) -> None:
        await self.inner.enqueue(*events, delay=delay)

    async def pull(self, *, limit: int = 1, timeout: float = 1.0) -> Sequence[Delivery]:
        return await self.inner.pull(limit=limit, timeout=timeout)

    async def settle(self, *settlements: Settlement) -> Sequence[bool]:
        return await self.inner.settle(*settlements)

    async def release(self, *deliveries: Delivery) -> None:
        await self.inner.release(*deliveries)

    async def aclose(self) -> None:
        pass


Run = Callable[..., Ended]
Write = Callable[..., str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working folder. What is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    known = {*sys.modules}
    yield tmp_path
    for name in {*sys.modules} - known:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def app(folder: Path) -> str:
    """APP of a small application: what it counts is doubled and printed, and negative counts fail."""
    (folder / "cli_counting.py").write_text(APP)
    return "cli_counting"


@pytest.fixture
def necrostack(capsys: pytest.CaptureFixture[str]) -> Run:
    """Calls the command line in this process."""

    def run(*argv: str) -> Ended:
        capsys.readouterr()
        code = main(argv)
        out, err = capsys.readouterr()
        return Ended(code, out, err)

    return run


@pytest.fixture
def write(folder: Path) -> Write:
    """Writes a feed of counts, or of lines as they are given, and returns its name."""

    def write_lines(*lines: int | str | bytes, name: str = "counts.ndjson") -> str:
        (folder / name).write_bytes(b"\n".join(map(as_line, lines)))
        return name

    return write_lines


def as_line(line: int | str | bytes) -> bytes:
    """A line of a feed: a count as its event, anything else as it is."""
    if isinstance(line, int):
        return b'{"event_type": "CLI_COUNTED", "payload": {"n": %d}}' % line
    return line.encode() if isinstance(line, str) else line


@pytest.fixture
def lasting(monkeypatch: pytest.MonkeyPatch) -> Lasting:
    """What `--backend lasting://` names."""
    backend = Lasting()
    monkeypatch.setattr("necrostack.cli.apps.open_backend", lambda url: backend)
    return backend


@pytest.fixture
def handled(app: str, lasting: Lasting, capsys: pytest.CaptureFixture[str]) -> Callable[..., None]:
    """Lets the small application handle counts, on what `--backend lasting://` names."""

    def handle(*counts: int) -> None:
        from necrostack.cli.apps import load_app

        spine: Spine = load_app(app, "lasting://")
        events = [Event(event_type="CLI_COUNTED", payload={"n": count}) for count in counts]
        asyncio.run(spine.run_until_idle(*events))
        capsys.readouterr()

    return handle
