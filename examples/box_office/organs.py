"""What is done about what happens. Each of these may run twice for one event, and does it once."""

from __future__ import annotations

import asyncio

from examples.box_office.database import Database, Rows
from examples.box_office.events import BookingMade, SeatsTaken, SoldOut, TicketScanned
from necrostack import Event, Organ


def is_first_time(rows: Rows, organ: Organ[BookingMade], event: Event) -> bool:
    """Enter in a transaction that an Organ handles an event; False if it did so before."""
    handled = "INSERT INTO handled (organ, event_id) VALUES (?, ?) ON CONFLICT DO NOTHING"
    return rows.change(handled, organ.name, str(event.id)) == 1


class Seating(Organ[BookingMade]):
    """Gives seats away, as long as there are any."""

    listens_to = [BookingMade]

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database

    async def handle(self, event: BookingMade) -> SeatsTaken | SoldOut:
        # In a thread: where a web application runs this as well, it answers requests meanwhile.
        return await asyncio.to_thread(self._seat, event)

    def _seat(self, event: BookingMade) -> SeatsTaken | SoldOut:
        booking = event.payload
        with self._database.transaction() as rows:
            if is_first_time(rows, self, event):
                seats = "UPDATE shows SET free = free - ? WHERE name = ? AND free >= ?"
                taken = rows.change(seats, booking.seats, booking.show, booking.seats)
                status = "confirmed" if taken else "sold out"
                rows.change("UPDATE bookings SET status = ? WHERE id = ?", status, booking.id)
            found = rows.one("SELECT status FROM bookings WHERE id = ?", booking.id)
        # The second time, too: what was returned the first time was kept only if that was settled.
        return SeatsTaken(payload=booking) if found == ("confirmed",) else SoldOut(payload=booking)


class Mailer(Organ[SeatsTaken | SoldOut]):
    """Writes to people. The table stands for a service that takes an idempotency key."""

    listens_to = [SeatsTaken, SoldOut]

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database

    async def handle(self, event: SeatsTaken | SoldOut) -> None:
        booking = event.payload
        news = "is confirmed" if isinstance(event, SeatsTaken) else "cannot be had: it is sold out"
        await asyncio.to_thread(self._send, str(event.id), f"your booking for {booking.show} {news}")

    def _send(self, key: str, text: str) -> None:
        with self._database.transaction() as rows:
            rows.change("INSERT INTO mails VALUES (?, ?) ON CONFLICT DO NOTHING", key, text)


class Doors(Organ[TicketScanned]):
    """Knows who is in. A ticket is in or not, so nothing needs to be remembered of events."""

    listens_to = [TicketScanned]

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database

    async def handle(self, event: TicketScanned) -> None:
        await asyncio.to_thread(self._let_in, event.payload.ticket, event.payload.show)

    def _let_in(self, ticket: str, show: str) -> None:
        with self._database.transaction() as rows:
            rows.change("INSERT INTO visits VALUES (?, ?) ON CONFLICT DO NOTHING", ticket, show)
