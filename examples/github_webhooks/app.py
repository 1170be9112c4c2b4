"""The program: its organs, row by row, and the Spine that runs them."""

import os
import sys

from examples.github_webhooks.books import Books
from examples.github_webhooks.database import database_of_the_run
from examples.github_webhooks.organs.alerts import Alerts
from examples.github_webhooks.organs.census import Census
from examples.github_webhooks.organs.ledgers import CodeLedger, HealthLedger, WorkLedger
from examples.github_webhooks.organs.pager import Pager
from examples.github_webhooks.organs.reporter import Reporter
from examples.github_webhooks.organs.translators import (
    Issues,
    PullRequests,
    Pushes,
    Releases,
    Reviews,
    Workflows,
)
from examples.github_webhooks.outbox import Outbox
from examples.github_webhooks.render import FORMATS, Format
from necrostack import InMemoryBackend, Spine


def build(reporter: Reporter, outbox: Outbox) -> Spine:
    """Put the organs together. Nothing here says who talks to whom: their types do."""
    return Spine(
        organs=[
            # Deliveries come in, facts go out.
            Census(),
            Pushes(),
            Releases(),
            Issues(),
            PullRequests(),
            Reviews(),
            Workflows(),
            Alerts(),
            # Facts come in, tallies go out.
            Pager(outbox),
            CodeLedger(),
            WorkLedger(reporter.books),
            HealthLedger(),
            # Tallies come in.
            reporter,
        ],
        backend=InMemoryBackend(),
    )


def spine() -> Spine:
    """Make the Spine for `necrostack run`; the environment variable REPORT chooses the form of the report."""
    wanted = os.environ.get("REPORT", "table")
    form: Format | None = next((known for known in FORMATS if known == wanted), None)
    if form is None:
        msg = f"REPORT is {wanted!r}; set it to one of {', '.join(FORMATS)}"
        raise ValueError(msg)
    database = database_of_the_run()
    return build(Reporter(sys.stdout, form, Books(database)), Outbox(database))
