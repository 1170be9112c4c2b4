"""A Spine on the backend: a failure is one Organ's, is retried, and is kept when it is for good."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any

from necrostack.delivery import Retry, Settlement
from necrostack.errors import BackendFull, GiveUp, RetryLater
from necrostack.event import Event
from necrostack.organ import Organ
from necrostack.spine import Spine
from necrostack.testing.contract.check import spine_check
from necrostack.testing.contract.expect import (
    dead_letters,
    expect,
    expect_equal,
    expect_once_each,
    numbers,
    pull_one,
)
from necrostack.testing.contract.factory import BackendFactory
from necrostack.testing.contract.organs import Doubler, Failing, Keeper, retry_policy
from necrostack.testing.contract.samples import (
    CHILD,
    NUMBERED,
    Ordered,
    misfit,
    numbered,
    ordered,
    several,
)


@spine_check()
async def check_only_the_organ_that_failed_is_retried(factory: BackendFactory, concurrency: int) -> None:
    """Its neighbours do not get the event again, and what they emitted is not emitted again."""
    backend = await factory.make()
    failing, keeper = Failing(backend, failures=2), Keeper()
    organs = [Doubler(), failing, keeper]

    spine = Spine(organs, backend, concurrency=concurrency, retry=retry_policy(factory, 3, 1.0))
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
    policy = retry_policy(factory, 5, 2.0, max_delay=5 * factory.unit)

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
    policy = retry_policy(factory, 2, 20.0)  # long enough for the others, also on a slow machine
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
    expect(second - first >= 3.9 * factory.unit, f"asked for 4 units of time, came after {second - first:g} s")
    expect_equal((report.retried, report.dead_lettered), (1, 0), "retried and dead_lettered")


@spine_check()
async def check_what_fails_for_good_is_kept_with_its_history(factory: BackendFactory, concurrency: int) -> None:
    """After the last attempt a dead letter, with every attempt; the other Organ has done its work."""
    backend = await factory.make()
    event, keeper = numbered(1), Keeper()
    failing = Failing(backend, failures=99)

    spine = Spine([failing, keeper], backend, concurrency=concurrency, retry=retry_policy(factory, 3, 1.0))
    report = await spine.run_until_idle(event)

    expect_equal((report.failed, report.retried, report.dead_lettered), (3, 2, 1), "failed, retried, dead")
    expect_equal(keeper.events, [event], "what the other Organ handled")
    (letter,) = await dead_letters(backend)
    expect_equal((letter.event, letter.organ), (event, "Failing"), "event and Organ")
    said = (letter.reason, letter.error_type, letter.error)
    expect_equal(said, ("attempts_exhausted", "LookupError", "no such customer"), "reason and error")
    expect("raise self._error" in letter.traceback, f"the traceback does not show the line: {letter.traceback}")
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
    spine = Spine([given_up], backend, concurrency=concurrency, retry=retry_policy(factory, 5))

    await spine.run_until_idle(numbered(1))
    policy = retry_policy(factory, 5, give_up_on=(LookupError,))
    hopeless = Failing(backend, failures=99)
    await Spine([hopeless], backend, concurrency=concurrency, retry=policy).run_until_idle(numbered(2))

    expect_equal((len(given_up.times), len(hopeless.times)), (1, 1), "attempts")
    reasons = [letter.reason for letter in await dead_letters(backend)]
    expect_equal(reasons, ["the order was cancelled", "not_retried"], "the reasons")


@spine_check()
async def check_a_result_that_is_no_event_is_that_organs_failure(factory: BackendFactory, concurrency: int) -> None:
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

    await Spine(organs, backend, concurrency=concurrency, retry=retry_policy(factory, 3)).run_until_idle(numbered(7))

    letters = await dead_letters(backend)
    expect_equal(sorted(letter.organ or "" for letter in letters), sorted(bad), "the Organs that failed")
    expect_equal({letter.reason for letter in letters}, {"bad_result"}, "the reasons")
    expect_equal(sorted(numbers(keeper.events)), [0, 1, 7], "what the others emitted, and the event")


@spine_check()
async def check_a_delivery_for_an_organ_that_is_not_there_is_kept(factory: BackendFactory, concurrency: int) -> None:
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
    spine = Spine([Moody(), keeper], backend, concurrency=concurrency, retry=retry_policy(factory, 2, 1.0))
    await spine.run_until_idle(*events)

    letters = await dead_letters(backend)
    ended = [*done, *(letter.event for letter in letters if letter.event is not None)]
    expect_once_each(ended, events, "done and dead")
    parents = Counter(event.causation_id for event in keeper.events if event.event_type == CHILD)
    expect_equal(parents, Counter(event.id for event in done), "children of what was done")


@spine_check()
async def check_a_redrive_reaches_the_organ_that_gave_up_alone(factory: BackendFactory, concurrency: int) -> None:
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

        async def handle(self, event: Event) -> None:
            await spine.emit(*several(6))

    class Branching(Organ):
        listens_to = [Ordered]

        async def handle(self, event: Event) -> Sequence[Event]:
            return several(20, CHILD)

    spine = Spine([Flooding(), Branching(), keeper], backend, concurrency=concurrency)
    await spine.run_until_idle(*(ordered(number) for number in range(5)))

    kinds = [letter.error_type for letter in await dead_letters(backend)]
    expect_equal(kinds, [BackendFull.__name__] * 5, "how the handlers that enqueued failed")
    expect_equal(len(keeper.events), 100, "events that were returned, and handled")
