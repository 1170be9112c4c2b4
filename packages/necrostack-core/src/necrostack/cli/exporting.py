"""Dead letters as lines of a file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

from necrostack.cli.facts import event_facts, letter_facts
from necrostack.cli.meter import Meter
from necrostack.cli.printable import json_text
from necrostack.cli.terminal import Terminal, counted
from necrostack.cli.writing import whole_file
from necrostack.delivery import DeadLetter


async def export(
    letters: AsyncIterator[DeadLetter], terminal: Terminal, path: str | None, total: int | None, *, events_only: bool
) -> int:
    """Write letters, or only their events, one JSON object a line; return how many."""
    count = unreadable = 0
    meter = Meter(terminal, "exported", total)
    with _lines(path, terminal) as write:
        async for letter in letters:
            if path is None and not terminal.is_read:
                break
            if not events_only:
                write(json_text(letter_facts(letter)))
            elif letter.event is not None:
                write(json_text(event_facts(letter.event)))
            else:
                unreadable += 1
                continue
            count += 1
            meter.at(count)
    terminal.clear_status()
    if unreadable:
        terminal.note(f"{counted(unreadable, 'dead letter')} left out, of what cannot be read as an event")
    if path is not None:
        terminal.note(f"{counted(count, 'line')} in {path}")
    return count


@contextmanager
def _lines(path: str | None, terminal: Terminal) -> Iterator[Callable[[str], object]]:
    """Write lines to stdout, or to a file that is there only when it is whole."""
    if path is None:
        yield terminal.text
        return
    with whole_file(path, is_private=True) as file:
        yield lambda line: file.write(f"{line}\n".encode())
