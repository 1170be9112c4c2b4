"""The protocol of the Redis backend as a model: who may do what next, and what the server then holds.

Everything that there is, on the server and in its workers, is one frozen `State`. A `Protocol` says what may come next:
each script is one method, named as its file and as whole as the server does it; between two of them anything else may
happen. A call may be answered; it may be done and its reply be lost; it may be given up and done late, or never. A
worker may be killed, freeze until others took over and go on, or leave. Leases end whenever they like: here there is no
time. A worker holds, knowingly, one delivery at a time.

`protocol_search` goes through every state that can be reached, and checks `broken_promise` on each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

from protocol_state import (
    EVENTS,
    INBOX,
    NAMES,
    NOTHING,
    Call,
    Entry,
    Scenario,
    State,
    Worker,
    acknowledge,
    add_letter,
    change,
    check,
    credit,
    drop,
    end,
    hold,
    look_at_strays,
    put_in_inbox,
    release_entry,
    rest,
    without_retry,
)

# The promises. What is broken is named so.
LOST = "nothing is lost"
DOUBLED = "what an event leads to is emitted once"
TWICE = "an event has one outcome"
REDRIVEN = "a dead letter goes again once"
FORGOTTEN = "what some group needs is kept"
SHARED = "what a worker holds under its lease is nobody else's"
ANSWERED = "a worker is told what became of its settlement"
STUCK = "everything can be handled without a fault's help"


class Move(NamedTuple):
    """What may happen next.

    Attributes:
        what: In words.
        state: What is then.
        helps: Whether it is of what is sure to happen, if it must: no fault, and nobody's whim.
    """

    what: str
    state: State
    helps: bool


Done = Iterator[tuple[State, Any]]
"""What a script may do, and what it answers each time."""

_Script = TypeVar("_Script", bound=Callable[..., Any])

STANDS_FOR: dict[str, tuple[str, str, str]] = {}
"""Of which lines of which file each method is the model: the file, and the text with which they begin and end."""


def stands_for(script: str, first: str, last: str) -> Callable[[_Script], _Script]:
    """Say which lines of a script a method is the model of. A test looks for them."""

    def note(method: _Script) -> _Script:
        STANDS_FOR[method.__qualname__] = (script, first, last)
        return method

    return note


class Protocol:
    """What the scripts do, and what the workers do with them. A mutant overrides one thing."""

    settlement: tuple[str, ...] = ("settle",)
    """The calls by which a delivery is settled."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario

    def start(self) -> State:
        """Nothing is there, and the workers have joined."""
        s = self.scenario
        workers = (Worker(lease="runs"),) * s.workers
        return State(workers, s.faults, s.ends, s.failures, s.redrives, s.poison, s.cancels)

    # --- the scripts -------------------------------------------------------------------------------------

    @stands_for("enqueue", "if redis.call('EXISTS', KEYS[5]) == 1 then", "'PX', ARGV[2])")
    def enqueue(self, state: State, name: str) -> Done:
        """Keeps an event and the mark of this call, unless the mark is there."""
        if name in state.marked:
            yield state, True
        else:
            yield state._replace(events=(*state.events, name), marked=(*state.marked, name)), True

    @stands_for("pull", "-- What is due,", "-- somebody else's")
    def promote(self, state: State, _: int) -> Done:
        """Moves a retry that is due to the inbox. In truth the same call goes on, and less can come in between."""
        for retry in dict.fromkeys(state.retries):
            yield put_in_inbox(without_retry(state, retry), *retry), True

    @stands_for("pull", "-- What the dead left.", "read(2, limit - #entries)")
    def pull(self, state: State, me: int) -> Done:
        """Renews the lease and hands over one delivery: what the dead left, what was handed back, what waits."""
        state = change(state, me, lease="runs")
        found = False
        for other in self.recoverable(state, me):
            found = True
            entry = state.workers[other].holds[0]
            yield self.remove_dead(hold(drop(state, entry), me, entry), me), entry
        state = self.remove_dead(state, me)
        if not found and state.released:
            found, entry = True, state.released[0]
            yield hold(drop(state, entry), me, entry), entry
        if not found and state.inbox_read < state.inbox_size:
            found, entry = True, (INBOX, state.inbox_read)
            yield hold(state._replace(inbox_read=state.inbox_read + 1), me, entry), entry
        if not found:
            yield from self.read_new(state, me)

    @stands_for("pull", "for _, dead in ipairs(redis.call('ZRANGEBYSCORE'", "take_over(i, pending, true)")
    def recoverable(self, state: State, me: int) -> Iterator[int]:
        """Finds workers whose lease has ended, and who hold something."""
        for number, worker in enumerate(state.workers):
            if worker.lease == "ended" and worker.holds and number != me:
                yield number

    @stands_for("pull", "for _, stream in ipairs(streams) do redis.call('XGROUP'", "redis.call('HDEL', KEYS[8], dead,")
    def remove_dead(self, state: State, _: int) -> State:
        """Removes the workers whose lease has ended and who hold nothing."""
        for number, worker in enumerate(state.workers):
            if worker.lease == "ended" and not worker.holds:
                state = change(state, number, lease="none")
        return state

    @stands_for("pull", "if is_recovery and delivered > tonumber(ARGV[6])", "    return true")
    def bury(self, state: State, me: int) -> Done:
        """Ends what was recovered too often, and makes a dead letter of it."""
        for other in self.recoverable(state, me):
            entry = state.workers[other].holds[0]
            name, _ = self.what(state, entry)
            yield add_letter(acknowledge(state, entry), name), NOTHING

    def read_new(self, state: State, me: int) -> Done:
        """Hands over a new event: at the end of pull.lua, and by `Reader._read_new`, which renews no lease."""
        if state.read < len(state.events):
            entry = (EVENTS, state.read)
            yield hold(state._replace(read=state.read + 1), me, entry), entry
        else:
            yield state, NOTHING

    @stands_for("settle", "if redis.call('XACK', stream, group, id) == 0 then", "table.concat(news), 'PX'")
    def settle(self, state: State, me: int, entry: Entry, outcome: str, lacks_answer: bool) -> Done:
        """Acknowledges a delivery and, if that was pending, keeps what came of it, and that this worker ended it."""
        settled = state.workers[me].settled if lacks_answer else ()
        if not self.is_pending(state, entry):
            yield state, entry in settled
            return
        name, attempt = self.what(state, entry)
        state = change(acknowledge(state, entry), me, settled=(*settled, entry))
        yield self.keep(credit(state, me, entry), name, attempt, outcome), True

    @stands_for("release", "local pending = redis.call('XPENDING', stream, group, id, id, 1, me)", "'JUSTID')")
    def release(self, state: State, me: int, *entries: Entry) -> Done:
        """Hands back what is still this worker's."""
        for entry in entries:
            if entry in state.workers[me].holds:
                state = release_entry(state, entry)
        yield state, True

    @stands_for("strays", "for _, pending in ipairs(", "found[i] = ids")
    def strays(self, state: State, me: int) -> Done:
        """Lists what a worker holds, without what it knows of."""
        worker = state.workers[me]
        yield state, tuple(entry for entry in worker.holds if entry != worker.surplus)

    @stands_for("leave", "for _, pending in ipairs(held) do", "redis.call('HDEL', KEYS[5], me,")
    def leave(self, state: State, me: int) -> Done:
        """Hands back all that a worker holds, and removes it."""
        for entry in state.workers[me].holds:
            state = release_entry(state, entry)
        yield change(state, me, lease="none"), True

    @stands_for(
        "lease", "redis.call('ZADD', KEYS[3], whole(now + length), ARGV[2])", "'NX', whole(now + length), name)"
    )
    def lease(self, state: State, me: int) -> Done:
        """Renews a worker's lease, and gives one to workers that have none and yet hold something."""
        state = change(state, me, lease="runs")
        for number, worker in enumerate(state.workers):
            if worker.lease == "none" and worker.holds:
                state = change(state, number, lease="runs")
        yield state, True

    @stands_for("trim", "-- The first event that some group needs", "-- Whole nodes of the stream first")
    def trim(self, state: State) -> Done:
        """Forgets the oldest event, unless a group has not read it or holds it."""
        oldest = (EVENTS, state.forgotten)
        is_read = state.forgotten < min(state.read, state.other)
        if is_read and not self.is_pending(state, oldest):
            yield state._replace(forgotten=state.forgotten + 1), True

    @stands_for("redrive", "if #redis.call('XRANGE', KEYS[1], id, id) > 0", "count = count + 1")
    def redrive(self, state: State, number: int) -> Done:
        """Puts a dead letter into the inbox and notes that it went, unless it went before."""
        name, times = state.letters[number]
        if times == 0:
            letters = (*state.letters[:number], (name, times + 1), *state.letters[number + 1 :])
            yield put_in_inbox(state._replace(letters=letters), name, 1), True
        else:
            yield state, False

    # --- what scripts have in common ---------------------------------------------------------------------

    def is_pending(self, state: State, entry: Entry) -> bool:
        """Say what XACK would answer."""
        return entry in state.released or any(entry in worker.holds for worker in state.workers)

    def what(self, state: State, entry: Entry) -> tuple[str, int]:
        """Say which event an entry is, and which attempt."""
        stream, number = entry
        if stream == EVENTS:
            return state.events[number], 1
        return next(((name, attempt) for found, name, attempt in state.inbox if found == number), ("", 0))

    def keep(self, state: State, name: str, attempt: int, outcome: str) -> State:
        """Keep what came of a delivery."""
        match outcome:
            case "retry":
                return state._replace(retries=tuple(sorted((*state.retries, (name, attempt + 1)))))
            case "dead":
                return add_letter(state, name)
        ended = tuple(sorted({*state.ended, name}))
        return state._replace(events=(*state.events, *self.scenario.leads_to.get(name, ())), ended=ended)

    # --- what may happen ---------------------------------------------------------------------------------

    def moves(self, state: State) -> Iterator[Move]:
        """Everything that may happen next."""
        yield from self.producer_moves(state)
        yield from self.operator_moves(state)
        for me, worker in enumerate(state.workers):
            if worker.does != "gone":
                yield from self.worker_moves(state, me, worker)
                yield from self.end_moves(state, me, worker)
            if worker.lease == "runs":
                knows = worker.entry != NOTHING or worker.surplus != NOTHING
                ended = change(state, me, lease="ended", is_excused=knows)
                yield Move(f"{NAMES[me]}'s lease ends", ended, helps=worker.does == "gone")
            for call in worker.late:
                late = list(worker.late)
                late.remove(call)
                # What it does to a worker that made other calls since, that one has brought upon itself.
                knows = worker.entry != NOTHING or worker.surplus != NOTHING
                before = change(state, me, late=tuple(late), is_excused=knows)
                for done, _ in self.do(before, me, call):
                    what = f"the server does, late, what {NAMES[me]} gave up: {_told(self, state, call)}"
                    yield Move(what, done, helps=False)

    def producer_moves(self, state: State) -> Iterator[Move]:
        """Producers enqueue events, each until that is acknowledged. What goes together is still a call for each."""
        together = self.scenario.events[state.stated : state.stated + self.scenario.together]
        if not together:
            return
        if len(together) > 1 and not state.sent:
            yield Move(f"calls for {', '.join(together)} go together", state._replace(sent=together), helps=True)
            return
        name, *others = state.sent or together
        if state.sent and state.faults:
            broken = self.unanswered(state._replace(sent=(), faults=state.faults - 1))
            yield Move("the connection breaks before they are done", broken, helps=False)
        for done, _ in self.enqueue(state, name):
            if others:
                yield Move(f"{name} is enqueued", done._replace(sent=tuple(others)), helps=True)
                continue
            stated = done._replace(stated=state.stated + len(together), marked=(), sent=())
            yield Move(f"{name} is enqueued", stated, helps=True)
            if state.faults:
                lost = self.unanswered(done._replace(sent=(), faults=state.faults - 1))
                yield Move(f"{name} is enqueued, and the reply is lost", lost, helps=False)

    def unanswered(self, state: State) -> State:
        """What producers make of an error: nobody knows what was done, and each makes its call again."""
        return state

    def operator_moves(self, state: State) -> Iterator[Move]:
        """Operators redrive dead letters, also such as went already; another group works; what is old is forgotten."""
        if state.redrives:
            for number, (name, _) in enumerate(state.letters):
                for done, went in self.redrive(state._replace(redrives=state.redrives - 1), number):
                    yield Move(
                        f"somebody redrives {name}: {'it goes' if went else 'it went before'}", done, helps=False
                    )
        if self.scenario.has_retention:
            if state.other < len(state.events):
                other = state._replace(other=state.other + 1)
                yield Move(f"another group settles {state.events[state.other]}", other, helps=True)
            if state.forgotten < len(state.events):
                for done, _ in self.trim(state):
                    yield Move(f"{state.events[state.forgotten]} is forgotten", done, helps=False)

    def worker_moves(self, state: State, me: int, worker: Worker) -> Iterator[Move]:
        """What a worker's program goes on with."""
        match worker.does:
            case "idle" if worker.surplus != NOTHING:
                # It comes first. In truth one is handed back that others may have by now; here it is excused.
                taken = change(state, me, does="handles", entry=worker.surplus, surplus=NOTHING)
                yield Move(f"{NAMES[me]} pulls what came before", taken, helps=True)
                if worker.holds != (worker.surplus,):
                    yield from self.call(state, me, "strays", then=look_at_strays, lost=check)
            case "idle":
                yield from self.pull_moves(state, me)
                yield from self.promotions(state, me)
                if worker.holds:  # else it finds nothing
                    yield from self.call(state, me, "strays", then=look_at_strays, lost=check)
            case "checks":
                yield from self.call(state, me, "strays", then=look_at_strays, lost=check)
            case "returns":
                yield from self.call(state, me, "release", *worker.strays, then=rest, lost=check)
            case "promotes":
                yield from self.promotions(state, me)
            case "handles":
                for outcome in self.outcomes(state, worker):
                    chosen = state if outcome == "done" else state._replace(failures=state.failures - 1)
                    yield from self.settle_moves(change(chosen, me, outcome=outcome), me, lacks_answer=False)
                for move in self.call(state, me, "release", worker.entry, then=rest, lost=check):
                    yield move._replace(helps=False)
            case "settles":
                yield from self.settle_moves(state, me, lacks_answer=True)
        others = (other.lease == "none" and other.holds for other in state.workers)
        if worker.lease != "runs" or any(others):
            for renewed, _ in self.lease(state, me):
                yield Move(f"{NAMES[me]} calls lease()", renewed, helps=True)

    def outcomes(self, state: State, worker: Worker) -> Iterator[str]:
        """A handler returns; or it fails, which is tried again once and then given up."""
        yield "done"
        if state.failures:
            yield "retry" if self.what(state, worker.entry)[1] == 1 else "dead"

    def pull_moves(self, state: State, me: int) -> Iterator[Move]:
        """A worker that holds nothing asks for something, if there is anything to get."""

        def begin(state: State, me: int, entry: Entry) -> State:
            if entry == NOTHING:
                return rest(state, me, entry)
            # Who reads when its lease has ended does not start what came before it has one again.
            is_excused = state.workers[me].lease != "runs"
            return change(state, me, does="handles", entry=entry, is_excused=is_excused)

        def keep(state: State, me: int, entry: Entry) -> State:
            """The pull was cancelled meanwhile."""
            is_excused = state.workers[me].lease != "runs"
            return change(state, me, surplus=entry, is_excused=is_excused and entry != NOTHING)

        is_new = state.read < len(state.events)
        is_recoverable = next(self.recoverable(state, me), None) is not None
        if is_new or is_recoverable or state.released or state.inbox_read < state.inbox_size:
            yield from self.call(state, me, "pull", then=begin, lost=check)
        if is_new:
            yield from self.call(state, me, "read_new", then=begin, lost=check)
            if state.cancels:
                for done, entry in self.read_new(state._replace(cancels=state.cancels - 1), me):
                    name = self.what(state, entry)[0]
                    what = f"{NAMES[me]} calls read_new(): {name}, and nobody asks for it any more"
                    yield Move(what, keep(done, me, entry), helps=False)
        if is_recoverable and state.poison:
            for move in self.call(state._replace(poison=state.poison - 1), me, "bury", then=rest, lost=check):
                yield move._replace(helps=False)

    def promotions(self, state: State, me: int) -> Iterator[Move]:
        """A pull moves a retry that is due. It need not be due yet."""
        for done, _ in self.promote(state, me):
            yield Move(f"{NAMES[me]} promotes a retry", done, helps=True)

    def settle_moves(self, state: State, me: int, *, lacks_answer: bool) -> Iterator[Move]:
        """A worker settles what it handled, until it has an answer."""
        worker = state.workers[me]
        is_last = worker.stage + 1 == len(self.settlement)

        def answered(state: State, me: int, is_ours: bool) -> State:
            if is_ours and not is_last:
                return change(state, me, does="settles", stage=worker.stage + 1)
            is_wrong = is_ours != state.workers[me].has_settled
            return rest(state._replace(told_wrong=state.told_wrong or is_wrong), me, is_ours)

        def unanswered(state: State, me: int) -> State:
            return change(state, me, does="settles")

        call = (self.settlement[worker.stage], worker.entry, worker.outcome, lacks_answer)
        yield from self.call(state, me, *call, then=answered, lost=unanswered)

    def end_moves(self, state: State, me: int, worker: Worker) -> Iterator[Move]:
        """A worker is killed, or leaves. One stays: who else should go on?"""
        if state.ends and any(other.does != "gone" for number, other in enumerate(state.workers) if number != me):
            state = state._replace(ends=state.ends - 1)
            yield Move(f"{NAMES[me]} is killed", end(state, me), helps=False)
            if worker.does in ("idle", "handles"):
                for move in self.call(state, me, "leave", then=end, lost=end):
                    yield move._replace(helps=False)

    # --- calls -------------------------------------------------------------------------------------------

    def do(self, state: State, me: int, call: Call) -> Done:
        """Run a script for a worker."""
        done: Done = getattr(self, call[0])(state, me, *call[1:])
        return done

    def call(
        self,
        state: State,
        me: int,
        *call: Any,
        then: Callable[[State, int, Any], State],
        lost: Callable[[State, int], State],
    ) -> Iterator[Move]:
        """A worker calls a script.

        Args:
            state: What is before.
            me: Which worker.
            *call: What it calls.
            then: What it makes of the answer.
            lost: What it makes of an error: nobody knows whether the call was done.
        """
        what = f"{NAMES[me]} calls {_told(self, state, call)}"
        for done, answer in self.do(state, me, call):
            yield Move(f"{what}: {_answer(self, done, answer)}", then(done, me, answer), helps=True)
            if state.faults and call[0] != "strays":
                fault = done._replace(faults=state.faults - 1)
                yield Move(f"{what}: it is done, and the reply is lost", lost(fault, me), helps=False)
        if state.faults and call[0] != "strays":
            late = tuple(sorted((*state.workers[me].late, call)))
            given_up = change(state._replace(faults=state.faults - 1), me, late=late)
            yield Move(f"{what}, and gives it up", lost(given_up, me), helps=False)

    # --- promises ----------------------------------------------------------------------------------------

    def broken_promise(self, state: State) -> str:
        """Name a promise that is broken, or none."""
        if len(set(state.events)) < len(state.events):
            return DOUBLED
        if any(name not in state.events for name in self.scenario.events[: state.stated]):
            return LOST
        if state.told_wrong:
            return ANSWERED
        if any(times > 1 for _, times in state.letters):
            return REDRIVEN
        pending = [entry for worker in state.workers for entry in worker.holds] + [*state.released]
        if state.forgotten > min(state.read, state.other if self.scenario.has_retention else state.read) or any(
            number < state.forgotten for stream, number in pending if stream == EVENTS
        ):
            return FORGOTTEN
        running = [worker.entry for worker in state.workers if worker.entry != NOTHING and not worker.is_excused]
        if len(set(running)) < len(running):
            return SHARED
        return self._misplaced(state, pending)

    def _misplaced(self, state: State, pending: list[Entry]) -> str:
        """Each event is in one place: not read, pending, to go again, dead, or handled."""
        places = [
            *state.events[state.read :],
            *(state.events[number] for stream, number in pending if stream == EVENTS),
            *(name for _, name, _ in state.inbox),
            *(name for name, _ in state.retries),
            *(name for name, times in state.letters if times == 0),
            *state.ended,
        ]
        # Between two calls of a mutant an event may be in the worker's hands alone.
        in_hand = {worker.outcome for worker in state.workers if worker.does == "promotes"}
        in_hand |= {self.what(state, worker.entry)[0] for worker in state.workers if worker.stage}
        for name in state.events:
            count = places.count(name)
            if count != 1 and name not in in_hand:
                return TWICE if count else LOST
        return ""

    def is_drained(self, state: State) -> bool:
        """Say whether all is handled, or dead."""
        return (
            state.stated == len(self.scenario.events)
            and state.read == len(state.events)
            and not (state.inbox or state.retries or state.released)
            and not any(worker.holds for worker in state.workers)
            and (state.other == len(state.events) or not self.scenario.has_retention)
        )


# --- words -----------------------------------------------------------------------------------------------


def _told(protocol: Protocol, state: State, call: Call) -> str:
    """Put a call into words."""
    script, *args = call
    entries = [protocol.what(state, arg)[0] for arg in args if isinstance(arg, tuple)]
    outcome = [arg for arg in args if isinstance(arg, str)]
    return f"{script}({', '.join((*entries, *outcome))})"


def _answer(protocol: Protocol, state: State, answer: Any) -> str:
    match answer:
        case True:
            return "1"
        case False:
            return "0"
        case (int(), int()):
            return protocol.what(state, answer)[0] or "nothing"
    return ", ".join(protocol.what(state, entry)[0] for entry in answer) or "nothing"
