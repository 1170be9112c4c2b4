"""A Spine on the backend: every event is handled once, in order, as what it is."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from necrostack.event import Event
from necrostack.organ import Organ
from necrostack.spine import Spine
from necrostack.testing.contract.check import spine_check
from necrostack.testing.contract.expect import (
    expect,
    expect_equal,
    expect_once_each,
    numbers,
)
from necrostack.testing.contract.factory import BackendFactory
from necrostack.testing.contract.organs import Doubler, Failing, Keeper, retry_policy
from necrostack.testing.contract.samples import (
    CHILD,
    NUMBERED,
    Ordered,
    numbered,
    ordered,
    ordered_plainly,
    several,
)


@spine_check()
async def check_every_event_and_all_it_led_to_is_handled_once(factory: BackendFactory, concurrency: int) -> None:
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
async def check_an_event_is_handled_once_when_copies_are_dropped(factory: BackendFactory, concurrency: int) -> None:
    """`deduplicate` acknowledges what has a handled event's id, but not retries and replays."""
    backend = await factory.make()
    event = numbered(1)
    failing, keeper = Failing(backend, failures=1), Keeper()
    settings: dict[str, Any] = {"concurrency": concurrency, "deduplicate": True}
    spine = Spine([failing, keeper], backend, retry=retry_policy(factory, 2, 1.0), **settings)

    report = await spine.run_until_idle(event, event, numbered(2), event)

    expect_equal(sorted(numbers(keeper.events)), [1, 2], "what was handled")
    expect_equal((report.deduplicated, report.retried), (2, 2), "deduplicated and retried")
    expect_equal(failing.calls, Counter({1: 2, 2: 2}), "calls of the Organ that failed at first")
    await backend.admin.replay()
    replayed = await spine.run_until_idle()
    expect_equal((replayed.handled, replayed.deduplicated), (4, 0), "handled and deduplicated in a replay")
