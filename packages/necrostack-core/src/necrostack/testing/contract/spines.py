"""A Spine on the backend: what the two promise together, one event at a time and four at a time."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any

from necrostack.backend import Backend
from necrostack.delivery import Retry, Settlement
from necrostack.errors import BackendFull, GiveUp, MaxStepsExceeded, RetryLater
from necrostack.event import Event
from necrostack.organ import Organ
from necrostack.retry import RetryPolicy
from necrostack.spine import Spine
from necrostack.testing.contract.check import spine_check
from necrostack.testing.contract.expect import (
    dead_letters,
    expect,
    expect_equal,
    expect_error,
    expect_once_each,
    numbers,
    pull_one,
)
from necrostack.testing.contract.factory import BackendFactory
from necrostack.testing.contract.samples import (
    CHILD,
    NUMBERED,
    Ordered,
    misfit,
    numbered,
    ordered,
    ordered_plainly,
    several,
)


class Doubler(Organ):
    """Emits two children for each event."""

    listens_to = [NUMBERED]

    async def handle(self, event: Event) -> Sequence[Event]:
        await asyncio.sleep(0)
        return several(2, CHILD)


class Keeper(Organ):
    """Keeps what it handled."""

    listens_to = [CHILD, NUMBERED]

    def __init__(self, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.events: list[Event] = []

    async def handle(self, event: Event) -> None:
        self.events.append(event)
        await asyncio.sleep(0)


class Failing(Organ):
    """Fails the first times that it gets an event; keeps when it was called."""

    listens_to = [NUMBERED]

    def __init__(self, backend: Backend, *, failures: int, error: Exception | None = None) -> None:
        super().__init__()
        self.calls: Counter[int] = Counter()
        self.times: list[float] = []
        self._backend = backend
        self._failures = failures
        self._error = error or LookupError("no such customer")

    async def handle(self, event: Event) -> None:
        self.times.append(self._backend.clock.monotonic())
        number = event.payload["number"]
        self.calls[number] += 1
        await asyncio.sleep(0)
        if self.calls[number] <= self._failures:
            raise self._error


class Looper(Organ):
    """Emits what it listens to."""

    listens_to = [NUMBERED]

    def handle(self, event: Event) -> Event:
        return numbered(event.hops + 1)


def _retry(factory: BackendFactory, max_attempts: int, delay: float = 0.0, **more: Any) -> RetryPolicy:
    return RetryPolicy(max_attempts=max_attempts, base_delay=delay * factory.unit, jitter=False, **more)


@spine_check()
async def check_every_event_and_all_it_led_to_is_handled_once(
    factory: BackendFactory, concurrency: int
) -> None:
    """100 events, two children each, one of them listened to twice: the counts are exact."""
    backend = await factory.make()
    events, keeper = several(100), Keeper()

    report = await Spine([Doubler(), keeper], backend, concurrency=concurrency).run_until_idle(*events)

    expect_once_each((event for event in keeper.events if event.event_type == NUMBERED), events, "the events")
    children = Counter(event.causation_id for event in keeper.events if event.event_type == CHILD)
    expect_equal(children, Counter({event.id: 2 for event in events}), "children of each event")
    expect_equal((report.handled, report.emitted, report.lost), (300, 200, 0), "handled, emitted and lost")
    expect((await backend.admin.stats()).idle, "something is left after an idle run")


@spine_check()
async def check_events_are_started_in_their_order(factory: BackendFactory, concurrency: int) -> None:
    """First in, first started, also where several run at once."""
    backend = await factory.make()
    started: list[int] = []

    class Noting(Organ):
        listens_to = [NUMBERED]

        async def handle(self, event: Event) -> None:
            number = event.payload["number"]
            started.append(number)
            for _ in range(number % 3):
                await asyncio.sleep(0)

    await Spine([Noting()], backend, concurrency=concurrency).run_until_idle(*several(100))

    expect_equal(started, list(range(100)), "the order of start")


@spine_check()
async def check_the_organs_of_an_event_run_in_their_order(factory: BackendFactory, concurrency: int) -> None:
    """In registration order, and what they emit is kept in it."""
    backend = await factory.make()
    keeper = Keeper()

    class Emitting(Organ[Ordered]):
        listens_to = [Ordered]

        async def handle(self, event: Ordered) -> Event:
            return numbered(int(self.name))

    organs = [Emitting(name=str(number)) for number in range(5)]
    await Spine([*organs, keeper], backend, concurrency=concurrency).run_until_idle(ordered())

    expect_equal(numbers(keeper.events), [0, 1, 2, 3, 4], "the order of what was emitted")


@spine_check()
async def check_typed_events_reach_handlers_typed(factory: BackendFactory, concurrency: int) -> None:
    """However they were emitted."""
    backend = await factory.make()
    arrived: list[Event] = []

    class Typed(Organ[Ordered]):
        listens_to = [Ordered]

        def handle(self, event: Ordered) -> None:
            arrived.append(event)

    class Plainly(Organ):
        listens_to = [NUMBERED]

        def handle(self, event: Event) -> Event:
            return ordered_plainly()

    spine = Spine([Typed(), Plainly()], backend, concurrency=concurrency)
    await spine.run_until_idle(ordered(), ordered_plainly(), numbered(1))

    expect_equal([type(event) for event in arrived], [Ordered] * 3, "the classes")


@spine_check()
async def check_lineage_goes_from_parent_to_child(factory: BackendFactory, concurrency: int) -> None:
    """Correlation, causation and hops, without any code of the user's."""
    backend = await factory.make()
    keeper = Keeper()
    root = ordered()

    class First(Organ):
        listens_to = [Ordered]

        def handle(self, event: Event) -> Event:
            return numbered(1)

    class Second(Organ):
        listens_to = [NUMBERED]

        def handle(self, event: Event) -> Event:
            return numbered(2, CHILD)

    await Spine([First(), Second(), keeper], backend, concurrency=concurrency).run_until_idle(root)

    child, grandchild = keeper.events
    lineage = [(event.correlation_id, event.causation_id, event.hops) for event in keeper.events]
    expect_equal(lineage, [(root.id, root.id, 1), (root.id, child.id, 2)], "the lineage")
    expect_equal(numbers([child, grandchild]), [1, 2], "the generations")


@spine_check()
async def check_only_the_organ_that_failed_is_retried(factory: BackendFactory, concurrency: int) -> None:
    """Its neighbours do not get the event again, and what they emitted is not emitted again."""
    backend = await factory.make()
    failing, keeper = Failing(backend, failures=2), Keeper()
    organs = [Doubler(), failing, keeper]

    spine = Spine(organs, backend, concurrency=concurrency, retry=_retry(factory, 3, 1.0))
    report = await spine.run_until_idle(*several(10))

    expect_equal(failing.calls, Counter(dict.fromkeys(range(10), 3)), "calls of the one that failed")
    kept = Counter(event.event_type for event in keeper.events)
    expect_equal(kept, Counter({NUMBERED: 10, CHILD: 20}), "calls of the one that did not")
    found = (report.failed, report.retried, report.dead_lettered)
    expect_equal(found, (20, 20, 0), "failed, retried and dead_lettered")
    expect((await backend.admin.stats()).idle, "something is left after an idle run")


@spine_check()
async def check_retries_back_off_as_the_policy_says(factory: BackendFactory, concurrency: int) -> None:
    """Each delay twice the last, up to the longest, and none of them cut short."""
    backend = await factory.make()
    failing = Failing(backend, failures=4)
    policy = _retry(factory, 5, 2.0, max_delay=5 * factory.unit)

    await Spine([failing], backend, concurrency=concurrency, retry=policy).run_until_idle(numbered(1))

    waited = [(later - earlier) / factory.unit for earlier, later in itertools.pairwise(failing.times)]
    expect_equal(len(waited), 4, "retries")
    enough = all(found >= wanted - 0.1 for found, wanted in zip(waited, [2, 4, 5, 5], strict=True))
    expect(enough, f"delays must be 2, 4, 5 and 5 units of time, are {waited}")


@spine_check()
async def check_waiting_for_a_retry_holds_up_nobody(factory: BackendFactory, concurrency: int) -> None:
    """The other events go on meanwhile."""
    backend = await factory.make()
    failing, keeper = Failing(backend, failures=1), Keeper()
    at: list[tuple[int, int]] = []

    class Watching(Organ):
        listens_to = [NUMBERED]

        def handle(self, event: Event) -> None:
            at.append((event.payload["number"], failing.calls[0]))

    organs = [failing, keeper, Watching()]
    policy = _retry(factory, 2, 5.0)
    await Spine(organs, backend, concurrency=concurrency, retry=policy).run_until_idle(*several(20))

    expect_equal(len(at), 20, "events that the others handled")
    late = [number for number, calls in at if calls > 1]
    expect_equal(late, [], "events that waited for another one's retry")


@spine_check()
async def check_a_handler_says_when_to_come_again(factory: BackendFactory, concurrency: int) -> None:
    """`RetryLater` takes the place of the policy's delay."""
    backend = await factory.make()
    failing = Failing(backend, failures=1, error=RetryLater(after=4 * factory.unit))

    report = await Spine([failing], backend, concurrency=concurrency).run_until_idle(numbered(1))

    first, second = failing.times
    expect(
        second - first >= 3.9 * factory.unit, f"asked for 4 units of time, came after {second - first:g} s"
    )
    expect_equal((report.retried, report.dead_lettered), (1, 0), "retried and dead_lettered")


@spine_check()
async def check_what_fails_for_good_is_kept_with_its_history(
    factory: BackendFactory, concurrency: int
) -> None:
    """After the last attempt a dead letter, with every attempt; the other Organ has done its work."""
    backend = await factory.make()
    event, keeper = numbered(1), Keeper()
    failing = Failing(backend, failures=99)

    spine = Spine([failing, keeper], backend, concurrency=concurrency, retry=_retry(factory, 3, 1.0))
    report = await spine.run_until_idle(event)

    expect_equal((report.failed, report.retried, report.dead_lettered), (3, 2, 1), "failed, retried, dead")
    expect_equal(keeper.events, [event], "what the other Organ handled")
    (letter,) = await dead_letters(backend)
    expect_equal((letter.event, letter.organ), (event, "Failing"), "event and Organ")
    said = (letter.reason, letter.error_type, letter.error)
    expect_equal(said, ("attempts_exhausted", "LookupError", "no such customer"), "reason and error")
    expect(
        "raise self._error" in letter.traceback, f"the traceback does not show the line: {letter.traceback}"
    )
    delays = [attempt.delay for attempt in letter.attempts]
    expect_equal(delays, [factory.unit, 2 * factory.unit, None], "the delays after each attempt")
    errors = {attempt.error for attempt in letter.attempts}
    expect_equal(errors, {"LookupError: no such customer"}, "the error of each attempt")
    times = [attempt.time for attempt in letter.attempts]
    expect_equal(times, sorted(times), "the times of the attempts")


@spine_check()
async def check_giving_up_needs_no_second_attempt(factory: BackendFactory, concurrency: int) -> None:
    """`GiveUp` and what the policy does not retry are dead letters at once, with the reason."""
    backend = await factory.make()
    given_up = Failing(backend, failures=99, error=GiveUp("the order was cancelled"))
    spine = Spine([given_up], backend, concurrency=concurrency, retry=_retry(factory, 5))

    await spine.run_until_idle(numbered(1))
    policy = _retry(factory, 5, give_up_on=(LookupError,))
    hopeless = Failing(backend, failures=99)
    await Spine([hopeless], backend, concurrency=concurrency, retry=policy).run_until_idle(numbered(2))

    expect_equal((len(given_up.times), len(hopeless.times)), (1, 1), "attempts")
    reasons = [letter.reason for letter in await dead_letters(backend)]
    expect_equal(reasons, ["the order was cancelled", "not_retried"], "the reasons")


@spine_check()
async def check_a_result_that_is_no_event_is_that_organs_failure(
    factory: BackendFactory, concurrency: int
) -> None:
    """Nothing of it is emitted, it is not retried, and the others' emissions are kept."""
    backend = await factory.make()
    keeper = Keeper()

    class Returning(Organ):
        listens_to = [NUMBERED]

        def __init__(self, name: str, result: Any) -> None:
            super().__init__(name=name)
            self._result = result

        def handle(self, event: Event) -> Any:
            return self._result

    bad: dict[str, Any] = {
        "number": 5,
        "string": "CHILD",
        "torn list": [numbered(1, CHILD), None],
        "generator": (numbered(number, CHILD) for number in range(2)),
        "misfit": misfit(),
        "torn emission": [numbered(1, CHILD), misfit()],
    }
    organs = [*(Returning(name, result) for name, result in bad.items()), Doubler(), keeper]

    await Spine(organs, backend, concurrency=concurrency, retry=_retry(factory, 3)).run_until_idle(
        numbered(7)
    )

    letters = await dead_letters(backend)
    expect_equal(sorted(letter.organ or "" for letter in letters), sorted(bad), "the Organs that failed")
    expect_equal({letter.reason for letter in letters}, {"bad_result"}, "the reasons")
    expect_equal(sorted(numbers(keeper.events)), [0, 1, 7], "what the others emitted, and the event")


@spine_check()
async def check_a_delivery_for_an_organ_that_is_not_there_is_kept(
    factory: BackendFactory, concurrency: int
) -> None:
    """A retry of an Organ that this Spine lacks is a dead letter, to be redriven when it is back."""
    backend = await factory.make()
    keeper = Keeper()
    await backend.enqueue(numbered(1))
    retry = Retry(organ="Gone", delay=0.0)
    await backend.settle(Settlement(await pull_one(factory, backend), retries=[retry]))

    report = await Spine([keeper], backend, concurrency=concurrency).run_until_idle()

    expect_equal((report.handled, keeper.events), (0, []), "what was handled instead")
    (letter,) = await dead_letters(backend)
    expect_equal((letter.organ, letter.reason), ("Gone", "unknown_organ"), "Organ and reason")
    await backend.admin.redrive(letter.id)
    back = Keeper(name="Gone")
    await Spine([keeper, back], backend, concurrency=concurrency).run_until_idle()
    expect_equal((numbers(back.events), keeper.events), ([1], []), "what each handled after the redrive")


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
async def check_an_event_is_handled_once_when_copies_are_dropped(
    factory: BackendFactory, concurrency: int
) -> None:
    """`deduplicate` acknowledges what has a handled event's id, but not retries and replays."""
    backend = await factory.make()
    event = numbered(1)
    failing, keeper = Failing(backend, failures=1), Keeper()
    settings: dict[str, Any] = {"concurrency": concurrency, "deduplicate": True}
    spine = Spine([failing, keeper], backend, retry=_retry(factory, 2, 1.0), **settings)

    report = await spine.run_until_idle(event, event, numbered(2), event)

    expect_equal(sorted(numbers(keeper.events)), [1, 2], "what was handled")
    expect_equal((report.deduplicated, report.retried), (2, 2), "deduplicated and retried")
    expect_equal(failing.calls, Counter({1: 2, 2: 2}), "calls of the Organ that failed at first")
    await backend.admin.replay()
    replayed = await spine.run_until_idle()
    expect_equal((replayed.handled, replayed.deduplicated), (4, 0), "handled and deduplicated in a replay")


@spine_check()
async def check_a_run_is_not_idle_before_what_is_due_later_is_handled(
    factory: BackendFactory, concurrency: int
) -> None:
    """`run_until_idle` waits for delayed events and retries."""
    backend = await factory.make()
    failing = Failing(backend, failures=1)
    await backend.enqueue(numbered(1), delay=5 * factory.unit)
    started = backend.clock.monotonic()

    spine = Spine([failing], backend, concurrency=concurrency, retry=_retry(factory, 2, 3.0))
    report = await spine.run_until_idle()

    expect_equal((report.handled, report.retried), (2, 1), "handled and retried")
    waited = backend.clock.monotonic() - started
    expect(
        waited >= 7.9 * factory.unit,
        f"the last attempt was due after 8 units of time, idle after {waited:g} s",
    )


@spine_check()
async def check_failures_and_successes_together_lose_and_double_nothing(
    factory: BackendFactory, concurrency: int
) -> None:
    """200 events, a third of them failing at first, a tenth for good: each ends once."""
    backend = await factory.make()
    events = several(200)
    tries: Counter[int] = Counter()
    done: list[Event] = []

    class Moody(Organ):
        listens_to = [NUMBERED]

        async def handle(self, event: Event) -> Event:
            number = event.payload["number"]
            tries[number] += 1
            for _ in range(number % 4):
                await asyncio.sleep(0)
            if number % 10 == 0 or (number % 3 == 0 and tries[number] == 1):
                raise LookupError(number)
            done.append(event)
            return numbered(number, CHILD)

    keeper = Keeper()
    spine = Spine([Moody(), keeper], backend, concurrency=concurrency, retry=_retry(factory, 2, 1.0))
    await spine.run_until_idle(*events)

    letters = await dead_letters(backend)
    ended = [*done, *(letter.event for letter in letters if letter.event is not None)]
    expect_once_each(ended, events, "done and dead")
    parents = Counter(event.causation_id for event in keeper.events if event.event_type == CHILD)
    expect_equal(parents, Counter(event.id for event in done), "children of what was done")


@spine_check()
async def check_a_stopped_spine_hands_back_what_it_did_not_start(
    factory: BackendFactory, concurrency: int
) -> None:
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
    await stuck.wait()
    running.cancel()
    await asyncio.wait({running})

    expect(running.cancelled(), "a cancelled run did not end by CancelledError")
    stats = await backend.admin.stats()
    expect_equal((stats.queued, stats.pending), (20, 0), "events and children queued, and pending")
    keeper = Keeper()
    await Spine([keeper], backend, concurrency=concurrency).run_until_idle()
    rest = [event for event in keeper.events if event.event_type == NUMBERED]
    expect_once_each([*done, *rest], events, "both runs")
    parents = Counter(event.causation_id for event in keeper.events if event.event_type == CHILD)
    expect_equal(parents, Counter(event.id for event in done), "children of what was done")


@spine_check()
async def check_the_next_run_goes_on_where_the_last_one_failed(
    factory: BackendFactory, concurrency: int
) -> None:
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


@spine_check()
async def check_a_redrive_reaches_the_organ_that_gave_up_alone(
    factory: BackendFactory, concurrency: int
) -> None:
    """And a new failure of it is a new dead letter."""
    backend = await factory.make()
    failing, keeper = Failing(backend, failures=2), Keeper()
    spine = Spine([failing, keeper], backend, concurrency=concurrency)
    await spine.run_until_idle(numbered(1))

    for _ in range(2):
        (letter,) = await dead_letters(backend)
        await backend.admin.redrive(letter.id)
        await spine.run_until_idle()

    expect_equal((failing.calls[1], len(keeper.events)), (3, 1), "calls of both Organs")
    expect_equal(await dead_letters(backend), [], "the dead letters that wait")


@spine_check("bounded")
async def check_a_full_backend_fails_the_handler_that_enqueues_and_drains(
    factory: BackendFactory, concurrency: int
) -> None:
    """`emit` inside a handler never waits for room; what is returned is kept."""
    backend = await factory.make(max_size=5)
    keeper = Keeper()

    class Flooding(Organ):
        listens_to = [Ordered]

        async def handle(self, event: Event) -> Sequence[Event]:
            await spine.emit(*several(6))
            return []

    class Branching(Organ):
        listens_to = [Ordered]

        async def handle(self, event: Event) -> Sequence[Event]:
            return several(20, CHILD)

    spine = Spine([Flooding(), Branching(), keeper], backend, concurrency=concurrency)
    await spine.run_until_idle(*(ordered(number) for number in range(5)))

    kinds = [letter.error_type for letter in await dead_letters(backend)]
    expect_equal(kinds, [BackendFull.__name__] * 5, "how the handlers that enqueued failed")
    expect_equal(len(keeper.events), 100, "events that were returned, and handled")


@spine_check("durable")
async def check_a_spine_goes_on_with_what_another_worker_left(
    factory: BackendFactory, concurrency: int
) -> None:
    """Retries, delayed events and the rest of the queue outlive the Spine and its backend."""
    backend = await factory.make()
    failing = Failing(backend, failures=1)
    policy = _retry(factory, 2, 2.0)
    events = several(10)
    await backend.enqueue(numbered(10), delay=2 * factory.unit)
    spine = Spine([failing], backend, concurrency=concurrency, retry=policy, max_steps=5)
    await expect_error(spine.run_until_idle(*events), MaxStepsExceeded)
    await backend.aclose()

    again = await factory.attach(backend)
    report = await Spine([failing], again, concurrency=concurrency, retry=policy).run_until_idle()

    expect_equal(failing.calls, Counter(dict.fromkeys(range(11), 2)), "calls for each event")
    expect_equal(report.lost, 0, "lost")
