"""The Spine: `necrostack run examples.box_office.workers:spine --backend redis://localhost:6379`."""

from examples.box_office.database import Database
from examples.box_office.organs import Doors, Mailer, Seating
from examples.box_office.settings import backend_of_environment, database_of_environment
from necrostack import Backend, RetryPolicy, Spine


def build(database: Database, backend: Backend) -> Spine:
    """Put the Organs together. A database that is away for a while is waited for."""
    return Spine(
        organs=[Seating(database), Mailer(database), Doors(database)],
        backend=backend,
        retry=RetryPolicy(max_attempts=8, base_delay=0.2),
        concurrency=4,
    )


def spine() -> Spine:
    """Make the Spine for `necrostack run`."""
    return build(database_of_environment(), backend_of_environment())
