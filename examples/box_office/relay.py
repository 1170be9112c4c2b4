"""The relay: emits what is in the outbox, in order. `python -m examples.box_office.relay`.

It may be killed at any moment. What it emitted and had no time to forget, it emits again, and the backend recognises
the identical call: within `repeat_window`, which is two minutes unless set. Later than that the event is there twice,
under one id, and Organs that write down which ids they handled do nothing the second time.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from itertools import count

from examples.box_office.database import to_its_end
from examples.box_office.outbox import Outbox, Waiting
from examples.box_office.settings import backend_of_environment, database_of_environment
from necrostack import Backend, BackendFull, Event, RetryPolicy
from necrostack.errors import BackendUnavailable, EventError

logger = logging.getLogger(__name__)

_PATIENCE = RetryPolicy(max_attempts=1_000_000_000, base_delay=0.1, max_delay=5.0)


class Relay:
    """Takes events from an outbox to a backend.

    Args:
        outbox: Where they come from.
        backend: Where they go to.
        limit: How many rows are read, and forgotten, at a time.
        interval: Seconds between two looks, where no bell tells of new rows or did not ring.
    """

    def __init__(self, outbox: Outbox, backend: Backend, *, limit: int = 100, interval: float = 0.5) -> None:
        self._outbox, self._backend, self._limit, self._interval = outbox, backend, limit, interval

    async def run(self) -> None:
        """Go on until cancelled. What was emitted then is forgotten, the rest stays."""
        async with self._outbox.database.bell() as bell:
            while True:
                if not await self.emit_waiting():
                    await bell.wait(self._interval)

    async def emit_waiting(self) -> int:
        """Emit the oldest rows; return how many there were."""
        found = await to_its_end(self._outbox.waiting, self._limit)
        emitted: list[Waiting] = []
        try:
            for row in found:
                # One event a call. A call that comes again is recognised as a whole, and after a crash nobody knows
                # any more which rows were in one with which.
                await self._emit(row)
                emitted.append(row)
        finally:
            await to_its_end(self._outbox.done, emitted)
        return len(found)

    async def _emit(self, row: Waiting) -> None:
        try:
            await self._enqueue(Event.from_json(row.event))
        except EventError as error:
            logger.error("row %s of the outbox can never be emitted: %s", row.number, error)
            await to_its_end(self._outbox.refuse, row, str(error))

    async def _enqueue(self, event: Event) -> None:
        for attempt in count(1):
            try:
                await self._backend.enqueue(event)
            except (BackendFull, BackendUnavailable) as error:
                if attempt == 1:
                    logger.warning("the outbox waits: %s", error)
                await asyncio.sleep(_PATIENCE.delay_after(attempt) or 0.0)
            else:
                return


async def main() -> None:
    """Run until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.INFO)
    database = database_of_environment()
    async with backend_of_environment() as backend:
        task = asyncio.create_task(Relay(Outbox(database), backend).run())
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        await asyncio.wait({task})
    database.close()
    if not task.cancelled():
        task.result()  # raises what ended it


if __name__ == "__main__":
    asyncio.run(main())
