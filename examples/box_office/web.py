"""The web application, in two forms.

`uvicorn --factory examples.box_office.web:alone` does everything in one process. `…web:desk` only takes bookings and
scans; the relay and the workers are programs of their own.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from examples.box_office.answers import ANSWERS
from examples.box_office.database import Database
from examples.box_office.events import Booking, BookingMade, Scan, TicketScanned, Wish
from examples.box_office.outbox import Outbox
from examples.box_office.relay import Relay
from examples.box_office.settings import backend_of_environment, database_of_environment
from examples.box_office.workers import build
from necrostack import Spine

logger = logging.getLogger(__name__)

BOOKINGS = uuid5(NAMESPACE_URL, "https://box-office.example/bookings")
SCANS = uuid5(NAMESPACE_URL, "https://box-office.example/scans")
REQUESTS = uuid5(NAMESPACE_URL, "https://box-office.example/requests")


class Desk:
    """What can be asked for."""

    def __init__(self, database: Database, spine: Spine, *, is_worker: bool) -> None:
        self._database, self._spine, self._is_worker = database, spine, is_worker
        self._outbox = Outbox(database)

    async def book(self, request: Request) -> Response:
        """Enter a booking. The same key makes the same booking, however often it is sent."""
        wanted = Wish.model_validate_json(await request.body())
        key = request.headers.get("Idempotency-Key", str(uuid4()))
        booking = Booking(id=str(uuid5(BOOKINGS, key)), show=wanted.show, seats=wanted.seats)
        status = await run_in_threadpool(self._enter, booking, chain_of(request))
        if status is None:
            return JSONResponse({"error": "this Idempotency-Key was used for another booking"}, 422)
        return JSONResponse({"id": booking.id, "status": status}, 202)

    def _enter(self, booking: Booking, chain: UUID) -> str | None:
        """Write the booking and state the event, both or neither."""
        with self._database.transaction() as rows:
            entered = "INSERT INTO bookings VALUES (?, ?, ?, 'open') ON CONFLICT DO NOTHING"
            if rows.change(entered, booking.id, booking.show, booking.seats):
                self._outbox.put(rows, BookingMade(payload=booking, correlation_id=chain))
            found = rows.one("SELECT status, show, seats FROM bookings WHERE id = ?", booking.id)
        return found[0] if found and found[1:] == (booking.show, booking.seats) else None

    async def booking(self, request: Request) -> Response:
        """Tell how a booking stands."""
        found = await run_in_threadpool(self._look_up, request.path_params["id"])
        return JSONResponse({"error": "no such booking"}, 404) if found is None else JSONResponse({"status": found})

    def _look_up(self, booking: str) -> str | None:
        with self._database.transaction() as rows:
            found = rows.one("SELECT status FROM bookings WHERE id = ?", booking)
        return found[0] if found else None

    async def scan(self, request: Request) -> Response:
        """Let somebody in. Nothing is written here but the event, so it is emitted, and kept when this answers."""
        scan = Scan.model_validate_json(await request.body())
        # A reader that gets no answer sends the ticket again: that is this event again, not another one.
        scanned = TicketScanned(id=uuid5(SCANS, scan.ticket), payload=scan, correlation_id=chain_of(request))
        await self._spine.emit(scanned)
        return Response(status_code=202)

    async def health(self, request: Request) -> Response:
        """Tell whether this process does what it is there for."""
        return Response(status_code=200 if self._spine.is_running or not self._is_worker else 503)


def chain_of(request: Request) -> UUID:
    """Return the correlation id of all that comes of a request."""
    return uuid5(REQUESTS, request.headers.get("X-Request-ID", str(uuid4())))


def create_app(database: Database, spine: Spine, *, is_worker: bool) -> Starlette:
    """Put the application together.

    Args:
        database: Where bookings are.
        spine: What events are emitted through, and, for a worker, what handles them.
        is_worker: Whether this process handles events, and empties the outbox, as well.
    """

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        # Left in the other order: first no new rows are relayed, then the run drains, then connections are closed.
        async with AsyncExitStack() as stack:
            stack.callback(database.close)
            await stack.enter_async_context(spine)
            if is_worker:
                await stack.enter_async_context(spine.running(on_failure=end_process))
                await stack.enter_async_context(relaying(Relay(Outbox(database), spine.backend)))
            yield

    desk = Desk(database, spine, is_worker=is_worker)
    routes = [
        Route("/bookings", desk.book, methods=["POST"]),
        Route("/bookings/{id}", desk.booking),
        Route("/scans", desk.scan, methods=["POST"]),
        Route("/health", desk.health),
    ]
    return Starlette(routes=routes, exception_handlers=ANSWERS, lifespan=lifespan)


@asynccontextmanager
async def relaying(relay: Relay) -> AsyncIterator[None]:
    """Relay in the background of the application."""

    def tell(ended: asyncio.Task[None]) -> None:
        if not ended.cancelled() and (error := ended.exception()) is not None:
            logger.error("the relay has failed", exc_info=error)
            end_process(error)

    task = asyncio.create_task(relay.run())
    task.add_done_callback(tell)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


def end_process(error: BaseException) -> None:
    """Stop as at SIGTERM: a process that does half of its work is worse than one that is started again."""
    logger.error("the process ends: %s", error)
    signal.raise_signal(signal.SIGTERM)


def alone() -> Starlette:
    """Everything in one process: `uvicorn --factory examples.box_office.web:alone`."""
    database = database_of_environment()
    return create_app(database, build(database, backend_of_environment()), is_worker=True)


def desk() -> Starlette:
    """Bookings and scans alone: `uvicorn --factory examples.box_office.web:desk`."""
    return create_app(database_of_environment(), Spine([], backend_of_environment()), is_worker=False)
