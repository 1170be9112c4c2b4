"""The line to who started this process: orders wait for their listener, and its end drains."""

from __future__ import annotations

import os
import queue
import signal
import socket
from collections.abc import Iterator

import pytest

from necrostack.cli.lifeline import SUPERVISOR, WATCHER, Lifeline

pytestmark = pytest.mark.skipif(os.name == "nt", reason="workers need a POSIX system")


@pytest.fixture
def starter() -> Iterator[socket.socket]:
    """The upper end of the line; the descriptor of the lower one is in the environment."""
    ours, theirs = socket.socketpair()
    os.environ[SUPERVISOR] = str(theirs.detach())
    with ours:
        yield ours
    os.environ.pop(SUPERVISOR, None)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> queue.SimpleQueue[int]:
    """The signals that this process sends itself, which are not sent."""
    numbers: queue.SimpleQueue[int] = queue.SimpleQueue()
    monkeypatch.setattr(os, "kill", lambda _, number: numbers.put(number))
    return numbers


def line_to_supervisor() -> Lifeline:
    line = Lifeline.to(SUPERVISOR)
    assert line is not None
    line.patience = 3600.0  # a test has ended long before it would be ended by force
    return line


def test_a_process_that_nobody_supervises_has_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(WATCHER, raising=False)

    assert Lifeline.to(WATCHER) is None


def test_what_this_process_starts_has_no_part_in_the_line(starter: socket.socket, sent: queue.SimpleQueue[int]) -> None:
    line_to_supervisor()

    assert SUPERVISOR not in os.environ
    starter.close()
    assert sent.get(timeout=30) == signal.SIGTERM


def test_orders_wait_until_somebody_listens(starter: socket.socket, sent: queue.SimpleQueue[int]) -> None:
    line = line_to_supervisor()
    heard: queue.SimpleQueue[str] = queue.SimpleQueue()

    starter.sendall(b"stop\n")
    line.listen(heard.put)
    starter.sendall(b"cancel\n")

    assert [heard.get(timeout=30) for _ in range(2)] == ["stop", "cancel"]
    starter.close()
    assert sent.get(timeout=30) == signal.SIGTERM


def test_at_its_end_the_process_drains_and_is_ended_by_force_when_that_takes_too_long(
    starter: socket.socket, sent: queue.SimpleQueue[int]
) -> None:
    line = line_to_supervisor()
    line.patience = 0.0

    starter.close()

    assert [sent.get(timeout=30) for _ in range(2)] == [signal.SIGTERM, signal.SIGKILL]


def test_what_is_told_reaches_who_started_it_or_nobody(starter: socket.socket, sent: queue.SimpleQueue[int]) -> None:
    line = line_to_supervisor()

    line.tell(b"hello")
    told = starter.recv(100)
    starter.close()
    sent.get(timeout=30)
    line.tell(b"is anybody there?")

    assert told == b"hello\n"
