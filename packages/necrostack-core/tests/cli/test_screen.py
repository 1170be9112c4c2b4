"""The keys that end a view, and what becomes of the terminal."""

from __future__ import annotations

import asyncio
import os
import select
import sys

import pytest

from necrostack.cli.screen import quitting

termios = pytest.importorskip("termios")


@pytest.mark.parametrize(("typed", "quits"), [(b"q", True), (b"Q", True), (b"x", False), (b"\x1b[A", False)])
async def test_q_is_enough_and_the_terminal_reads_as_before(
    typed: bytes, quits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = os.openpty()
    before, enough = termios.tcgetattr(theirs), asyncio.Event()
    with os.fdopen(theirs) as keyboard:
        monkeypatch.setattr(sys, "stdin", keyboard)
        with quitting(enough.set):
            os.write(ours, typed)
            for is_there in (True, False):
                while bool(select.select([keyboard], [], [], 0)[0]) != is_there:  # noqa: ASYNC110 -- nothing tells
                    await asyncio.sleep(0)
        after = termios.tcgetattr(keyboard)
    os.close(ours)

    assert enough.is_set() == quits
    assert after == before


async def test_a_terminal_that_is_closed_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = os.openpty()
    enough = asyncio.Event()
    with os.fdopen(theirs) as keyboard:
        monkeypatch.setattr(sys, "stdin", keyboard)
        with quitting(enough.set):
            os.close(ours)
            await enough.wait()
