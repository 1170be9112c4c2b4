"""The contract suite catches what it is for.

Each mutant is the in-memory backend, broken on purpose in one place, with the check that must catch it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar
from unittest.mock import patch
from uuid import uuid4

import pytest

from necrostack.backend import BackendStats, KeptEvent
from necrostack.clock import Clock
from necrostack.delivery import DeadLetter, Delivery, Failure, Settlement
from necrostack.errors import BackendFull, NecroStackError
from necrostack.event import Event
from necrostack.fleet import Announcement
from necrostack.memory import InMemoryBackend
from necrostack.memory_admin import InMemoryAdmin
from necrostack.store import Store
from necrostack.testing.contract import CONTRACT, InMemoryFactory

BackendT = TypeVar("BackendT", bound=type[InMemoryBackend])


@dataclass(frozen=True, slots=True)
class Mutant:
    """A broken backend.

    Attributes:
        backend: The class.
        caught_by: The name of the check that must fail.
    """

    backend: type[InMemoryBackend]
    caught_by: str

    def __str__(self) -> str:
        return self.backend.__name__


CHECKS = {check.name: check for check in CONTRACT}
MUTANTS: list[Mutant] = []


def caught_by(check: str) -> Callable[[BackendT], BackendT]:
    """Declare a mutant."""

    def declare(backend: BackendT) -> BackendT:
        MUTANTS.append(Mutant(backend, check))
        return backend

    return declare


class BrokenInside(InMemoryBackend):
    """A backend whose store or admin interface is broken.

    Attributes:
        store_class: What keeps its data.
        admin_class: What its `admin` is.
    """

    store_class = Store
    admin_class = InMemoryAdmin

    def __init__(self, *, max_size: int | None, history: int, max_event_size: int, clock: Clock) -> None:
        super().__init__(max_size=max_size, history=history, max_event_size=max_event_size, clock=clock)
        self._store = self.store_class(clock, max_size, history)
        self._admin = self.admin_class(self._store, clock, max_event_size, self.open_and_awake)


# --- enqueue ---------------------------------------------------------------------------------------------


@caught_by("check_an_enqueue_keeps_all_or_nothing")
class KeepsHalfAnEnqueue(InMemoryBackend):
    async def enqueue(self, *events: Event, delay: float = 0.0) -> None:
        for event in events:
            await super().enqueue(event, delay=delay)


@caught_by("check_an_identical_enqueue_is_kept_once")
class ForgetsWhatItKept(InMemoryBackend):
    async def enqueue(self, *events: Event, delay: float = 0.0) -> None:
        with patch("necrostack.seen.REPEAT_WINDOW", 0.0):
            await super().enqueue(*events, delay=delay)


@caught_by("check_copies_in_one_enqueue_are_all_kept")
class MergesCopies(InMemoryBackend):
    async def enqueue(self, *events: Event, delay: float = 0.0) -> None:
        await super().enqueue(*dict.fromkeys(events), delay=delay)


@caught_by("check_a_refused_enqueue_may_be_made_again")
class RemembersWhatItRefused(InMemoryBackend):
    async def enqueue(self, *events: Event, delay: float = 0.0) -> None:
        try:
            await super().enqueue(*events, delay=delay)
        except BackendFull:
            with patch.object(self, "_check_room"):
                await super().enqueue(*events, delay=delay)
            for _ in events:
                self._store.queue.pop()
            raise


@caught_by("check_a_delayed_event_is_never_early")
class DeliversEarly(InMemoryBackend):
    async def enqueue(self, *events: Event, delay: float = 0.0) -> None:
        await super().enqueue(*events, delay=delay / 2)


# --- pull ------------------------------------------------------------------------------------------------


@caught_by("check_events_come_in_the_order_in_which_they_were_enqueued")
class LastInFirstOut(InMemoryBackend):
    def _take(self, limit: int) -> list[Delivery]:
        self._store.queue.reverse()
        taken = super()._take(limit)
        self._store.queue.reverse()
        return taken


@caught_by("check_a_cancelled_pull_loses_nothing")
class LosesWhatACancelledPullTook(InMemoryBackend):
    async def pull(self, *, limit: int = 1, timeout: float = 1.0) -> Sequence[Delivery]:
        taken = await super().pull(limit=limit, timeout=timeout)
        await asyncio.sleep(0)
        return taken


@caught_by("check_a_pulled_event_is_not_handed_over_twice")
class HandsOverTwice(InMemoryBackend):
    def _take(self, limit: int) -> list[Delivery]:
        taken = super()._take(limit)
        self._store.queue.extend(taken[:1])
        return taken


@caught_by("check_an_acknowledged_delivery_does_not_come_again")
class AcknowledgesWhatIsPulled(InMemoryBackend):
    def _take(self, limit: int) -> list[Delivery]:
        taken = super()._take(limit)
        self._store.pending.clear()
        return taken


@caught_by("check_a_pull_hands_over_at_most_its_limit")
class IgnoresTheLimit(InMemoryBackend):
    def _take(self, limit: int) -> list[Delivery]:
        return super()._take(limit + 1)


@caught_by("check_a_pull_that_waits_gets_what_is_enqueued_meanwhile")
class DoesNotWake(InMemoryBackend):
    async def _sleep_among(self, sleepers: set[asyncio.Future[None]], timeout: float | None) -> None:
        await super()._sleep_among(set(), timeout)


@caught_by("check_a_typed_event_arrives_as_its_class")
class DeliversPlain(InMemoryBackend):
    async def pull(self, *, limit: int = 1, timeout: float = 1.0) -> Sequence[Delivery]:
        taken = await super().pull(limit=limit, timeout=timeout)
        return [replace(each, event=Event.model_validate_json(each.event.to_json())) for each in taken]


# --- settle and release ----------------------------------------------------------------------------------


@caught_by("check_a_settlement_keeps_all_or_nothing")
class AcknowledgesBeforeItKeeps(InMemoryBackend):
    async def settle(self, *settlements: Settlement) -> Sequence[bool]:
        bare = [Settlement(ended.delivery, (), ended.retries, ended.dead) for ended in settlements]
        accepted = await super().settle(*bare)
        for ended, ours in zip(settlements, accepted, strict=True):
            if ours:
                await self.enqueue(*ended.emitted)
        return accepted


@caught_by("check_of_settlements_that_race_one_wins")
class KeepsBeforeItAcknowledges(InMemoryBackend):
    async def settle(self, *settlements: Settlement) -> Sequence[bool]:
        for ended in settlements:
            await self.enqueue(*ended.emitted)
        bare = [Settlement(ended.delivery, (), ended.retries, ended.dead) for ended in settlements]
        return await super().settle(*bare)


@caught_by("check_a_cancelled_settle_may_be_made_again")
class SettlesInTwoSteps(InMemoryBackend):
    async def settle(self, *settlements: Settlement) -> Sequence[bool]:
        accepted = await super().settle(*(Settlement(ended.delivery) for ended in settlements))
        await asyncio.sleep(0)
        for ended, ours in zip(settlements, accepted, strict=True):
            if ours:
                await self.enqueue(*ended.emitted)
        return accepted


@caught_by("check_a_delivery_is_settled_once")
class SettlesTwice(InMemoryBackend):
    async def settle(self, *settlements: Settlement) -> Sequence[bool]:
        for ended in settlements:
            self._store.pending.setdefault(ended.delivery.receipt, ended.delivery)
        return await super().settle(*settlements)


@caught_by("check_one_call_settles_a_delivery_once")
class ChecksReceiptsBeforeItSettlesAny(InMemoryBackend):
    async def settle(self, *settlements: Settlement) -> Sequence[bool]:
        pending = dict(self._store.pending)
        accepted: list[bool] = []
        for ended in settlements:
            if ended.delivery.receipt in pending:
                self._store.pending[ended.delivery.receipt] = ended.delivery
            accepted += await super().settle(ended)
        return accepted


@caught_by("check_settlements_of_one_call_are_all_refused_together")
class SettlesOneByOne(InMemoryBackend):
    async def settle(self, *settlements: Settlement) -> Sequence[bool]:
        return [ours for ended in settlements for ours in await super(SettlesOneByOne, self).settle(ended)]


@caught_by("check_a_full_backend_still_settles")
class RefusesToSettleWhenFull(InMemoryBackend):
    async def settle(self, *settlements: Settlement) -> Sequence[bool]:
        self._check_room(sum(len(ended.emitted) for ended in settlements))
        return await super().settle(*settlements)


@caught_by("check_a_settlement_with_too_large_an_event_keeps_nothing")
class IgnoresTheSizeOfWhatIsEmitted(InMemoryBackend):
    async def settle(self, *settlements: Settlement) -> Sequence[bool]:
        limit, self.max_event_size = self.max_event_size, 10**9
        try:
            return await super().settle(*settlements)
        finally:
            self.max_event_size = limit


@caught_by("check_a_receipt_is_stale_after_the_release")
class AcceptsStaleReceipts(InMemoryBackend):
    async def settle(self, *settlements: Settlement) -> Sequence[bool]:
        receipts = {delivery.event.id: receipt for receipt, delivery in self._store.pending.items()}
        renewed = [replace(ended.delivery, receipt=receipts.get(ended.delivery.event.id)) for ended in settlements]
        ended_now = [
            Settlement(delivery, ended.emitted, ended.retries, ended.dead)
            for delivery, ended in zip(renewed, settlements, strict=True)
        ]
        return await super().settle(*ended_now)


@caught_by("check_released_deliveries_come_again_at_once_in_order_and_unchanged")
class DropsWhatIsReleased(InMemoryBackend):
    async def release(self, *deliveries: Delivery) -> None:
        await self.settle(*map(Settlement, deliveries))


@caught_by("check_released_deliveries_come_again_at_once_in_order_and_unchanged")
class CountsReleasesAsAttempts(InMemoryBackend):
    async def release(self, *deliveries: Delivery) -> None:
        for each in deliveries:
            self._store.pending[each.receipt] = replace(each, attempt=each.attempt + 1)
        await super().release(*deliveries)


@caught_by("check_released_deliveries_come_again_at_once_in_order_and_unchanged")
class ReleasesToTheBack(InMemoryBackend):
    async def release(self, *deliveries: Delivery) -> None:
        await super().release(*deliveries)
        self._store.queue.rotate(-len(deliveries))


# --- what is due later -----------------------------------------------------------------------------------


@caught_by("check_only_the_organ_that_failed_is_retried[concurrency=1]")
class RetriesEveryOrgan(BrokenInside):
    class store_class(Store):  # noqa: N801 -- it stands for the attribute
        def _schedule(self, waiting: Event | Delivery, delay: float) -> None:
            super()._schedule(replace(waiting, organs=None) if isinstance(waiting, Delivery) else waiting, delay)


@caught_by("check_a_retry_is_for_one_organ_later_and_remembers_its_failures")
class ForgetsTheAttempts(BrokenInside):
    class store_class(Store):  # noqa: N801
        def _schedule(self, waiting: Event | Delivery, delay: float) -> None:
            super()._schedule(replace(waiting, attempts=()) if isinstance(waiting, Delivery) else waiting, delay)


@caught_by("check_retries_back_off_as_the_policy_says[concurrency=1]")
class RetriesAtOnce(BrokenInside):
    class store_class(Store):  # noqa: N801
        def _schedule(self, waiting: Event | Delivery, delay: float) -> None:
            super()._schedule(waiting, 0.0)


# --- dead letters, history, stats ------------------------------------------------------------------------


@caught_by("check_a_dead_letter_keeps_every_fact")
class ForgetsTheTraceback(BrokenInside):
    class store_class(Store):  # noqa: N801
        def _bury(self, event: Event | None, failure: Failure, raw: Mapping[bytes, bytes] | None = None) -> None:
            super()._bury(event, replace(failure, traceback=""), raw)


@caught_by("check_each_organ_that_gave_up_leaves_a_dead_letter")
class KeepsOneLetterPerEvent(InMemoryBackend):
    async def settle(self, *settlements: Settlement) -> Sequence[bool]:
        return await super().settle(
            *(Settlement(ended.delivery, ended.emitted, ended.retries, ended.dead[:1]) for ended in settlements)
        )


@caught_by("check_a_letter_is_redriven_once")
class RedrivesTwice(BrokenInside):
    class admin_class(InMemoryAdmin):  # noqa: N801
        async def redrive(self, *ids: str, payload: Mapping[str, Any] | None = None) -> int:
            went = await super().redrive(*ids, payload=payload)
            for name in ids:
                if name in self._store.redriven:
                    self._store.dead[name] = replace(self._store.redriven.pop(name), redriven_at=None)
            return went


@caught_by("check_a_redriven_letter_leaves_the_list_and_stays_readable")
class ForgetsWhatWasRedriven(BrokenInside):
    class admin_class(InMemoryAdmin):  # noqa: N801
        async def redrive(self, *ids: str, payload: Mapping[str, Any] | None = None) -> int:
            went = await super().redrive(*ids, payload=payload)
            self._store.redriven.clear()
            return went


@caught_by("check_dead_letters_are_found_by_type_organ_error_and_time")
class IgnoresAFilter(BrokenInside):
    class admin_class(InMemoryAdmin):  # noqa: N801
        def dead_letters(self, *args: Any, organ: str | None = None, **filters: Any) -> AsyncIterator[DeadLetter]:
            return super().dead_letters(*args, **filters)


@caught_by("check_a_replay_delivers_history_again")
class ReplaysUnderNewIds(BrokenInside):
    class admin_class(InMemoryAdmin):  # noqa: N801
        async def replay(self, *args: Any, **filters: Any) -> int:
            count = await super().replay(*args, **filters)
            waiting = self._store.queue
            for index, each in enumerate(waiting):
                if isinstance(each, Delivery):
                    waiting[index] = replace(each, event=each.event.model_copy(update={"id": uuid4()}))
            return count


@caught_by("check_history_holds_every_event_once_in_order")
class ReplaysIntoHistory(BrokenInside):
    class admin_class(InMemoryAdmin):  # noqa: N801
        async def replay(self, *args: Any, **filters: Any) -> int:
            events = [event async for event in self.history()]
            self._store.keep(events)
            return len(events)


@caught_by("check_history_is_found_by_id")
class IgnoresIds(BrokenInside):
    class admin_class(InMemoryAdmin):  # noqa: N801
        def kept(
            self, since: Any = None, until: Any = None, event_type: Any = None, ids: Any = None, **place: Any
        ) -> AsyncIterator[KeptEvent]:
            return super().kept(since, until, event_type, **place)


@caught_by("check_history_does_not_hold_what_is_not_due")
class RemembersWhatIsNotDue(BrokenInside):
    class store_class(Store):  # noqa: N801
        def keep_for(self, delay: float, events: Sequence[Event]) -> None:
            super().keep_for(delay, events)
            if self.history is not None:
                self.history.extend(self._positioned(events))


@caught_by("check_history_can_be_followed")
class BeginsAnew(BrokenInside):
    class admin_class(InMemoryAdmin):  # noqa: N801
        def kept(self, *args: Any, after: str | None = None, **filters: Any) -> AsyncIterator[KeptEvent]:
            return super().kept(*args, **filters)


@caught_by("check_a_dead_letter_is_found_by_its_id")
class FindsOnlyWhatWaits(BrokenInside):
    class admin_class(InMemoryAdmin):  # noqa: N801
        async def dead_letter(self, name: str) -> DeadLetter | None:
            return next(iter([letter async for letter in self.dead_letters() if letter.id == name]), None)


@caught_by("check_what_is_pending_takes_no_room")
class CountsWhatIsPending(BrokenInside):
    class store_class(Store):  # noqa: N801
        def room(self) -> float:
            return super().room() - len(self.pending)


@caught_by("check_trimming_ends_at_what_is_not_settled")
class TrimsWhatIsPending(BrokenInside):
    class store_class(Store):  # noqa: N801
        def trim(self, max_length: int | None, before: datetime | None) -> int:
            self.pending, pending = {}, self.pending
            count = super().trim(max_length, before)
            self.pending = pending
            return count


@caught_by("check_trimming_takes_nothing_that_is_needed")
class TrimsTheQueue(BrokenInside):
    class admin_class(InMemoryAdmin):  # noqa: N801
        async def trim(self, *, max_length: int | None = None, before: datetime | None = None) -> int:
            self._store.queue.clear()
            return await super().trim(max_length=max_length, before=before)


@caught_by("check_stats_are_not_idle_while_an_event_is_on_its_way")
class DoesNotCountWhatIsPending(BrokenInside):
    class admin_class(InMemoryAdmin):  # noqa: N801
        async def stats(self) -> BackendStats:
            return replace(await super().stats(), pending=0)


# --- closing ---------------------------------------------------------------------------------------------


@caught_by("check_a_closed_backend_says_so")
class WorksOnWhenClosed(InMemoryBackend):
    def _check_open(self) -> None:
        return


@caught_by("check_a_backend_that_was_never_used_can_be_closed")
class LeavesATask(InMemoryBackend):
    async def aclose(self) -> None:
        await super().aclose()
        self.left = asyncio.create_task(asyncio.Event().wait())


@caught_by("check_closing_ends_a_pull_that_waits")
class ForgetsWhoWaits(InMemoryBackend):
    async def aclose(self) -> None:
        self._pullers.clear()
        await super().aclose()


# --- what a worker says of itself ------------------------------------------------------------------------


@caught_by("check_what_a_worker_says_of_itself_is_shown_with_it")
class IsMute(InMemoryBackend):
    async def announce(self, announcement: Announcement) -> None:
        return


@caught_by("check_what_a_worker_says_of_itself_is_shown_with_it")
class KeepsTheFirstWord(InMemoryBackend):
    async def announce(self, announcement: Announcement) -> None:
        await super().announce(self._store.about or announcement)


@caught_by("check_what_a_worker_says_of_itself_is_shown_with_it")
class KeepsTheFirstTopology(InMemoryBackend):
    async def announce(self, announcement: Announcement) -> None:
        before = self._store.about
        await super().announce(announcement if before is None else replace(announcement, topology=before.topology))


@caught_by("check_what_a_worker_said_is_gone_when_it_leaves")
class SpeaksWhenItHasLeft(InMemoryBackend):
    async def leave(self, topology: str) -> None:
        return


# --- the tests -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
async def test_a_mutant_is_caught_by_the_check_beside_it(mutant: Mutant) -> None:
    with pytest.raises((AssertionError, NecroStackError)):
        await CHECKS[mutant.caught_by](InMemoryFactory(mutant.backend))


@pytest.mark.parametrize("name", sorted({mutant.caught_by for mutant in MUTANTS}))
async def test_the_backend_that_is_not_broken_passes_what_catches_mutants(name: str) -> None:
    await CHECKS[name](InMemoryFactory())
