"""What a backend must hold, in plain Python: where each event is, and what may come of it next.

`backend_machine` does the same things to a backend, and compares.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from necrostack import Delivery, Event, Settlement
from necrostack.delivery import DeadLetter, Failure, Origin, Retry

MAX_RECOVERIES = 2
"""How often an event is taken over from the dead before it becomes a dead letter."""

CALL_REMEMBERED = 120.0
"""Seconds for which both backends take the identical call to enqueue for a repetition."""

Organs = tuple[str, ...] | None


@dataclass(eq=False)
class Worker:
    """Who pulls.

    Attributes:
        backend: Its own, or the one that all share.
        is_cut_off: Whether its lease has ended, so that others take over what it holds.
    """

    backend: Any
    is_cut_off: bool = False


@dataclass(eq=False)
class Entry:
    """One event that is to be handled by one group: a new one, or one that goes again.

    Attributes:
        number: Which event it is.
        attempt: As a delivery has it, like the next two.
        origin: What it is unless it was recovered.
        organs: For whom.
        due: When it may be pulled.
        where: It waits, it is pending, or it was settled: in one of these it always is.
        holder: With whom it is pending.
        recoveries: How often it was taken over from the dead.
        place: Where the backend says that it stands, once it was handed over; None where that is not to be seen.
    """

    number: int
    attempt: int = 1
    origin: Origin = "live"
    organs: Organs = None
    due: float = 0.0
    where: Literal["waiting", "pending", "settled"] = "waiting"
    holder: Worker | None = None
    recoveries: int = 0
    place: object = None

    @property
    def is_left(self) -> bool:
        """Whether it is pending with somebody who counts as dead."""
        return self.where == "pending" and self.holder is not None and self.holder.is_cut_off

    @property
    def is_poison(self) -> bool:
        """Whether it was recovered so often that the next time makes it a dead letter."""
        return self.recoveries >= MAX_RECOVERIES

    def wait(self) -> None:
        self.where, self.holder = "waiting", None

    def settle(self) -> None:
        self.where, self.holder = "settled", None


@dataclass(eq=False)
class Handed:
    """A delivery, as it was handed over to a worker that has not settled it.

    Attributes:
        is_alone: Whether nothing else may be handed over to that worker meanwhile.
    """

    worker: Worker
    delivery: Delivery
    entry: Entry
    is_alone: bool


@dataclass(eq=False)
class Letter:
    """A dead letter. Its id is known once the backend has told it."""

    number: int
    reason: str
    organ: str | None
    name: str = ""
    state: Literal["waiting", "redriven", "discarded"] = "waiting"


@dataclass
class Model:
    """All that a backend must hold.

    Attributes:
        max_size: As the backend's.
        now: Seconds that have passed.
        events: Every event that was ever accepted, by its number.
        entries: All that was ever to be handled.
        handed: What is to be settled by somebody.
        past: Deliveries that are not to be settled any more, each with whoever had it.
        letters: In the order in which they were written.
        history: The numbers of the events that are kept, oldest first.
        forgotten: The numbers of those that were trimmed.
        calls: Calls to enqueue that are remembered: until when, the events, the delay.
    """

    max_size: int | None = None
    now: float = 0.0
    events: dict[int, Event] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    handed: list[Handed] = field(default_factory=list)
    past: list[tuple[Worker, Delivery]] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)
    history: list[int] = field(default_factory=list)
    forgotten: list[int] = field(default_factory=list)
    calls: list[tuple[float, Sequence[Event], float]] = field(default_factory=list)
    made: int = 0

    # --- events --------------------------------------------------------------------------------------------

    def make(self, amount: int) -> list[Event]:
        """Make events, which are not accepted before they are."""
        made = [Event(event_type="NUMBER", payload={"n": self.made + n}) for n in range(amount)]
        self.made += amount
        return made

    def accept(self, events: Iterable[Event], delay: float = 0.0) -> None:
        for event in events:
            self.events[number_of(event)] = event
            self.entries.append(Entry(number_of(event), due=self.now + delay))

    def has_room(self, amount: int) -> bool:
        return self.max_size is None or self.count("waiting") + amount <= self.max_size

    def repeatable(self) -> list[tuple[float, Sequence[Event], float]]:
        """The calls to enqueue that may be made again."""
        return [call for call in self.calls if self.now < call[0]]

    def count(self, where: str) -> int:
        return sum(entry.where == where for entry in self.entries)

    # --- deliveries ----------------------------------------------------------------------------------------

    def takeable(self, worker: Worker) -> list[Entry]:
        """What may be handed over to a worker now."""
        return [
            entry
            for entry in self.entries
            if (entry.where == "waiting" and entry.due <= self.now)
            or (entry.is_left and entry.holder is not worker and not entry.is_poison)
        ]

    def hand_over(self, worker: Worker, delivery: Delivery, takeable: Collection[Entry]) -> Entry:
        """Find the entry that was handed over: exactly what is told of it must be true."""
        place = place_of(delivery)
        found = [entry for entry in takeable if entry.where != "settled" and entry.holder is not worker]
        entry = next((entry for entry in found if place is not None and entry.place == place), None)
        if entry is None:
            entry = next((entry for entry in found if entry.place is None and is_told_truly(delivery, entry)), None)
        assert entry is not None, f"nobody may have this now: {delivery}"
        if entry.is_left:
            entry.recoveries += 1
        assert is_told_truly(delivery, entry), f"{delivery} is told of {entry}"
        assert delivery.event == self.events[entry.number] or delivery.origin == "redrive", "another event"
        entry.where, entry.holder, entry.place = "pending", worker, place
        self.handed.append(Handed(worker, delivery, entry, is_alone=entry.is_poison))
        return entry

    def end(self, handed: Handed) -> bool:
        """Settle a delivery; say whether that must be accepted: whoever is first, and nobody else."""
        self.handed.remove(handed)
        self.past.append((handed.worker, handed.delivery))
        is_first = handed.entry.where != "settled"
        handed.entry.settle()
        return is_first

    def keep(self, ended: Settlement, entry: Entry) -> None:
        """Keep what came of a delivery whose settlement was accepted."""
        self.accept(ended.emitted)
        for retry in ended.retries:
            again = Entry(entry.number, entry.attempt + 1, "retry", (retry.organ,), self.now + retry.delay)
            self.entries.append(again)
        self.letters += [Letter(entry.number, failure.reason, failure.organ) for failure in ended.dead]

    def give_back(self, handed: Handed) -> None:
        """A worker hands back what it did not start. It may have been taken from it before."""
        self.handed.remove(handed)
        self.past.append((handed.worker, handed.delivery))
        if handed.entry.where == "pending" and handed.entry.holder is handed.worker:
            handed.entry.wait()

    def forget(self, worker: Worker) -> None:
        """A worker is gone, and settles nothing more."""
        self.handed = [handed for handed in self.handed if handed.worker is not worker]
        self.past = [(owner, delivery) for owner, delivery in self.past if owner is not worker]

    def go_again(self, number: int, origin: Origin, organs: Organs) -> None:
        """Somebody lets an event go again, as a first attempt."""
        self.entries.append(Entry(number, origin=origin, organs=organs))

    # --- dead letters --------------------------------------------------------------------------------------

    def bury(self, found: Sequence[DeadLetter]) -> int:
        """Note which entries became dead letters because they were recovered too often; return how many."""
        known = {letter.name for letter in self.letters}
        buried = [letter for letter in found if letter.id not in known and letter.reason == "max_recoveries"]
        for letter in buried:
            assert letter.event is not None
            number = number_of(letter.event)
            poison = [entry for entry in self.entries if entry.number == number and entry.is_left and entry.is_poison]
            assert poison, f"event {number} was buried, and need not be"
            poison[0].settle()
            self.letters.append(Letter(number, "max_recoveries", None))
        return len(buried)

    def check_letters(self, waiting: Sequence[DeadLetter], redriven: Sequence[DeadLetter]) -> None:
        """Compare the dead letters, and learn the names of new ones."""
        for state, found in (("waiting", waiting), ("redriven", redriven)):
            letters = [letter for letter in self.letters if letter.state == state]
            told = [(number_of(letter.event), letter.reason, letter.organ) for letter in found]
            assert told == [(letter.number, letter.reason, letter.organ) for letter in letters]
            for letter, its in zip(letters, found, strict=True):
                assert letter.name in ("", its.id)
                letter.name = its.id

    # --- history -------------------------------------------------------------------------------------------

    def needed(self) -> set[int]:
        """The events that must not be forgotten."""
        return {entry.number for entry in self.entries if entry.where != "settled" and entry.origin == "live"}

    def trim(self, most: int) -> int:
        """Forget the oldest events; return how many that must be."""
        needed = self.needed()
        first = next((at for at, number in enumerate(self.history) if number in needed), len(self.history))
        count = min(max(len(self.history) - most, 0), first)
        self.forgotten += self.history[:count]
        del self.history[:count]
        return count

    def check_history(self, found: Sequence[int]) -> None:
        """Compare what is kept. What was delayed enters it when it is due, and somebody pulls."""
        assert found[: len(self.history)] == self.history, "what is kept stays as it was"
        news = found[len(self.history) :]
        self.history += news
        seen = Counter([*self.history, *self.forgotten])
        doubled = [number for number, times in seen.items() if times > 1]
        assert not doubled, f"events {doubled} were emitted twice"
        assert seen.keys() <= self.events.keys(), "what nobody was told was accepted"
        delayed = {entry.number for entry in self.entries if entry.origin == "live" and entry.where == "waiting"}
        missing = self.events.keys() - seen.keys()
        assert missing <= delayed, f"events {missing - delayed} are lost"


def number_of(event: Event | None) -> int:
    assert event is not None
    return int(event.payload["n"])


def place_of(delivery: Delivery) -> object:
    """Say where a delivery stands, if the backend tells: a receipt in memory is another each time."""
    receipt: Any = delivery.receipt
    return None if isinstance(receipt, int) else (receipt.stream, receipt.entry_id)


def is_told_truly(delivery: Delivery, entry: Entry) -> bool:
    """Whether what a delivery says is true of an entry."""
    is_recovered = entry.origin == "live" and (entry.recoveries > 0 or entry.is_left)
    origin = "recovered" if is_recovered else entry.origin
    told = (number_of(delivery.event), delivery.attempt, delivery.origin, delivery.organs)
    return told == (entry.number, entry.attempt, origin, entry.organs)


def settlement(delivery: Delivery, emitted: Sequence[Event], delays: Sequence[float], letters: int) -> Settlement:
    """Make a settlement of which all this comes."""
    retries = [Retry(organ=f"Organ{number}", delay=delay) for number, delay in enumerate(delays)]
    dead = [Failure(reason="give_up", organ=f"Organ{number}") for number in range(letters)]
    return Settlement(delivery, emitted=emitted, retries=retries, dead=dead)
