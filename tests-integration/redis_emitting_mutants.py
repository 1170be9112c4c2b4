"""Mistakes with what is emitted, seeded into the real code. See `redis_mutants`."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any

import redis_emitting as checks
from redis_mutants import Mutant, edit, nothing, override

import necrostack.gate
from necrostack import Event
from necrostack.errors import BackendUnavailable
from necrostack_redis import RedisBackend, scripts
from necrostack_redis.gathering import Gatherer, _Call
from necrostack_redis.link import Link
from necrostack_redis.reader import Reader
from necrostack_redis.scripts import Script
from necrostack_redis.wire import as_records

RUN_ALL, NEXT_CALLS = Link.run_all, Gatherer._next_calls

Calls = Sequence[tuple[Sequence[str], Sequence[Any]]]


async def _as_the_first(self: Link, script: Script, calls: Calls) -> list[Any]:
    answers = await RUN_ALL(self, script, calls)
    return answers[:1] * len(answers)


async def _all_or_none(self: Link, script: Script, calls: Calls) -> list[Any]:
    answers = await RUN_ALL(self, script, calls)
    wrong = [answer for answer in answers if answer]
    return wrong[:1] * len(answers) or answers


async def _again_under_other_marks(self: Link, script: Script, calls: Calls) -> list[Any]:
    try:
        return await RUN_ALL(self, script, calls)
    except BackendUnavailable:
        return await RUN_ALL(self, script, [((*keys[:4], f"{keys[4]}-again", *keys[5:]), args) for keys, args in calls])


async def _taken_for_kept(self: Link, script: Script, calls: Calls) -> list[Any]:
    try:
        return await RUN_ALL(self, script, calls)
    except BackendUnavailable:
        return [[]] * len(calls)


def _and_no_others(self: Gatherer) -> list[_Call]:
    calls = NEXT_CALLS(self)
    self._waiting.clear()
    return calls


def _last_first(self: Gatherer) -> list[_Call]:
    self._waiting = deque(reversed(self._waiting))
    return NEXT_CALLS(self)


async def _unless_cancelled(self: Gatherer, keys: Sequence[str], args: Sequence[Any]) -> Any:
    if self._is_busy:
        call = _Call(keys, args, asyncio.get_running_loop().create_future())
        self._waiting.append(call)
        return await call.answer
    self._is_busy = True
    answer = await self._link.run(self._script, keys, args)
    self._go_on()
    return answer


async def _until_one_is_cancelled(self: Gatherer) -> None:
    calls = self._next_calls()
    answers = await self._link.run_all(self._script, [(call.keys, call.args) for call in calls])
    for call, answer in zip(calls, answers, strict=True):
        if call.answer.done():
            break
        call.answer.set_result(answer)
    self._go_on()


def _without_those_beside(self: RedisBackend, events: Sequence[Event], _: Sequence[Event] = ()) -> Sequence[Event]:
    return as_records(events, (), self.max_event_size)


OWN_ANSWER = checks.each_of_those_who_emit_together_gets_its_own_answer

MUTANTS = (
    Mutant("tells all who emit together what the first is told", OWN_ANSWER, override(Link, "run_all", _as_the_first)),
    Mutant("tells all who emit together the failure of one", OWN_ANSWER, override(Link, "run_all", _all_or_none)),
    Mutant("forgets who finds no room among the others", OWN_ANSWER, override(Gatherer, "_next_calls", _and_no_others)),
    Mutant("sends last what came first", OWN_ANSWER, override(Gatherer, "_next_calls", _last_first)),
    Mutant(
        "sends all together again, under other marks, when a reply was lost",
        checks.those_who_emit_together_may_lose_the_reply,
        override(Link, "run_all", _again_under_other_marks),
    ),
    Mutant(
        "takes for kept what got no answer",
        checks.whoever_emits_is_told_what_was_not_kept,
        override(Link, "run_all", _taken_for_kept),
    ),
    Mutant(
        "leaves behind those who wait for one that is cancelled",
        checks.who_is_cancelled_takes_nobody_along,
        override(Gatherer, "run", _unless_cancelled),
    ),
    Mutant(
        "answers nobody behind one that is cancelled",
        checks.who_is_cancelled_takes_nobody_along,
        override(Gatherer, "_send", _until_one_is_cancelled),
    ),
    Mutant(
        "leaves the mark of a call that was refused",
        checks.a_call_that_was_refused_may_be_made_again,
        edit(scripts.ENQUEUE, ("  redis.call('SET', KEYS[5], '', 'PXAT', 1)", "  ")),
    ),
    Mutant(
        "asks for room before it looks whether the call was made",
        checks.a_call_that_was_kept_is_so_on_a_full_server,
        edit(scripts.ENQUEUE, ("return kept_before() or redis.call", "return not marked and {} or redis.call")),
    ),
    Mutant(
        "marks the call again when it is made again",
        checks.a_call_that_was_kept_is_so_on_a_full_server,
        edit(
            scripts.ENQUEUE,
            ("pcall('SET', KEYS[5], '', 'PX', ARGV[2], 'NX')", "pcall('SET', KEYS[5], '', 'PX', ARGV[2])"),
        ),
    ),
    Mutant(
        "forgets what an Organ emitted when the next one emits",
        checks.what_all_that_handle_an_event_emit_is_kept,
        override(RedisBackend, "admit", _without_those_beside),
    ),
    Mutant(
        "passes over what it cannot read",
        checks.what_is_no_event_becomes_a_dead_letter,
        override(Reader, "_bury_misfits", nothing),
    ),
    Mutant(
        "acknowledges what it cannot read",
        checks.what_is_no_event_becomes_a_dead_letter,
        override(necrostack.gate, "give_up_unread", lambda *_: None),
    ),
)
