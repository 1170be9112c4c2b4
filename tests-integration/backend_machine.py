"""A machine of hypothesis that does to a backend whatever can be done, in any order, and compares it with a `Model`.

After each step every event must be in exactly one place, in the backend as in the model: it waits, it is pending, or it
was settled; and what was kept must be there once, in its order. In the end all that is left can be handled.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Coroutine, Sequence
from typing import Any, ClassVar, TypeVar

from backend_model import CALL_REMEMBERED, MAX_RECOVERIES, Handed, Letter, Model, Worker, number_of, settlement
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from redis_checks import Stand, die

from necrostack import Backend, BackendFull, InMemoryBackend
from necrostack.testing import VirtualClock

T = TypeVar("T")

MOMENT, LONG = 60.0, 600.0
"""Seconds that something may be delayed, and that may pass: far more than a machine takes."""

delays = st.sampled_from([0.0, 0.0, MOMENT, LONG])
which = st.integers(0, 2**16)


class BackendMachine(RuleBasedStateMachine):
    """What can be done to any backend.

    Attributes:
        drained: How many machines came to their end, and found that all could be handled.
        steps: How many steps were compared.
    """

    drained: ClassVar[int] = 0
    steps: ClassVar[int] = 0
    is_shared: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.model = Model()
        self.workers: list[Worker] = []

    def do(self, awaitable: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(awaitable)

    # --- what a kind of backend has to say ----------------------------------------------------------------

    def join(self, max_size: int | None) -> Worker:
        """Make a worker."""
        raise NotImplementedError

    async def pass_time(self, seconds: float) -> None:
        """Let time pass."""
        raise NotImplementedError

    async def close(self) -> None:
        """Let go of everything."""
        raise NotImplementedError

    @property
    def backend(self) -> Backend:
        """One through which to look, and to repair."""
        backend: Backend = self.workers[0].backend
        return backend

    def worker(self, number: int) -> Worker:
        return self.workers[number % len(self.workers)]

    # --- producers ----------------------------------------------------------------------------------------

    @initialize(max_size=st.sampled_from([None, None, 6]))
    def begin(self, max_size: int | None) -> None:
        self.model.max_size = max_size
        self.workers = [self.join(max_size) for _ in range(2)]

    @rule(amount=st.integers(1, 3), delay=delays)
    def enqueue(self, amount: int, delay: float) -> None:
        events = self.model.make(amount)
        has_room = self.model.has_room(amount)

        assert self.do(self._is_kept(events, delay)) == has_room

        if has_room:
            self.model.accept(events, delay)
            self.model.calls.append((self.model.now + CALL_REMEMBERED, events, delay))

    @precondition(lambda self: self.model.repeatable())
    @rule(number=which)
    def enqueue_again(self, number: int) -> None:
        """The identical call is made again, as after a lost reply: nothing is kept twice."""
        calls = self.model.repeatable()
        _, events, delay = calls[number % len(calls)]

        assert self.do(self._is_kept(events, delay))

    async def _is_kept(self, events: Sequence[Any], delay: float) -> bool:
        try:
            await self.backend.enqueue(*events, delay=delay)
        except BackendFull:
            return False
        return True

    # --- workers ------------------------------------------------------------------------------------------

    @rule(number=which, limit=st.integers(1, 4))
    def pull(self, number: int, limit: int) -> None:
        worker = self.worker(number)
        is_alone = any(handed.is_alone and handed.worker is worker for handed in self.model.handed)
        takeable = self.model.takeable(worker)

        deliveries = self.do(worker.backend.pull(limit=limit, timeout=0))

        if is_alone:
            assert not deliveries, "beside what killed two workers nothing is handed over"
            return
        worker.is_cut_off = False
        entries = [self.model.hand_over(worker, delivery, takeable) for delivery in deliveries]
        assert len(deliveries) <= limit
        assert len(entries) == 1 or not any(entry.is_poison for entry in entries), "not alone"
        buried = self.model.bury(self.do(self._letters(redriven=False)))
        assert entries or buried or not takeable, "something waits, and nobody gets it"
        first = [entry.number for entry in entries if entry.origin == "live" and not entry.recoveries]
        assert len(set(first)) == len(first)

    @precondition(lambda self: self.model.handed)
    @rule(number=which, emits=st.integers(0, 2), delays=st.lists(delays, max_size=2), letters=st.integers(0, 1))
    def settle(self, number: int, emits: int, delays: list[float], letters: int) -> None:
        """A delivery ends. Where others took it over meanwhile, whoever settles it first is accepted."""
        handed = self._handed(number)
        ended = settlement(handed.delivery, self.model.make(emits), delays, letters)
        is_first = self.model.end(handed)

        assert list(self.do(handed.worker.backend.settle(ended))) == [is_first]

        if is_first:
            self.model.keep(ended, handed.entry)

    @precondition(lambda self: self.model.past)
    @rule(number=which)
    def settle_again(self, number: int) -> None:
        """What was settled, or handed back, is not to be settled: nothing comes of it."""
        worker, delivery = self.model.past[number % len(self.model.past)]
        ended = settlement(delivery, self.model.make(2), [0.0], 1)

        assert list(self.do(worker.backend.settle(ended))) == [False]

    @precondition(lambda self: self.model.handed)
    @rule(number=which)
    def release(self, number: int) -> None:
        handed = self._handed(number)

        self.do(handed.worker.backend.release(handed.delivery))

        self.model.give_back(handed)

    @rule(seconds=st.sampled_from([MOMENT, LONG]))
    def wait(self, seconds: float) -> None:
        self.do(self.pass_time(seconds))
        self.model.now += seconds

    def _handed(self, number: int) -> Handed:
        return self.model.handed[number % len(self.model.handed)]

    # --- operators ----------------------------------------------------------------------------------------

    @precondition(lambda self: self.model.letters)
    @rule(number=which)
    def redrive(self, number: int) -> None:
        """A dead letter goes again, unless it went or was discarded."""
        letter = self._letter(number)
        goes = letter.state == "waiting"

        assert self.do(self.backend.admin.redrive(letter.name)) == goes

        if goes:
            letter.state = "redriven"
            # Those that went again are listed as they stand: by when they became dead letters.
            self.model.go_again(letter.number, "redrive", None if letter.organ is None else (letter.organ,))

    @precondition(lambda self: self.model.letters)
    @rule(number=which)
    def discard(self, number: int) -> None:
        letter = self._letter(number)

        assert self.do(self.backend.admin.discard(letter.name)) == (letter.state != "discarded")

        letter.state = "discarded"

    @precondition(lambda self: self.model.events)
    @rule(number=which, organs=st.sampled_from([None, ("Organ0",)]))
    def replay(self, number: int, organs: tuple[str, ...] | None) -> None:
        """An event that is kept goes again."""
        chosen = [*self.model.events][number % len(self.model.events)]
        is_kept = chosen in self.model.history

        event_id = self.model.events[chosen].id
        assert self.do(self.backend.admin.replay(ids=[event_id], organs=organs)) == is_kept

        if is_kept:
            self.model.go_again(chosen, "replay", organs)

    @rule(most=st.integers(0, 6))
    def trim(self, most: int) -> None:
        """What need not be kept is forgotten, and all the rest is not."""
        assert self.do(self.backend.admin.trim(max_length=most)) == self.model.trim(most)

    def _letter(self, number: int) -> Letter:
        return self.model.letters[number % len(self.model.letters)]

    async def _letters(self, *, redriven: bool) -> list[Any]:
        return [letter async for letter in self.backend.admin.dead_letters(redriven=redriven)]

    # --- what must be true --------------------------------------------------------------------------------

    @precondition(lambda self: self.workers)
    @invariant()
    def is_as_the_model(self) -> None:
        self.do(self._compare())
        type(self).steps += 1

    async def _compare(self) -> None:
        model, admin = self.model, self.backend.admin
        kept = [number_of(event) async for event in admin.history()]
        model.check_history(kept)
        waiting, redriven = await self._letters(redriven=False), await self._letters(redriven=True)
        model.check_letters(waiting, redriven)
        stats = await admin.stats()
        found = (stats.queued + stats.scheduled, stats.pending, stats.dead, stats.history)
        assert found == (model.count("waiting"), model.count("pending"), len(waiting), len(kept))
        pending = sorted([number_of(found.event) async for found in admin.pending()])
        assert pending == sorted(entry.number for entry in model.entries if entry.where == "pending")

    # --- the end ------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        try:
            # Only where nothing went wrong before: another error would hide what did.
            if self.workers and sys.exc_info()[0] is None:
                self._drain()
                type(self).drained += 1
        finally:
            self.do(self.close())
            self.runner.close()

    def _drain(self) -> None:
        """Handle all that is left, by one worker."""
        self.leave_one_worker()
        for _ in range(4 * len(self.model.entries) + 8):
            if not (self.model.count("waiting") or self.model.count("pending")):
                break
            self.wait(LONG)
            while self.model.handed:
                self.settle(0, 0, [], 0)
            self.pull(0, 4)
            self.is_as_the_model()
        assert self.do(self.backend.admin.stats()).idle
        assert sorted([*self.model.history, *self.model.forgotten]) == [*self.model.events], "each once"

    def leave_one_worker(self) -> None:
        """End all workers but the first."""
        del self.workers[1:]


class MemoryMachine(BackendMachine):
    """The backend in memory: all workers share it, and time is virtual."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = VirtualClock()
        self.shared: InMemoryBackend | None = None

    def join(self, max_size: int | None) -> Worker:
        if self.shared is None:
            self.shared = InMemoryBackend(max_size=max_size, history=10_000, clock=self.clock)
        return Worker(self.shared)

    async def pass_time(self, seconds: float) -> None:
        await self.clock.advance(seconds)

    async def close(self) -> None:
        if self.shared is not None:
            await self.shared.aclose()


# Lets all that is scheduled come so many milliseconds nearer, and a little more, so that none of it is a moment late.
_NEARER = """
for _, key in ipairs(KEYS) do
  for _, member in ipairs(redis.call('ZRANGE', key, 0, -1)) do redis.call('ZINCRBY', key, -ARGV[1] - 5, member) end
end
"""


class RedisMachine(BackendMachine):
    """Redis: each worker has a backend of its own, and may freeze, die or leave."""

    is_shared = True
    stand: ClassVar[Stand]
    machines: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        RedisMachine.machines += 1
        self.place = self.stand.part(RedisMachine.machines)

    def join(self, max_size: int | None) -> Worker:
        return Worker(self.place.backend(max_size=max_size, max_recoveries=MAX_RECOVERIES))

    async def pass_time(self, seconds: float) -> None:
        keys = self.place.keys
        await self.place.tell("EVAL", _NEARER, 2, keys.schedule, keys.retries, int(seconds * 1000))

    async def close(self) -> None:
        await asyncio.gather(*[die(worker.backend) for worker in self.workers])

    @rule(number=which)
    def freeze(self, number: int) -> None:
        """A worker freezes for longer than its lease, and does not know it."""
        worker = self.worker(number)
        if worker.backend._has_joined:
            self.do(self.place.end_lease(worker.backend))
            worker.backend._session.reader.look_next()  # the time for which it need not look has passed, too
            worker.is_cut_off = True

    @precondition(lambda self: self.model.handed)
    @rule(number=which, limit=st.integers(1, 4))
    def overtake(self, number: int, limit: int) -> None:
        """A worker freezes with what it holds, and another one takes that over: both have it then."""
        frozen = self.workers.index(self._handed(number).worker)
        self.freeze(frozen)
        self.pull(frozen + 1, limit)

    @rule(number=which)
    def crash(self, number: int) -> None:
        """A worker is killed, and its lease ends. Another one comes."""
        self._replace(self.worker(number), self._kill)

    @rule(number=which)
    def leave(self, number: int) -> None:
        """A worker shuts down: it hands back what it still holds. Another one comes."""
        worker = self.worker(number)
        for handed in [handed for handed in self.model.handed if handed.worker is worker]:
            self.model.give_back(handed)
        self._replace(worker, lambda worker: worker.backend.aclose())

    def leave_one_worker(self) -> None:
        for worker in self.workers[1:]:
            self.do(self._kill(worker))
            self.model.forget(worker)
        super().leave_one_worker()

    def _replace(self, worker: Worker, end: Any) -> None:
        self.do(_awaited(end(worker)))
        self.model.forget(worker)
        self.workers[self.workers.index(worker)] = self.join(self.model.max_size)

    async def _kill(self, worker: Worker) -> None:
        await die(worker.backend)
        if worker.backend._has_joined:
            await self.place.end_lease(worker.backend)
        worker.is_cut_off = True


async def _awaited(awaitable: Awaitable[T]) -> T:
    return await awaitable
