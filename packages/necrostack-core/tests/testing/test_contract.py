"""The in-memory backend keeps the contract, and the suite says what it did not look at."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from necrostack import InMemoryBackend
from necrostack.testing.contract import CONTRACT, BackendFactory, Check, InMemoryFactory, NotApplicable


@pytest.mark.parametrize("check", CONTRACT, ids=str)
async def test_the_in_memory_backend_keeps_the_contract(check: Check) -> None:
    factory = InMemoryFactory()
    if reason := check.not_applicable(factory):
        pytest.skip(reason)

    await check(factory)


@pytest.mark.parametrize("check", CONTRACT, ids=str)
async def test_the_in_memory_backend_keeps_the_contract_where_all_that_waits_is_packed(
    check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("necrostack.store.LONG_QUEUE", 0)
    factory = InMemoryFactory()
    if reason := check.not_applicable(factory):
        pytest.skip(reason)

    await check(factory)


def test_only_what_needs_a_durable_backend_does_not_apply_to_memory() -> None:
    factory = InMemoryFactory()
    not_applicable = [check for check in CONTRACT if check.not_applicable(factory)]

    print(f"{len(CONTRACT) - len(not_applicable)} checks apply, {len(not_applicable)} do not")
    assert not_applicable
    assert all("durable" in check.needs for check in not_applicable)


def test_every_check_has_a_name_and_a_sentence_of_its_own() -> None:
    names = [check.name for check in CONTRACT]

    assert len(set(names)) == len(names)
    assert all(name.startswith("check_") for name in names)
    assert all(check.doc.endswith(".") for check in CONTRACT)


async def test_a_check_that_does_not_apply_does_not_pass_silently() -> None:
    check = next(check for check in CONTRACT if check.needs == {"durable", "groups"})

    with pytest.raises(NotApplicable, match="needs a backend that is or has: durable, groups"):
        await check(InMemoryFactory())


# --- what the suite itself looks after -----------------------------------------------------------------


def checking(function: Callable[[BackendFactory], Awaitable[None]]) -> Check:
    return Check(name="check_something", doc="Something.", needs=frozenset(), function=function)


async def test_a_check_that_never_ends_fails_at_its_limit() -> None:
    async def waits_for_ever(factory: BackendFactory) -> None:
        await asyncio.Event().wait()

    with pytest.raises(AssertionError, match="check_something did not end within 1000 s"):
        await checking(waits_for_ever)(InMemoryFactory())


async def test_a_task_that_is_left_fails_the_check() -> None:
    left: list[asyncio.Task[bool]] = []

    async def leaves_a_task(factory: BackendFactory) -> None:
        left.append(asyncio.create_task(asyncio.Event().wait()))

    with pytest.raises(AssertionError, match="check_something: 1 tasks are left"):
        await checking(leaves_a_task)(InMemoryFactory())
    await asyncio.wait(left)

    assert left[0].cancelled()


async def test_an_error_that_nobody_saw_fails_the_check() -> None:
    async def fails_aside(factory: BackendFactory) -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)

    with pytest.raises(AssertionError, match=r"errors that nobody saw.*ZeroDivisionError"):
        await checking(fails_aside)(InMemoryFactory())


async def test_a_check_that_fails_ends_what_it_started() -> None:
    started: list[asyncio.Task[object]] = []

    async def fails_while_a_pull_waits(factory: BackendFactory) -> None:
        backend = await factory.make()
        started.append(asyncio.create_task(backend.pull(timeout=100.0)))
        await factory.wait(1.0)
        msg = "broken"
        raise AssertionError(msg)

    with pytest.raises(AssertionError, match="broken"):
        await checking(fails_while_a_pull_waits)(InMemoryFactory())

    assert started[0].cancelled()


async def test_what_a_check_made_is_closed_afterwards() -> None:
    class Counting(InMemoryBackend):
        closed = 0

        async def aclose(self) -> None:
            Counting.closed += 1
            await super().aclose()

    async def makes_three(factory: BackendFactory) -> None:
        for _ in range(3):
            await factory.make()

    await checking(makes_three)(InMemoryFactory(Counting))

    assert Counting.closed == 3


async def test_a_factory_closes_what_it_made_when_its_context_ends() -> None:
    async with InMemoryFactory() as factory:
        backend = await factory.make()

    with pytest.raises(RuntimeError, match="was closed"):
        await backend.pull()


async def test_a_factory_that_promises_too_much_is_told_what_to_write() -> None:
    class Promising(InMemoryFactory):
        features = frozenset({"durable"})

    factory = Promising()
    backend = await factory.make()

    with pytest.raises(NotImplementedError, match=r"Promising .* write its connect\(\)"):
        await factory.attach(backend)
    with pytest.raises(NotImplementedError, match=r"Promising .* write its freeze\(\)"):
        await factory.freeze(backend)


async def test_a_factory_without_a_clock_of_its_own_lets_real_time_pass() -> None:
    class Real(InMemoryFactory):
        wait = BackendFactory.wait
        run = BackendFactory.run

    factory = Real()
    started = asyncio.get_running_loop().time()
    await factory.run(factory.wait(0.001))

    assert asyncio.get_running_loop().time() > started
    assert factory.clock.monotonic() == 0.0
