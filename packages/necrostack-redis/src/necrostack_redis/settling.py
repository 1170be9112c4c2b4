"""Settling: how deliveries end on the server, once, also when a reply is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

from necrostack.delivery import Delivery, Failure, Settlement
from necrostack.errors import EventError
from necrostack.event import payload_json
from necrostack_redis.config import RedisSettings
from necrostack_redis.keys import Keys
from necrostack_redis.link import Link
from necrostack_redis.reader import Misfit, Receipt
from necrostack_redis.scripts import SETTLE
from necrostack_redis.wire import (
    Record,
    StoredDelivery,
    as_records,
    check_fits,
    counted,
    delivery_record,
    event_record,
    letter_record,
    until,
)

_MAX_PARTS, _MAX_BYTES = 20_000, 8 * 2**20
"""How many strings and bytes one call has, unless a single settlement has more: it holds up the server."""

_Step = tuple[Sequence[Any], int]
"""A settlement as settle.lua reads it, and about how many bytes it has."""


class Settler:
    """Settles for one worker, one call at a time.

    When a reply is lost, nobody knows what was done. So the server writes down what a worker's last call ended, and
    adds to that instead of beginning anew for as long as the worker says that it lacks an answer. A call that is made
    again, alone or together with others, is answered as it would have been.
    """

    def __init__(
        self,
        link: Link,
        keys: Keys,
        settings: RedisSettings,
        consumer: str,
        held: set[Receipt],
        unanswered: set[Receipt],
        join: Callable[[], Awaitable[object]],
    ) -> None:
        """Make one for an event loop.

        Args:
            link: What it settles through.
            keys: Where.
            settings: How.
            consumer: For whom.
            held: What this worker was handed and has not settled.
            unanswered: What of that it tried to settle without getting an answer.
            join: Makes the group where it does not exist.
        """
        self._link = link
        self._keys = keys
        self._max_event_size = settings.max_event_size
        self._held = held
        self._unanswered = unanswered
        self._join = join
        self._in_turn = asyncio.Lock()
        self._names = (
            *(keys.events, keys.inbox, keys.retries, keys.dead, keys.bell, keys.sequence),
            *(keys.settled(consumer), keys.groups, keys.nothing),
        )

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[bool]:
        """See `Backend.settle`."""
        # All that can be wrong is found here, before the first settlement is done.
        steps = [self._step(ended) for ended in settlements]
        accepted = [False] * len(steps)
        async with self._in_turn:
            ours: dict[Receipt, int] = {}
            for number, ended in enumerate(settlements):
                receipt = ended.delivery.receipt
                if isinstance(receipt, Receipt) and receipt in self._held:
                    ours.setdefault(receipt, number)
            for receipts in _calls(ours, steps):
                lacks_answers = bool(self._unanswered)
                self._unanswered.update(receipts)
                answers = await self._run([steps[ours[receipt]] for receipt in receipts], lacks_answers)
                for receipt, answer in zip(receipts, answers, strict=True):
                    accepted[ours[receipt]] = answer
            # Only now has the caller all the answers.
            self._held.difference_update(ours)
            self._unanswered.clear()
        return accepted

    async def bury(self, misfits: Sequence[Misfit]) -> None:
        """Make dead letters of entries that cannot be read."""
        for receipt, fields, error in misfits:  # one by one: who knows how large they are
            failure = Failure(reason="undecodable", error_type=type(error).__name__, error=str(error))
            step = [receipt.stream, receipt.entry_id, "+", 0, 0, 1, *counted(letter_record(fields, failure))]
            # In turn, too: beside a call whose reply is lost, this one could make the server forget what that ended.
            async with self._in_turn:
                await self._run([(step, 0)], bool(self._unanswered))
        self._held.difference_update(receipt for receipt, _, _ in misfits)

    def _step(self, ended: Settlement) -> _Step:
        receipt = ended.delivery.receipt
        if not isinstance(receipt, Receipt):
            return (), 0
        if not (ended.emitted or ended.retries or ended.dead):
            return (receipt.stream, receipt.entry_id), 0
        counts = (len(ended.emitted), len(ended.retries), len(ended.dead))
        step: list[Any] = [receipt.stream, receipt.entry_id, "+", *counts]
        if ended.emitted:
            for record in as_records(ended.emitted, (), self._max_event_size).records:
                step += counted(record)
        if ended.retries or ended.dead:
            record = _record_of(ended.delivery)
            attempt = ended.delivery.attempt + 1
            for retry in ended.retries:
                step.append(until(retry.delay))
                step += counted(delivery_record(record, attempt, "retry", [retry.organ], retry.attempts))
            for failure in ended.dead:
                step += counted(letter_record(record, failure))
        what = "handling the entry %s led to %s events at once"
        return step, check_fits(step, what, receipt, len(ended.emitted))

    async def _run(self, steps: Sequence[_Step], lacks_answers: bool) -> Sequence[bool]:
        args: list[Any] = [self._keys.group, int(lacks_answers), len(steps)]
        for parts, _ in steps:
            args += parts
        answers = await self._link.run(SETTLE, self._names, args)
        if -1 in answers:
            # What was to be settled was lost with the group. What it led to would be all there is: it goes, too.
            await self._join()
        return [answer == 1 for answer in answers]


def _record_of(delivery: Delivery) -> Record:
    """Write the event of a delivery once more; what is no event stays as it is."""
    try:
        return event_record(delivery.event, payload_json(delivery.event))
    except EventError:
        if not isinstance(delivery, StoredDelivery):
            raise
        return delivery.entry


def _calls(ours: dict[Receipt, int], steps: Sequence[_Step]) -> Iterator[list[Receipt]]:
    """Share settlements out to calls that are not too large."""
    call: list[Receipt] = []
    count = size = 0
    for receipt, number in ours.items():
        parts, its_size = steps[number]
        if call and (count + len(parts) > _MAX_PARTS or size + its_size > _MAX_BYTES):
            yield call
            call, count, size = [], 0, 0
        call.append(receipt)
        count += len(parts)
        size += its_size
    if call:
        yield call
