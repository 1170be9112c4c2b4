"""The protocol with one mistake each: those that are made again and again where queues are built.

Each says which promise it breaks, and in which scenario that is to be seen. A model that misses one has a hole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

from protocol_model import (
    ANSWERED,
    DOUBLED,
    FORGOTTEN,
    LOST,
    REDRIVEN,
    SHARED,
    STUCK,
    TWICE,
    Done,
    Move,
    Protocol,
)
from protocol_state import (
    EVENTS,
    NAMES,
    NOTHING,
    Entry,
    Scenario,
    State,
    Worker,
    acknowledge,
    add_letter,
    change,
    credit,
    put_in_inbox,
    release_entry,
    rest,
    without_retry,
)

CHAIN = Scenario(leads_to={"a": ("b",)}, faults=1, ends=1)
RETRIED = replace(CHAIN, failures=1, faults=0)
GIVEN_UP = replace(CHAIN, failures=2, redrives=2, faults=0)
TOGETHER = Scenario(events=("a", "b"), workers=1, faults=1, together=2)
CANCELLED = replace(CHAIN, cancels=1)
KEPT = Scenario(events=("a", "b"), has_retention=True)


class Mutant(Protocol):
    """A protocol with a mistake.

    Attributes:
        breaks: The promise that it breaks.
        shown_in: The scenario in which that is seen.
    """

    breaks: ClassVar[str]
    shown_in: ClassVar[Scenario] = CHAIN

    def __init__(self) -> None:
        super().__init__(self.shown_in)


# --- the step --------------------------------------------------------------------------------------------


class AckThenEmit(Mutant):
    """Acknowledges, and emits by a second call."""

    breaks = LOST
    shown_in = replace(CHAIN, faults=0)
    settlement = ("ack", "emit")

    def ack(self, state: State, me: int, entry: Entry, *_: object) -> Done:
        if self.is_pending(state, entry):
            yield acknowledge(credit(state, me, entry), entry), True
        else:
            yield state, False

    def emit(self, state: State, _: int, entry: Entry, outcome: str, __: bool) -> Done:
        yield self.keep(state, *self.what(state, entry), outcome), True


class EmitThenAck(Mutant):
    """Emits, and acknowledges by a second call."""

    breaks = DOUBLED
    shown_in = replace(CHAIN, faults=0)
    settlement = ("emit", "ack")

    def emit(self, state: State, _: int, entry: Entry, *__: object) -> Done:
        name, _attempt = self.what(state, entry)
        yield state._replace(events=(*state.events, *self.scenario.leads_to.get(name, ()))), True

    def ack(self, state: State, me: int, entry: Entry, *_: object) -> Done:
        name, _attempt = self.what(state, entry)
        is_pending = self.is_pending(state, entry)
        if is_pending:
            state = acknowledge(credit(state, me, entry), entry)
            state = state._replace(ended=tuple(sorted({*state.ended, name})))
        yield state, is_pending


class NoGate(Mutant):
    """Acknowledges and emits in one script, whatever XACK answers."""

    breaks = DOUBLED
    shown_in = replace(CHAIN, faults=0)

    def settle(self, state: State, me: int, entry: Entry, outcome: str, _: bool) -> Done:
        acked = acknowledge(credit(state, me, entry), entry)
        yield self.keep(acked, *self.what(state, entry), outcome), True


class Transaction(NoGate):
    """Acknowledges and emits by MULTI, and does so again when the reply was lost."""

    shown_in = replace(CHAIN, workers=1, ends=0)


class ForgetsAnswers(Mutant):
    """Does not keep what a worker's last call ended."""

    breaks = ANSWERED

    def settle(self, state: State, me: int, entry: Entry, outcome: str, _: bool) -> Done:
        return super().settle(state, me, entry, outcome, lacks_answer=False)


class EnqueuesUnmarked(Mutant):
    """Keeps no mark of the calls that keep events."""

    breaks = DOUBLED

    def enqueue(self, state: State, name: str) -> Done:
        return super().enqueue(state._replace(marked=()), name)


class RepeatsTogetherUnmarked(Mutant):
    """Sends again, under other marks, what went together and got no answer."""

    breaks = DOUBLED
    shown_in = TOGETHER

    def unanswered(self, state: State) -> State:
        return state._replace(marked=())


class TakesForKept(Mutant):
    """Takes for kept what went together and got no answer."""

    breaks = LOST
    shown_in = TOGETHER

    def unanswered(self, state: State) -> State:
        return state._replace(stated=state.stated + 2, marked=())


# --- waiting ---------------------------------------------------------------------------------------------


class DropsWhatCameTooLate(Mutant):
    """Drops what it is handed when its pull was cancelled, and takes it for known."""

    breaks = STUCK
    shown_in = CANCELLED

    def worker_moves(self, state: State, me: int, worker: Worker) -> Iterator[Move]:
        if worker.does == "idle" and worker.surplus != NOTHING:
            yield from self.pull_moves(state, me)
        else:
            yield from super().worker_moves(state, me, worker)


class LooksForNewAlone(Mutant):
    """Never looks for more than what is new."""

    breaks = STUCK
    shown_in = replace(CHAIN, faults=0)

    def pull_moves(self, state: State, me: int) -> Iterator[Move]:
        return (move for move in super().pull_moves(state, me) if " pull(" not in move.what)


# --- recovery --------------------------------------------------------------------------------------------


class IgnoresStrays(Mutant):
    """Never looks what it holds without knowing."""

    breaks = STUCK

    def strays(self, state: State, me: int) -> Done:
        yield state, ()


class RecoversNothing(Mutant):
    """Takes nothing over from the dead."""

    breaks = STUCK

    def recoverable(self, state: State, me: int) -> Iterator[int]:
        return iter(())


class RecoversFromTheLiving(Mutant):
    """Takes over without looking at the lease."""

    breaks = SHARED

    def recoverable(self, state: State, me: int) -> Iterator[int]:
        return (number for number, worker in enumerate(state.workers) if worker.holds and number != me)


class DropsWhatIsPending(Mutant):
    """Removes a worker whose lease has ended by XGROUP DELCONSUMER, whatever is pending there."""

    breaks = LOST

    def pull(self, state: State, me: int) -> Done:
        for number, worker in enumerate(state.workers):
            if worker.lease == "ended" and number != me:
                state = change(state, number, lease="none", holds=())
        return super().pull(state, me)


class OverlooksTheUnknown(Mutant):
    """Gives no lease to a worker that was removed, froze before it read, and reads now."""

    breaks = STUCK

    def lease(self, state: State, me: int) -> Done:
        yield change(state, me, lease="runs"), True


class BuriesUnacknowledged(Mutant):
    """Makes a dead letter of what was recovered too often, and leaves it pending."""

    breaks = TWICE
    shown_in = replace(CHAIN, poison=1)

    def bury(self, state: State, me: int) -> Done:
        for other in self.recoverable(state, me):
            name, _ = self.what(state, state.workers[other].holds[0])
            yield add_letter(state, name), NOTHING


class LeavesWithoutHandingBack(Mutant):
    """Removes a worker that leaves with what it holds."""

    breaks = LOST

    def leave(self, state: State, me: int) -> Done:
        yield change(state, me, lease="none", holds=()), True


class ReleasesWithoutLooking(Mutant):
    """Hands back what was its own when it asked, and is another's now."""

    breaks = SHARED

    def release(self, state: State, me: int, *entries: Entry) -> Done:
        for entry in entries:
            if self.is_pending(state, entry):
                state = release_entry(state, entry)
        yield state, True


# --- what goes again -------------------------------------------------------------------------------------


class PromotesByAddThenRemove(Mutant):
    """Moves a retry that is due by two calls: into the inbox first."""

    breaks = TWICE
    shown_in = RETRIED

    def promotions(self, state: State, me: int) -> Iterator[Move]:
        worker, who = state.workers[me], NAMES[me]
        if worker.does == "promotes":
            removed = without_retry(state, (worker.outcome, 2))
            yield Move(f"{who} removes it from the schedule", rest(removed, me, None), helps=True)
            return
        for name, attempt in state.retries:
            added = change(put_in_inbox(state, name, attempt), me, does="promotes", outcome=name)
            yield Move(f"{who} adds a retry to the inbox", added, helps=True)


class PromotesByRemoveThenAdd(Mutant):
    """Moves a retry that is due by two calls: out of the schedule first."""

    breaks = LOST
    shown_in = RETRIED

    def promotions(self, state: State, me: int) -> Iterator[Move]:
        worker, who = state.workers[me], NAMES[me]
        if worker.does == "promotes":
            added = put_in_inbox(state, worker.outcome, 2)
            yield Move(f"{who} adds it to the inbox", rest(added, me, None), helps=True)
            return
        for name, attempt in state.retries:
            removed = change(without_retry(state, (name, attempt)), me, does="promotes", outcome=name)
            yield Move(f"{who} removes a retry from the schedule", removed, helps=True)


class RedrivesUnmarked(Mutant):
    """Does not look whether a dead letter went before."""

    breaks = REDRIVEN
    shown_in = GIVEN_UP

    def redrive(self, state: State, number: int) -> Done:
        name, times = state.letters[number]
        letters = (*state.letters[:number], (name, times + 1), *state.letters[number + 1 :])
        yield put_in_inbox(state._replace(letters=letters), name, 1), True


# --- what is forgotten -----------------------------------------------------------------------------------


class TrimsByLength(Mutant):
    """Forgets the oldest with MAXLEN, whoever needs it."""

    breaks = FORGOTTEN
    shown_in = KEPT

    def trim(self, state: State) -> Done:
        yield state._replace(forgotten=state.forgotten + 1), True


class TrimsForItself(Mutant):
    """Looks at its own group alone."""

    breaks = FORGOTTEN
    shown_in = KEPT

    def trim(self, state: State) -> Done:
        if state.forgotten < state.read and not self.is_pending(state, (EVENTS, state.forgotten)):
            yield state._replace(forgotten=state.forgotten + 1), True


class TrimsWhatWasRead(Mutant):
    """Forgets what every group has read, and not what is pending."""

    breaks = FORGOTTEN
    shown_in = KEPT

    def trim(self, state: State) -> Done:
        if state.forgotten < min(state.read, state.other):
            yield state._replace(forgotten=state.forgotten + 1), True


class DeletesWhatItSettled(Mutant):
    """Deletes an event when its own group has settled it."""

    breaks = FORGOTTEN
    shown_in = KEPT

    def settle(self, state: State, me: int, entry: Entry, outcome: str, lacks_answer: bool) -> Done:
        for done, is_ours in super().settle(state, me, entry, outcome, lacks_answer):
            is_oldest = entry == (EVENTS, done.forgotten)
            yield done._replace(forgotten=done.forgotten + is_oldest), is_ours


MUTANTS: tuple[type[Mutant], ...] = (
    AckThenEmit,
    EmitThenAck,
    NoGate,
    Transaction,
    ForgetsAnswers,
    EnqueuesUnmarked,
    RepeatsTogetherUnmarked,
    TakesForKept,
    DropsWhatCameTooLate,
    LooksForNewAlone,
    IgnoresStrays,
    RecoversNothing,
    RecoversFromTheLiving,
    DropsWhatIsPending,
    OverlooksTheUnknown,
    BuriesUnacknowledged,
    LeavesWithoutHandingBack,
    ReleasesWithoutLooking,
    PromotesByAddThenRemove,
    PromotesByRemoveThenAdd,
    RedrivesUnmarked,
    TrimsByLength,
    TrimsForItself,
    TrimsWhatWasRead,
    DeletesWhatItSettled,
)
