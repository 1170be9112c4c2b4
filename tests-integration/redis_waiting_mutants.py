"""Mistakes of workers that wait, seeded into the real code. See `redis_mutants`."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine, Sequence
from typing import Any

import pytest
import redis_waiting as checks
from redis_mutants import Mutant, edit, nothing, override

from necrostack.errors import BackendError
from necrostack_redis import scripts
from necrostack_redis.lease import Lease
from necrostack_redis.link import Link
from necrostack_redis.reader import Reader
from necrostack_redis.wire import StoredDelivery

WAIT_AND_CALL = Link.wait_and_call
READ_WHEN_THERE = Reader._read_when_there


async def _from_now_on(self: Link, streams: Sequence[str], ids: Sequence[bytes], *rest: Any) -> Any:
    return await WAIT_AND_CALL(self, streams, [b"$"] * len(ids), *rest)


async def _without_a_look(self: Reader, *args: Any) -> list[StoredDelivery]:
    before = self._next_check
    try:
        return await READ_WHEN_THERE(self, *args)
    except BackendError:
        self._next_check = before
        raise


def _is_quiet_for_good(self: Reader) -> bool:
    return self._news.due_at > 0 and not (self._surplus or self._woken.is_set())


def _unless_unwanted(self: Reader, taken: list[StoredDelivery]) -> list[StoredDelivery]:
    return [] if asyncio.current_task() in self._unwanted else taken


async def _kept_in_the_end(self: Reader, reading: Coroutine[Any, Any, list[StoredDelivery]]) -> list[StoredDelivery]:
    read = asyncio.create_task(reading)
    self._reads.add(read)
    read.add_done_callback(self._reads.discard)
    try:
        return await asyncio.shield(read)
    except asyncio.CancelledError:
        read.add_done_callback(self._keep)
        self._interrupt_wait()
        raise


def _renew_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    endless = property(lambda _: math.inf, lambda *_: None)
    monkeypatch.setattr(Lease, "_max_stall", endless, raising=False)  # it is an attribute of each


HEARS = checks.a_worker_that_waits_hears_of_all_that_it_may_handle
WAITS_FOR = "for _, key in ipairs({KEYS[3], KEYS[4], KEYS[5]}) do"

MUTANTS = (
    Mutant("never looks again once it found nothing", HEARS, override(Reader, "is_quiet", _is_quiet_for_good)),
    Mutant(
        "does not look when a lease ends",
        HEARS,
        edit(scripts.PULL, (WAITS_FOR, "for _, key in ipairs({KEYS[3], KEYS[4]}) do")),
    ),
    Mutant(
        "does not look when something falls due",
        HEARS,
        edit(scripts.PULL, (WAITS_FOR, "for _, key in ipairs({KEYS[5]}) do")),
    ),
    Mutant(
        "rings no bell for a retry that is due before all else",
        HEARS,
        edit(scripts.SETTLE, ("if rings then ring(KEYS[5]) end", "")),
    ),
    Mutant(
        "rings no bell for what it hands back",
        HEARS,
        edit(scripts.RELEASE, ("if count > 0 then redis.call('XADD'", "if false then redis.call('XADD'")),
    ),
    Mutant(
        "waits for what comes from now on",
        checks.what_came_before_it_began_to_wait_is_noticed,
        override(Link, "wait_and_call", _from_now_on),
    ),
    Mutant(
        "takes a read that waited for one that read nothing when its reply was lost",
        checks.a_read_that_waits_may_lose_its_reply,
        override(Reader, "_read_when_there", _without_a_look),
    ),
    Mutant(
        "drops what comes after its pull was cancelled",
        checks.what_came_as_a_pull_was_cancelled_comes_first,
        override(Reader, "_handed_over", _unless_unwanted),
    ),
    Mutant(
        "puts what came after its pull was cancelled behind what is newer",
        checks.what_came_as_a_pull_was_cancelled_comes_first,
        override(Reader, "_finish", _kept_in_the_end),
    ),
    Mutant(
        "keeps what came too late when its run has ended",
        checks.what_came_too_late_for_a_run_is_handed_back,
        override(Reader, "hand_back", nothing),
    ),
    Mutant(
        "renews the lease of a worker that hangs",
        checks.a_worker_that_hangs_is_taken_for_dead,
        _renew_for_ever,
    ),
)
