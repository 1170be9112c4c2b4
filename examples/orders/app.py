"""The program: its Organs, and the Spine that runs them."""

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from examples.orders.books import Books
from examples.orders.payments import Payments, Refunds
from examples.orders.provider import Provider
from examples.orders.report import report
from examples.orders.shop import Deadline, Fulfilment, Ledger, Reminders, Restock, Stock
from necrostack import InMemoryBackend, Spine

PATIENCE = timedelta(seconds=0.4)
"""How long a customer has for a transfer: a fortnight in a real shop."""


def build(books: Books, provider: Provider, when_done: Callable[[], object] = lambda: None) -> Spine:
    """Put the Organs together. Nothing here says who talks to whom: their types do."""
    return Spine(
        organs=[
            Payments(provider),
            Stock(books),
            Deadline(books, PATIENCE),
            Fulfilment(books),
            Refunds(provider),
            Restock(books),
            Reminders(books),
            Ledger(books, when_done),
        ],
        backend=InMemoryBackend(),
        concurrency=8,
    )


def open_books() -> tuple[Books, Provider]:
    """Open the shop's books and the provider's: in the folder that ORDERS_FOLDER names, or else for this run alone."""
    folder = os.environ.get("ORDERS_FOLDER") or os.environ.get("NECROSTACK_RUN_FOLDER")
    if folder is None:
        return Books(), Provider()
    Path(folder).mkdir(parents=True, exist_ok=True)
    return Books(Path(folder, "books.sqlite")), Provider(Path(folder, "provider.sqlite"))


def spine() -> Spine:
    """Make the Spine for `necrostack run`. It prints the report when a run is over."""
    books, provider = open_books()

    def show() -> None:
        if os.environ.get("NECROSTACK_WORKER", "1") == "1":  # of several workers, one reports
            print(report(books, provider))

    return build(books, provider, show)
