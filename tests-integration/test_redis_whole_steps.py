"""A step is done or it is not: however much it leads to, and whatever the server cannot take."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from redis_place import Place

from necrostack import Backend, Event, Organ, Settlement, Spine
from necrostack.delivery import Failure, Retry
from necrostack.errors import BackendError, EventTooLarge
from necrostack_redis import wire


def cause() -> Event:
    return Event(event_type="CAUSE", payload={})


def effect(**payload: object) -> Event:
    return Event(event_type="EFFECT", payload=payload)


async def settle_one(backend: Backend, **outcome: Any) -> bool:
    """Let something come of a new event."""
    await backend.enqueue(cause())
    (delivery,) = await backend.pull()
    (accepted,) = await backend.settle(Settlement(delivery, **outcome))
    return accepted


async def test_ten_thousand_events_of_one_settlement_are_kept_as_one(place: Place) -> None:
    many = 10_000
    effects = [effect(n=n) for n in range(many)]
    async with place.direct() as backend:
        started = time.monotonic()
        accepted = await settle_one(backend, emitted=effects)
        took = time.monotonic() - started
        held_up = sum(
            map(int, re.findall(rb"cmdstat_eval\w*:calls=\d+,usec=(\d+)", place.tell("INFO", "commandstats")))
        )
        found = [event.payload["n"] async for event in backend.admin.history(event_type="EFFECT")]

    print(f"{len(found)} events of one step in {took:.2f} s, {held_up / 1e6:.2f} s of them held up the server")
    assert accepted
    assert found == list(range(many))


async def test_what_no_server_takes_at_once_is_refused_before_anything_is_done(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "_MOST_OF_A_CALL", 1_000)
    too_many = [effect()] * 75
    async with place.direct() as backend:
        with pytest.raises(EventTooLarge, match=r"enqueue was given 75 events at once.*; give it less at once"):
            await backend.enqueue(*too_many)
        with pytest.raises(EventTooLarge, match=r"led to 75 events at once.*; give it less at once"):
            await settle_one(backend, emitted=too_many)
        stats = await backend.admin.stats()

    assert (stats.history, stats.pending) == (1, 1)


class Scatters(Organ):
    listens_to = ["CAUSE"]

    def handle(self, event: Event) -> list[Event]:
        return [effect()] * 75


async def test_a_handler_that_returns_more_than_any_server_takes_has_failed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "_MOST_OF_A_CALL", 1_000)
    async with place.direct() as backend:
        report = await Spine([Scatters()], backend).run_until_idle(cause())
        (letter,) = [letter async for letter in backend.admin.dead_letters()]

    assert (report.failed, report.emitted, letter.reason) == (1, 0, "bad_result")
    assert "led to 75 events at once" in letter.error


async def test_large_events_are_settled_in_calls_that_the_server_takes(place: Place) -> None:
    large = effect(text="x" * 1_000_000)
    async with place.direct() as backend:
        await backend.enqueue(*(cause() for _ in range(20)))
        deliveries = await backend.pull(limit=20)
        accepted = await backend.settle(*(Settlement(delivery, emitted=(large,)) for delivery in deliveries))
        stats = await backend.admin.stats()

    assert (list(accepted), stats.history, stats.pending) == ([True] * 20, 40, 0)


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        ("events", {"emitted": [effect(), effect()]}),
        ("inbox:default", {"retries": [Retry(organ="Billing", delay=0.0)]}),
        ("bell", {"retries": [Retry(organ="Billing", delay=5.0)]}),
        ("dead:default", {"emitted": [effect()], "dead": [Failure(reason="unwanted")]}),
    ],
)
async def test_a_stream_at_its_last_id_stops_a_step_before_it_begins(
    kind: str, outcome: dict[str, Any], place: Place
) -> None:
    key, last = f"necrostack:{{{place.app}}}:{kind}", "18446744073709551615-18446744073709551615"
    async with place.direct() as backend:
        await backend.enqueue(cause())
        (delivery,) = await backend.pull()
        place.tell("XADD", key, last, "by", "somebody")
        place.tell("XDEL", key, last)
        with pytest.raises(BackendError, match=f"EXHAUSTED {key} holds the last id".replace("{", r"\{")):
            await backend.settle(Settlement(delivery, **outcome))
        stats = await backend.admin.stats()
        assert (stats.pending, stats.history, stats.scheduled, stats.dead) == (1, 1, 0, 0)

        place.tell("RENAME", key, f"{key}:put-aside")
        if kind == "events":
            return  # with it the delivery is gone
        assert await backend.settle(Settlement(delivery, **outcome)) == [True]
