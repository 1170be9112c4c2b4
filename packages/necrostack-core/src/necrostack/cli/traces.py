"""Where an event is, and what it led to."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from necrostack.backend import Admin, PendingDelivery, ScheduledDelivery
from necrostack.cli.columns import hanging
from necrostack.cli.facts import event_facts, letter_facts, pending_facts, scheduled_facts
from necrostack.cli.letters import why
from necrostack.cli.meter import Meter
from necrostack.cli.printable import json_text, printable
from necrostack.cli.terminal import Terminal
from necrostack.cli.times import shown, span
from necrostack.delivery import DeadLetter
from necrostack.event import Event


@dataclass(slots=True)
class Trace:
    """What is known of an event.

    Attributes:
        event: It.
        kept: When it was kept, for each time that it stands in the history.
        pending: Its deliveries that are pulled and not settled.
        scheduled: Its deliveries that are due later.
        letters: Its dead letters, those that went again too.
    """

    event: Event
    kept: list[datetime] = field(default_factory=list)
    pending: list[PendingDelivery] = field(default_factory=list)
    scheduled: list[ScheduledDelivery] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)


async def traces(
    admin: Admin, terminal: Terminal, *, event: UUID | None = None, chain: UUID | None = None
) -> dict[UUID, Trace]:
    """Find one event, or all of a chain, wherever they are: in the order in which they were kept."""
    found: dict[UUID, Trace] = {}
    meter, looked_at = Meter(terminal, "events looked at", (await admin.stats()).history), 0

    def trace_of(seen: Event | None) -> Trace | None:
        if (
            seen is None
            or (event is not None and seen.id != event)
            or (chain is not None and seen.correlation_id != chain)
        ):
            return None
        return found.setdefault(seen.id, Trace(seen))

    async for kept in admin.kept(ids=None if event is None else [event]):
        looked_at += 1
        meter.at(looked_at)
        if (trace := trace_of(kept.event)) is not None:
            trace.kept.append(kept.kept_at)
    async for pending in admin.pending():
        if (trace := trace_of(pending.event)) is not None:
            trace.pending.append(pending)
    async for scheduled in admin.scheduled():
        if (trace := trace_of(scheduled.event)) is not None:
            trace.scheduled.append(scheduled)
    for redriven in (False, True):
        async for letter in admin.dead_letters(redriven=redriven):
            if (trace := trace_of(letter.event)) is not None:
                trace.letters.append(letter)
    terminal.clear_status()
    return found


def trace_facts(trace: Trace) -> dict[str, Any]:
    """A trace as JSON-compatible values."""
    return {
        "event": event_facts(trace.event),
        "kept": [moment.isoformat() for moment in trace.kept],
        "pending": [pending_facts(pending) for pending in trace.pending],
        "scheduled": [scheduled_facts(scheduled) for scheduled in trace.scheduled],
        "dead_letters": [letter_facts(letter) for letter in trace.letters],
    }


# --- one event ------------------------------------------------------------------------------------------


def show_trace(trace: Trace, terminal: Terminal) -> None:
    """Write all that is known of an event."""
    event = trace.event
    lines = [
        f"event {event.id}",
        f"  event type   {printable(event.event_type)}",
        f"  made         {shown(event.timestamp)}",
        f"  chain        {event.correlation_id}, {event.hops} from its root",
        f"  came of      {event.causation_id or '-'}",
        *(f"  header       {printable(name)}: {printable(value)}" for name, value in event.headers.items()),
        *(f"  kept         {moment}" for moment in _kept(trace)),
        *(hanging(state, "  ", "    ") for state in _states(trace)),
    ]
    if not trace.pending and not trace.scheduled and not trace.letters:
        lines.append("  neither pending, nor due later, nor a dead letter: it was handled, or waits to be pulled")
    payload = json_text(event_facts(event)["payload"], indent=2)
    terminal.text("\n".join([*lines, "", "payload", *(f"  {line}" for line in payload.splitlines())]))


def _kept(trace: Trace) -> list[str]:
    if trace.kept:
        return [shown(moment) for moment in trace.kept]
    is_delayed = any(scheduled.attempt == 1 for scheduled in trace.scheduled)
    return ["not yet: it is delayed" if is_delayed else "not in the history any more"]


def _states(trace: Trace) -> Iterator[str]:
    for pending in trace.pending:
        to = "" if pending.organs is None else f" for {', '.join(pending.organs)}"
        yield printable(f"pending for {span(pending.idle)}, attempt {pending.attempt}{to}, with {pending.consumer}")
    for scheduled in trace.scheduled:
        to = "" if scheduled.organs is None else f" for {', '.join(scheduled.organs)}"
        yield printable(f"due          {shown(scheduled.due)}, attempt {scheduled.attempt}{to}")
    for letter in trace.letters:
        again = "" if letter.redriven_at is None else f", went again {shown(letter.redriven_at)}"
        yield printable(f"dead letter {letter.id} of {letter.organ or 'no Organ'}: {why(letter)}{again}")


# --- a chain --------------------------------------------------------------------------------------------


def show_chain(found: dict[UUID, Trace], terminal: Terminal) -> None:
    """Write what led to what, as a tree."""
    children: dict[UUID | None, list[Trace]] = {}
    for trace in found.values():
        cause = trace.event.causation_id
        children.setdefault(cause if cause in found else None, []).append(trace)
    begin = min(trace.event.timestamp for trace in found.values())
    branch, last_branch, trunk = ("├─ ", "└─ ", "│  ") if _can_draw() else ("|- ", "`- ", "|  ")
    # By hand: a chain may be longer than Python calls deep.
    waiting = [(trace, "", "") for trace in reversed(children.get(None, []))]
    while waiting:
        trace, own, below = waiting.pop()
        terminal.text(f"{own}{_summary(trace, begin, is_known=trace.event.causation_id in found)}")
        for state in _states(trace):
            begin_of_line = f"{below}{trunk if trace.event.id in children else '   '}  "
            terminal.text(hanging(state, begin_of_line, f"{begin_of_line}  "))
        following = children.pop(trace.event.id, [])
        for number, child in reversed([*enumerate(following, 1)]):
            is_last = number == len(following)
            waiting.append((child, below + (last_branch if is_last else branch), below + ("   " if is_last else trunk)))


def _summary(trace: Trace, begin: datetime, *, is_known: bool) -> str:
    event = trace.event
    after = (event.timestamp - begin).total_seconds()
    told = f"{printable(event.event_type)}  {event.id}  {f'+{after:.3f}s' if after else shown(event.timestamp)}"
    return told if is_known or event.causation_id is None else f"{told}  (what it came of is not kept any more)"


def _can_draw() -> bool:
    try:
        "├─└│".encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
