"""The checks for durable backends can be passed, and fail where they must.

No durable backend is in this package. What stands in for a server here is a store in the process that
outlives the workers connected to it: an in-memory backend for each group, and leases on the virtual clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from necrostack import backend
from necrostack.backend import Backend, Consumer
from necrostack.delivery import Delivery, Settlement
from necrostack.errors import BackendClosed, BackendError, NecroStackError
from necrostack.event import Event
from necrostack.fleet import Announcement
from necrostack.memory import InMemoryBackend
from necrostack.memory_admin import InMemoryAdmin
from necrostack.testing import VirtualClock
from necrostack.testing.contract import CONTRACT, Check, InMemoryFactory

LEASE = 3.0
POLL = 0.5


class Store:
    """What a server keeps: every event, and each group's part of it."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.log: list[tuple[tuple[Event, ...], float]] = []
        self.groups: dict[str, Group] = {}

    async def group(self, name: str) -> Group:
        """A new group starts with everything that is kept."""
        if name not in self.groups:
            group = self.groups[name] = Group(history=100_000, clock=self.clock)
            for events, due in self.log:
                await group.enqueue(*events, delay=max(due - self.clock.monotonic(), 0.0))
        return self.groups[name]


class Group(InMemoryBackend):
    """One group's queue, and its workers."""

    def __init__(self, *, history: int, clock: VirtualClock) -> None:
        super().__init__(history=history, clock=clock)
        self.workers: list[Worker] = []

    async def kept(self) -> int:
        """How many events it ever kept, or has scheduled."""
        stats = await self.admin.stats()
        return stats.history + stats.scheduled

    def recover(self) -> None:
        """Take over what workers held whose lease ran out."""
        for worker in self.workers:
            if worker.is_dead:
                worker.hand_back("recovered")


class WorkerAdmin(InMemoryAdmin):
    """A group's admin interface, through one worker's connection."""

    def __init__(self, worker: Worker) -> None:
        super().__init__(worker.group._store, worker.clock, worker.max_event_size, worker.open_and_awake)
        self._workers = worker.group.workers
        self._groups = worker.store.groups

    async def groups(self) -> Sequence[backend.Group]:
        return [backend.Group(name=name, stats=await group.admin.stats()) for name, group in self._groups.items()]

    async def remove_group(self, name: str) -> bool:
        if name in self._groups and self._groups[name].workers:
            msg = f"{name} has workers"
            raise BackendError(msg)
        return self._groups.pop(name, None) is not None

    async def consumers(self) -> Sequence[Consumer]:
        return [
            Consumer(
                name="memory" if number == 0 else f"memory-{number}",
                pending=len(worker.held),
                idle=0.0,
                about=worker.about,
            )
            for number, worker in enumerate(self._workers)
            if worker.has_pulled and not worker.is_dead
        ]


class Worker(Backend):
    """One connection to a store, for one group."""

    def __init__(self, store: Store, group: Group, max_event_size: int) -> None:
        self.store = store
        self.group = group
        self.max_event_size = max_event_size
        self.clock = store.clock
        self.held: dict[object, Delivery] = {}
        self.dead_at: float | None = None
        self.about: Announcement | None = None
        self.has_pulled = False
        self.is_closed = False
        group.workers.append(self)

    @property
    def admin(self) -> InMemoryAdmin:
        return WorkerAdmin(self)

    async def enqueue(self, *events: Event, delay: float = 0.0) -> None:
        self.check_open()
        self.group.max_event_size = self.max_event_size
        before = await self.group.kept()
        await self.group.enqueue(*events, delay=delay)
        if await self.group.kept() > before:
            await self._tell_others(events, delay)

    async def pull(self, *, limit: int = 1, timeout: float = 1.0) -> Sequence[Delivery]:
        self.check_open()
        self.has_pulled = True
        deadline = self.clock.monotonic() + timeout
        while True:
            self.group.recover()
            left = deadline - self.clock.monotonic()
            taken = await self.group.pull(limit=limit, timeout=min(max(left, 0.0), POLL))
            self.held |= {delivery.receipt: delivery for delivery in taken}
            self.check_open()
            if taken or left <= 0:
                return taken

    async def settle(self, *settlements: Settlement) -> Sequence[bool]:
        self.check_open()
        self.group.max_event_size = self.max_event_size
        accepted = await self.group.settle(*settlements)
        for ended, ours in zip(settlements, accepted, strict=True):
            self.held.pop(ended.delivery.receipt, None)
            if ours and ended.emitted:
                await self._tell_others(tuple(ended.emitted), 0.0)
        return accepted

    async def release(self, *deliveries: Delivery) -> None:
        self.check_open()
        for delivery in deliveries:
            self.held.pop(delivery.receipt, None)
        await self.group.release(*deliveries)

    async def announce(self, announcement: Announcement) -> None:
        self.about = announcement

    async def leave(self, topology: str) -> None:
        self.about = None

    @property
    def is_dead(self) -> bool:
        return self.dead_at is not None and self.clock.monotonic() >= self.dead_at

    async def aclose(self) -> None:
        self.is_closed = True
        self.hand_back("live")
        if self in self.group.workers:
            self.group.workers.remove(self)
        self.group.open_and_awake()

    def hand_back(self, origin: str) -> None:
        for receipt, delivery in reversed(self.held.items()):
            if self.group._store.pending.pop(receipt, None) is not None:
                self.group._store.queue.appendleft(replace(delivery, origin=origin))  # type: ignore[arg-type]
        self.held.clear()

    def open_and_awake(self) -> None:
        self.check_open()
        self.group.open_and_awake()

    def check_open(self) -> None:
        if self.is_closed:
            msg = "this worker was closed"
            raise BackendClosed(msg)

    async def _tell_others(self, events: tuple[Event, ...], delay: float) -> None:
        self.store.log.append((events, self.clock.monotonic() + delay))
        for group in self.store.groups.values():
            if group is not self.group:
                await group.enqueue(*events, delay=delay)


class StoreFactory(InMemoryFactory):
    """Makes workers on stores."""

    features = frozenset({"announces", "durable", "groups", "restores"})
    recovery = 2 * LEASE
    worker_class = Worker

    async def create(self, *, max_size: int | None, max_event_size: int) -> Backend:
        store = Store(self.clock)
        return self.worker_class(store, await store.group("default"), max_event_size)

    async def connect(self, backend: Backend, *, group: str | None) -> Backend:
        assert isinstance(backend, Worker)
        joined = backend.group if group is None else await backend.store.group(group)
        return self.worker_class(backend.store, joined, backend.max_event_size)

    async def freeze(self, backend: Backend) -> None:
        assert isinstance(backend, Worker)
        backend.dead_at = self.clock.monotonic() + LEASE


@pytest.mark.parametrize("check", [check for check in CONTRACT if "bounded" not in check.needs], ids=str)
async def test_a_durable_store_can_keep_the_contract(check: Check) -> None:
    await check(StoreFactory())


class ForgetsAtClose(Worker):
    async def aclose(self) -> None:
        self.group._store.queue.clear()
        self.group._store.scheduled.clear()
        await super().aclose()


class NeverRecovers(Worker):
    def hand_back(self, origin: str) -> None:
        return


class CountsCrashes(Worker):
    def hand_back(self, origin: str) -> None:
        self.held = {name: replace(each, attempt=each.attempt + 1) for name, each in self.held.items()}
        super().hand_back(origin)


class LetsTheDeadSettle(Worker):
    async def settle(self, *settlements: Settlement) -> Sequence[bool]:
        for ended in settlements:
            self.group._store.pending.setdefault(ended.delivery.receipt, ended.delivery)
        return await super().settle(*settlements)


class HandsOutWhatIsPending(Worker):
    async def pull(self, *, limit: int = 1, timeout: float = 1.0) -> Sequence[Delivery]:
        for worker in self.group.workers:
            if worker is not self:
                worker.hand_back("recovered")
        return await super().pull(limit=limit, timeout=timeout)


class SpeaksForAll(Worker):
    async def announce(self, announcement: Announcement) -> None:
        for worker in self.group.workers:
            worker.about = announcement


class SpeaksWhenDead(Worker):
    is_dead = False


class TellsNoOtherGroup(Worker):
    async def _tell_others(self, events: tuple[Event, ...], delay: float) -> None:
        return


@pytest.mark.parametrize(
    ("mutant", "caught_by"),
    [
        (ForgetsAtClose, "check_what_is_kept_outlives_its_worker"),
        (ForgetsAtClose, "check_work_goes_on_through_many_closings"),
        (ForgetsAtClose, "check_a_spine_goes_on_with_what_another_worker_left[concurrency=1]"),
        (NeverRecovers, "check_what_a_dead_worker_held_is_handed_over_again"),
        (CountsCrashes, "check_what_a_dead_worker_held_is_handed_over_again"),
        (LetsTheDeadSettle, "check_a_worker_that_was_taken_over_cannot_settle"),
        (HandsOutWhatIsPending, "check_workers_of_one_group_share_the_events"),
        (SpeaksForAll, "check_each_worker_speaks_for_itself"),
        (SpeaksWhenDead, "check_each_worker_speaks_for_itself"),
        (TellsNoOtherGroup, "check_each_group_gets_every_event"),
    ],
)
async def test_a_durable_mutant_is_caught_by_the_check_beside_it(mutant: type[Worker], caught_by: str) -> None:
    class BrokenFactory(StoreFactory):
        worker_class = mutant

    (check,) = (check for check in CONTRACT if check.name == caught_by)

    with pytest.raises((AssertionError, NecroStackError)):
        await check(BrokenFactory())
