"""A Spine on the backend: however a run ends, nothing is lost and nothing is done twice."""

from __future__ import annotations

import asyncio
from collections import Counter

from necrostack.errors import MaxStepsExceeded
from necrostack.event import Event
from necrostack.organ import Organ
from necrostack.spine import Spine
from necrostack.testing.contract.check import spine_check
from necrostack.testing.contract.expect import (
    dead_letters,
    expect,
    expect_equal,
    expect_error,
    expect_once_each,
    numbers,
)
from necrostack.testing.contract.factory import BackendFactory
from necrostack.testing.contract.organs import Failing, Keeper, retry_policy
from necrostack.testing.contract.samples import (
    CHILD,
    NUMBERED,
    numbered,
    several,
)


class Looper(Organ):
    """Emits what it listens to."""

    listens_to = [NUMBERED]

    def handle(self, event: Event) -> Event:
        return numbered(event.hops + 1)


@spine_check()
async def check_a_loop_ends_after_its_hops(factory: BackendFactory, concurrency: int) -> None:
    """What is too far from its root is a dead letter; redriven, it counts from 0 again."""
    backend = await factory.make()
    spine = Spine([Looper()], backend, concurrency=concurrency, max_hops=5)

    report = await spine.run_until_idle(numbered(0))

    expect_equal((report.handled, report.dead_lettered), (6, 1), "handled and dead_lettered")
    (letter,) = await dead_letters(backend)
    expect_equal((letter.organ, letter.reason), (None, "max_hops"), "Organ and reason")
    expect_equal(letter.event and letter.event.hops, 6, "its hops")
    await backend.admin.redrive(letter.id)
    again = await spine.run_until_idle()
    expect_equal(again.handled, 6, "handled after the redrive")


@spine_check()
async def check_too_many_steps_end_a_run_and_lose_nothing(factory: BackendFactory, concurrency: int) -> None:
    """What was handled is settled; the rest stays queued, first attempt, for the next run."""
    backend = await factory.make()
    keeper, events = Keeper(), several(10)
    spine = Spine([keeper], backend, concurrency=concurrency, max_steps=4)

    stopped = await expect_error(spine.run_until_idle(*events), MaxStepsExceeded)

    expect_equal(stopped.report.handled, 4, "handled")
    expect(NUMBERED in str(stopped), f"the error does not name the event type that kept coming: {stopped}")
    stats = await backend.admin.stats()
    expect_equal((stats.queued, stats.pending), (6, 0), "queued and pending afterwards")
    rest = await spine.with_settings(max_steps=6).run_until_idle()
    expect_equal(rest.handled, 6, "handled by a run that ends exactly there")
    expect_once_each(keeper.events, events, "both runs")


@spine_check()
async def check_a_run_is_not_idle_before_what_is_due_later_is_handled(
    factory: BackendFactory, concurrency: int
) -> None:
    """`run_until_idle` waits for delayed events and retries."""
    backend = await factory.make()
    failing = Failing(backend, failures=1)
    await backend.enqueue(numbered(1), delay=5 * factory.unit)
    started = backend.clock.monotonic()

    spine = Spine([failing], backend, concurrency=concurrency, retry=retry_policy(factory, 2, 3.0))
    report = await spine.run_until_idle()

    expect_equal((report.handled, report.retried), (2, 1), "handled and retried")
    waited = backend.clock.monotonic() - started
    expect(
        waited >= 7.9 * factory.unit,
        f"the last attempt was due after 8 units of time, idle after {waited:g} s",
    )


@spine_check()
async def check_a_stopped_spine_hands_back_what_it_did_not_start(factory: BackendFactory, concurrency: int) -> None:
    """`stop()` finishes what runs; the rest is queued again, first attempt, for the next run."""
    backend = await factory.make()
    events = several(50)
    handled: list[Event] = []

    class Stopping(Organ):
        listens_to = [NUMBERED]

        async def handle(self, event: Event) -> Event:
            if event.payload["number"] == 9:
                spine.stop()
            await asyncio.sleep(0)
            handled.append(event)
            return numbered(event.payload["number"], CHILD)

    spine = Spine([Stopping()], backend, concurrency=concurrency)
    report = await spine.run(*events)

    expect(10 <= report.handled <= 9 + concurrency, f"handled {report.handled} though stopped at the tenth")
    stats = await backend.admin.stats()
    expect_equal((stats.queued, stats.pending), (50, 0), "events and children queued, and pending")
    keeper = Keeper()
    await Spine([keeper], backend, concurrency=concurrency).run_until_idle()
    rest = [event for event in keeper.events if event.event_type == NUMBERED]
    expect_once_each([*handled, *rest], events, "both runs")
    expect_equal(numbers(rest), sorted(numbers(rest)), "the order of what was handed back")


@spine_check()
async def check_a_cancelled_run_loses_and_doubles_nothing(factory: BackendFactory, concurrency: int) -> None:
    """What was handled is settled, what was being handled is handed back with its attempt unchanged."""
    backend = await factory.make()
    events = several(20)
    stuck = asyncio.Event()
    done: list[Event] = []

    class Sticking(Organ):
        listens_to = [NUMBERED]

        async def handle(self, event: Event) -> Event:
            if event.payload["number"] >= 10:
                stuck.set()
                await asyncio.Event().wait()
            done.append(event)
            return numbered(event.payload["number"], CHILD)

    running = asyncio.create_task(Spine([Sticking()], backend, concurrency=concurrency).run(*events))
    sticking = asyncio.create_task(stuck.wait())
    await asyncio.wait({running, sticking}, return_when=asyncio.FIRST_COMPLETED)
    sticking.cancel()
    running.cancel()
    (ended,) = await asyncio.gather(running, return_exceptions=True)

    how = f"a cancelled run must end by CancelledError, not with {ended!r}"
    expect(isinstance(ended, asyncio.CancelledError), how)
    stats = await backend.admin.stats()
    expect_equal((stats.queued, stats.pending), (20, 0), "events and children queued, and pending")
    keeper = Keeper()
    await Spine([keeper], backend, concurrency=concurrency).run_until_idle()
    rest = [event for event in keeper.events if event.event_type == NUMBERED]
    expect_once_each([*done, *rest], events, "both runs")
    parents = Counter(event.causation_id for event in keeper.events if event.event_type == CHILD)
    expect_equal(parents, Counter(event.id for event in done), "children of what was done")


@spine_check()
async def check_the_next_run_goes_on_where_the_last_one_failed(factory: BackendFactory, concurrency: int) -> None:
    """SystemExit in a handler ends the run; its event is handed back, the others' work is kept."""
    backend = await factory.make()
    events = several(10)
    done: list[Event] = []

    class Exiting(Organ):
        listens_to = [NUMBERED]

        async def handle(self, event: Event) -> None:
            if event.payload["number"] == 5:
                raise SystemExit(3)
            done.append(event)

    await expect_error(Spine([Exiting()], backend, concurrency=concurrency).run(*events), SystemExit)

    keeper = Keeper()
    await Spine([keeper], backend, concurrency=concurrency).run_until_idle()
    expect_once_each([*done, *keeper.events], events, "both runs")


@spine_check("durable")
async def check_a_spine_goes_on_with_what_another_worker_left(factory: BackendFactory, concurrency: int) -> None:
    """Retries, delayed events and the rest of the queue outlive the Spine and its backend."""
    backend = await factory.make()
    failing = Failing(backend, failures=1)
    policy = retry_policy(factory, 2, 2.0)
    events = several(10)
    await backend.enqueue(numbered(10), delay=2 * factory.unit)
    spine = Spine([failing], backend, concurrency=concurrency, retry=policy, max_steps=5)
    await expect_error(spine.run_until_idle(*events), MaxStepsExceeded)
    await backend.aclose()

    again = await factory.attach(backend)
    report = await Spine([failing], again, concurrency=concurrency, retry=policy).run_until_idle()

    expect_equal(failing.calls, Counter(dict.fromkeys(range(11), 2)), "calls for each event")
    expect_equal(report.lost, 0, "lost")
