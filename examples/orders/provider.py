"""The payment provider: somebody else's service, with books of its own, that fails now and then."""

import random
from pathlib import Path

from examples.database import Database

SCHEMA = """
CREATE TABLE IF NOT EXISTS requests (card TEXT PRIMARY KEY, times INTEGER);
CREATE TABLE IF NOT EXISTS moved (key TEXT PRIMARY KEY, card TEXT, cents INTEGER);
"""

WORST = 3
"""It never fails more often than that for one card."""


class UnknownCardError(ValueError):
    """Asking again does not help."""


class CardDeclinedError(Exception):
    """The card's bank says no."""


class Provider:
    """Moves money from and to cards. A key that it knows it answers as before, and moves nothing.

    Args:
        path: Where its books are; in memory unless given.
    """

    def __init__(self, path: str | Path = ":memory:") -> None:
        self._database = Database(path, SCHEMA)

    async def move(self, key: str, card: str, cents: int) -> None:
        """Take money from a card; a negative amount goes back to it.

        Raises:
            UnknownCardError: There is no such card.
            CardDeclinedError: Its bank says no.
            ConnectionError: The provider is down. Nothing was moved.
            TimeoutError: It did not answer. The money was moved all the same.
        """
        if not card.isdecimal():
            msg = f"there is no card {card!r}"
            raise UnknownCardError(msg)
        if card.endswith("0000"):
            raise CardDeclinedError(card)
        mood = self._mood(card)
        if mood < 0.15:
            msg = "the provider is down"
            raise ConnectionError(msg)
        with self._database.transaction() as rows:
            rows.execute("INSERT INTO moved VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (key, card, cents))
        if mood < 0.3:
            msg = "the provider did not answer in time"
            raise TimeoutError(msg)

    def _mood(self, card: str) -> float:
        """Draw a number that is the same for the same request of a card in every run."""
        counted = "INSERT INTO requests VALUES (?, 1) ON CONFLICT DO UPDATE SET times = times + 1 RETURNING times"
        with self._database.transaction() as rows:
            (times,) = rows.execute(counted, (card,)).fetchone()
        return random.Random(f"{card}, {times}").random() if times <= WORST else 1.0  # noqa: S311 -- no secret

    def moved(self) -> dict[str, int]:
        """The cents that it moved, by key."""
        with self._database.transaction() as rows:
            return dict(rows.execute("SELECT key, cents FROM moved ORDER BY key"))
