"""Whatever is done in whatever order, each backend holds exactly what a model of a few lines holds."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from necrostack import Backend, Delivery, Event, InMemoryBackend, Settlement
from necrostack.delivery import Failure, Retry
from necrostack_redis import RedisBackend

Step = tuple[str, int]
"""What is done, and a number that says to which, to how many, or how."""

WAYS = ("enqueue", "pull", "pull", "settle", "settle", "settle", "settle again", "release", "redrive", "trim")

steps = st.lists(st.tuples(st.sampled_from(WAYS), st.integers(0, 7)), min_size=10, max_size=40)


@dataclass
class Model:
    """What a backend must hold.

    Attributes:
        queued: Each event that waits, by its number and attempt.
        held: Deliveries that are pending.
        past: Deliveries that are not to be settled any more.
        letters: Dead letters: the event's number, and whether it went again.
        emitted: How many events there ever were.
    """

    queued: Counter[tuple[int, int]] = field(default_factory=Counter)
    held: list[Delivery] = field(default_factory=list)
    past: list[Delivery] = field(default_factory=list)
    letters: list[tuple[int, bool]] = field(default_factory=list)
    emitted: int = 0

    def new(self, amount: int) -> list[Event]:
        """Make events that wait from now on."""
        made = [Event(event_type="NUMBER", payload={"n": self.emitted + n}) for n in range(amount)]
        self.queued.update((self.emitted + n, 1) for n in range(amount))
        self.emitted += amount
        return made

    def settlement(self, delivery: Delivery, how: int) -> Settlement:
        """End a delivery: of four ways one."""
        n, attempt = known(delivery)
        match how % 4:
            case 0:
                return Settlement(delivery, emitted=self.new(2))
            case 1:
                self.queued[n, attempt + 1] += 1
                return Settlement(delivery, retries=[Retry(organ="Organ", delay=0.0)])
            case 2:
                self.letters.append((n, False))
                return Settlement(delivery, dead=[Failure(reason="give_up", organ="Organ")])
        return Settlement(delivery)


def known(delivery: Delivery) -> tuple[int, int]:
    return delivery.event.payload["n"], delivery.attempt


async def take(backend: Backend, model: Model, step: Step) -> None:
    """Do a step to both, and compare what it answers."""
    way, number = step
    match way:
        case "enqueue":
            await backend.enqueue(*model.new(1 + number % 3))
        case "pull":
            deliveries = await backend.pull(limit=1 + number % 4, timeout=0)
            assert bool(deliveries) == (model.queued.total() > 0)
            model.queued.subtract(known(delivery) for delivery in deliveries)
            assert not any(amount < 0 for amount in model.queued.values()), "what was not there, or came twice"
            model.held += deliveries
        case "settle" if model.held:
            delivery = model.held.pop(number % len(model.held))
            assert list(await backend.settle(model.settlement(delivery, number))) == [True]
            model.past.append(delivery)
        case "settle again" if model.past:
            again = Settlement(model.past[number % len(model.past)], emitted=[Event(event_type="WRONG", payload={})])
            assert list(await backend.settle(again)) == [False]
        case "release" if model.held:
            delivery = model.held.pop(number % len(model.held))
            await backend.release(delivery)
            model.queued[known(delivery)] += 1
            model.past.append(delivery)
        case "redrive" if model.letters:
            at = number % len(model.letters)
            n, went = model.letters[at]
            # Those that wait, or those that went: oldest first, as the model has them.
            letters = [letter async for letter in backend.admin.dead_letters(redriven=went)]
            same = [place for place, letter in enumerate(model.letters) if letter[1] == went].index(at)
            letter = letters[same]
            assert letter.event is not None
            assert letter.event.payload["n"] == n
            assert await backend.admin.redrive(letter.id) == (not went)
            if not went:
                model.letters[at] = (n, True)
                model.queued[n, 1] += 1
        case "trim":
            await backend.admin.trim(max_length=number)


async def compare(backend: Backend, model: Model) -> None:
    stats = await backend.admin.stats()
    dead = sum(not went for _, went in model.letters)
    found = (stats.queued + stats.scheduled, stats.pending, stats.dead)
    assert found == (model.queued.total(), len(model.held), dead)


async def go_through(backend: Backend, taken: list[Step]) -> None:
    """Do all steps, comparing after each, and then handle what is left."""
    model = Model()
    async with backend:
        for step in taken:
            await take(backend, model, step)
            await compare(backend, model)
        while model.held or model.queued.total():
            await take(backend, model, ("settle", 3) if model.held else ("pull", 3))
        await compare(backend, model)
        assert (await backend.admin.stats()).idle
        kept = [event.payload["n"] async for event in backend.admin.history()]
        assert kept == list(range(model.emitted - len(kept), model.emitted)), "the newest, in order, each once"


@settings(max_examples=200, derandomize=True, deadline=None)
@given(steps)
def test_the_backend_in_memory_holds_what_the_model_holds(taken: list[Step]) -> None:
    asyncio.run(go_through(InMemoryBackend(history=1000), taken))


@pytest.mark.timeout(180)
def test_redis_holds_what_the_model_holds(redis_url: str) -> None:
    numbers = count()

    @settings(max_examples=50, derandomize=True, deadline=None)
    @given(steps)
    def check(taken: list[Step]) -> None:
        next(numbers)
        asyncio.run(go_through(RedisBackend(redis_url, app=f"test-{uuid4().hex}"), taken))

    check()
    print(f"\n{next(numbers)} sequences of steps")
