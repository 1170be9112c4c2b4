"""A run in the background of an application, for as long as that lives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

from necrostack.event import Event
from necrostack.log import logger
from necrostack.report import RunReport
from necrostack.run import Run

_LOOK = 0.05
"""Seconds between two looks at whether a run that has not begun waits for its backend."""


@asynccontextmanager
async def in_background(
    prepare: Callable[[], Run],
    execute: Callable[[Run, tuple[Event, ...]], Coroutine[Any, Any, RunReport]],
    on_failure: Callable[[BaseException], object] | None,
) -> AsyncIterator[None]:
    """Make a run, and execute it while the block lasts. See `Spine.running`."""
    run = prepare()
    task = asyncio.create_task(execute(run, ()))

    def tell(ended: asyncio.Task[RunReport]) -> None:
        # Logged and raised: it is raised when the application ends, which may be in a month.
        if not ended.cancelled() and (error := ended.exception()) is not None:
            logger.error("run_failed", exc_info=error)
            if on_failure is not None:
                on_failure(error)

    try:
        await _until_begun(run, task)
        task.add_done_callback(tell)
        yield
        task.remove_done_callback(tell)
    except Exception:
        # The block's own error goes on, not what it may have done to the run.
        run.stop()
        with suppress(Exception):
            await task
        raise
    except BaseException:
        task.cancel()
        await asyncio.wait({task})
        raise
    run.stop()
    await task


async def _until_begun(run: Run, task: asyncio.Task[RunReport]) -> None:
    """Wait until a run pulls, or cannot because its backend is out of reach.

    Raises:
        Exception: It failed before.
    """
    begun = asyncio.create_task(run.begun.wait())
    try:
        while not (begun.done() or task.done() or run.is_held_up):
            await asyncio.wait({begun, task}, timeout=_LOOK, return_when=asyncio.FIRST_COMPLETED)
    finally:
        begun.cancel()
    if task.done():
        task.result()
