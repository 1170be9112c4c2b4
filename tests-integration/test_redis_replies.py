"""Lost replies: whichever call it was that the server did and nobody heard of, making it again changes nothing."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from uuid import UUID

import pytest
from figures import Recorder
from patience import until
from redis_orders import COUNT, PER_ORDER, chain, lost_and_doubled, names, orders, run_in_two
from redis_place import Place
from redis_proxy import port_of, proxy_before
from redis_server import command as redis_command

from necrostack import Event, InMemoryBackend, RetryPolicy, patience
from necrostack.errors import BackendUnavailable
from necrostack_redis import RedisBackend

IN_A_RUN = ("enqueue", "pull", "settle", "release", "join", "lease", "leave", "stats", "strays")


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are hundreds of short outages, they are not waited for in vain."""
    monkeypatch.setattr(patience, "_BACKOFF", RetryPolicy(max_attempts=2**31, base_delay=0.01, max_delay=0.05))


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("script", IN_A_RUN)
async def test_a_lost_reply_of_any_script_changes_nothing(
    script: str, redis_url: str, app: str, caplog: pytest.LogCaptureFixture, figures: Recorder
) -> None:
    """Half of the replies of one script are lost, the first one, too."""
    expected = await run_in_two(chain(InMemoryBackend()), COUNT)
    caplog.clear()
    luck = random.Random(script)
    # Strays are looked for after a pull was cut.
    cut = ("strays", "pull") if script == "strays" else (script,)
    async with proxy_before(port_of(redis_url)) as proxy:
        proxy.cuts = lambda name: name in cut and (not proxy.cut[name] or luck.random() < 0.5)
        async with chain(RedisBackend(proxy.url, app=app, lease=1.5, batch_size=10, connect_timeout=0.3)) as spine:
            found = await run_in_two(spine, COUNT)
            if script == "lease":
                await until(lambda: proxy.cut[script], "a renewal whose reply was lost")
    async with RedisBackend(redis_url, app=app) as backend:
        lost, doubled = await lost_and_doubled(backend, COUNT)
        left = await backend.admin.stats()

    what = f"Replies of {script}.lua lost"
    figures(what, times=proxy.cut[script], events=COUNT * PER_ORDER, lost=lost, doubled=doubled)
    assert proxy.cut[script]
    assert found == expected
    assert (lost, doubled, left.idle) == (0, 0, True)
    assert not names(caplog)["settlement_lost"]


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("every", [4, 10])
@pytest.mark.parametrize("concurrency", [1, 8])
async def test_lost_replies_of_all_scripts_change_nothing(
    every: int, concurrency: int, redis_url: str, app: str, caplog: pytest.LogCaptureFixture, figures: Recorder
) -> None:
    expected = await run_in_two(chain(InMemoryBackend(), concurrency=concurrency), COUNT)
    caplog.clear()
    luck = random.Random(every)
    async with proxy_before(port_of(redis_url)) as proxy:
        proxy.cuts = lambda name: name.islower() and luck.random() < 1 / every
        backend = RedisBackend(proxy.url, app=app, lease=1.5, batch_size=5, connect_timeout=0.3)
        async with chain(backend, concurrency=concurrency) as spine:
            found = await run_in_two(spine, COUNT)
    async with RedisBackend(redis_url, app=app) as backend:
        lost, doubled = await lost_and_doubled(backend, COUNT)
        left = await backend.admin.stats()

    what = f"Replies lost, 1 of {every}, concurrency {concurrency}"
    figures(what, times=proxy.cut.total(), events=COUNT * PER_ORDER, lost=lost, doubled=doubled)
    assert found == expected
    assert (lost, doubled, left.idle) == (0, 0, True)
    assert not names(caplog)["settlement_lost"]


@pytest.mark.usefixtures("hurried")
async def test_what_cannot_be_read_is_buried_and_told_once_whatever_replies_are_lost(
    redis_url: str, app: str, caplog: pytest.LogCaptureFixture, figures: Recorder
) -> None:
    misfits = 20
    luck = random.Random(1)
    async with proxy_before(port_of(redis_url)) as proxy:
        proxy.cuts = lambda name: name in ("settle", "pull") and luck.random() < 0.5
        async with chain(RedisBackend(proxy.url, app=app, batch_size=10)) as spine:
            for n in range(misfits):
                redis_command(port_of(redis_url), "XADD", f"necrostack:{{{app}}}:events", "*", "garbage", n)
            report = await spine.run_until_idle(*orders(3))
    async with RedisBackend(redis_url, app=app) as backend:
        raw = [letter.raw async for letter in backend.admin.dead_letters() if letter.raw]

    told = sum(getattr(record, "reason", "") == "undecodable" for record in caplog.records)
    lost, doubled = misfits - len({*map(str, raw)}), len(raw) - len({*map(str, raw)})
    figures("Replies lost amid misfits", times=proxy.cut.total(), events=misfits, lost=lost, doubled=doubled, told=told)
    assert raw == [{b"garbage": str(n).encode()} for n in range(misfits)]
    assert (told, report.handled) == (misfits, 3 + 9 + 9 + 3)


@pytest.mark.parametrize("delay", [0.0, 0.05])
async def test_an_enqueue_whose_reply_was_lost_may_be_repeated(delay: float, place: Place, figures: Recorder) -> None:
    place.proxy.cuts = lambda name: name == "enqueue" and place.proxy.seen["enqueue"] < 4
    async with place.backend(connect_timeout=0.3) as backend, place.direct() as watcher:
        for _ in range(3):
            with pytest.raises(BackendUnavailable, match="is out of reach"):
                await backend.enqueue(*orders_again(COUNT), delay=delay)
        await backend.enqueue(*orders_again(COUNT), delay=delay)
        stats = await watcher.admin.stats()

    there = stats.queued + stats.scheduled
    lost, doubled = max(COUNT - there, 0), max(there - COUNT, 0)
    what = f"Replies of enqueue.lua lost{', delayed events' if delay else ''}"
    figures(what, times=place.proxy.cut["enqueue"], events=COUNT, lost=lost, doubled=doubled)
    assert place.proxy.cut["enqueue"] == 3
    assert there == COUNT


def orders_again(count: int) -> list[Event]:
    """The same events each time, made anew."""
    return [
        Event(id=UUID(int=n + 1), event_type="ORDERED", payload={"n": n}, timestamp=datetime(2026, 1, 1, tzinfo=UTC))
        for n in range(count)
    ]
