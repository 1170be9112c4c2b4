"""The shop's own books: accounts in double entry, the shelves, and how far each order is."""

from pathlib import Path
from typing import Final
from uuid import UUID

from examples.database import Database
from examples.orders.events import Money, Order

SCHEMA = """
CREATE TABLE IF NOT EXISTS postings (event_id TEXT, account TEXT, cents INTEGER, PRIMARY KEY (event_id, account));
CREATE TABLE IF NOT EXISTS aside (number INTEGER, sku TEXT, pieces INTEGER, PRIMARY KEY (number, sku));
CREATE TABLE IF NOT EXISTS orders (number INTEGER PRIMARY KEY, money TEXT, in_stock INTEGER, decided_by TEXT);
CREATE TABLE IF NOT EXISTS reminders (number INTEGER PRIMARY KEY);
"""

SHELVES: Final = {"teapot": 500, "cup": 2000, "kettle": 300, "green tea": 1500, "black tea": 1500, "blue teapot": 0}
"""Pieces of each article at the start. The blue teapot is sold out."""

_STATES = """
SELECT number, CASE
    WHEN money IS NULL AND number IN (SELECT number FROM reminders) THEN 'to be paid by transfer, reminded'
    WHEN money IS NULL THEN 'not paid'
    WHEN money ->> 'cents' = 0 THEN 'cancelled, the card was declined'
    WHEN in_stock THEN 'shipped'
    ELSE 'cancelled, sold out, the money given back'
END FROM orders ORDER BY number
"""


class Books:
    """What is entered twice, under the same id or for the same order, counts once.

    Args:
        path: Where they are kept; in memory unless given.
    """

    def __init__(self, path: str | Path = ":memory:") -> None:
        self._database = Database(path, SCHEMA)

    def post(self, event_id: UUID, into: str, out_of: str, cents: int) -> None:
        """Move an amount from one account to another: on both, or on none."""
        both = [(str(event_id), into, cents), (str(event_id), out_of, -cents)]
        with self._database.transaction() as rows:
            rows.executemany("INSERT INTO postings VALUES (?, ?, ?) ON CONFLICT DO NOTHING", both)

    def reserve(self, order: Order) -> str | None:
        """Put the pieces of an order aside, all or none. Returns the article of which there is not enough."""
        with self._database.transaction() as rows:
            for line in order.lines:
                others = "SELECT coalesce(sum(pieces), 0) FROM aside WHERE sku = ? AND number != ?"
                (pieces,) = rows.execute(others, (line.sku, order.order)).fetchone()
                if pieces + line.pieces > SHELVES[line.sku]:
                    return line.sku
            aside = [(order.order, line.sku, line.pieces) for line in order.lines]
            rows.executemany("INSERT INTO aside VALUES (?, ?, ?) ON CONFLICT DO NOTHING", aside)
        return None

    def put_back(self, order: int) -> None:
        """Put the pieces of an order back on the shelves."""
        with self._database.transaction() as rows:
            rows.execute("DELETE FROM aside WHERE number = ?", (order,))

    # --- how far an order is --------------------------------------------------------------------------------

    def note_payment(self, event_id: UUID, money: Money) -> tuple[Money, bool] | None:
        """Note what was paid for an order: 0 cents if the payment was refused. See `_note`."""
        return self._note(event_id, money.order, "money", money.model_dump_json())

    def note_stock(self, event_id: UUID, order: int, *, in_stock: bool) -> tuple[Money, bool] | None:
        """Note whether the pieces of an order are put aside. See `_note`."""
        return self._note(event_id, order, "in_stock", in_stock)

    def _note(self, event_id: UUID, order: int, column: str, value: str | bool) -> tuple[Money, bool] | None:
        """Note one half. Tells the event that completed the order both halves: it alone, however often it comes."""
        with self._database.transaction() as rows:
            rows.execute("INSERT INTO orders (number) VALUES (?) ON CONFLICT DO NOTHING", (order,))
            rows.execute(f"UPDATE orders SET {column} = ? WHERE number = ?", (value, order))  # noqa: S608 -- a column of ours
            completed = "UPDATE orders SET decided_by = ? WHERE number = ? AND decided_by IS NULL"
            both = f"{completed} AND money IS NOT NULL AND in_stock IS NOT NULL"
            rows.execute(both, (str(event_id), order))
            mine = "SELECT money, in_stock FROM orders WHERE number = ? AND decided_by = ?"
            found = rows.execute(mine, (order, str(event_id))).fetchone()
        return None if found is None else (Money.model_validate_json(found[0]), bool(found[1]))

    def is_waiting(self, order: int) -> bool:
        """Whether nothing is known of an order's payment."""
        with self._database.transaction() as rows:
            paid = "SELECT 1 FROM orders WHERE number = ? AND money IS NOT NULL"
            return rows.execute(paid, (order,)).fetchone() is None

    def note_reminder(self, order: int) -> None:
        """Note that a customer was reminded."""
        with self._database.transaction() as rows:
            rows.execute("INSERT INTO reminders VALUES (?) ON CONFLICT DO NOTHING", (order,))

    # --- what is in them ------------------------------------------------------------------------------------

    def balances(self) -> dict[str, int]:
        """The cents on each account, by name."""
        return self._pairs("SELECT account, sum(cents) FROM postings GROUP BY account ORDER BY account")

    def pieces(self) -> dict[str, int]:
        """How many pieces of each article have left the shelves."""
        return self._pairs("SELECT sku, sum(pieces) FROM aside GROUP BY sku ORDER BY sku")

    def states(self) -> dict[int, str]:
        """How far each order is, by its number."""
        with self._database.transaction() as rows:
            return dict(rows.execute(_STATES))

    def _pairs(self, query: str) -> dict[str, int]:
        with self._database.transaction() as rows:
            return dict(rows.execute(query))
