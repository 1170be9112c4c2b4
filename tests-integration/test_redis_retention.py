"""What is kept and what is forgotten: never what some group still needs, and no more than was asked for."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
import redis.asyncio
from patience import until
from redis_server import Server, command

from necrostack import BackendFull, Delivery, Event, Settlement
from necrostack.delivery import Failure, Retry
from necrostack_redis import RedisBackend, trimming
from necrostack_redis.keys import Keys


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Any]:
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def always_trimming(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pull trims, not only one in ten seconds."""
    monkeypatch.setattr(trimming, "_INTERVAL", 0.0)


def numbers(amount: int, event_type: str = "NUMBERED") -> list[Event]:
    return [Event(event_type=event_type, payload={"n": number}) for number in range(amount)]


async def pulled(backend: RedisBackend, count: int) -> list[Delivery]:
    found: list[Delivery] = []
    while len(found) < count:
        more = await backend.pull(limit=count - len(found), timeout=30)
        assert more, f"only {len(found)} of {count} came"
        found += more
    return found


async def handle(backend: RedisBackend, count: int) -> None:
    await backend.settle(*map(Settlement, await pulled(backend, count)))


async def history(backend: RedisBackend) -> list[int]:
    return [event.payload["n"] async for event in backend.admin.history()]


# --- how much waits ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["earliest", "latest"])
async def test_a_long_queue_is_counted_and_bounded_exactly(start: Any, redis_url: str, app: str) -> None:
    async with (
        RedisBackend(redis_url, app=app, group="other") as other,
        RedisBackend(redis_url, app=app, start=start, max_size=2_500) as backend,
    ):
        await other.enqueue(*numbers(700))
        passed_over = 700 if start == "latest" else 0
        if start == "latest":
            await backend.pull(timeout=0)
        else:
            assert (await backend.admin.stats()).queued == 700

        await backend.enqueue(*numbers(1_800 + passed_over, "MORE"))
        assert (await backend.admin.stats()).queued == 2_500
        with pytest.raises(BackendFull, match="max_size is 2500 and there is room for 0, not for 1"):
            await backend.enqueue(*numbers(1))
        taken = await pulled(backend, 1_500)
        await backend.enqueue(*numbers(1_499, "EVEN MORE"))
        with pytest.raises(BackendFull, match="room for 1, not for 2"):
            await backend.enqueue(*numbers(2))
        await backend.settle(*map(Settlement, taken))
        await backend.release(*await pulled(backend, 300))

        stats = await backend.admin.stats()
        assert (stats.queued, stats.pending) == (2_499, 0)
        with pytest.raises(BackendFull, match="room for 1, not for 2"):
            await backend.enqueue(*numbers(2))


async def test_what_goes_again_counts_before_anybody_has_pulled(redis_url: str, app: str) -> None:
    async with RedisBackend(redis_url, app=app, max_size=5) as backend:
        await backend.enqueue(*numbers(2))
        assert await backend.admin.replay() == 2
        assert (await backend.admin.stats()).queued == 4

        with pytest.raises(BackendFull, match="room for 1, not for 2"):
            await backend.enqueue(*numbers(2, "MORE"))


async def test_the_group_that_is_furthest_behind_bounds_every_producer(redis_url: str, app: str) -> None:
    async with (
        RedisBackend(redis_url, app=app, group="producers", max_size=10) as producer,
        RedisBackend(redis_url, app=app, group="fast") as fast,
        RedisBackend(redis_url, app=app, group="slow") as slow,
    ):
        await producer.enqueue(*numbers(10))
        with pytest.raises(BackendFull, match="room for 0, not for 1"):
            await producer.enqueue(*numbers(1, "MORE"))

        await handle(fast, 10)
        await handle(slow, 4)

        with pytest.raises(BackendFull, match="room for 4, not for 5"):
            await producer.enqueue(*numbers(5, "MORE"))
        await producer.enqueue(*numbers(4, "MORE"))


async def test_what_waits_is_counted_right_after_trimming(redis_url: str, app: str) -> None:
    async with (
        RedisBackend(redis_url, app=app) as backend,
        RedisBackend(redis_url, app=app, group="late") as late,
    ):
        await backend.enqueue(*numbers(50))
        await handle(backend, 30)
        await backend.admin.trim(max_length=0)
        await backend.enqueue(*numbers(5, "MORE"))

        assert (await backend.admin.stats()).queued == 25
        assert (await late.admin.stats()).queued == 25
        await pulled(late, 5)
        assert (await late.admin.stats()).queued == 20


async def test_a_count_that_somebody_spoilt_is_right_again_when_all_is_read(
    redis_url: str, app: str, client: Any
) -> None:
    async with RedisBackend(redis_url, app=app) as backend:
        await backend.enqueue(*numbers(10))
        await handle(backend, 2)
        for entry_id, _ in await client.xrange(Keys(app, "default").events, count=7):
            await client.xdel(Keys(app, "default").events, entry_id)

        assert not (await backend.admin.stats()).idle
        await handle(backend, 3)
        await backend.pull(timeout=0)
        await backend.enqueue(*numbers(4, "MORE"))

        assert (await backend.admin.stats()).queued == 4


@pytest.mark.parametrize("seed", range(3))
async def test_what_waits_and_what_is_pending_is_counted_right_whatever_happens(
    seed: int, redis_url: str, app: str
) -> None:
    chance, forgotten = random.Random(seed), 0
    async with (
        RedisBackend(redis_url, app=app, group="a") as first,
        RedisBackend(redis_url, app=app, group="b") as second,
    ):
        groups = [first, second]
        queued, pending = Counter[RedisBackend](), dict[RedisBackend, list[Delivery]]({first: [], second: []})
        for group in groups:
            await group.pull(timeout=0)

        for step in range(120):
            group = chance.choice(groups)
            held = pending[group]
            chance.shuffle(held)
            some = held[: chance.randint(0, 5)]
            match chance.choice(["enqueue", "pull", "pull", "settle", "settle", "release", "trim"]):
                case "enqueue":
                    amount = chance.randint(1, 8)
                    await group.enqueue(*numbers(amount, f"{seed} {step}"))
                    queued.update(dict.fromkeys(groups, amount))
                case "pull":
                    taken = await group.pull(limit=chance.randint(1, 9), timeout=0)
                    held += taken
                    queued[group] -= len(taken)
                case "settle":
                    del held[: len(some)]
                    steps = [
                        Settlement(
                            delivery,
                            emitted=numbers(chance.choice([0, 0, 1])),
                            retries=[Retry(organ="Organ", delay=0.0)] * chance.choice([0, 0, 1]),
                        )
                        for delivery in some
                    ]
                    assert all(await group.settle(*steps))
                    queued.update(dict.fromkeys(groups, sum(len(each.emitted) for each in steps)))
                    queued[group] += sum(len(each.retries) for each in steps)
                case "release":
                    del held[: len(some)]
                    await group.release(*some)
                    queued[group] += len(some)
                case "trim":
                    forgotten += await group.admin.trim(max_length=chance.randint(0, 5))
            for each in groups:
                stats = await each.admin.stats()
                found = (stats.queued, stats.pending)
                assert found == (queued[each], len(pending[each])), f"step {step} of seed {seed}"
        assert forgotten > 0, "nothing was trimmed"


# --- what is forgotten ---------------------------------------------------------------------------------------


async def test_length_and_age_keep_what_they_say_and_zero_keeps_none(
    redis_url: str, app: str, always_trimming: None
) -> None:
    async with RedisBackend(redis_url, app=app, retain_length=3, retain_age=None) as backend:
        await backend.enqueue(*numbers(10))
        await handle(backend, 10)
        await backend.pull(timeout=0)
        assert await history(backend) == [7, 8, 9]

    async with RedisBackend(redis_url, app=app, retain_length=0) as backend:
        await backend.pull(timeout=0)
        assert await history(backend) == []
        await backend.enqueue(*numbers(2))
        await backend.pull(timeout=0)
        await backend.pull(timeout=0)
        assert await history(backend) == [0, 1], "both are pending"


async def test_age_is_counted_by_the_clock_of_the_server(redis_url: str, app: str, always_trimming: None) -> None:
    async with RedisBackend(redis_url, app=app, retain_age=0.0, retain_length=None) as backend:
        await backend.enqueue(*numbers(3))
        await handle(backend, 3)

        async def is_forgotten() -> bool:
            await backend.pull(timeout=0)
            return not await history(backend)

        await until(is_forgotten, "what is older than a moment is forgotten")

    async with RedisBackend(redis_url, app=app, retain_age=3600.0, retain_length=None) as backend:
        await backend.enqueue(*numbers(3, "MORE"))
        await handle(backend, 3)
        await backend.pull(timeout=0)
        assert len(await history(backend)) == 3


@pytest.mark.parametrize("at_once", [2, 1_000])
async def test_whatever_some_group_has_not_settled_stays(
    at_once: int, redis_url: str, app: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trimming, "_AT_ONCE", at_once)
    async with (
        RedisBackend(redis_url, app=app, group="a") as first,
        RedisBackend(redis_url, app=app, group="b") as second,
    ):
        trim = partial(first.admin.trim, max_length=0, before=datetime.now(UTC) + timedelta(days=1))
        await first.enqueue(*numbers(10))
        await handle(second, 10)
        one, two, three = await pulled(first, 3)

        await first.ack(one)
        assert (await trim(), await history(first)) == (1, list(range(1, 10))), "one was settled by both"
        await first.ack(three)
        assert (await trim(), await history(first)) == (0, list(range(1, 10))), "the oldest is pending"
        await first.release(two)
        assert (await trim(), await history(first)) == (0, list(range(1, 10))), "the oldest was handed back"
        await handle(first, 1)
        assert (await trim(), await history(first)) == (2, list(range(3, 10))), "the rest was not read"
        await handle(first, 7)
        assert (await trim(), await history(first)) == (7, []), "nothing is needed"


async def test_a_group_that_comes_late_gets_what_is_kept(redis_url: str, app: str) -> None:
    async with (
        RedisBackend(redis_url, app=app, retain_length=4) as backend,
        RedisBackend(redis_url, app=app, group="late") as late,
    ):
        await backend.enqueue(*numbers(10))
        await handle(backend, 10)
        await backend.admin.trim(max_length=4)

        assert [delivery.event.payload["n"] for delivery in await pulled(late, 4)] == [6, 7, 8, 9]
        assert await late.pull(timeout=0) == []


async def test_trimming_all_the_time_loses_nothing(
    redis_url: str, app: str, always_trimming: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two producers and two groups, one of them slow, while every pull trims to ten events."""
    # The slow group is farther behind at times, and nearer at others.
    monkeypatch.setattr(trimming, "_AT_ONCE", 120)
    amount, chance = 3_000, random.Random(7)
    settled: dict[str, Counter[int]] = {"fast": Counter(), "slow": Counter()}
    longest = 0

    async def produce(backend: RedisBackend, first: int) -> None:
        for start in range(first, first + amount // 2, 20):
            batch = [Event(event_type="N", payload={"n": number}) for number in range(start, start + 20)]
            while True:
                try:
                    await backend.enqueue(*batch)
                    break
                except BackendFull:
                    await backend.wait_for_room(len(batch))

    async def consume(backend: RedisBackend) -> None:
        nonlocal longest
        counted = settled[backend.settings.group]
        is_idle = False
        while not (is_idle and producers.done()):
            limit = chance.randint(1, 100) if backend.settings.group == "fast" else 40
            taken = list(await backend.pull(limit=limit, timeout=0.2))
            chance.shuffle(taken)
            released = [delivery for delivery in taken if chance.random() < 0.1]
            await backend.release(*released)
            steps = []
            for delivery in taken:
                if delivery in released:
                    continue
                is_again = delivery.origin != "retry" and chance.random() < 0.1
                steps.append(Settlement(delivery, retries=[Retry(organ="Organ", delay=0.0)] if is_again else ()))
            for step, ours in zip(steps, await backend.settle(*steps), strict=True):
                counted[step.delivery.event.payload["n"]] += ours and not step.retries
            stats = await backend.admin.stats()
            longest, is_idle = max(longest, stats.history), stats.idle

    options: dict[str, Any] = {"app": app, "retain_length": 10, "max_size": 200}
    async with AsyncExitStack() as stack:
        workers = [RedisBackend(redis_url, group=group, **options) for group in ("fast", "fast", "slow")]
        for worker in workers:
            await stack.enter_async_context(worker)
            await worker.pull(timeout=0)
        producers = asyncio.gather(produce(workers[2], 0), produce(workers[2], amount // 2))
        await asyncio.gather(producers, *map(consume, workers))
        await workers[0].pull(timeout=0)
        kept = (await workers[0].admin.stats()).history

    for group, counted in settled.items():
        lost, doubled = amount - len(counted), sum(counted.values()) - len(counted)
        print(f"{group}: {amount} events, {lost} lost, {doubled} settled twice")
        assert (lost, doubled) == (0, 0)
    print(f"at most {longest} events were kept, {kept} in the end")
    assert kept == 10
    assert longest < 600, "200 may wait for the slow group, and some of it is pending"


async def test_a_hundred_thousand_old_events_are_forgotten_without_holding_up_the_server(
    redis_url: str, app: str, client: Any
) -> None:
    amount = 100_000
    async with RedisBackend(redis_url, app=app) as backend:
        await backend.pull(timeout=0)
        events = Keys(app, "default").events
        script = "for i = 1, ARGV[1] do redis.call('XADD', KEYS[1], '*', 'v', '1', 'payload', ARGV[2]) end"
        for _ in range(10):
            await client.eval(script, 1, events, amount // 10, "x" * 200)
        last = (await client.xinfo_stream(events))["last-generated-id"]
        await client.execute_command("XGROUP", "SETID", events, "default", last)

        begun = time.perf_counter()
        assert await backend.admin.trim(max_length=amount - 2_000) == 2_000
        by_length = time.perf_counter() - begun
        begun = time.perf_counter()
        assert await backend.admin.trim(before=datetime.now(UTC) + timedelta(days=1)) == amount - 2_000
        by_age = time.perf_counter() - begun

        print(
            f"forgotten: by length 2000 in {by_length * 1e3:.1f} ms, by age {amount - 2_000} in {by_age * 1e3:.1f} ms"
        )
        assert (await backend.admin.stats()).history == 0


async def test_a_worker_that_may_not_trim_says_so_and_goes_on(
    make_server: Callable[..., Server], always_trimming: None, caplog: pytest.LogCaptureFixture
) -> None:
    server = make_server()
    assert command(server.port, "ACL", "SETUSER", "default", "-xtrim") == b"+OK\r\n"
    async with RedisBackend(server.url, retain_length=1) as backend:
        await backend.enqueue(*numbers(5))
        for _ in range(5):
            await handle(backend, 1)

        assert len(await history(backend)) == 5
    (told,) = [record for record in caplog.records if record.message == "not_trimmed"]
    assert "refuses the default user" in vars(told)["error"]


# --- dead letters --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [{"retain_age": 0.0}, {"retain_length": 0}, {"retain_length": 2}], ids=str)
async def test_redriven_letters_are_forgotten_and_those_that_wait_stay(
    limit: Any, redis_url: str, app: str, always_trimming: None
) -> None:
    async with RedisBackend(redis_url, app=app, **limit) as backend:
        await backend.enqueue(*numbers(6))
        await backend.settle(
            *(Settlement(each, dead=[Failure(reason="given up", organ="Organ")]) for each in await pulled(backend, 6))
        )
        waiting, *others = [letter.id async for letter in backend.admin.dead_letters()]
        await backend.admin.redrive(*others)
        left = others[len(others) - limit.get("retain_length", 0) :]

        async def is_forgotten() -> bool:
            await handle(backend, 1) if (await backend.admin.stats()).queued else await backend.pull(timeout=0)
            return [letter.id async for letter in backend.admin.dead_letters(redriven=True)] == left

        await until(is_forgotten, "redriven letters are forgotten")
        assert [letter.id async for letter in backend.admin.dead_letters()] == [waiting]
        assert (await backend.admin.stats()).dead == 1
