"""Third row: the organ in which everything ends. It adds up, and prints when the run is over."""

import os
from typing import TextIO

from examples.github_webhooks.books import Books
from examples.github_webhooks.render import Format, render
from examples.github_webhooks.tally import Tallied
from necrostack import Organ


class Reporter(Organ[Tallied]):
    """Keeps the figures of the report. Of several workers, the last one to end prints it.

    Args:
        out: Where the report goes after the drain of a run.
        form: How it is written.
        books: Where the figures are kept; in this process unless given.
    """

    listens_to = [Tallied]

    def __init__(self, out: TextIO, form: Format = "table", books: Books | None = None) -> None:
        super().__init__()
        self.books = books or Books()
        self._out = out
        self._form: Format = form
        self._worker = os.environ.get("NECROSTACK_WORKER", "1")

    async def startup(self) -> None:
        self.books.enter(self._worker)

    def handle(self, event: Tallied) -> None:
        self.books.add(event.id, event.payload)

    async def shutdown(self) -> None:
        if self.books.leave(self._worker):
            self._out.write(render(self.books.report(), self._form))
