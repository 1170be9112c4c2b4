"""What there is at one instant, on the server and in its workers, as one frozen `State`, and how it changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

EVENTS, INBOX = 1, 2

Entry = tuple[int, int]
"""An entry of a stream: which stream, and its number there."""

NOTHING: Entry = (0, 0)

Call = tuple[Any, ...]
"""A script and what it is given."""

NAMES = ("Ada", "Bob", "Cyd")


class Worker(NamedTuple):
    """A worker: what the server keeps for it, and what its process knows. All that is its own, so they can be swapped.

    Attributes:
        lease: "runs", "ended", or "none": the server knows of no such worker.
        holds: What is pending with it.
        settled: What its last calls ended, kept for a call whose reply was lost.
        late: Calls that it gave up, and that the server may still do.
        does: "idle", "checks", "returns", "handles", "settles", "promotes", or "gone".
        entry: What it handles or settles.
        outcome: How that ends: "done", "retry" or "dead".
        stage: Which call of the settlement is next. There is one call, but for mutants.
        strays: What it found that it holds and does not know.
        surplus: What it was handed when the pull that asked for it was cancelled.
        has_settled: One of its calls did end `entry`. Nobody in the protocol knows that; it is to judge its answers by.
        is_excused: It handles something that others may rightly have by now. To judge by, too.
    """

    lease: str = "none"
    holds: tuple[Entry, ...] = ()
    settled: tuple[Entry, ...] = ()
    late: tuple[Call, ...] = ()
    does: str = "idle"
    entry: Entry = NOTHING
    outcome: str = ""
    stage: int = 0
    strays: tuple[Entry, ...] = ()
    surplus: Entry = NOTHING
    has_settled: bool = False
    is_excused: bool = False


class State(NamedTuple):
    """Everything at one instant.

    Attributes:
        events: The name of each event that was ever kept, in the order of their entries.
        forgotten: How many of them were trimmed.
        read: How many of them the group has read.
        other: How many of them another group has settled.
        inbox: What stands in the group's inbox: the number of the entry, the event, which attempt it is.
        inbox_size: How many entries the inbox ever had, and how many of them were read.
        inbox_read: The second of the two.
        released: What was handed back, of both streams: pending with nobody.
        retries: What goes again later: the event and the attempt.
        letters: Dead letters: the event, and how often it went again.
        stated: How many of the events that begin it all were acknowledged to their producers.
        marked: Which of the next ones were kept by a call that was not acknowledged.
        sent: For which of them calls are on their way that go together.
        ended: The events that were handled, with all that this led to.
        told_wrong: Whether a worker was told something wrong.
        workers: The workers.
        faults: How many replies may still be lost, or calls be done late.
        ends: How many workers may still be killed, or leave.
        failures: How often handlers may still fail.
        redrives: How often somebody may still redrive.
        poison: How often an event may still have been recovered too often.
        cancels: How often a pull may still be cancelled.
    """

    workers: tuple[Worker, ...]
    faults: int
    ends: int
    failures: int
    redrives: int
    poison: int
    cancels: int
    events: tuple[str, ...] = ()
    forgotten: int = 0
    read: int = 0
    other: int = 0
    inbox: tuple[tuple[int, str, int], ...] = ()
    inbox_size: int = 0
    inbox_read: int = 0
    released: tuple[Entry, ...] = ()
    retries: tuple[tuple[str, int], ...] = ()
    letters: tuple[tuple[str, int], ...] = ()
    stated: int = 0
    marked: tuple[str, ...] = ()
    sent: tuple[str, ...] = ()
    ended: tuple[str, ...] = ()
    told_wrong: bool = False


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What is to be explored: who there is, what is to be done, and how much may go wrong.

    Attributes:
        events: The events that begin it all.
        leads_to: What handling an event emits.
        workers: How many workers there are.
        together: How many producers there are, whose calls go together.
        faults: See `State`, as for those that follow.
        has_retention: Whether there is another group, and events are forgotten.
    """

    events: tuple[str, ...] = ("a",)
    leads_to: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    workers: int = 2
    together: int = 1
    faults: int = 0
    ends: int = 0
    failures: int = 0
    redrives: int = 0
    poison: int = 0
    cancels: int = 0
    has_retention: bool = False


# --- changes ---------------------------------------------------------------------------------------------


def change(state: State, me: int, **changes: Any) -> State:
    """Change something of a worker."""
    workers = list(state.workers)
    workers[me] = workers[me]._replace(**changes)
    return State._make((tuple(workers), *state[1:]))  # half of what _replace takes, and nothing is done as often


def hold(state: State, me: int, entry: Entry) -> State:
    return change(state, me, holds=tuple(sorted((*state.workers[me].holds, entry))))


def drop(state: State, entry: Entry) -> State:
    """Take an entry from whoever holds it."""
    for number, worker in enumerate(state.workers):
        if entry in worker.holds:
            state = change(state, number, holds=tuple(held for held in worker.holds if held != entry))
    return state._replace(released=tuple(held for held in state.released if held != entry))


def release_entry(state: State, entry: Entry) -> State:
    state = drop(state, entry)
    return state._replace(released=tuple(sorted((*state.released, entry))))


def acknowledge(state: State, entry: Entry) -> State:
    """XACK; and XDEL, if it is the inbox's."""
    state = drop(state, entry)
    if entry[0] == EVENTS:
        return state
    return state._replace(inbox=tuple(found for found in state.inbox if found[0] != entry[1]))


def credit(state: State, me: int, entry: Entry) -> State:
    """Remember, to judge its answers by, that this worker ended what it is settling."""
    return change(state, me, has_settled=True) if state.workers[me].entry == entry else state


def put_in_inbox(state: State, name: str, attempt: int) -> State:
    inbox = (*state.inbox, (state.inbox_size, name, attempt))
    return state._replace(inbox=inbox, inbox_size=state.inbox_size + 1)


def without_retry(state: State, retry: tuple[str, int]) -> State:
    retries = list(state.retries)
    if retry in retries:
        retries.remove(retry)
    return state._replace(retries=tuple(retries))


def add_letter(state: State, name: str) -> State:
    return state._replace(letters=(*state.letters, (name, 0)))


def rest(state: State, me: int, _: object) -> State:
    """The worker is idle, and knows of nothing that it holds, but for what came when its pull was cancelled."""
    return change(state, me, does="idle", **_blank(state, me))


def check(state: State, me: int) -> State:
    """The worker has to look what it holds before it asks for more."""
    return change(state, me, does="checks", **_blank(state, me))


def look_at_strays(state: State, me: int, strays: tuple[Entry, ...]) -> State:
    if not strays:
        return rest(state, me, strays)
    return change(state, me, does="returns", **{**_blank(state, me), "strays": strays})


def end(state: State, me: int, _: object = None) -> State:
    """The worker's process is gone. What the server keeps for it stays."""
    return change(state, me, does="gone", **_BLANK, surplus=NOTHING)


def _blank(state: State, me: int) -> dict[str, Any]:
    """What a worker knows that begins anew. Whether others may have by now what it has still to begin, stays."""
    worker = state.workers[me]
    return _BLANK | {"is_excused": worker.is_excused and worker.surplus != NOTHING}


_BLANK: dict[str, Any] = {
    "settled": (),  # the next call begins anew, and says so
    "entry": NOTHING,
    "outcome": "",
    "stage": 0,
    "strays": (),
    "has_settled": False,
    "is_excused": False,
}
