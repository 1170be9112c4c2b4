"""Dead letters of the lines of a file, as `dlq export` writes them: all are read before the first is kept."""

from __future__ import annotations

import re
import tempfile
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from types import TracebackType
from typing import Annotated, Any, Final, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, FailFast
from pydantic_core import from_json

from necrostack.backend import Admin
from necrostack.cli.bulk import Choice, Outcome, each
from necrostack.cli.failures import CommandError
from necrostack.cli.feed import BadLine, batches, is_blank, reason_of, source_of, text_of
from necrostack.cli.lines import FeedBroken, Line, LineSplitter
from necrostack.cli.meter import Meter
from necrostack.cli.reading import BackgroundReader
from necrostack.cli.target import Target
from necrostack.cli.terminal import Terminal, counted
from necrostack.cli.times import shown
from necrostack.delivery import Attempt, DeadLetter
from necrostack.errors import EventError, EventTooLarge, explain
from necrostack.event import Event, UtcDatetime, admit

BESIDE: Final = 4 * 1_048_576
"""Bytes that a line may have beside its event: errors, tracebacks, attempts."""

_AT_ONCE = 100
"""How many letters one call keeps."""


class _Attempt(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)

    time: UtcDatetime
    error: str
    delay: float | None


class _Letter(BaseModel):
    """What `facts.letter_facts` writes."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    id: str
    reason: str
    organ: str | None
    error_type: str
    error: str
    traceback: str
    attempts: Annotated[tuple[_Attempt, ...], FailFast()]
    dead_at: UtcDatetime
    redriven_at: UtcDatetime | None
    event: Event | None
    raw: dict[str, Any] | None


def longest_line(max_event_size: int) -> int:
    """How many bytes a line may have. What cannot be read as an event stands there in Base64."""
    return 2 * max_event_size + BESIDE


def read_letter(line: Line, max_event_size: int) -> DeadLetter:
    """Read a line. The event is of the class that is declared for its type, where it is what that class says.

    Raises:
        BadLine: It is no dead letter.
    """
    if line.is_too_long:
        raise BadLine(line, f"it is longer than the {longest_line(max_event_size)} bytes that a line may have")
    data = text_of(line)
    try:
        found = _Letter.model_validate_json(data)
    except ValueError as error:  # pydantic's; before 2.12 it lets a year 0 be refused by datetime itself
        reason = _is_event(data) or reason_of(data, f"this is not a dead letter: {explain(error)}")
        raise BadLine(line, reason) from error
    try:
        event = found.event and admit(found.event, max_event_size)[0]
    except EventTooLarge as error:
        raise BadLine(line, str(error)) from error
    except EventError:
        event = found.event  # as a backend gives it: whoever redrives it is told
    return DeadLetter(
        id=found.id,
        event=event,
        organ=found.organ,
        reason=found.reason,
        error_type=found.error_type,
        error=found.error,
        traceback=found.traceback,
        attempts=tuple(Attempt(attempt.time, attempt.error, attempt.delay) for attempt in found.attempts),
        dead_at=found.dead_at,
        redriven_at=found.redriven_at,
    )


def _is_event(data: bytes) -> str:
    """Say so, if this is an event that stands alone: `dlq export --events` writes such lines."""
    if re.search(rb'"event_type"', data[:1000]) is None:
        return ""
    try:
        found: Any = from_json(data)
    except ValueError:
        return ""
    is_event = isinstance(found, dict) and "event_type" in found
    return "this is an event, not a dead letter; necrostack emit --file enqueues events" if is_event else ""


class Importer:
    """Takes the letters of one file into one backend.

    Attributes:
        found: The letters that can be kept and are not there yet, after `check`.
        problems: Why the others cannot be kept, one sentence each.
    """

    def __init__(self, target: Target, path: str, terminal: Terminal) -> None:
        """Name the file. It is read by `check`.

        Raises:
            CommandError: There is no such file (exit code 5).
        """
        self.found: list[Choice] = []
        self.problems: list[str] = []
        self._admin = target.admin
        self._max_size = target.backend.max_event_size
        self._source = source_of(path, "file")
        self._terminal = terminal
        # What is piped can be read only once, and a file may change meanwhile.
        self._lines = tempfile.TemporaryFile()  # noqa: SIM115 -- closed by __aexit__

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.close()

    async def check(self) -> None:
        """Read the file to its end, and look which of its letters are there already.

        Raises:
            CommandError: A line is no dead letter, or the file cannot be read.
        """
        name, last, present = self._source.name, 0, 0
        known = await _known(self._admin)
        meter = Meter(self._terminal, "checked")
        splitter = LineSplitter(longest_line(self._max_size))
        reader = BackgroundReader(batches(self._source, splitter))
        try:
            while (lines := await reader.next()) is not None:
                for line in lines:
                    if not is_blank(line):
                        present += self._take(line, known)
                    last = line.number
                    meter.at(last, self._source.part_read)
        except (BadLine, FeedBroken) as error:
            where = str(error) if isinstance(error, BadLine) else f"after line {last}: {error}"
            msg = f"{name}, {where}; nothing was imported"
            raise CommandError(msg) from error
        finally:
            reader.close()
        self._terminal.clear_status()
        if present:
            self._terminal.note(f"{counted(present, 'dead letter')} of {name} left out: there already, or redriven")
        elif not self.found and not self.problems:
            self._terminal.note(f"{name} holds no dead letters")

    def _take(self, line: Line, known: set[_Identity]) -> bool:
        """Put a line aside to be kept, or why it cannot be; return whether its letter is there already."""
        letter = read_letter(line, self._max_size)
        if (problem := _problem(letter)) is not None:
            self.problems.append(f"{self._source.name}, line {line.number}: {problem}")
        elif (identity := _identity(letter)) in known:
            return True
        else:
            known.add(identity)
            self.found.append(Choice(f"line {line.number}", letter.organ, ""))
            self._lines.write(text_of(line) + b"\n")
        return False

    async def letters(self) -> AsyncIterator[DeadLetter]:
        """Go through the letters that were found."""
        self._lines.seek(0)
        for number, data in enumerate(self._lines, 1):
            yield read_letter(Line(number=number, data=data), self._max_size)

    async def restore(self) -> Outcome:
        """Keep the letters that were found."""
        letters = self.letters()

        async def restore(lines: Sequence[str]) -> tuple[int, list[str]]:
            await self._admin.restore(*[await anext(letters) for _ in lines])
            return len(lines), []

        outcome = Outcome(len(self.found) + len(self.problems), problems=[*self.problems])
        names = [choice.id for choice in self.found]
        return await each(restore, names, outcome, self._terminal, "imported", _AT_ONCE, None)


_Identity = tuple[UUID, str | None, datetime]


def _identity(letter: DeadLetter) -> _Identity:
    """What one letter has in every place, whatever its id is there."""
    assert letter.event is not None, "a letter without an event is not imported"
    return letter.event.id, letter.organ, letter.dead_at


async def _known(admin: Admin) -> set[_Identity]:
    """Look which letters are there, waiting or redriven: none is to go twice because it was imported twice."""
    return {
        _identity(letter)
        for redriven in (False, True)
        async for letter in admin.dead_letters(redriven=redriven)
        if letter.event is not None
    }


def _problem(letter: DeadLetter) -> str | None:
    if letter.event is None:
        return f"{letter.id} cannot be read as an event, so nobody could handle it; it stays in the file"
    if letter.redriven_at is not None:
        return f"{letter.id} went again, at {shown(letter.redriven_at)}, so it does not wait; it stays in the file"
    return None
