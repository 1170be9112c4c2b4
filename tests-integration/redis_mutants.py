"""The classic mistakes, seeded into the real code: a script with another text, or a method that does otherwise.

A seed that finds its place no more fails, loudly: whoever changed the code says what the same mistake is now. Each
mutant names the check that catches it; see `redis_checks`.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from hashlib import sha1
from typing import Any

import pytest
import redis_checks as checks
from redis import exceptions
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis_checks import Stand
from redis_proxy import SCRIPTS

import necrostack_redis.connector
from necrostack_redis import RedisBackend, scripts
from necrostack_redis.connector import Connector
from necrostack_redis.lease import Lease
from necrostack_redis.reader import Reader
from necrostack_redis.scripts import Script
from necrostack_redis.settling import Settler

Seed = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Mutant:
    """A mistake.

    Attributes:
        mistake: What it does.
        caught_by: The check that must not hold any more.
        seed: Makes it.
    """

    mistake: str
    caught_by: Callable[[Stand], Awaitable[None]]
    seed: Seed

    def __str__(self) -> str:
        return self.mistake.replace(" ", "-")


def edited(script: Script, *edits: tuple[str, str]) -> Script:
    """Return a script in which each of some texts, which must be there once, is another."""
    text = script.text
    for old, new in edits:
        assert text.count(old) == 1, f"{script.name}.lua has not once: {old!r}; what would the same mistake be now?"
        text = text.replace(old, new)
    return Script(script.name, text, sha1(text.encode(), usedforsecurity=False).hexdigest())


def edit(script: Script, *edits: tuple[str, str]) -> Seed:
    """Put another text in the place of one of a script, wherever that is used."""

    def seed(monkeypatch: pytest.MonkeyPatch) -> None:
        mutated = edited(script, *edits)
        for name in (mutated.sha, mutated.text):
            monkeypatch.setitem(SCRIPTS, name, script.name)
        users = [module for name, module in sys.modules.items() if name.startswith("necrostack_redis.")]
        for module in users:
            if vars(module).get(script.name.upper()) is script:
                monkeypatch.setattr(module, script.name.upper(), mutated)

    return seed


def override(owner: Any, name: str, value: object) -> Seed:
    """Put something else in the place of an attribute."""
    return lambda monkeypatch: monkeypatch.setattr(owner, name, value)


# --- the step --------------------------------------------------------------------------------------------

GATE = "if redis.call('XACK', stream, group, id) == 0 then"
EMIT = edited(scripts.SETTLE, (GATE, "if false then"))
"""The step without its acknowledgement."""


async def _ack(settler: Settler, step: Sequence[Any]) -> bool:
    return bool(await settler._link.call("XACK", settler._names[step[0] - 1], settler._keys.group, step[1]))


async def _emit(settler: Settler, step: Sequence[Any]) -> None:
    await settler._link.run(EMIT, settler._names, [settler._keys.group, 0, 1, *step])


async def _ack_then_emit(self: Settler, steps: Sequence[tuple[Sequence[Any], int]], _: bool) -> Sequence[bool]:
    answers = []
    for step, _size in steps:
        answers.append(is_ours := await _ack(self, step))
        if is_ours:
            await _emit(self, step)
    return answers


async def _emit_then_ack(self: Settler, steps: Sequence[tuple[Sequence[Any], int]], _: bool) -> Sequence[bool]:
    answers = []
    for step, _size in steps:
        await _emit(self, step)
        answers.append(await _ack(self, step))
    return answers


async def _in_a_transaction(self: Settler, steps: Sequence[tuple[Sequence[Any], int]], _: bool) -> Sequence[bool]:
    try:
        async with self._link._calls.pipeline(transaction=True) as pipeline:
            for step, _size in steps:
                pipeline.execute_command("XACK", self._names[step[0] - 1], self._keys.group, step[1])
                args = (self._keys.group, 0, 1, *step)
                pipeline.execute_command("EVAL", EMIT.text, len(self._names), *self._names, *args)
            await pipeline.execute()
    except exceptions.RedisError as error:
        raise await self._link._told(error) from error
    return [True] * len(steps)


def _repeating(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let redis-py do what it does by itself. Old versions ask both."""
    arguments = Connector._arguments
    errors = [exceptions.ConnectionError, exceptions.TimeoutError]

    def repeating(self: Connector, silence: float = 0.0) -> dict[str, Any]:
        return arguments(self, silence) | {"retry_on_error": errors}

    monkeypatch.setattr(Connector, "_arguments", repeating)
    monkeypatch.setattr(necrostack_redis.connector, "AsyncRetry", lambda *_: AsyncRetry(NoBackoff(), 3))


# --- what goes again -------------------------------------------------------------------------------------

PROMOTION = "redis.call('XADD', from[2], '*', unpack(record))"
ADD = "redis.call('XADD', KEYS[1], '*', unpack(cmsgpack.unpack(string.sub(ARGV[1], 17))))"


def _promote_by_two_calls(is_added_first: bool) -> Seed:
    """Move retries that are due call by call, before what is pulled is looked for."""
    look = Reader._look

    async def promote_and_look(self: Reader, limit: int) -> Any:
        keys = self._keys
        for member in await self._link.call("ZRANGE", keys.retries, 0, -1):
            calls = [("EVAL", ADD, 1, keys.inbox, member), ("ZREM", keys.retries, member)]
            for call in calls if is_added_first else calls[::-1]:
                await self._link.call(*call)
        return await look(self, limit)

    def seed(monkeypatch: pytest.MonkeyPatch) -> None:
        edit(scripts.PULL, ("{{KEYS[3], KEYS[1]}, {KEYS[4], KEYS[2]}}", "{{KEYS[3], KEYS[1]}}"))(monkeypatch)
        monkeypatch.setattr(Reader, "_look", promote_and_look)

    return seed


# --- recovery --------------------------------------------------------------------------------------------

RELEASE_STRAYS = Reader._release_strays


async def _after_errors_alone(self: Reader) -> None:
    if self._next_check == 0.0:
        await RELEASE_STRAYS(self)


BECOME_A_WORKER = RedisBackend._become_a_worker


def _under_one_name(self: RedisBackend) -> None:
    BECOME_A_WORKER(self)
    self._consumer = "worker"
    self._lease = Lease(self._connector, self._keys, self.settings, self._consumer)


async def nothing(*_: object) -> None:
    return None


MUTANTS = (
    Mutant(
        "acknowledges first, and emits by another call",
        checks.a_worker_may_die_after_any_of_its_calls,
        override(Settler, "_run", _ack_then_emit),
    ),
    Mutant(
        "emits first, and acknowledges by another call",
        checks.a_worker_may_die_after_any_of_its_calls,
        override(Settler, "_run", _emit_then_ack),
    ),
    Mutant(
        "emits whatever XACK answers",
        checks.of_a_frozen_worker_and_its_successor_one_settles,
        edit(scripts.SETTLE, (GATE, "if redis.call('XACK', stream, group, id) < 0 then")),
    ),
    Mutant(
        "acknowledges and emits by MULTI",
        checks.a_call_whose_reply_was_lost_may_be_repeated,
        override(Settler, "_run", _in_a_transaction),
    ),
    Mutant(
        "lets the client send calls again",
        checks.a_call_whose_reply_was_lost_may_be_repeated,
        _repeating,
    ),
    Mutant(
        "keeps no answers",
        checks.a_call_whose_reply_was_lost_may_be_repeated,
        edit(
            scripts.SETTLE,
            ("if #news > 1 then redis.call('SET', KEYS[7], table.concat(news), 'PX', SETTLED_FOR) end", ""),
        ),
    ),
    Mutant(
        "keeps the answers of the last call alone",
        checks.a_call_whose_reply_was_lost_may_be_repeated,
        edit(scripts.SETTLE, ("ARGV[2] == '1' and redis.call('GET', KEYS[7]) or ''", "''")),
    ),
    Mutant(
        "keeps events again when asked again",
        checks.a_call_whose_reply_was_lost_may_be_repeated,
        edit(scripts.ENQUEUE, ("if redis.call('EXISTS', KEYS[5]) == 1 then", "if false then")),
    ),
    Mutant(
        "looks at the keys when it is too late",
        checks.nothing_of_a_refused_step_is_done,
        edit(
            scripts.SETTLE,
            ("local wrong = wrong_type(", "local wrong = (function() return nil end)("),
            ("  wrong = exhausted(stream)\n", ""),
        ),
    ),
    Mutant(
        "is refused when memory is full",
        checks.a_full_server_lets_what_it_has_be_settled,
        edit(scripts.SETTLE, ("redis.call('ZREM', KEYS[3], '')", "")),
    ),
    Mutant(
        "takes it for done when the group is gone",
        checks.what_was_lost_with_its_group_was_not_settled,
        edit(scripts.SETTLE, ("then results[step] = -1 end", "then results[step] = 1 end")),
    ),
    Mutant(
        "makes a lost group where the stream ends",
        checks.what_was_lost_with_its_group_was_not_settled,
        edit(
            scripts.JOIN,
            ("in ipairs({ARGV[4], '0'})", "in ipairs({redis.call('EXISTS', KEYS[1]) > 0 and '$' or '0', '0'})"),
        ),
    ),
    Mutant(
        "never looks what it holds without knowing",
        checks.a_call_whose_reply_was_lost_may_be_repeated,
        override(Reader, "_release_strays", nothing),
    ),
    Mutant(
        "looks for that after errors alone",
        checks.what_was_handed_over_unasked_is_found,
        override(Reader, "_release_strays", _after_errors_alone),
    ),
    Mutant(
        "takes nothing over",
        checks.a_worker_may_die_after_any_of_its_calls,
        edit(scripts.PULL, ("if not (has_room() and take_over(i, pending, true)) then", "if true then")),
    ),
    Mutant(
        "takes over without looking at the lease",
        checks.what_a_living_worker_holds_is_left_to_it,
        edit(
            scripts.PULL,
            ("'-inf', '(' .. whole(now), 'LIMIT', 0, 10)", "'-inf', '+inf', 'LIMIT', 0, 10)"),
            ("  local is_empty = true\n", "  local is_empty = dead ~= me\n"),
        ),
    ),
    Mutant(
        "shares its name with other workers",
        checks.what_a_living_worker_holds_is_left_to_it,
        override(RedisBackend, "_become_a_worker", _under_one_name),
    ),
    Mutant(
        "renews no lease",
        checks.a_worker_stays_alive_while_it_handles,
        override(Lease, "_renew", lambda *_: None),
    ),
    Mutant(
        "removes the dead with what they hold",
        checks.a_worker_may_die_after_any_of_its_calls,
        edit(
            scripts.PULL,
            ("then is_empty = false end\n", "then is_empty = true end\n"),
            ("is_empty = is_empty and #redis.call(", "is_empty = true or #redis.call("),
        ),
    ),
    Mutant(
        "gives no lease to whom it does not know",
        checks.whoever_reads_after_its_removal_has_a_lease_that_ends,
        edit(scripts.LEASE, ("if name ~= ARGV[2] and name ~= ARGV[4] then", "if false then")),
    ),
    Mutant(
        "leaves with what it holds",
        checks.a_worker_that_leaves_hands_back_what_it_holds,
        edit(scripts.LEAVE, ("for _, pending in ipairs(held) do", "for _, pending in ipairs({}) do")),
    ),
    Mutant(
        "hands back what another holds now",
        checks.nobody_hands_back_what_another_holds_now,
        edit(scripts.RELEASE, ("group, id, id, 1, me)", "group, id, id, 1)")),
    ),
    Mutant(
        "starts what others may have by now",
        checks.what_was_not_started_in_time_is_not_started,
        override(Lease, "covers", lambda *_: True),
    ),
    Mutant(
        "buries what it does not acknowledge",
        checks.an_event_that_kills_becomes_one_dead_letter,
        edit(scripts.PULL, ("    acknowledge(i, id)\n    if i == 2", "    if i == 2")),
    ),
    Mutant(
        "hands over what kills for ever",
        checks.an_event_that_kills_becomes_one_dead_letter,
        edit(scripts.PULL, ("delivered > tonumber(ARGV[6])", "delivered > 1e9")),
    ),
    Mutant(
        "adds a retry to the inbox, and then removes it from the schedule",
        checks.a_worker_may_die_after_any_of_its_calls,
        _promote_by_two_calls(is_added_first=True),
    ),
    Mutant(
        "removes a retry from the schedule, and then adds it to the inbox",
        checks.a_worker_may_die_after_any_of_its_calls,
        _promote_by_two_calls(is_added_first=False),
    ),
    Mutant(
        "retries too early",
        checks.a_retry_is_never_early,
        edit(
            scripts.PULL,
            ("from[1], '-inf', whole(now), 'LIMIT', 0, batch)", "from[1], '-inf', '+inf', 'LIMIT', 0, batch)"),
        ),
    ),
    Mutant(
        "trims with MAXLEN",
        checks.what_some_group_needs_is_kept,
        edit(scripts.TRIM, ("math.max(length - surplus, waiting)", "length - surplus")),
    ),
    Mutant(
        "trims by age alone",
        checks.what_some_group_needs_is_kept,
        edit(scripts.TRIM, ("if needed and is_before(needed, stays) then", "if false then")),
    ),
    Mutant(
        "trims what one group does not need",
        checks.what_some_group_needs_is_kept,
        edit(scripts.TRIM, ("for _, found in ipairs(groups) do", "for _, found in ipairs({groups[1]}) do")),
    ),
    Mutant(
        "trims what was read, pending or not",
        checks.what_some_group_needs_is_kept,
        edit(scripts.TRIM, ("local first = pending[1] > 0 and pending[2]", "local first")),
    ),
    Mutant(
        "deletes what its own group settled",
        checks.what_some_group_needs_is_kept,
        edit(scripts.SETTLE, ("acked = acked + 1", "acked = acked + 1 redis.call('XDEL', stream, id)")),
    ),
)
