"""A small database: in memory for one process, in a file for several workers."""

import os
import sqlite3
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SCHEMA = """
CREATE TABLE IF NOT EXISTS tallies (
    event_id TEXT PRIMARY KEY, repository TEXT, section TEXT, figure TEXT, amount INTEGER
);
CREATE TABLE IF NOT EXISTS states (
    repository TEXT, section TEXT, number INTEGER, moment TEXT, is_open INTEGER, was_open INTEGER,
    PRIMARY KEY (repository, section, number)
);
CREATE TABLE IF NOT EXISTS workers (name TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS sent (key TEXT PRIMARY KEY, message TEXT);
CREATE TABLE IF NOT EXISTS places (key TEXT PRIMARY KEY, moment REAL);
CREATE TABLE IF NOT EXISTS bursts (window_ends REAL, granted INTEGER);
"""


class Database:
    """Opened when it is first needed, by whoever runs organs; several processes may share its file.

    Args:
        path: Its file; in memory unless given.
    """

    def __init__(self, path: str | Path = ":memory:") -> None:
        self._path = path
        self._opened: sqlite3.Connection | None = None

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Do all of something or nothing, while no other process does."""
        connection = self._opened or self._open()
        connection.execute("BEGIN IMMEDIATE")
        with connection:
            yield connection

    def _open(self) -> sqlite3.Connection:
        # One thread uses it; but garbage may be collected, and so it be closed, in any.
        connection = self._opened = sqlite3.connect(
            self._path, timeout=30.0, isolation_level=None, check_same_thread=False
        )
        weakref.finalize(self, connection.close)
        # It must outlive a worker that is killed, not the machine: what the system has taken is good enough.
        connection.execute("PRAGMA synchronous = OFF")
        connection.executescript(SCHEMA)
        return connection


def database_of_the_run() -> Database:
    """Give the database that the workers of one run share; it goes when the run is over."""
    folder = os.environ.get("NECROSTACK_RUN_FOLDER")
    return Database() if folder is None else Database(Path(folder, "webhooks.sqlite"))
