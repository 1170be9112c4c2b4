"""Quick checks of dead letters: each goes again once, and none is lost on its way.

They are of the kind of `redis_checks`; their mistakes are in `redis_letters_mutants`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from unittest.mock import patch

from redis_checks import Stand, orders, pulled

from necrostack import Settlement
from necrostack.delivery import DeadLetter, Failure
from necrostack.errors import BackendError
from necrostack_redis import RedisBackend
from necrostack_redis.trimming import trim


async def give_up(worker: RedisBackend, number: int) -> list[DeadLetter]:
    """Make so many dead letters."""
    await worker.enqueue(*orders(number))
    for delivery in await worker.pull(limit=number, timeout=0):
        await worker.settle(Settlement(delivery, dead=[Failure(reason="give_up")]))
    return await waiting(worker)


async def waiting(worker: RedisBackend) -> list[DeadLetter]:
    return [letter async for letter in worker.admin.dead_letters()]


async def a_dead_letter_goes_again_once(stand: Stand) -> None:
    async with stand.worker() as worker:
        (letter,) = await give_up(worker, 1)

        async def seen(_: Sequence[str]) -> AsyncIterator[DeadLetter]:
            yield letter

        # Two operators looked, and both saw it wait.
        with patch.object(worker.admin, "_letters_of", seen):
            went = [await worker.admin.redrive(letter.id) for _ in range(2)]
        assert went == [1, 0]
        assert await pulled(worker) == ["0"]


async def a_redrive_that_is_refused_costs_no_letter(stand: Stand) -> None:
    async with stand.worker() as worker:
        (letter,) = await give_up(worker, 1)
        await stand.tell("RENAME", stand.keys.inbox, f"{stand.keys.inbox}:aside")
        await stand.tell("SET", stand.keys.inbox, "somebody else's")
        try:
            assert await worker.admin.redrive(letter.id) == 0
        except BackendError:
            await stand.tell("RENAME", f"{stand.keys.inbox}:aside", stand.keys.inbox)
        assert await waiting(worker) == [letter]
        assert await worker.admin.redrive(letter.id) == 1
        assert await pulled(worker) == ["0"]


async def a_dead_letter_that_waits_is_kept(stand: Stand) -> None:
    async with stand.worker() as worker:
        went, waits = await give_up(worker, 2)
        await worker.admin.redrive(went.id)
        assert worker._session is not None
        await trim(worker._session.link, stand.keys, max_length=0, age=0.0, forget_letters=True)
        assert await waiting(worker) == [waits]
        assert await worker.admin.dead_letter(went.id) is None


CHECKS: tuple[Callable[[Stand], Awaitable[None]], ...] = (
    a_dead_letter_goes_again_once,
    a_redrive_that_is_refused_costs_no_letter,
    a_dead_letter_that_waits_is_kept,
)
