"""SQLite and PostgreSQL, as far as the box office needs them: transactions, and hearing of new rows."""

from __future__ import annotations

import asyncio
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import psycopg

T = TypeVar("T")

SCHEMA = """
CREATE TABLE IF NOT EXISTS shows (name TEXT PRIMARY KEY, free INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS bookings (
    id TEXT PRIMARY KEY, show TEXT NOT NULL, seats INTEGER NOT NULL, status TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS visits (ticket TEXT PRIMARY KEY, show TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS mails (event_id TEXT PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS handled (
    organ TEXT, event_id TEXT, handled_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY (organ, event_id)
);
CREATE TABLE IF NOT EXISTS outbox ({numbered}, event TEXT NOT NULL, refused TEXT);
"""


class Rows:
    """What can be done in a transaction: SQL with `?` where a value belongs, on either database."""

    def __init__(self, connection: sqlite3.Connection | psycopg.Connection[Any], placeholder: str) -> None:
        self._connection: Any = connection
        self._placeholder = placeholder

    def all(self, sql: str, *values: object) -> Sequence[tuple[Any, ...]]:
        """Return every row that a query finds."""
        found: Sequence[tuple[Any, ...]] = self._run(sql, values).fetchall()
        return found

    def one(self, sql: str, *values: object) -> tuple[Any, ...] | None:
        """Return the first row that a query finds."""
        found: tuple[Any, ...] | None = self._run(sql, values).fetchone()
        return found

    def change(self, sql: str, *values: object) -> int:
        """Insert, update or delete; return how many rows that were."""
        changed: int = self._run(sql, values).rowcount
        return changed

    def _run(self, sql: str, values: Sequence[object]) -> Any:
        return self._connection.execute(sql.replace("?", self._placeholder), values)


class Bell(ABC):
    """Rings when rows may have come. Who has it is the one relay."""

    @abstractmethod
    async def wait(self, timeout: float) -> None:
        """Wait until it rings, at most for `timeout` seconds."""


class Database(ABC):
    """Opens connections as they are needed, and keeps them for the next transaction. Any thread may use it."""

    begin = "BEGIN"
    placeholder = "?"
    numbered = "number INTEGER PRIMARY KEY AUTOINCREMENT"

    def __init__(self, url: str) -> None:
        self.url = url
        self._idle: list[Any] = []

    @abstractmethod
    def connect(self) -> Any:
        """Open a connection that commits by itself wherever no transaction was begun."""

    @abstractmethod
    def bell(self) -> AbstractAsyncContextManager[Bell]:
        """Wait until no other relay has the bell, and take it."""

    @abstractmethod
    def ring(self, rows: Rows) -> None:
        """Have the bell ring when this transaction has been committed."""

    def create_tables(self) -> None:
        """Make what tables there are not."""
        with self.transaction() as rows:
            for statement in SCHEMA.format(numbered=self.numbered).split(";")[:-1]:
                rows.change(statement)

    @contextmanager
    def transaction(self) -> Iterator[Rows]:
        """Do all of something, or nothing."""
        connection = self._take()
        try:
            connection.execute(self.begin)
            yield Rows(connection, self.placeholder)
            connection.execute("COMMIT")
        except BaseException:
            connection.close()  # which takes back what was begun, also where nobody answers any more
            raise
        self._idle.append(connection)

    def close(self) -> None:
        """Close the connections that nobody uses."""
        while self._idle:
            self._idle.pop().close()

    def _take(self) -> Any:
        try:
            return self._idle.pop()  # at once: between a look and a step another thread may have it
        except IndexError:
            return self.connect()


class SQLite(Database):
    """A file that the processes of one machine share. One of them writes at a time."""

    begin = "BEGIN IMMEDIATE"

    def connect(self) -> sqlite3.Connection:
        """See `Database.connect`."""
        path = self.url.removeprefix("sqlite:///")
        connection = sqlite3.connect(path, timeout=30.0, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")  # those who read do not wait for the one who writes
        return connection

    @asynccontextmanager
    async def bell(self) -> AsyncIterator[Bell]:
        """See `Database.bell`. Anybody may have it: what two relays emit both is recognised."""
        yield _Timer()

    def ring(self, rows: Rows) -> None:
        """See `Database.ring`. There is none: whoever waits looks again soon."""


class PostgreSQL(Database):
    """A server."""

    placeholder = "%s"
    numbered = "number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY"

    def connect(self) -> psycopg.Connection[Any]:
        """See `Database.connect`."""
        import psycopg

        return psycopg.connect(self.url, autocommit=True)

    def ring(self, rows: Rows) -> None:
        """See `Database.ring`."""
        rows.one("SELECT pg_notify('outbox', '')")

    @asynccontextmanager
    async def bell(self) -> AsyncIterator[Bell]:
        """See `Database.bell`. The server takes it back from whoever loses the connection."""
        connection = self.connect()
        try:
            await _until_first(connection)
            connection.execute("LISTEN outbox")
            yield _Listener(connection)
        finally:
            connection.close()


async def _until_first(connection: psycopg.Connection[Any]) -> None:
    """Wait for the one place among relays."""
    while True:
        if connection.execute("SELECT pg_try_advisory_lock('outbox'::regclass::oid::bigint)").fetchone() == (True,):
            return
        await asyncio.sleep(1.0)


class _Timer(Bell):
    """Does not know, so it is time to look."""

    async def wait(self, timeout: float) -> None:
        await asyncio.sleep(timeout)


class _Listener(Bell):
    """Hears what the server says."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    async def wait(self, timeout: float) -> None:
        loop, heard = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._connection.fileno(), heard.set)
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(heard.wait(), timeout)
        finally:
            loop.remove_reader(self._connection.fileno())
        for _ in self._connection.notifies(timeout=0):
            pass


async def to_its_end(work: Callable[..., T], *args: object) -> T:
    """Do something in a thread, and wait for it also when cancelled: a thread goes on, and has a connection."""
    done = asyncio.ensure_future(asyncio.to_thread(work, *args))
    try:
        return await asyncio.shield(done)
    except asyncio.CancelledError:
        await asyncio.wait({done})
        raise


def open_database(url: str) -> Database:
    """Return the database of a URL: `sqlite:///box-office.sqlite`, `postgresql://user@host/name`.

    Raises:
        ValueError: It is neither.
    """
    if url.startswith("sqlite:///"):
        return SQLite(url)
    if url.startswith("postgresql://"):
        return PostgreSQL(url)
    msg = f"{url!r} is no database that is known here; write sqlite:///FILE or postgresql://USER@HOST/NAME"
    raise ValueError(msg)
