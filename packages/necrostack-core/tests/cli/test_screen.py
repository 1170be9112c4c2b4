"""A view that stays in one place: what is drawn, what ends it, and what becomes of the terminal."""

from __future__ import annotations

import asyncio
import io
import os
import select
import signal
import sys
from collections.abc import Sequence

import pytest

from necrostack.cli.looks import Look
from necrostack.cli.screen import Line, quitting
from necrostack.cli.terminal import Terminal
from necrostack.cli.watching import view, watch

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


# --- what is drawn ------------------------------------------------------------------------------------------


class Terminal80(io.StringIO):
    """A terminal of 80 cells and 5 lines."""

    def isatty(self) -> bool:
        return True


def on_screen(monkeypatch: pytest.MonkeyPatch) -> Terminal80:
    screen = Terminal80()
    monkeypatch.setattr(sys, "stdout", screen)
    for name, value in {"TERM": "xterm", "COLUMNS": "80", "LINES": "5"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)
    return screen


def drawn(seen: Look, width: int | None) -> Sequence[Line]:
    return [Line("heads", "heading"), Line(f"{width} cells"), Line("failed", "bad"), Line("\x1b[2J")]


def test_a_view_takes_the_screen_and_gives_it_back(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = on_screen(monkeypatch)

    with view(Terminal(), drawn, lambda seen: {}, as_json=False, redraws=True) as shown:
        shown.show(Look((), ()))
        first = screen.getvalue()
        shown.away(Look((), ()), "away for 3s: " + "connection refused " * 5)

    whole = screen.getvalue()
    assert whole.index("\x1b[?1049h") < whole.index("heads") < whole.index("\x1b[?1049l")
    assert "\x1b[1mheads" in first
    assert "80 cells" in first
    assert "\x1b[31mfailed" in first
    assert "\\x1b[2J" in first
    last = whole[len(first) :]
    assert "\x1b[31maway for 3s: connection refused" in last
    assert "and 3 more lines: make the terminal larger" in last
    assert "\x1b[31mfailed" not in last


def test_without_colour_nothing_is_coloured(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = on_screen(monkeypatch)
    monkeypatch.setenv("NO_COLOR", "1")

    with view(Terminal(), drawn, lambda seen: {}, as_json=False, redraws=True) as shown:
        shown.show(Look((), ()))

    assert "\x1b[31m" not in screen.getvalue()


@pytest.mark.parametrize("lacks", ["rich", "cursor", "terminal"])
def test_where_nothing_can_be_drawn_again_it_is_a_block_of_lines(lacks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = on_screen(monkeypatch)
    match lacks:
        case "rich":
            monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        case "cursor":
            monkeypatch.setenv("TERM", "dumb")
        case _:
            monkeypatch.setattr(screen, "isatty", lambda: False)

    with view(Terminal(), drawn, lambda seen: {}, as_json=False, redraws=True) as shown:
        shown.show(Look((), ()))
        shown.show(Look((), ()))

    block = "heads\nNone cells\nfailed\n\\x1b[2J\n"
    assert screen.getvalue() == f"{block}\n{block}"


async def test_a_look_that_takes_long_is_told_of_and_can_be_left(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    class Shown:
        def show(self, seen: Look) -> None:
            told.append("seen")

        def away(self, seen: Look, what: str) -> None:
            told.append(what)
            os.kill(os.getpid(), signal.SIGTERM)  # as somebody who has seen enough

    async def look(before: Look | None) -> Look:
        if before is not None:
            await asyncio.Event().wait()
        return Look((), ())

    assert await watch(look, Shown(), Terminal(), 0.01, None) == 0

    assert told[0] == "seen"
    assert told[1].startswith("no answer for ")
