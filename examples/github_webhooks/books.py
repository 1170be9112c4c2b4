"""The books: what the report is made of. Several workers may keep them together."""

from datetime import datetime
from uuid import UUID

from examples.database import Database
from examples.github_webhooks.database import database_in_memory
from examples.github_webhooks.report import Report
from examples.github_webhooks.tally import Section, Tally


class Books:
    """Keeps figures, and what is open. Neither the order in which things come matters, nor how often they come.

    Args:
        database: Where they are kept; one in memory unless given.
    """

    def __init__(self, database: Database | None = None) -> None:
        self._database = database or database_in_memory()

    def add(self, event_id: UUID, tally: Tally) -> None:
        """Enter a tally. The id of its event makes it count once, also when it is delivered again."""
        row = (str(event_id), tally.repository, tally.section, tally.figure, tally.amount)
        with self._database.transaction() as rows:
            rows.execute("INSERT INTO tallies VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", row)

    def note_state(self, repository: str, section: Section, number: int, moment: datetime, *, is_open: bool) -> None:
        """Note whether an issue or a pull request was open at a moment. What is known of a later one stays.

        Moments are whole seconds at GitHub, and several things happen in one: then it is taken to be open.
        """
        row = (repository, section, number, moment.isoformat(), is_open, is_open)
        with self._database.transaction() as rows:
            rows.execute(
                """
                INSERT INTO states VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
                    was_open = max(was_open, excluded.was_open),
                    is_open = CASE
                        WHEN excluded.moment > moment THEN excluded.is_open
                        WHEN excluded.moment = moment THEN max(is_open, excluded.is_open)
                        ELSE is_open
                    END,
                    moment = max(moment, excluded.moment)
                """,
                row,
            )

    def report(self) -> Report:
        """Add everything up."""
        report = Report()
        with self._database.transaction() as rows:
            found = rows.execute(
                """
                SELECT repository, section, figure, sum(amount) FROM tallies GROUP BY repository, section, figure
                UNION ALL
                SELECT repository, section, 'open now', sum(is_open) FROM states WHERE was_open
                GROUP BY repository, section
                """
            )
            for repository, section, figure, amount in found:
                report.add(Tally(repository=repository, section=section, figure=figure, amount=amount))
        return report

    # --- who keeps them -------------------------------------------------------------------------------

    def enter(self, worker: str) -> None:
        """Begin to work on them. A worker that takes the place of a dead one has its name."""
        with self._database.transaction() as rows:
            rows.execute("INSERT INTO workers VALUES (?) ON CONFLICT DO NOTHING", (worker,))

    def leave(self, worker: str) -> bool:
        """End the work on them; True for the last one, who finds them complete."""
        with self._database.transaction() as rows:
            rows.execute("DELETE FROM workers WHERE name = ?", (worker,))
            (left,) = rows.execute("SELECT count(*) FROM workers").fetchone()
        return bool(left == 0)
