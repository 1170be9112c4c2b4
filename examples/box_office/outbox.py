"""The outbox: events that were stated in a transaction, until they are emitted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from examples.box_office.database import Database, Rows
from necrostack import Event


class Waiting(NamedTuple):
    """A row of the outbox: its number, and the event as JSON."""

    number: int
    event: str


class Outbox:
    """The table `outbox` of a database.

    Attributes:
        database: Where it is.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def put(self, rows: Rows, event: Event) -> None:
        """State an event in a transaction. It is emitted if and when that is committed.

        Call it last, when the transaction has changed, and so locked, what the event speaks of. Then of two
        transactions that change the same thing the one that was first has the lower number.
        """
        rows.change("INSERT INTO outbox (event) VALUES (?)", event.to_json().decode())
        self.database.ring(rows)

    def waiting(self, limit: int) -> Sequence[Waiting]:
        """Return the oldest events that are not emitted, `limit` at the most."""
        with self.database.transaction() as rows:
            found = rows.all("SELECT number, event FROM outbox WHERE refused IS NULL ORDER BY number LIMIT ?", limit)
        return [Waiting(*row) for row in found]

    def done(self, emitted: Sequence[Waiting]) -> None:
        """Forget what was emitted; not what was refused meanwhile."""
        with self.database.transaction() as rows:
            for row in emitted:
                # One by one. All numbers up to the last would take others with them, which nobody has seen: numbers
                # are given when a row is written, and rows are seen when they are committed.
                rows.change("DELETE FROM outbox WHERE number = ? AND refused IS NULL", row.number)

    def refuse(self, row: Waiting, why: str) -> None:
        """Leave a row to people: it can never be emitted, and those behind it must not wait for that."""
        with self.database.transaction() as rows:
            rows.change("UPDATE outbox SET refused = ? WHERE number = ?", why, row.number)
