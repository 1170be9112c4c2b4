"""The recorder, and the Spine fixture that is one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import pytest
from pydantic import BaseModel

from necrostack import (
    BackendFull,
    Event,
    GiveUp,
    InMemoryBackend,
    MaxStepsExceeded,
    Organ,
    RetryLater,
    RetryPolicy,
    Spine,
)
from necrostack.delivery import Delivery
from necrostack.errors import BackendClosed, EventError
from necrostack.testing import Recorder, SpineFixture, VirtualClock


class Order(BaseModel, frozen=True):
    order_id: str


class OrderPlaced(Event):
    event_type: Literal["recorder.order_placed"] = "recorder.order_placed"
    payload: Order


class Invoiced(Event):
    event_type: Literal["recorder.invoiced"] = "recorder.invoiced"
    payload: Order


class Billing(Organ[OrderPlaced]):
    listens_to = [OrderPlaced]

    async def handle(self, event: OrderPlaced) -> Invoiced:
        return Invoiced(payload=event.payload)


class Archive(Organ[Invoiced]):
    listens_to = [Invoiced]

    def handle(self, event: Invoiced) -> None:
        if event.payload.order_id == "lost":
            msg = "the shelf is full"
            raise GiveUp(msg)


class Shouting(Organ):
    """Emits from inside its handler, outside the atomic step, and then fails."""

    listens_to = ["recorder.shout"]

    def __init__(self) -> None:
        super().__init__()
        self.spine: Spine | None = None

    async def handle(self, event: Event) -> Event:
        assert self.spine is not None
        await self.spine.emit(Event(event_type="recorder.echo", payload={}))
        msg = "hoarse"
        raise RuntimeError(msg)


def order(order_id: str = "1") -> OrderPlaced:
    return OrderPlaced(payload=Order(order_id=order_id))


async def test_what_programs_and_organs_emit_is_recorded_in_order_and_typed() -> None:
    async with SpineFixture([Billing(), Archive()]) as fixture:
        await fixture.run(order("1"), order("2"))

    assert [event.event_type for event in fixture.events] == ["recorder.order_placed"] * 2 + ["recorder.invoiced"] * 2
    assert [event.payload.order_id for event in fixture.emitted(Invoiced)] == ["1", "2"]
    assert fixture.emitted("recorder.invoiced") == fixture.emitted(Invoiced)


async def test_a_plain_event_of_a_declared_type_is_recorded_as_it_arrives() -> None:
    async with SpineFixture([Billing()]) as fixture:
        await fixture.run(Event(event_type="recorder.order_placed", payload={"order_id": "7"}))

    assert [event.payload.order_id for event in fixture.emitted(OrderPlaced)] == ["7"]


async def test_what_a_handler_emitted_by_itself_counts_though_the_handler_failed() -> None:
    shouting = Shouting()
    async with SpineFixture([shouting]) as fixture:
        shouting.spine = fixture.spine
        await fixture.run(Event(event_type="recorder.shout", payload={}))

    assert len(fixture.emitted("recorder.echo")) == 1
    assert [failure.error for failure in fixture.dead_lettered("Shouting")] == ["hoarse"]


async def test_what_was_not_committed_was_not_emitted() -> None:
    recorder = Recorder()

    class Stolen(InMemoryBackend):
        """Its deliveries are settled by somebody else first."""

        async def pull(self, *, limit: int = 1, timeout: float = 1.0):  # type: ignore[no-untyped-def]
            deliveries = await super().pull(limit=limit, timeout=timeout)
            for delivery in deliveries:
                await self.ack(delivery)
            return deliveries

    report = await Spine([Billing()], Stolen(), instrumentation=recorder).run_until_idle(order())

    assert report.lost == 1
    assert recorder.emitted(Invoiced) == []


async def test_what_a_backend_refuses_is_told_by_the_backend() -> None:
    async with SpineFixture([Billing()]) as fixture:
        with pytest.raises(EventError, match="OrderPlaced"):
            await fixture.run(Event(event_type="recorder.order_placed", payload={}))


async def test_an_assertion_returns_what_it_found() -> None:
    async with SpineFixture([Billing()]) as fixture:
        await fixture.run(order("1"), order("2"))

    found = fixture.assert_emitted(Invoiced, times=1, where=lambda event: event.payload.order_id == "2")

    assert [event.payload.order_id for event in found] == ["2"]


async def test_a_failed_assertion_draws_what_caused_what() -> None:
    async with SpineFixture([Billing(), Archive()]) as fixture:
        await fixture.run(order("lost"))

    with pytest.raises(AssertionError) as failed:
        fixture.assert_emitted("recorder.shipped")

    placed, invoiced = fixture.events
    assert str(failed.value) == (
        "recorder.shipped was emitted 0 times, not at least once; what happened:\n"
        f"  recorder.order_placed {str(placed.id)[:8]}; Billing handled it\n"
        f"    recorder.invoiced {str(invoiced.id)[:8]}; Archive failed with GiveUp: the shelf is full; "
        "dead letter: the shelf is full"
    )


async def test_a_wrong_count_fails_an_assertion() -> None:
    async with SpineFixture([Billing()]) as fixture:
        await fixture.run(order())

    with pytest.raises(AssertionError, match="Invoiced was emitted 1 times, not 2 times"):
        fixture.assert_emitted(Invoiced, times=2)
    with pytest.raises(AssertionError, match="OrderPlaced, as asked for, was emitted 1 times, not 0 times"):
        fixture.assert_emitted(OrderPlaced, times=0, where=lambda event: event.payload.order_id == "1")


def test_a_recorder_that_saw_nothing_says_so() -> None:
    with pytest.raises(AssertionError, match="nothing was emitted"):
        Recorder().assert_emitted(OrderPlaced)


async def test_every_handler_call_is_recorded_with_its_error() -> None:
    async with SpineFixture([Archive()], retry=RetryPolicy(max_attempts=3, jitter=False)) as fixture:
        await fixture.run(Invoiced(payload=Order(order_id="1")), Invoiced(payload=Order(order_id="lost")))

    assert [(call.organ, type(call.error)) for call in fixture.calls] == [
        ("Archive", type(None)),
        ("Archive", GiveUp),
    ]
    assert [event.payload.order_id for event in fixture.handled("Archive")] == ["1", "lost"]


async def test_retries_pass_in_virtual_time_and_are_recorded() -> None:
    class Failing(Organ):
        listens_to = ["recorder.fail"]

        def handle(self, event: Event) -> None:
            raise TimeoutError

    policy = RetryPolicy(max_attempts=3, base_delay=60.0, jitter=False)
    async with SpineFixture([Failing()], retry=policy) as fixture:
        report = await fixture.run(Event(event_type="recorder.fail", payload={}))

    assert [retry.delay for retry in fixture.retried("Failing")] == [60.0, 120.0]
    assert report.duration == fixture.clock.monotonic() == 180.0
    assert [letter.organ for letter in fixture.dead_letters] == ["Failing"]


async def test_an_hour_passes_without_a_look_at_each_of_its_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    class Impatient(Organ):
        listens_to = ["recorder.hour"]

        def handle(self, event: Event) -> None:
            if fixture.clock.monotonic() < 3600.0:
                raise RetryLater(3600.0)

    fixture = SpineFixture([Impatient()])
    pull, looks = fixture.backend.pull_sealed, 0

    async def counted(*, limit: int = 1, timeout: float = 1.0) -> Sequence[Delivery]:
        nonlocal looks
        looks += 1
        return await pull(limit=limit, timeout=timeout)

    monkeypatch.setattr(fixture.backend, "pull_sealed", counted)
    await fixture.run(Event(event_type="recorder.hour", payload={}))

    assert fixture.clock.monotonic() == 3600.0
    assert looks < 400


async def test_dead_letters_are_read_also_when_a_run_fails() -> None:
    async with SpineFixture([Archive()], max_steps=1) as fixture:
        with pytest.raises(MaxStepsExceeded):
            await fixture.run(*(Invoiced(payload=Order(order_id="lost")) for _ in range(2)))

    assert len(fixture.dead_letters) == 1


async def test_a_fixture_may_be_bounded_and_share_a_clock() -> None:
    clock = VirtualClock()
    fixture = SpineFixture([Billing()], clock=clock, max_size=1)

    with pytest.raises(BackendFull):
        await fixture.run(order("1"), order("2"))

    assert fixture.backend.clock is clock


async def test_a_fixture_closes_its_backend() -> None:
    async with SpineFixture([Billing()]) as fixture:
        await fixture.aclose()

    with pytest.raises(BackendClosed):
        await fixture.run(order())
