"""Looking at a backend again and again, until somebody has seen enough."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, Protocol, TypeVar

from necrostack.cli.failures import Exit
from necrostack.cli.looks import Look
from necrostack.cli.screen import Line, Screen, can_redraw, quitting, wrapped
from necrostack.cli.terminal import Terminal
from necrostack.cli.times import shown, span
from necrostack.patience import TROUBLE

LookT = TypeVar("LookT", bound=Look)
SeenT = TypeVar("SeenT", bound=Look, contravariant=True)

INTERVAL = 2.0
"""Seconds between two looks unless somebody says otherwise: as often as workers say what they do."""

Draw = Callable[[LookT, int | None], Sequence[Line]]
"""Writes what was seen in lines of so many cells; None for as long as they are."""

Facts = Callable[[LookT], Mapping[str, Any]]
"""Writes what was seen as JSON-compatible values."""


class View(Protocol[SeenT]):
    """Where it is shown."""

    def show(self, seen: SeenT) -> None:
        """Show what was seen."""

    def away(self, seen: SeenT, told: str) -> None:
        """Show that nothing can be seen now, and what was seen last."""


async def watch(
    look: Callable[[LookT | None], Awaitable[LookT]],
    view: View[LookT],
    terminal: Terminal,
    interval: float,
    count: int | None,
) -> int:
    """Show what a backend holds, again and again. One that goes away is waited for.

    Args:
        look: Looks at it, given what was seen before.
        view: Where to show it.
        terminal: Whose stdout it is.
        interval: Seconds from one look to the next.
        count: How many looks; None until somebody ends it.

    Returns:
        The exit code.

    Raises:
        BackendUnavailable: It was out of reach from the first look on.
    """
    enough = asyncio.Event()
    with quitting(enough.set):
        await _Watching(look, view, interval, enough).go_on(terminal, count)
    return Exit.OK


class _Watching(Generic[LookT]):
    def __init__(
        self,
        look: Callable[[LookT | None], Awaitable[LookT]],
        view: View[LookT],
        interval: float,
        enough: asyncio.Event,
    ) -> None:
        self._look_at = look
        self._view = view
        self._interval = interval
        self._enough = enough
        self._seen: LookT | None = None
        self._away_since: float | None = None

    async def go_on(self, terminal: Terminal, count: int | None) -> None:
        looks = 0
        while terminal.is_read and not self._enough.is_set():
            begun = time.monotonic()
            looks += await self._look()
            if looks == count:
                return
            await self._has_enough(begun + self._interval - time.monotonic())

    async def _look(self) -> bool:
        """Look once and show it; return whether anything was seen."""
        begun, looking = time.monotonic(), asyncio.ensure_future(self._look_at(self._seen))
        try:
            while not looking.done():
                if await self._has_enough(self._interval, looking):
                    return False
                if not looking.done() and self._seen is not None:
                    self._view.away(self._seen, f"no answer for {span(time.monotonic() - begun)}")
            self._seen, self._away_since = looking.result(), None
        except TROUBLE as error:
            if self._seen is None:
                raise
            self._away_since = begun if self._away_since is None else self._away_since
            self._view.away(
                self._seen, f"away for {span(time.monotonic() - self._away_since)}: {error}; waiting for it"
            )
            return False
        finally:
            looking.cancel()
        self._view.show(self._seen)
        return True

    async def _has_enough(self, seconds: float, *others: asyncio.Future[Any]) -> bool:
        """Wait until somebody has seen enough, something else is done, or the time is up."""
        enough = asyncio.ensure_future(self._enough.wait())
        try:
            await asyncio.wait({enough, *others}, timeout=max(seconds, 0), return_when=asyncio.FIRST_COMPLETED)
            return enough.done()
        finally:
            enough.cancel()


@contextmanager
def view(
    terminal: Terminal, draw: Draw[LookT], facts: Facts[LookT], *, as_json: bool, redraws: bool
) -> Iterator[View[LookT]]:
    """Choose where it is shown: as objects, in the whole terminal where that can be, or as a block for each look."""
    if as_json:
        yield _Objects(terminal, facts)
    elif redraws and can_redraw():
        with Screen() as screen:
            yield _Redrawn(screen, draw)
    else:
        yield _Blocks(terminal, draw)


@dataclass
class _Objects(Generic[LookT]):
    """A JSON object for each look, one a line."""

    terminal: Terminal
    facts: Facts[LookT]

    def show(self, seen: LookT) -> None:
        self.terminal.data({"time": shown(seen.time), **self.facts(seen)})

    def away(self, seen: LookT, told: str) -> None:
        self.terminal.data({"time": shown(datetime.now(UTC)), "error": told})


@dataclass
class _Blocks(Generic[LookT]):
    """Plain lines, a block for each look."""

    terminal: Terminal
    draw: Draw[LookT]
    is_first: bool = True
    is_away: bool = False

    def show(self, seen: LookT) -> None:
        lines = "\n".join(line.text.rstrip() for line in self.draw(seen, None))
        self.terminal.text(lines if self.is_first else f"\n{lines}")
        self.is_first = self.is_away = False

    def away(self, seen: LookT, told: str) -> None:
        if not self.is_away:
            self.terminal.note(told)
        self.is_away = True


@dataclass
class _Redrawn(Generic[LookT]):
    """Always in the same place."""

    screen: Screen
    draw: Draw[LookT]

    def show(self, seen: LookT) -> None:
        self.screen.show(self.draw(seen, self.screen.width))

    def away(self, seen: LookT, told: str) -> None:
        width = self.screen.width
        last = [Line(line.text, "quiet") for line in self.draw(seen, width)]
        self.screen.show([*(Line(part, "bad") for part in wrapped(told, width)), Line(""), *last])
