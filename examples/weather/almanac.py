"""The almanac: readings, days and warnings, and no more of them than there were, however often they come."""

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import UUID

from examples.database import Database
from examples.weather.readings import Day, Gale, Reading

SCHEMA = """
CREATE TABLE IF NOT EXISTS readings (
    station TEXT, taken_at TEXT, day TEXT, celsius REAL, knots REAL, millimetres REAL, PRIMARY KEY (station, taken_at)
);
CREATE TABLE IF NOT EXISTS closed (station TEXT, day TEXT, closed_by TEXT, PRIMARY KEY (station, day));
CREATE TABLE IF NOT EXISTS warned (station TEXT, moment REAL, event_id TEXT, PRIMARY KEY (station, moment));
CREATE TABLE IF NOT EXISTS days (station TEXT, day TEXT, stated_at REAL, told TEXT, PRIMARY KEY (station, day));
CREATE TABLE IF NOT EXISTS gales (station TEXT, taken_at TEXT, knots REAL, PRIMARY KEY (station, taken_at));
"""


class Almanac:
    """Kept by all workers of a group together.

    Args:
        path: Where it is kept; in memory unless given.
    """

    def __init__(self, path: str | Path = ":memory:") -> None:
        self._database = Database(path, SCHEMA)

    # --- what Organs must remember ----------------------------------------------------------------------------

    def enter(self, reading: Reading, day: date) -> None:
        """Enter a reading under its day. One that is there stays as it is."""
        measured = (reading.celsius, reading.knots, reading.millimetres)
        row = (reading.station, reading.taken_at.isoformat(), day.isoformat(), *measured)
        with self._database.transaction() as rows:
            rows.execute("INSERT INTO readings VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", row)

    def is_closed(self, station: str, day: date) -> bool:
        """Whether a day was closed."""
        with self._database.transaction() as rows:
            found = "SELECT 1 FROM closed WHERE station = ? AND day = ?"
            return rows.execute(found, (station, day.isoformat())).fetchone() is not None

    def close(self, station: str, day: date, event_id: UUID) -> bool:
        """Close a day; False if another event did before."""
        key = (station, day.isoformat())
        with self._database.transaction() as rows:
            rows.execute("INSERT INTO closed VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (*key, str(event_id)))
            (by,) = rows.execute("SELECT closed_by FROM closed WHERE station = ? AND day = ?", key).fetchone()
        return bool(by == str(event_id))

    def sum_up(self, station: str, days: Iterable[date]) -> Iterator[tuple[datetime, Day]]:
        """Sum up days from the readings that are there, and say when: a later sum has all that an earlier one has."""
        query = """
            SELECT count(*) AS readings, min(celsius) AS coldest, max(celsius) AS warmest,
                round(sum(millimetres), 2) AS millimetres, max(knots) AS knots
            FROM readings WHERE station = ? AND day = ? HAVING count(*) > 0
        """
        for day in days:
            with self._database.transaction() as rows:
                moment = datetime.now(UTC)  # in here, where one worker is at a time
                cursor = rows.execute(query, (station, day.isoformat()))
                names, found = [column[0] for column in cursor.description], cursor.fetchone()
            if found is not None:
                numbers = dict(zip(names, found, strict=True))
                yield moment, Day.model_validate({"station": station, "day": day, **numbers})

    def may_warn(self, gale: Gale, event_id: UUID, pause: timedelta) -> bool:
        """Note that a gale is warned of; False if there was another warning less than `pause` before or after."""
        moment = gale.taken_at.timestamp()
        near = "SELECT 1 FROM warned WHERE station = ? AND abs(moment - ?) < ? AND event_id != ?"
        with self._database.transaction() as rows:
            if rows.execute(near, (gale.station, moment, pause.total_seconds(), str(event_id))).fetchone():
                return False
            warned = (gale.station, moment, str(event_id))
            rows.execute("INSERT INTO warned VALUES (?, ?, ?) ON CONFLICT DO NOTHING", warned)
        return True

    # --- what comes out ---------------------------------------------------------------------------------------

    def archive(self, day: Day, stated_at: datetime) -> None:
        """Keep a day. Of two statements on one day the later one stays, whichever comes first."""
        row = (day.station, day.day.isoformat(), stated_at.timestamp(), day.model_dump_json())
        keep = """
            INSERT INTO days VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE
            SET stated_at = excluded.stated_at, told = excluded.told WHERE excluded.stated_at >= stated_at
        """
        with self._database.transaction() as rows:
            rows.execute(keep, row)

    def sound(self, gale: Gale) -> None:
        """Keep a warning."""
        row = (gale.station, gale.taken_at.isoformat(), gale.knots)
        with self._database.transaction() as rows:
            rows.execute("INSERT INTO gales VALUES (?, ?, ?) ON CONFLICT DO NOTHING", row)

    def days(self) -> list[Day]:
        """All days, oldest first."""
        with self._database.transaction() as rows:
            found = rows.execute("SELECT told FROM days ORDER BY day, station").fetchall()
        return [Day.model_validate_json(told) for (told,) in found]

    def gales(self) -> list[Gale]:
        """All warnings, oldest first."""
        with self._database.transaction() as rows:
            found = rows.execute("SELECT station, taken_at, knots FROM gales ORDER BY taken_at, station").fetchall()
        return [
            Gale(station=station, taken_at=datetime.fromisoformat(moment), knots=knots)
            for station, moment, knots in found
        ]
