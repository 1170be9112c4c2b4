"""Groups: each gets every event, none is touched by what befalls another, and those that nobody serves can go."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis.asyncio
from patience import until

from necrostack import Delivery, Event, Organ, RetryPolicy, Settlement, Spine
from necrostack.delivery import Failure, Retry
from necrostack.errors import BackendError, ConfigurationError
from necrostack_redis import RedisBackend, trimming


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Any]:
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def always_trimming(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pull trims, not only one in ten seconds."""
    monkeypatch.setattr(trimming, "_INTERVAL", 0.0)


def numbers(amount: int) -> list[Event]:
    return [Event(event_type="NUMBERED", payload={"n": number}) for number in range(amount)]


async def pulled(backend: RedisBackend, count: int) -> list[Delivery]:
    found: list[Delivery] = []
    while len(found) < count:
        more = await backend.pull(limit=count - len(found), timeout=30)
        assert more, f"only {len(found)} of {count} came"
        found += more
    return found


async def handle(backend: RedisBackend, count: int) -> None:
    await backend.settle(*map(Settlement, await pulled(backend, count)))


async def names(backend: RedisBackend) -> Sequence[str]:
    return [group.name for group in await backend.admin.groups()]


# --- each for itself -----------------------------------------------------------------------------------------


class Failing(Organ):
    listens_to = ["NUMBERED"]

    async def handle(self, event: Event) -> None:
        raise LookupError("no such thing")


class Doubling(Organ):
    listens_to = ["NUMBERED"]

    async def handle(self, event: Event) -> Event:
        return Event(event_type="DOUBLED", payload={"n": event.payload["n"] * 2})


async def test_a_group_that_always_fails_is_nothing_to_another(redis_url: str, app: str) -> None:
    amount = 200
    async with AsyncExitStack() as stack:
        failing, working = [
            await stack.enter_async_context(RedisBackend(redis_url, app=app, group=group)) for group in ("bad", "good")
        ]
        await working.enqueue(*numbers(amount))

        policy = RetryPolicy(max_attempts=3, base_delay=0.01)
        fails = await Spine(organs=[Failing()], backend=failing, retry=policy).run_until_idle()
        works = await Spine(organs=[Doubling()], backend=working, retry=policy).run_until_idle()
        await Spine(organs=[Failing()], backend=failing, retry=policy).run_until_idle()

        print(
            f"bad: {fails.failed} failures, {fails.dead_lettered} dead; good: {works.handled} handled, {works.failed}"
        )
        assert (fails.failed, fails.retried, fails.dead_lettered) == (3 * amount, 2 * amount, amount)
        assert (works.handled, works.emitted, works.failed) == (amount, amount, 0)
        assert [letter async for letter in working.admin.dead_letters()] == []
        doubled = [event async for event in working.admin.history(event_type="DOUBLED")]
        assert len(doubled) == len({event.id for event in doubled}) == amount
        assert (await failing.admin.stats()).idle


async def test_what_goes_again_goes_to_one_group_alone(redis_url: str, app: str) -> None:
    async with (
        RedisBackend(redis_url, app=app, group="one") as one,
        RedisBackend(redis_url, app=app, group="two") as two,
    ):
        await one.enqueue(*numbers(2))
        first, second = await pulled(one, 2)
        await handle(two, 2)

        await one.settle(
            Settlement(first, retries=[Retry(organ="Organ", delay=0.0)]),
            Settlement(second, dead=[Failure(reason="given up", organ="Organ")]),
        )
        await one.admin.redrive(*[letter.id async for letter in one.admin.dead_letters()])
        await one.admin.replay()

        assert await two.pull(timeout=0) == []
        assert (await two.admin.stats()).idle
        assert sorted(delivery.origin for delivery in await pulled(one, 4)) == ["redrive", "replay", "replay", "retry"]


# --- groups that nobody serves -------------------------------------------------------------------------------


async def test_groups_are_listed_with_what_they_hold(redis_url: str, app: str) -> None:
    async with RedisBackend(redis_url, app=app, group="busy") as busy:
        assert await busy.admin.groups() == []
        async with RedisBackend(redis_url, app=app, group="gone", ephemeral_after=60.0) as gone:
            await busy.enqueue(*numbers(1_200))
            await handle(busy, 1_200)
            await pulled(gone, 10)

        there, left = await busy.admin.groups()

        assert (there.name, there.stats.queued, there.stats.consumers, there.behind) == ("busy", 0, 1, None)
        assert (left.name, left.stats.queued, left.stats.consumers) == ("gone", 1_200, 0)
        assert left.behind is not None
        assert left.behind >= 0
        assert (there.ephemeral_after, left.ephemeral_after) == (None, 60.0)


async def test_a_group_without_workers_that_pins_the_stream_is_named(
    redis_url: str, app: str, always_trimming: None, caplog: pytest.LogCaptureFixture
) -> None:
    def told() -> list[Any]:
        return [record for record in caplog.records if record.message == "stream_pinned"]

    caplog.set_level(logging.WARNING)
    async with RedisBackend(redis_url, app=app, group="busy", retain_length=5) as busy:
        async with RedisBackend(redis_url, app=app, group="gone") as gone:
            await gone.pull(timeout=0)
            await busy.enqueue(*numbers(20))
            await handle(busy, 20)
            await busy.pull(timeout=0)
            assert told() == [], "it is behind, but somebody serves it"

        for _ in range(3):
            await busy.pull(timeout=0)
            (record,) = told()

        assert (record.group, record.app, record.events, record.history) == ("gone", app, 20, 20)
        assert record.behind >= 0


async def test_a_group_is_removed_with_all_its_keys_once_nobody_works_in_it(
    redis_url: str, app: str, client: Any
) -> None:
    async with RedisBackend(redis_url, app=app, group="stays") as stays:
        async with RedisBackend(redis_url, app=app, group="goes") as goes:
            await stays.enqueue(*numbers(5))
            await handle(stays, 5)
            one, two = await pulled(goes, 2)
            await goes.settle(
                Settlement(one, retries=[Retry(organ="Organ", delay=60.0)]),
                Settlement(two, dead=[Failure(reason="given up", organ="Organ")]),
            )
            await goes.admin.redrive(*[letter.id async for letter in goes.admin.dead_letters()])
            await goes.join("a topology")
            with pytest.raises(BackendError, match="'goes' has 1 workers that are alive; stop them first"):
                await stays.admin.remove_group("goes")
            assert (await goes.admin.stats()).queued == 4
        tomorrow = datetime.now(UTC) + timedelta(days=1)
        assert await stays.admin.trim(before=tomorrow) == 2, "two were settled by both"

        assert await stays.admin.remove_group("goes")

        assert not await stays.admin.remove_group("goes")
        assert await names(stays) == ["stays"]
        assert [key async for key in client.scan_iter(f"*{{{app}}}*:goes")] == []
        assert not [field for field in await client.hkeys(f"necrostack:{{{app}}}:groups") if b":goes" in field]
        assert await stays.admin.trim(before=tomorrow) == 3
        with pytest.raises(ConfigurationError, match="name='a b' must be"):
            await stays.admin.remove_group("a b")


# --- groups that go by themselves ----------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["left", "died"])
async def test_an_ephemeral_group_goes_when_nobody_served_it_for_so_long(
    how: str, redis_url: str, app: str, always_trimming: None
) -> None:
    async with RedisBackend(redis_url, app=app, group="stays", retain_length=0) as stays:
        visitor = RedisBackend(redis_url, app=app, group="visits", ephemeral_after=1.0, lease=1.0)
        try:
            await visitor.pull(timeout=0)
            await stays.enqueue(*numbers(3))
            await handle(stays, 3)
            begun = time.monotonic()
            while time.monotonic() - begun < 2.0:  # longer than it would stay without a worker
                await stays.pull(timeout=0.1)
                assert await names(stays) == ["stays", "visits"], "its worker is alive"
            begun = time.monotonic()
            if how == "left":
                await visitor.aclose()
            else:
                visitor._lease.stop()

            async def is_gone() -> bool:
                await stays.pull(timeout=0.05)
                return await names(stays) == ["stays"]

            await until(is_gone, "the group is gone")
            print(f"gone {time.monotonic() - begun:.2f} s after its worker {how}")
            assert time.monotonic() - begun >= 1.0
            await stays.pull(timeout=0)
            assert (await stays.admin.stats()).history == 0
        finally:
            await visitor.aclose()


async def test_a_worker_that_was_away_starts_its_ephemeral_group_anew(redis_url: str, app: str) -> None:
    async with (
        RedisBackend(redis_url, app=app, group="stays") as stays,
        RedisBackend(redis_url, app=app, group="visits", ephemeral_after=1.0, lease=0.5, start="latest") as visitor,
    ):
        await visitor.pull(timeout=0)
        await stays.enqueue(*numbers(2))
        held, _ = await pulled(visitor, 2)
        visitor._lease.stop()

        async def is_removed() -> bool:
            try:
                return await stays.admin.remove_group("visits")
            except BackendError:
                return False

        await until(is_removed, "its lease has ended and it is removed")
        assert await visitor.settle(Settlement(held, emitted=numbers(1))) == [False]
        await stays.enqueue(*numbers(3))

        assert [delivery.event.payload["n"] for delivery in await pulled(visitor, 3)] == [0, 1, 2]
        assert len([event async for event in stays.admin.history()]) == 5, "nothing was emitted"


async def test_the_last_worker_that_joins_decides_whether_a_group_is_ephemeral(redis_url: str, app: str) -> None:
    async def declared() -> float | None:
        return (await backend.admin.groups())[0].ephemeral_after

    async with RedisBackend(redis_url, app=app) as backend:
        await backend.pull(timeout=0)
        assert await declared() is None
        async with RedisBackend(redis_url, app=app, ephemeral_after=2.5) as another:
            await another.pull(timeout=0)
            assert await declared() == 2.5
        async with RedisBackend(redis_url, app=app) as another:
            await another.pull(timeout=0)
            assert await declared() is None


async def test_an_ephemeral_group_is_declared_in_the_url_too(redis_url: str) -> None:
    backend = RedisBackend(f"{redis_url}?ephemeral_after=90")

    assert backend.settings.ephemeral_after == 90.0
    with pytest.raises(ConfigurationError, match="must be a number of seconds, 1 or more"):
        RedisBackend(redis_url, ephemeral_after=0.5)
    await backend.aclose()
