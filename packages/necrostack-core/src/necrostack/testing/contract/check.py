"""One check of the contract, and how it is run."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from necrostack.testing.contract.factory import BackendFactory, Feature

LEAK_TURNS = 100
"""Turns of the event loop that tasks get to end after a check."""


class NotApplicable(Exception):
    """A check needs what the backend does not say that it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One sentence of the contract. Awaited with a factory, it raises AssertionError where that is broken.

    After each check its backends are closed, and no task may be left, nor an error that nobody saw.

    Attributes:
        name: The sentence, as an identifier.
        doc: What is at stake.
        needs: The features without which it does not apply.
    """

    name: str
    doc: str
    needs: frozenset[Feature]
    function: Callable[[BackendFactory], Awaitable[None]]

    def __str__(self) -> str:
        return self.name

    def not_applicable(self, factory: BackendFactory) -> str | None:
        """Say why this check does not apply to a factory's backends; None if it does."""
        missing = sorted(self.needs - factory.features)
        return f"needs a backend that is or has: {', '.join(missing)}" if missing else None

    async def __call__(self, factory: BackendFactory) -> None:
        """Run the check on new backends.

        Raises:
            AssertionError: A backend breaks the contract.
            NotApplicable: The backend does not have what the check needs.
        """
        if reason := self.not_applicable(factory):
            raise NotApplicable(f"{self.name} {reason}")
        loop = asyncio.get_running_loop()
        unseen: list[dict[str, Any]] = []
        tasks = asyncio.all_tasks()
        handler = loop.get_exception_handler()
        loop.set_exception_handler(lambda _, context: unseen.append(context))
        try:
            await factory.run(self._within_limit(factory, tasks))
            left = await _left_over(tasks)
        finally:
            loop.set_exception_handler(handler)
        if left:
            raise AssertionError(f"{self.name}: {len(left)} tasks are left: {left}")
        if unseen:
            raise AssertionError(f"{self.name}: errors that nobody saw: {unseen}")

    async def _within_limit(self, factory: BackendFactory, others: set[asyncio.Task[Any]]) -> None:
        # A broken backend may wait for ever.
        limit = asyncio.ensure_future(factory.wait(factory.limit))
        checking = asyncio.ensure_future(self.function(factory))
        try:
            await asyncio.wait({checking, limit}, return_when=asyncio.FIRST_COMPLETED)
            if not checking.done():
                raise AssertionError(f"{self.name} did not end within {factory.limit:g} s")
            await checking
        except BaseException:
            # What it started may wait for ever, or fail when the backends are closed, and nobody would look.
            mine = {asyncio.current_task(), checking, limit}
            started = asyncio.all_tasks() - others - mine
            for task in started:
                task.cancel()
            await asyncio.gather(*started, return_exceptions=True)
            raise
        finally:
            limit.cancel()
            checking.cancel()
            await asyncio.wait({checking, limit})
            await factory.aclose()


async def _left_over(before: set[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
    """Return the tasks that were started since and do not end."""
    for _ in range(LEAK_TURNS):
        left = asyncio.all_tasks() - before
        if not left:
            break
        await asyncio.sleep(0)
    for task in left:
        task.cancel()
    return left


CheckFunction = Callable[[BackendFactory], Awaitable[None]]


class SpineCheckFunction(Protocol):
    """A check that is made with each concurrency."""

    __name__: str

    def __call__(self, factory: BackendFactory, concurrency: int) -> Awaitable[None]: ...


registered: dict[str, list[Check]] = {}
"""The checks of each module, in the order in which they are written."""


def check(*needs: Feature) -> Callable[[CheckFunction], CheckFunction]:
    """Make a function a check of the contract.

    Args:
        *needs: The features without which it does not apply.
    """

    def register(function: CheckFunction) -> CheckFunction:
        _register(function.__name__, needs, function, documented=function)
        return function

    return register


def spine_check(*needs: Feature) -> Callable[[SpineCheckFunction], SpineCheckFunction]:
    """Make a function two checks: with a Spine that handles one event at a time, and four at a time."""

    def register(function: SpineCheckFunction) -> SpineCheckFunction:
        for concurrency in (1, 4):
            name = f"{function.__name__}[concurrency={concurrency}]"
            _register(name, needs, partial(function, concurrency=concurrency), documented=function)
        return function

    return register


def _register(name: str, needs: Iterable[Feature], function: CheckFunction, *, documented: object) -> None:
    doc = inspect.getdoc(documented) or ""
    new = Check(name=name, doc=doc, needs=frozenset(needs), function=function)
    registered.setdefault(documented.__module__, []).append(new)
