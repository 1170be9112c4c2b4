"""A small database for the examples: in memory for one process, in a file for several workers."""

import sqlite3
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Database:
    """Opened when it is first needed; several processes may share its file.

    Args:
        path: Its file, or `:memory:`.
        schema: What makes its tables, where there are none.
    """

    def __init__(self, path: str | Path, schema: str) -> None:
        self._path, self._schema = path, schema
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
        connection.executescript(self._schema)
        return connection
