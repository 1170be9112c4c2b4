"""The Spine on the in-memory backend: what DESIGN promises of a run, case by case."""

from __future__ import annotations

import asyncio
import functools
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from necrostack import (
    BackendFull,
    Delivery,
    Event,
    GiveUp,
    InMemoryBackend,
    MaxStepsExceeded,
    Organ,
    RetryLater,
    RetryPolicy,
    Settlement,
    Spine,
)
from necrostack.delivery import DeadLetter
from necrostack.errors import BackendClosed, BackendUnavailable, ConfigurationError, EventError, EventTooLarge
from necrostack.instrumentation import Instrumentation, together
from necrostack.patience import Patience
from necrostack.testing import SpineFixture, VirtualClock


def ping(**payload: Any) -> Event:
    return Event(event_type="PING", payload=payload)


class Calls(Organ):
    """Calls a function for each PING, and remembers what it got."""

    listens_to = ["PING"]

    def __init__(self, function: Callable[[Event], Any] = lambda event: None, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.function = function
        self.events: list[Event] = []

    def handle(self, event: Event) -> Any:
        self.events.append(event)
        return self.function(event)


class Pongs(Organ):
    """Remembers each PONG."""

    listens_to = ["PONG"]

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Event] = []

    async def handle(self, event: Event) -> None:
        self.events.append(event)


def raises(error: BaseException) -> Callable[[Event], Any]:
    def function(event: Event) -> None:
        raise error

    return function


async def letters(spine: Spine) -> Sequence[DeadLetter]:
    return [letter async for letter in spine.backend.admin.dead_letters()]


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, logger="necrostack")
    return caplog


# --- order and lineage ----------------------------------------------------------------------------------------


async def test_organs_of_one_event_run_in_registration_order_and_events_in_fifo_order() -> None:
    seen: list[tuple[str, int]] = []
    first = Calls(lambda event: seen.append(("first", event.payload["n"])), name="first")
    second = Calls(lambda event: seen.append(("second", event.payload["n"])), name="second")

    await Spine([first, second]).run_until_idle(ping(n=1), ping(n=2))

    assert seen == [("first", 1), ("second", 1), ("first", 2), ("second", 2)]


async def test_what_a_handler_returns_gets_its_parents_lineage_whatever_it_says_itself() -> None:
    pongs = Pongs()
    stranger = Event(event_type="PONG", hops=7, payload={})
    root = ping()

    await Spine([Calls(lambda event: stranger), pongs]).run_until_idle(root)

    (child,) = pongs.events
    assert (child.id, child.correlation_id, child.causation_id, child.hops) == (
        stranger.id,
        root.id,
        root.id,
        1,
    )
    assert (stranger.hops, stranger.causation_id) == (7, None)


async def test_emit_inside_a_handler_takes_the_lineage_and_stays_when_the_handler_fails() -> None:
    pongs = Pongs()

    class Emitter(Organ):
        listens_to = ["PING"]

        async def handle(self, event: Event) -> None:
            await spine.emit(Event(event_type="PONG", payload={}))
            raise ValueError

    root = ping()
    spine = Spine([Emitter(), pongs])
    await spine.run_until_idle(root)

    (child,) = pongs.events
    assert (child.correlation_id, child.causation_id, child.hops) == (root.id, root.id, 1)


async def test_emit_outside_a_handler_leaves_the_lineage_alone() -> None:
    calls = Calls()
    spine = Spine([calls])

    await spine.emit(ping())
    await spine.run_until_idle()

    assert calls.events[0].causation_id is None
    assert calls.events[0].hops == 0


async def test_emitting_the_handled_event_again_is_an_error() -> None:
    class Echo(Organ):
        listens_to = ["PING"]

        async def handle(self, event: Event) -> None:
            await spine.emit(event)

    spine = Spine([Echo()])
    await spine.run_until_idle(ping())

    (letter,) = await letters(spine)
    assert letter.error_type == EventError.__name__
    assert "carries the id of the event it was emitted for" in letter.error


async def test_a_plain_result_arrives_as_its_declared_class() -> None:
    class Amount(BaseModel, frozen=True):
        cents: int

    class Paid(Event):
        event_type: Literal["PAID"] = "PAID"
        payload: Amount

    class Ledger(Organ[Paid]):
        listens_to = [Paid]
        paid: Paid | None = None

        def handle(self, event: Paid) -> None:
            self.paid = event

    ledger = Ledger()
    await Spine([Calls(lambda event: Event(event_type="PAID", payload={"cents": 5})), ledger]).run_until_idle(ping())

    assert ledger.paid is not None
    assert ledger.paid.payload.cents == 5


# --- failures -------------------------------------------------------------------------------------------------


async def test_a_failing_organ_keeps_neither_its_neighbours_nor_the_queue_from_working() -> None:
    broken, healthy = Calls(raises(ValueError("no")), name="broken"), Calls(name="healthy")
    spine = Spine([broken, healthy])

    report = await spine.run_until_idle(ping(n=1), ping(n=2))

    assert [event.payload["n"] for event in healthy.events] == [1, 2]
    assert (report.handled, report.failed, report.dead_lettered) == (2, 2, 2)
    assert report.organs["broken"].failed == 2
    assert report.organs["healthy"].failed == 0


async def test_a_dead_letter_holds_the_facts() -> None:
    root = ping()
    spine = Spine([Calls(raises(KeyError("sku")))])

    await spine.run_until_idle(root)

    (letter,) = await letters(spine)
    assert (letter.event, letter.organ, letter.reason) == (root, "Calls", "attempts_exhausted")
    assert (letter.error_type, letter.error) == ("KeyError", "'sku'")
    assert "raise error" in letter.traceback
    assert [(attempt.error, attempt.delay) for attempt in letter.attempts] == [("KeyError: 'sku'", None)]


async def test_a_failure_is_logged_once_with_traceback_event_and_organ(log: pytest.LogCaptureFixture) -> None:
    root = ping(card="4111")

    await Spine([Calls(raises(ValueError("no")))]).run_until_idle(root)

    (record,) = [record for record in log.records if record.levelno >= logging.WARNING]
    assert record.getMessage() == "dead_lettered"
    facts = vars(record)
    assert (facts["event_id"], facts["event_type"], facts["organ"]) == (str(root.id), "PING", "Calls")
    assert facts["attempt"] == 1
    assert record.exc_info is not None
    assert not any("4111" in str(value) for name, value in facts.items() if name != "exc_info")


async def test_each_delivery_is_one_line_at_debug(log: pytest.LogCaptureFixture) -> None:
    log.set_level(logging.DEBUG, logger="necrostack")  # pytest sets its handler anew for each phase

    await Spine([Calls(pong), Pongs()]).run_until_idle(ping())

    lines = [vars(record) for record in log.records if (record.name, record.levelno) == ("necrostack", logging.DEBUG)]
    assert [(line["msg"], line["event_type"], line["emitted"]) for line in lines] == [
        ("delivery_handled", "PING", 1),
        ("delivery_handled", "PONG", 0),
    ]


async def test_only_the_organ_that_failed_is_retried_with_its_own_policy() -> None:
    flaky, healthy = Calls(raises(ValueError("no")), name="flaky"), Calls(name="healthy")
    flaky.retry = RetryPolicy(max_attempts=3, base_delay=60.0, jitter=False)

    async with SpineFixture([flaky, healthy]) as fixture:
        report = await fixture.run(ping())

        assert (len(flaky.events), len(healthy.events)) == (3, 1)
        assert (report.retried, report.dead_lettered) == (2, 1)
        (letter,) = fixture.dead_letters
        assert [attempt.delay for attempt in letter.attempts] == [60.0, 120.0, None]


async def test_waiting_for_a_retry_does_not_block_other_events() -> None:
    order: list[int] = []

    def fail_once(event: Event) -> None:
        order.append(event.payload["n"])
        if order == [1]:
            raise ValueError

    async with SpineFixture([Calls(fail_once)], retry=RetryPolicy(max_attempts=2, base_delay=60.0)) as fixture:
        await fixture.run(ping(n=1), ping(n=2))

    assert order == [1, 2, 1]


async def test_retry_later_overrules_a_policy_without_retries() -> None:
    answers: Iterator[BaseException | None] = iter([RetryLater(after=30.0), RetryLater(after=5.0), None])

    def function(event: Event) -> None:
        if error := next(answers):
            raise error

    calls = Calls(function)
    async with SpineFixture([calls]) as fixture:
        start = fixture.clock.monotonic()
        report = await fixture.run(ping())

        assert fixture.clock.monotonic() - start == pytest.approx(35.0)
    assert (len(calls.events), report.retried, report.dead_lettered) == (3, 2, 0)


async def test_retry_later_is_limited_by_a_policy_with_retries() -> None:
    calls = Calls(raises(RetryLater(after=1.0)))

    async with SpineFixture([calls], retry=RetryPolicy(max_attempts=4)) as fixture:
        await fixture.run(ping())

        assert [letter.reason for letter in fixture.dead_letters] == ["attempts_exhausted"]
    assert len(calls.events) == 4


async def test_what_goes_with_a_retry_is_bounded_however_often_and_whatever_a_handler_raises() -> None:
    text = "x" * 10_000
    calls = Calls(raises(ValueError(text)))
    spine = Spine([calls], retry=RetryPolicy(max_attempts=150, base_delay=0.0))

    await spine.run_until_idle(ping())

    (letter,) = await letters(spine)
    assert len(calls.events) == 150
    assert len(letter.attempts) == 100
    assert letter.attempts[-1].delay is None
    assert all(len(attempt.error) < 1100 for attempt in letter.attempts)
    assert len(letter.error) < 4200
    assert len(letter.traceback) < 66_000


async def test_a_long_reason_to_give_up_is_cut() -> None:
    spine = Spine([Calls(raises(GiveUp("x" * 10_000)))])

    await spine.run_until_idle(ping())

    (letter,) = await letters(spine)
    assert len(letter.reason) < 4200


async def test_what_a_handler_asks_for_is_logged_without_a_traceback(log: pytest.LogCaptureFixture) -> None:
    await Spine([Calls(raises(GiveUp("the order was cancelled")))]).run_until_idle(ping())

    (record,) = [record for record in log.records if record.levelno >= logging.WARNING]
    assert record.exc_info is None
    assert vars(record)["error"] == "GiveUp: the order was cancelled"


async def test_give_up_dead_letters_at_once_with_its_reason() -> None:
    spine = Spine([Calls(raises(GiveUp("the order was cancelled")))], retry=RetryPolicy(max_attempts=5))

    report = await spine.run_until_idle(ping())

    (letter,) = await letters(spine)
    assert (letter.reason, report.retried) == ("the order was cancelled", 0)


async def test_an_error_that_the_policy_gives_up_on_is_not_retried() -> None:
    spine = Spine([Calls(raises(KeyError("x")))], retry=RetryPolicy(max_attempts=5, give_up_on=(LookupError,)))

    report = await spine.run_until_idle(ping())

    (letter,) = await letters(spine)
    assert (letter.reason, report.retried) == ("not_retried", 0)


class Odd(BaseException):
    """Neither an Exception nor one that ends programs."""


@pytest.mark.parametrize("error", [asyncio.CancelledError(), Odd("odd"), GeneratorExit()])
async def test_a_base_exception_that_ends_nothing_is_the_organs_failure(error: BaseException) -> None:
    healthy = Calls(name="healthy")
    spine = Spine([Calls(raises(error), name="broken"), healthy])

    report = await spine.run_until_idle(ping())

    assert (report.failed, report.dead_lettered, len(healthy.events)) == (1, 1, 1)
    assert (await letters(spine))[0].error_type == type(error).__name__


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
async def test_what_ends_the_program_ends_the_run_in_order(error: BaseException) -> None:
    hooks: list[str] = []

    class Hooked(Calls):
        async def shutdown(self) -> None:
            hooks.append("shutdown")

    spine = Spine([Hooked(raises(error))])

    with pytest.raises(type(error)):
        await spine.run_until_idle(ping())

    assert hooks == ["shutdown"]
    stats = await spine.backend.admin.stats()
    assert (stats.queued, stats.pending, stats.dead) == (1, 0, 0)


# --- results --------------------------------------------------------------------------------------------------


def generate(event: Event) -> Iterator[Event]:
    yield ping()


async def generate_async(event: Event) -> AsyncIterator[Event]:
    yield ping()


def pong(event: Event) -> Event:
    return Event(event_type="PONG", payload={})


@pytest.mark.parametrize(
    ("function", "shown"),
    [
        (lambda event: 5, "a value of type int"),
        (lambda event: "PONG", "a value of type str"),
        (lambda event: b"PONG", "a value of type bytes"),
        (lambda event: {"event_type": "PONG"}, "a value of type dict"),
        (lambda event: {pong(event)}, "a value of type set"),
        (generate, "a generator"),
        (generate_async, "a generator"),
        (lambda event: Event, "the class Event"),
        (lambda event: [pong(event), 7], "item 1 is a value of type int"),
        (lambda event: [None], "item 0 is None"),
        (lambda event: event, "carries the id of the event it was emitted for"),
    ],
)
async def test_a_wrong_result_is_dead_lettered_without_retry_and_emits_nothing(
    function: Callable[[Event], Any], shown: str
) -> None:
    pongs = Pongs()
    spine = Spine([Calls(function), pongs], retry=RetryPolicy(max_attempts=5))

    report = await spine.run_until_idle(ping())

    (letter,) = await letters(spine)
    assert letter.reason == "bad_result"
    assert shown in letter.error
    assert (report.failed, report.retried, report.emitted, pongs.events) == (1, 0, 0, [])


@pytest.mark.parametrize("wrap", [list, tuple])
async def test_several_events_are_emitted_in_order(wrap: Callable[[list[Event]], Any]) -> None:
    pongs = Pongs()
    events = [Event(event_type="PONG", payload={"n": n}) for n in range(3)]

    report = await Spine([Calls(lambda event: wrap(events)), pongs]).run_until_idle(ping())

    assert [event.payload["n"] for event in pongs.events] == [0, 1, 2]
    assert report.emitted == report.organs["Calls"].emitted == 3


async def test_a_result_that_no_backend_can_keep_is_that_organs_failure_alone() -> None:
    pongs = Pongs()
    huge = Calls(lambda event: Event(event_type="PONG", payload={"text": "x" * 5000}), name="huge")
    spine = Spine([huge, Calls(pong, name="small"), pongs], InMemoryBackend(max_event_size=1000))

    report = await spine.run_until_idle(ping())

    (letter,) = await letters(spine)
    assert (letter.organ, letter.reason) == ("huge", "bad_result")
    assert "1000" in letter.error
    assert (len(pongs.events), report.emitted, report.failed) == (1, 1, 1)


class TakesFew(InMemoryBackend):
    """Keeps at most three events of one step, as one that is reached by a call of limited size."""

    async def settle(self, *settlements: Settlement) -> Sequence[bool]:
        for ended in settlements:
            if len(ended.emitted) > 3:
                msg = f"{len(ended.emitted)} events are too many at once"
                raise EventTooLarge(msg)
        return await super().settle(*settlements)


async def test_a_result_of_more_than_a_backend_keeps_at_once_is_a_failure_of_that_step_alone() -> None:
    pongs = Pongs()
    spine = Spine([Calls(lambda event: [pong(event) for _ in range(event.payload["n"])]), pongs], TakesFew())

    report = await spine.run_until_idle(*(Event(event_type="PING", payload={"n": n}) for n in (1, 4, 3)))

    (letter,) = await letters(spine)
    assert (letter.organ, letter.reason) == ("Calls", "bad_result")
    assert "4 events are too many at once" in letter.error
    assert (len(pongs.events), report.emitted, report.failed) == (4, 4, 1)


async def test_a_sync_handler_may_hand_back_something_to_wait_for() -> None:
    async def answer(event: Event) -> Event:
        return pong(event)

    def delegate(event: Event) -> Awaitable[Event]:
        return answer(event)

    pongs = Pongs()
    await Spine([Calls(functools.partial(delegate)), pongs]).run_until_idle(ping())

    assert len(pongs.events) == 1


# --- timeouts -------------------------------------------------------------------------------------------------


class Stuck(Organ):
    listens_to = ["PING"]
    timeout = 0.01

    async def handle(self, event: Event) -> None:
        await asyncio.Event().wait()


async def test_a_handler_over_its_timeout_fails_and_the_rest_goes_on() -> None:
    healthy = Calls(name="healthy")
    spine = Spine([Stuck(), healthy])

    await spine.run_until_idle(ping())

    (letter,) = await letters(spine)
    assert (letter.organ, letter.error_type) == ("Stuck", "TimeoutError")
    assert letter.error == "Stuck.handle took longer than its timeout of 0.01 s"
    assert len(healthy.events) == 1


async def test_a_timeout_error_of_the_handlers_own_keeps_its_words() -> None:
    class Slow(Organ):
        listens_to = ["PING"]
        timeout = 30.0

        async def handle(self, event: Event) -> None:
            msg = "the bank did not answer"
            raise TimeoutError(msg)

    spine = Spine([Slow()])
    await spine.run_until_idle(ping())

    assert (await letters(spine))[0].error == "the bank did not answer"


# --- stopping -------------------------------------------------------------------------------------------------


class Gate(Organ):
    """Stays in its handler until it is let go."""

    listens_to = ["PING"]

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.release = asyncio.Event(), asyncio.Event()

    async def handle(self, event: Event) -> Event:
        self.entered.set()
        await self.release.wait()
        return pong(event)


async def test_stop_finishes_what_runs_and_hands_back_what_was_pulled() -> None:
    gate = Gate()
    spine = Spine([gate])
    run = asyncio.create_task(spine.run(*[ping(n=n) for n in range(5)]))
    await gate.entered.wait()

    spine.stop()
    gate.release.set()
    report = await run

    stats = await spine.backend.admin.stats()
    assert (report.handled, report.emitted) == (1, 1)
    assert (stats.queued, stats.pending) == (5, 0)  # four PINGs, and the PONG


class AtTwenty(Organ):
    """Does something while it handles number 20. By then, ever more was pulled at a time."""

    listens_to = ["PING"]

    def __init__(self, action: Callable[[], Awaitable[object]]) -> None:
        super().__init__()
        self.action = action
        self.numbers: list[int] = []

    async def handle(self, event: Event) -> None:
        self.numbers.append(event.payload["n"])
        if self.numbers[-1] == 20:
            await self.action()


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a Spine find that all goes fast, on however slow a machine, so that it pulls ahead."""
    monkeypatch.setattr("necrostack.run._FAST", math.inf)


@pytest.mark.usefixtures("fast")
async def test_stop_hands_back_what_was_not_started_while_handlers_still_run() -> None:
    entered, release = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        entered.set()
        await release.wait()

    spine = Spine([AtTwenty(wait)])
    run = asyncio.create_task(spine.run(*[ping(n=n) for n in range(50)]))
    await entered.wait()
    before = (await spine.backend.admin.stats()).queued

    spine.stop()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    queued = (await spine.backend.admin.stats()).queued
    release.set()

    assert (await run).handled == 21
    assert before < queued == 29


@pytest.mark.usefixtures("fast")
async def test_what_others_may_have_taken_over_is_handed_back_instead_of_started() -> None:
    class Lapses(InMemoryBackend):
        """Is frozen in the middle of it: what was pulled until then may have been taken over."""

        hand: Sequence[Delivery] = ()
        lost: Sequence[Delivery] = ()
        released: Sequence[Delivery] = ()

        async def pull(self, *, limit: int = 1, timeout: float = 1.0) -> Sequence[Delivery]:
            self.hand = await super().pull(limit=limit, timeout=timeout)
            return self.hand

        async def freeze(self) -> None:
            self.lost = self.hand

        def may_start(self, delivery: Delivery) -> bool:
            return delivery not in self.lost

        async def release(self, *deliveries: Delivery) -> None:
            self.released = self.released or deliveries
            await super().release(*deliveries)

    backend = Lapses()
    organ = AtTwenty(backend.freeze)

    report = await Spine([organ], backend).run_until_idle(*[ping(n=n) for n in range(50)])

    handed_back = [delivery.event.payload["n"] for delivery in backend.released]
    assert handed_back
    assert handed_back == list(range(21, 21 + len(handed_back)))
    assert organ.numbers == list(range(50))
    assert (report.handled, report.lost) == (50, 0)


async def test_a_handler_that_outlasts_the_drain_is_cancelled_and_its_delivery_handed_back() -> None:
    gate = Gate()
    spine = Spine([gate], drain_timeout=0.01)
    run = asyncio.create_task(spine.run(ping()))
    await gate.entered.wait()

    spine.stop()
    report = await run

    stats = await spine.backend.admin.stats()
    assert (report.handled, stats.queued, stats.pending) == (0, 1, 0)


async def test_cancelling_a_run_hands_back_what_was_not_done_and_calls_the_hooks() -> None:
    hooks: list[str] = []

    class Hooked(Gate):
        async def shutdown(self) -> None:
            hooks.append("shutdown")

    gate = Hooked()
    spine = Spine([gate], concurrency=2)
    run = asyncio.create_task(spine.run(ping(), ping()))
    await gate.entered.wait()

    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run

    stats = await spine.backend.admin.stats()
    assert (stats.queued, stats.pending, hooks) == (2, 0, ["shutdown"])


async def test_a_run_has_started_when_every_startup_has_returned() -> None:
    may_start = asyncio.Event()

    class Slow(Calls):
        async def startup(self) -> None:
            await may_start.wait()

    spine = Spine([Slow()])
    run = asyncio.create_task(spine.run())
    started = asyncio.create_task(spine.started())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    had_started = started.done()

    may_start.set()
    await started
    spine.stop()
    await run

    assert not had_started


async def test_nobody_waits_for_the_start_of_a_run_that_was_not_asked_for() -> None:
    with pytest.raises(ConfigurationError, match=r"no run was asked for; make a task of spine\.run\(\) first"):
        await Spine([Calls()]).started()


async def test_stop_wakes_a_spine_that_waits_for_events() -> None:
    spine = Spine([Calls()])
    run = asyncio.create_task(spine.run())
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    spine.stop()

    assert (await asyncio.wait_for(run, timeout=0.5)).handled == 0


async def test_stop_reaches_a_run_that_has_not_begun() -> None:
    spine = Spine([Calls()])
    run = asyncio.create_task(spine.run(ping()))

    spine.stop()

    assert (await run).handled == 0
    assert (await spine.backend.admin.stats()).queued == 1


async def test_stop_without_a_run_does_nothing() -> None:
    calls = Calls()
    spine = Spine([calls])

    spine.stop()
    await spine.run_until_idle(ping())

    assert len(calls.events) == 1


async def test_a_spine_runs_again_and_every_report_is_its_own() -> None:
    spine = Spine([Calls()])

    first, second = await spine.run_until_idle(ping()), await spine.run_until_idle(ping(), ping())

    assert (first.handled, second.handled) == (1, 2)


async def test_a_spine_that_runs_cannot_be_run_again_at_the_same_time() -> None:
    spine = Spine([Calls()])
    run = asyncio.create_task(spine.run())
    await asyncio.sleep(0)

    with pytest.raises(ConfigurationError, match="this Spine is running"):
        await spine.run()

    spine.stop()
    await run


# --- hooks ----------------------------------------------------------------------------------------------------


class Hooks(Organ):
    listens_to = ["PING"]

    def __init__(self, name: str, told: list[str], *, fails_in: str = "") -> None:
        super().__init__(name=name)
        self.told, self.fails_in = told, fails_in

    async def startup(self) -> None:
        self.tell("startup")

    def handle(self, event: Event) -> None:
        self.tell("handle")

    async def shutdown(self) -> None:
        self.tell("shutdown")

    def tell(self, what: str) -> None:
        self.told.append(f"{self.name} {what}")
        if self.fails_in == what:
            raise RuntimeError(what)


async def test_hooks_frame_every_run_the_last_one_started_is_shut_down_first() -> None:
    told: list[str] = []
    spine = Spine([Hooks("a", told), Hooks("b", told)])

    await spine.run_until_idle(ping())
    await spine.run_until_idle()

    once = ["a startup", "b startup", "a handle", "b handle", "b shutdown", "a shutdown"]
    assert told == once + [line for line in once if "handle" not in line]


async def test_a_startup_that_fails_ends_the_run_before_anything_is_kept() -> None:
    told: list[str] = []
    spine = Spine([Hooks("a", told), Hooks("b", told, fails_in="startup"), Hooks("c", told)])

    with pytest.raises(RuntimeError, match="startup"):
        await spine.run_until_idle(ping())

    assert told == ["a startup", "b startup", "b shutdown", "a shutdown"]
    assert (await spine.backend.admin.stats()).queued == 0


async def test_a_shutdown_that_fails_does_not_keep_the_others_from_theirs() -> None:
    told: list[str] = []
    spine = Spine([Hooks("a", told), Hooks("b", told, fails_in="shutdown")])

    with pytest.raises(RuntimeError) as caught:
        await spine.run_until_idle()

    assert told[-2:] == ["b shutdown", "a shutdown"]
    assert caught.value.__notes__ == ["in b.shutdown()"]


# --- limits ---------------------------------------------------------------------------------------------------


async def test_max_steps_names_the_types_that_kept_coming_and_keeps_what_is_queued() -> None:
    spine = Spine([Calls(lambda event: ping())], max_steps=10)

    with pytest.raises(MaxStepsExceeded, match=r"max_steps=10 .*PING \(10\)") as caught:
        await spine.run_until_idle(ping())

    stats = await spine.backend.admin.stats()
    assert (caught.value.report.handled, stats.queued, stats.pending) == (10, 1, 0)
    assert isinstance(caught.value, RuntimeError)


async def test_a_run_that_ends_exactly_at_max_steps_does_not_raise() -> None:
    report = await Spine([Calls()], max_steps=2).run_until_idle(ping(), ping(), Event(event_type="NOBODY", payload={}))

    assert (report.handled, report.unrouted) == (2, 1)


async def test_an_event_too_many_hops_from_its_root_is_given_up_and_starts_at_0_when_redriven() -> None:
    calls = Calls(lambda event: ping() if len(calls.events) < 5 else None)
    spine = Spine([calls], max_hops=2)

    report = await spine.run_until_idle(ping())

    (letter,) = await letters(spine)
    assert (report.handled, letter.reason, letter.organ) == (3, "max_hops", None)
    assert letter.event is not None
    assert letter.event.hops == 3
    assert await spine.backend.admin.redrive(letter.id) == 1
    await spine.run_until_idle()
    assert calls.events[3].hops == 0


@pytest.mark.parametrize("concurrency", [1, 10])
async def test_a_duplicate_is_acknowledged_without_running_and_counted(concurrency: int) -> None:
    calls, event = Calls(), ping()

    report = await Spine([calls], deduplicate=True, concurrency=concurrency).run_until_idle(event, event, event)

    assert (len(calls.events), report.handled, report.deduplicated) == (1, 1, 2)


async def test_without_deduplicate_copies_run() -> None:
    calls, event = Calls(), ping()

    await Spine([calls]).run_until_idle(event, event)

    assert len(calls.events) == 2


async def test_a_retry_and_a_redrive_are_no_duplicates() -> None:
    calls = Calls(raises(ValueError("no")))
    async with SpineFixture([calls], deduplicate=True, retry=RetryPolicy(max_attempts=2)) as fixture:
        await fixture.run(ping())
        await fixture.backend.admin.redrive(fixture.dead_letters[0].id)
        await fixture.run()

    assert len(calls.events) == 4


@pytest.mark.parametrize(("unrouted", "dead"), [("ack", 0), ("dead_letter", 1)])
async def test_an_event_nobody_listens_to_is_counted_and_warned_of_once_per_type(
    unrouted: Literal["ack", "dead_letter"], dead: int, log: pytest.LogCaptureFixture
) -> None:
    spine = Spine([Calls()], unrouted=unrouted)

    report = await spine.run_until_idle(Event(event_type="NOBODY", payload={}), Event(event_type="NOBODY", payload={}))

    assert (report.unrouted, report.handled, report.dead_lettered) == (2, 0, 2 * dead)
    assert [record.getMessage() for record in log.records].count("unrouted") == 1


async def test_a_delivery_for_an_organ_that_this_spine_lacks_is_a_dead_letter() -> None:
    backend = InMemoryBackend()
    await Spine([Calls(raises(ValueError("no")), name="Gone")], backend).run_until_idle(ping())
    (letter,) = await letters(Spine([], backend))
    await backend.admin.redrive(letter.id)

    await Spine([Calls()], backend).run_until_idle()

    (again,) = await letters(Spine([], backend))
    assert (again.reason, again.organ) == ("unknown_organ", "Gone")


async def test_handlers_overlap_up_to_the_concurrency_and_start_in_order() -> None:
    started: list[int] = []
    most = running = 0

    class Overlapping(Organ):
        listens_to = ["PING"]

        async def handle(self, event: Event) -> None:
            nonlocal most, running
            started.append(event.payload["n"])
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1

    report = await Spine([Overlapping()], concurrency=4).run_until_idle(*[ping(n=n) for n in range(40)])

    assert (most, started, report.handled) == (4, list(range(40)), 40)


# --- back-pressure --------------------------------------------------------------------------------------------


async def test_handlers_that_return_into_a_full_backend_drain_it_instead_of_blocking() -> None:
    pongs = Pongs()
    spine = Spine([Calls(lambda event: [pong(event), pong(event)]), pongs], InMemoryBackend(max_size=2), concurrency=2)

    report = await spine.run_until_idle(ping(), ping())

    assert (len(pongs.events), report.emitted) == (4, 4)


async def test_a_handler_that_emits_into_a_full_backend_fails_at_once_instead_of_waiting() -> None:
    class Emitter(Organ):
        listens_to = ["PING"]

        async def handle(self, event: Event) -> None:
            await spine.emit(pong(event), pong(event))

    spine = Spine([Emitter()], InMemoryBackend(max_size=1))
    report = await spine.run_until_idle(ping())

    (letter,) = await letters(spine)
    assert (letter.error_type, report.dead_lettered) == (BackendFull.__name__, 1)


async def test_a_producer_keeps_pace_by_waiting_for_room() -> None:
    calls = Calls()
    spine = Spine([calls], InMemoryBackend(max_size=3))

    async def produce() -> None:
        for n in range(50):
            while True:
                try:
                    await spine.emit(ping(n=n))
                    break
                except BackendFull:
                    await spine.backend.wait_for_room()

    producing = asyncio.create_task(produce())
    running = asyncio.create_task(spine.run())
    await producing
    spine.stop()
    await running
    await spine.run_until_idle()

    assert [event.payload["n"] for event in calls.events] == list(range(50))


# --- backend trouble ------------------------------------------------------------------------------------------


class Shaky(InMemoryBackend):
    """Out of reach for some calls."""

    def __init__(self, outages: dict[str, int], clock: VirtualClock) -> None:
        super().__init__(clock=clock)
        self.outages = outages

    def _reach(self, operation: str) -> None:
        if self.outages.get(operation, 0) > 0:
            self.outages[operation] -= 1
            msg = "connection refused"
            raise BackendUnavailable(msg)

    async def enqueue(self, *events: Event, delay: float = 0.0) -> None:
        self._reach("enqueue")
        await super().enqueue(*events, delay=delay)

    async def join(self, topology: str) -> Collection[str]:
        self._reach("join")
        return await super().join(topology)

    async def release(self, *deliveries: Delivery) -> None:
        self._reach("release")
        await super().release(*deliveries)

    async def pull(self, *, limit: int = 1, timeout: float = 1.0) -> Sequence[Delivery]:
        self._reach("pull")
        return await super().pull(limit=limit, timeout=timeout)

    async def settle(self, *settlements: Settlement) -> Sequence[bool]:
        self._reach("settle")
        return await super().settle(*settlements)


async def test_an_outage_is_waited_out_and_logged_once(log: pytest.LogCaptureFixture) -> None:
    clock, calls = VirtualClock(), Calls(pong)
    backend = Shaky({"pull": 5, "settle": 3}, clock)

    report = await clock.run(Spine([calls, Pongs()], backend).run_until_idle(ping()))

    assert (report.handled, report.emitted, len(calls.events)) == (2, 1, 1)
    names = [record.getMessage() for record in log.records]
    assert (names.count("backend_unavailable"), names.count("backend_back")) == (2, 2)


async def test_an_outage_longer_than_max_outage_ends_the_run() -> None:
    clock = VirtualClock()
    spine = Spine([Calls()], Shaky({"pull": 10_000}, clock), max_outage=60.0)

    with pytest.raises(BackendUnavailable, match=r"for 60\.0 s, longer than max_outage=60 allows: connection refused"):
        await clock.run(spine.run_until_idle(ping()))

    assert clock.monotonic() >= 60.0


@pytest.mark.parametrize("operation", ["join", "enqueue", "pull", "settle"])
async def test_every_call_of_a_run_waits_an_outage_out(operation: str) -> None:
    clock, calls = VirtualClock(), Calls()

    report = await clock.run(Spine([calls], Shaky({operation: 4}, clock)).run_until_idle(ping()))

    assert (report.handled, len(calls.events)) == (1, 1)


async def test_what_was_not_started_is_handed_back_after_an_outage() -> None:
    clock = VirtualClock()
    backend = Shaky({"release": 3}, clock)

    with pytest.raises(MaxStepsExceeded):
        await clock.run(Spine([Calls()], backend, max_steps=1).run_until_idle(*(ping(n=n) for n in range(3))))

    assert (await backend.admin.stats()).queued == 2


async def test_several_who_wait_for_one_outage_log_it_once(log: pytest.LogCaptureFixture) -> None:
    clock = VirtualClock()
    backend = Shaky({"enqueue": 3, "pull": 6}, clock)
    spine = Spine([Calls()], backend)

    async def feed() -> None:
        await Patience(backend.outage, None, clock).through(lambda: spine.emit(ping()))

    async def both() -> None:
        await asyncio.gather(feed(), spine.run_until_idle())

    await clock.run(both())

    names = [record.getMessage() for record in log.records]
    assert (names.count("backend_unavailable"), names.count("backend_back")) == (1, 1)


@pytest.mark.parametrize("operation", ["join", "pull"])
async def test_a_run_that_is_stopped_in_an_outage_just_ends(operation: str) -> None:
    clock = VirtualClock()
    spine = Spine([Calls()], Shaky({operation: 10**9}, clock), drain_timeout=10.0)
    clock.call_later(60.0, spine.stop)

    report = await clock.run(spine.run())

    assert report.handled == 0
    assert clock.monotonic() < 61.0


async def test_events_that_could_not_be_kept_before_a_run_was_stopped_are_told() -> None:
    clock = VirtualClock()
    spine = Spine([Calls()], Shaky({"enqueue": 10**9}, clock))
    clock.call_later(60.0, spine.stop)

    with pytest.raises(BackendUnavailable, match=r"out of reach for 60\.0 s when this was stopped: connection refused"):
        await clock.run(spine.run(ping()))


async def test_an_error_of_the_backend_that_is_no_outage_ends_the_run() -> None:
    spine = Spine([Calls()])
    await spine.aclose()

    with pytest.raises(BackendClosed):
        await spine.run_until_idle()


# --- instrumentation ------------------------------------------------------------------------------------------


class Watch(Instrumentation):
    def __init__(self, *, fails: bool = False) -> None:
        self.told: list[str] = []
        self.fails = fails

    def emitting(self, event: Event, parent: Event | None) -> Event:
        self.tell(f"emitting {event.event_type}")
        return event.model_copy(update={"headers": {"trace": "1"}})

    def handling(self, organ: str, delivery: Delivery) -> AbstractContextManager[object]:
        self.tell(f"handling {organ}")
        return self.span(organ)

    @contextmanager
    def span(self, organ: str) -> Iterator[None]:
        try:
            yield
        except ValueError:
            self.told.append(f"failed {organ}")
            raise

    def settled(self, settlements: Sequence[Settlement], accepted: Sequence[bool]) -> None:
        self.tell(f"settled {len(settlements)}")

    def tell(self, what: str) -> None:
        self.told.append(what)
        if self.fails:
            raise RuntimeError(what)


async def test_instrumentation_sees_emitting_handling_and_settling_and_may_add_headers() -> None:
    watch, pongs = Watch(), Pongs()

    await Spine([Calls(pong), pongs], instrumentation=watch).run_until_idle(ping())

    assert watch.told == [
        "emitting PING", "handling Calls", "emitting PONG", "settled 1", "handling Pongs", "settled 1",
    ]  # fmt: skip
    assert pongs.events[0].headers == {"trace": "1"}


async def test_instrumentation_sees_the_error_of_a_handler() -> None:
    watch = Watch()

    await Spine([Calls(raises(ValueError("no")))], instrumentation=watch).run_until_idle(ping())

    assert "failed Calls" in watch.told


async def test_instrumentation_that_fails_is_logged_and_harms_nothing(log: pytest.LogCaptureFixture) -> None:
    pongs = Pongs()

    report = await Spine([Calls(pong), pongs], instrumentation=Watch(fails=True)).run_until_idle(ping())

    assert (report.handled, report.failed, len(pongs.events)) == (2, 0, 1)
    assert [record.getMessage() for record in log.records].count("instrumentation_failed") >= 4


async def test_what_instrumentation_raises_on_the_way_in_or_out_is_its_own_failure(
    log: pytest.LogCaptureFixture,
) -> None:
    class Trips(Watch):
        @contextmanager
        def span(self, organ: str) -> Iterator[None]:
            if organ == "Calls":
                raise LookupError(organ)
            yield
            raise LookupError(organ)

    pongs = Pongs()

    report = await Spine([Calls(pong), pongs], instrumentation=Trips()).run_until_idle(ping())

    assert (report.handled, report.failed, len(pongs.events)) == (2, 0, 1)
    assert [record.getMessage() for record in log.records].count("instrumentation_failed") == 2


async def test_instrumentation_cannot_make_a_failure_a_success() -> None:
    class Hushes(Watch):
        def handling(self, organ: str, delivery: Delivery) -> AbstractContextManager[object]:
            return suppress(ValueError)

    report = await Spine([Calls(raises(ValueError("no")))], instrumentation=Hushes()).run_until_idle(ping())

    assert (report.failed, report.dead_lettered) == (1, 1)


async def test_several_watch_as_one_and_what_one_raises_the_others_do_not_miss() -> None:
    first, broken, last, pongs = Watch(), Watch(fails=True), Watch(), Pongs()

    watching = together(None, first, broken, last)
    await Spine(
        [Calls(pong), Calls(raises(ValueError("no")), name="No"), pongs], instrumentation=watching
    ).run_until_idle(ping())

    assert first.told == last.told
    assert {"emitting PONG", "handling Pongs", "failed No", "settled 1"} <= {*last.told}
    assert pongs.events[0].headers == {"trace": "1"}


def test_one_who_watches_alone_stays_alone() -> None:
    watch = Watch()

    assert together(None, watch) is watch


# --- the Spine itself -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_steps": -1}, "max_steps=-1 must be a whole number"),
        ({"max_hops": 1.5}, "max_hops=1.5 must be a whole number"),
        ({"concurrency": 0}, "concurrency=0 must be a whole number, 1 or more"),
        ({"prefetch": 0}, "prefetch=0 must be"),
        ({"drain_timeout": -1}, "drain_timeout=-1 must be a number of seconds"),
        ({"max_outage": float("nan")}, "max_outage=nan must be"),
        ({"retry": 3}, "retry=3 must be a RetryPolicy"),
        ({"unrouted": "drop"}, "unrouted='drop' must be 'ack' or 'dead_letter'"),
        ({"backend": "redis://"}, "backend='redis://' must be a"),
    ],
)
def test_a_wrong_setting_is_refused_with_what_it_must_be(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Spine([Calls()], **settings)

    assert message in str(caught.value)


def test_one_organ_in_place_of_a_list_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="write organs="):
        Spine(Calls())  # type: ignore[arg-type]


async def test_async_with_closes_the_backend_and_run_leaves_it_open() -> None:
    spine = Spine([Calls()])

    async with spine:
        await spine.run_until_idle(ping())
        await spine.emit(ping())

    with pytest.raises(BackendClosed):
        await spine.emit(ping())


async def test_with_backend_and_with_settings_keep_everything_else() -> None:
    spine = Spine([Calls(name="a")], max_steps=7)
    backend = InMemoryBackend()

    other = spine.with_backend(backend).with_settings(concurrency=3)

    assert (other.backend, other.settings.max_steps, other.settings.concurrency) == (backend, 7, 3)
    assert other.organs == spine.organs
    assert spine.settings.concurrency == 1


async def test_two_spines_with_other_organs_on_one_backend_are_warned(log: pytest.LogCaptureFixture) -> None:
    backend = InMemoryBackend()
    first, second = Spine([Calls()], backend), Spine([Pongs()], backend)
    run = asyncio.create_task(first.run())
    await asyncio.sleep(0)

    await second.run_until_idle()
    first.stop()
    await run

    assert "topologies_differ" in [record.getMessage() for record in log.records]
