"""What a service manager hears of a run."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from necrostack.cli.service import Service

if TYPE_CHECKING:
    from cli.conftest import Run

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="systemd is on Linux")

APP = '''\
import asyncio
import os
import signal
import time

from necrostack import Event, Organ, Spine


class Waits(Organ):
    """Drains when the run has told that it lives."""

    listens_to = ["NOTHING"]

    def handle(self, event: Event) -> None: ...

    async def startup(self) -> None:
        assert "NOTIFY_SOCKET" not in os.environ
        asyncio.get_running_loop().call_later(0.1, signal.raise_signal, signal.SIGTERM)


spine = Spine([Waits()])
'''


@pytest.fixture
def heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[str]]]:
    """What a service manager has heard, oldest first. It is in the environment."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        monkeypatch.chdir(tmp_path)  # a whole path may be too long for a socket
        manager.bind("notify")
        manager.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", "notify")

        def words() -> list[str]:
            found = []
            while True:
                try:
                    found.append(manager.recv(1000).decode())
                except BlockingIOError:
                    return found

        yield words


def test_a_run_tells_that_it_is_ready_lives_and_drains(
    necrostack: Run, folder: Path, heard: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "cli_served.py").write_text(APP)
    monkeypatch.setenv("WATCHDOG_USEC", "150000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))

    ended = necrostack("run", "cli_served:spine")

    ready, *others = heard()
    assert (ended.code, ready) == (0, "READY=1")
    assert others.count("STOPPING=1") == 1
    assert {*others} == {"WATCHDOG=1", "STOPPING=1"}


def test_nobody_is_told_who_does_not_ask() -> None:
    assert Service.of({}) is None


def test_a_watchdog_of_another_process_is_not_fed(heard: Callable[[], list[str]]) -> None:
    environment = {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1", "else": "kept"}

    service = Service.of(environment)

    assert service is not None
    assert service._watchdog is None
    assert environment == {"else": "kept"}


def test_who_cannot_be_told_holds_up_nothing(tmp_path: Path) -> None:
    Service(str(tmp_path / "nowhere"), None).draining()


@pytest.mark.skipif(os.uname().sysname != "Linux", reason="abstract names are Linux's")
def test_an_abstract_name_is_told() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0necrostack-test-{os.getpid()}")

        Service(f"@necrostack-test-{os.getpid()}", None).tell("READY=1")

        assert manager.recv(100) == b"READY=1"


async def test_who_is_not_well_is_not_fed(heard: Callable[[], list[str]]) -> None:
    service = Service("notify", 0.003)
    looks = 0
    has_looked = asyncio.Event()

    async def ready() -> None: ...

    def is_well() -> bool:
        nonlocal looks
        looks += 1
        if looks == 5:
            has_looked.set()
        return looks == 1

    with service.told(ready, is_well):
        await has_looked.wait()

    assert heard() == ["READY=1", "WATCHDOG=1"]
