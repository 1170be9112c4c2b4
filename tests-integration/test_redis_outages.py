"""Outages: whatever happens between a worker and the server, nothing is lost, nothing doubled, and it is said once."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from patience import until
from redis_proxy import proxy_before

from necrostack import (
    Backend,
    Event,
    GiveUp,
    InMemoryBackend,
    MaxStepsExceeded,
    Organ,
    RetryPolicy,
    RunReport,
    Spine,
    patience,
)
from necrostack_redis import RedisBackend

FANOUT = 3


class Splitter(Organ):
    """Makes several of one."""

    listens_to = ["ORDERED"]

    async def handle(self, event: Event) -> Sequence[Event]:
        n = event.payload["n"]
        return [Event(event_type="SPLIT", payload={"n": n, "part": part}) for part in range(FANOUT)]


class Shaky(Organ):
    """Fails the first time, for some."""

    listens_to = ["SPLIT"]
    retry = RetryPolicy(max_attempts=3, base_delay=0.01, jitter=False)

    def __init__(self) -> None:
        super().__init__()
        self.failed: set[object] = set()

    async def handle(self, event: Event) -> Event:
        if event.payload["n"] % 5 == 0 and event.id not in self.failed:
            self.failed.add(event.id)
            raise ConnectionError("for once")
        return Event(event_type="DONE", payload=event.payload)


class Picky(Organ):
    """Gives up some."""

    listens_to = ["DONE"]

    async def handle(self, event: Event) -> None:
        if event.payload["n"] % 7 == 0 and event.payload["part"] == 0:
            raise GiveUp("unwanted")


def chain(backend: Backend, **settings: Any) -> Spine:
    return Spine([Splitter(), Shaky(), Picky()], backend, **settings)


def orders(count: int) -> list[Event]:
    return [Event(event_type="ORDERED", payload={"n": n}) for n in range(count)]


async def kept(backend: Backend) -> Counter[tuple[object, ...]]:
    """Everything that was ever emitted, and how often."""
    return Counter([(event.event_type, *sorted(event.payload.items())) async for event in backend.admin.history()])


async def lost_and_doubled(backend: Backend, count: int) -> tuple[int, int]:
    """Compare what was kept with what ought to be: one ORDERED each, and three SPLIT and three DONE of it."""
    found = await kept(backend)
    wanted = {("ORDERED", ("n", n)) for n in range(count)} | {
        (kind, ("n", n), ("part", part)) for kind in ("SPLIT", "DONE") for n in range(count) for part in range(FANOUT)
    }
    assert found.keys() <= wanted
    return len(wanted - found.keys()), found.total() - len(found)


async def run_in_two(spine: Spine, count: int) -> Counter[str]:
    """Run until so many steps were taken, which leaves deliveries to be handed back, and then on to the end."""
    with pytest.raises(MaxStepsExceeded) as ended:
        await spine.with_settings(max_steps=count).run_until_idle(*orders(count))
    return numbers(ended.value.report) + numbers(await spine.run_until_idle())


def numbers(report: RunReport) -> Counter[str]:
    """A report as numbers that can be added up."""
    found = report.to_dict()
    del found["duration"]
    of_organs = found.pop("organs")
    return Counter(found) + Counter(
        {f"{name}.{kind}": number for name, organ in of_organs.items() for kind, number in organ.items()}
    )


def port_of(url: str) -> int:
    return int(url.rsplit(":", 1)[1])


def names(log: pytest.LogCaptureFixture) -> Counter[str]:
    return Counter(record.getMessage() for record in log.records)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are hundreds of short outages, they are not waited for in vain."""
    monkeypatch.setattr(patience, "_BACKOFF", RetryPolicy(max_attempts=2**31, base_delay=0.01, max_delay=0.05))


# --- lost replies ------------------------------------------------------------------------------------------

COUNT = 30

IN_A_RUN = ("enqueue", "pull", "settle", "release", "join", "lease", "leave", "stats", "strays")


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("script", IN_A_RUN)
async def test_a_lost_reply_of_any_script_changes_nothing(
    script: str, redis_url: str, app: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Half of the replies of one script are lost, the first one, too."""
    expected = await run_in_two(chain(InMemoryBackend()), COUNT)
    caplog.clear()
    luck = random.Random(script)
    # Strays are looked for after a pull was cut.
    cut = ("strays", "pull") if script == "strays" else (script,)
    async with proxy_before(port_of(redis_url)) as proxy:
        proxy.cuts = lambda name: name in cut and (not proxy.cut[name] or luck.random() < 0.5)
        async with chain(RedisBackend(proxy.url, app=app, lease=1.5, batch_size=10)) as spine:
            found = await run_in_two(spine, COUNT)
            if script == "lease":
                await until(lambda: proxy.cut[script], "a renewal whose reply was lost")
    async with RedisBackend(redis_url, app=app) as backend:
        lost, doubled = await lost_and_doubled(backend, COUNT)
        left = await backend.admin.stats()

    print(f"{script}: {proxy.cut[script]} of {proxy.seen[script]} replies lost; {lost} lost, {doubled} doubled")
    assert proxy.cut[script]
    assert found == expected
    assert (lost, doubled, left.idle) == (0, 0, True)
    assert not names(caplog)["settlement_lost"]


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("every", [4, 10])
@pytest.mark.parametrize("concurrency", [1, 8])
async def test_lost_replies_of_all_scripts_change_nothing(
    every: int, concurrency: int, redis_url: str, app: str, caplog: pytest.LogCaptureFixture
) -> None:
    expected = await run_in_two(chain(InMemoryBackend(), concurrency=concurrency), COUNT)
    caplog.clear()
    luck = random.Random(every)
    async with proxy_before(port_of(redis_url)) as proxy:
        proxy.cuts = lambda name: name.islower() and luck.random() < 1 / every
        backend = RedisBackend(proxy.url, app=app, lease=1.5, batch_size=5)
        async with chain(backend, concurrency=concurrency) as spine:
            found = await run_in_two(spine, COUNT)
    async with RedisBackend(redis_url, app=app) as backend:
        lost, doubled = await lost_and_doubled(backend, COUNT)
        left = await backend.admin.stats()

    print(f"1 of {every} replies lost: {dict(proxy.cut)}; {lost} lost, {doubled} doubled")
    assert found == expected
    assert (lost, doubled, left.idle) == (0, 0, True)
    assert not names(caplog)["settlement_lost"]
