"""Third row: the organ in which everything ends. It adds up, and prints when the run is over."""

from typing import TextIO

from examples.github_webhooks.render import Format, render
from examples.github_webhooks.report import Report
from examples.github_webhooks.tally import Tallied
from necrostack import Organ


class Reporter(Organ[Tallied]):
    """Keeps the report.

    Args:
        out: Where the report goes after the drain of a run.
        form: How it is written.
    """

    listens_to = [Tallied]

    def __init__(self, out: TextIO, form: Format = "table") -> None:
        super().__init__()
        self.report = Report()
        self._out = out
        self._form: Format = form

    def handle(self, event: Tallied) -> None:
        self.report.add(event.payload)

    async def shutdown(self) -> None:
        self._out.write(render(self.report, self._form))
