"""Passwords and payloads show in nothing that is said: not of a backend, not of an error, not in the log."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import pytest
import redis
import redis.asyncio
from redis.credentials import CredentialProvider, UsernamePasswordCredentialProvider

from necrostack import Event
from necrostack.errors import BackendError, NecroStackError
from necrostack.log import logger
from necrostack_redis import RedisBackend

SECRET = "hunter2-/@:?#"  # noqa: S105 -- nobody's
PARTS = ("hunter2", quote(SECRET, safe=""))
"""How it would show, as it is or as a URL has it."""

ME = f"me:{quote(SECRET, safe='')}"


class Known(CredentialProvider):
    """Shows what it knows, as a careless one does."""

    def get_credentials(self) -> tuple[str, str]:
        return "me", SECRET

    def __repr__(self) -> str:
        return f"Known({SECRET})"


MAKERS: dict[str, Callable[[int], RedisBackend]] = {
    "url": lambda port: RedisBackend(f"redis://{ME}@127.0.0.1:{port}/1", **SOON),
    "tls": lambda port: RedisBackend(f"rediss://{ME}@127.0.0.1:{port}/1", **SOON),
    "cluster": lambda port: RedisBackend(f"redis+cluster://{ME}@127.0.0.1:{port}", **SOON),
    "sentinel": lambda port: RedisBackend(
        f"redis+sentinel://{ME}@127.0.0.1:{port}/shop?sentinel_username=me&sentinel_password={quote(SECRET, safe='')}",
        **SOON,
    ),
    "client": lambda port: RedisBackend(client=redis.Redis(port=port, username="me", password=SECRET), **SOON),
    "async client": lambda port: RedisBackend(client=redis.asyncio.Redis(port=port, password=SECRET), **SOON),
    "client with a provider": lambda port: RedisBackend(
        client=redis.Redis(port=port, credential_provider=Known()), **SOON
    ),
    "client from a URL": lambda port: RedisBackend(
        client=redis.Redis.from_url(f"redis://{ME}@127.0.0.1:{port}/1"), **SOON
    ),
    "provider": lambda port: RedisBackend(f"redis://127.0.0.1:{port}", credentials=Known(), **SOON),
    "redis-py's provider": lambda port: RedisBackend(
        f"redis://127.0.0.1:{port}", credentials=UsernamePasswordCredentialProvider("me", SECRET), **SOON
    ),
}
SOON: Any = {"call_timeout": 0.2, "connect_timeout": 0.2, "lease": 0.3}

Answer = Callable[[list[bytes]], bytes]


def quoting(command: list[bytes]) -> bytes:
    """Do not know a command, and quote what came with it, as Redis does."""
    words = b" ".join(b"'%b'" % word for word in command[1:])
    return b"-ERR unknown command '%b', with args beginning with: %b\r\n" % (command[0], words)


def refusing(command: list[bytes]) -> bytes:
    """Know nobody."""
    return b"-WRONGPASS invalid username-password pair or user is disabled.\r\n"


def babbling(command: list[bytes]) -> bytes:
    """Say what no Redis does."""
    return b"HTTP/1.1 400 Bad Request\r\n"


def letting_in(command: list[bytes]) -> bytes:
    """Let anybody in, and know nothing more."""
    known = command[0].upper() in (b"AUTH", b"SELECT", b"CLIENT", b"HELLO")
    return b"+OK\r\n" if known else quoting(command)


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], int]]:
    """Starts a server that answers every command in one way, and returns its port."""
    listening = socket.create_server(("127.0.0.1", 0))
    ways: list[Answer] = []

    def talk(connection: socket.socket) -> None:
        with connection, suppress(OSError), connection.makefile("rb") as reader:
            while line := reader.readline():
                if not re.fullmatch(rb"\*\d+\r\n", line):
                    continue  # of a greeting in TLS, which holds any bytes
                words = [reader.read(int(reader.readline()[1:]) + 2)[:-2] for _ in range(int(line[1:]))]
                connection.sendall(ways[0](words))

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=talk, args=listening.accept()[:1], daemon=True).start()

    def start(answer: Answer) -> int:
        ways.append(answer)
        threading.Thread(target=accept, daemon=True).start()
        return int(listening.getsockname()[1])

    yield start
    with suppress(OSError):
        listening.shutdown(socket.SHUT_RDWR)
    listening.close()


def all_of(error: BaseException, caplog: pytest.LogCaptureFixture) -> str:
    """All that is told of an error, with its causes, and all that was logged, by whomever."""
    records = [repr(vars(record)) for record in caplog.records]
    return "\n".join([*traceback.format_exception(error), repr(error), caplog.text, *records])


def assert_hidden(told: str) -> None:
    assert not [part for part in PARTS if part in told], told


@pytest.mark.parametrize("way", MAKERS)
def test_a_backend_shows_no_password(way: str) -> None:
    backend = MAKERS[way](7000)

    told = [repr(backend), str(backend), repr(vars(backend)), repr(backend.admin), str(backend._connector.address)]

    assert_hidden("\n".join(told))
    assert "7000" in repr(backend)


@pytest.mark.parametrize("answer", [quoting, refusing, babbling, letting_in])
@pytest.mark.parametrize("way", MAKERS)
async def test_no_error_shows_a_password_or_a_payload(
    way: str, answer: Answer, serve: Callable[[Answer], int], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    backend = MAKERS[way](serve(answer))

    async with backend:
        with pytest.raises(NecroStackError) as failed:
            await backend.enqueue(Event(event_type="PAID", payload={"card": SECRET}))

    assert_hidden(all_of(failed.value, caplog))


@pytest.mark.parametrize("way", MAKERS)
async def test_a_server_that_is_not_there_is_told_of_without_a_password(
    way: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        async with MAKERS[way](nobody.getsockname()[1]) as backend:
            with pytest.raises(BackendError) as failed:
                await backend.pull(timeout=0)

    assert_hidden(all_of(failed.value, caplog))


async def test_a_lease_that_cannot_be_renewed_is_told_of_without_a_password(
    serve: Callable[[Answer], int], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    noted = threading.Event()

    class Noting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage() == "lease_not_renewed":
                noted.set()

    handler = Noting()
    logger.addHandler(handler)
    try:
        async with MAKERS["url"](serve(quoting)) as backend:
            with pytest.raises(BackendError) as failed:
                await backend.pull(timeout=0)
            assert await asyncio.to_thread(noted.wait, 10)
    finally:
        logger.removeHandler(handler)

    assert_hidden(all_of(failed.value, caplog))


@pytest.mark.parametrize("library", [redis, redis.asyncio])
@pytest.mark.parametrize(
    ("how", "is_warned"),
    [
        ({}, False),
        ({"ssl_cert_reqs": "none", "ssl_check_hostname": False}, True),
        ({"ssl_check_hostname": False}, True),
        ({"ssl_cert_reqs": "required", "ssl_check_hostname": True}, False),
    ],
    ids=["as it is", "no certificate", "no name", "both"],
)
async def test_a_client_that_trusts_anybody_is_followed_with_a_warning(
    library: Any, how: dict[str, Any], is_warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    client = library.Redis(port=1, ssl=True, password=SECRET, **how)
    async with RedisBackend(client=client, **SOON) as backend:
        with suppress(BackendError):
            await backend.admin.stats()

    told = [record for record in caplog.records if record.message == "tls_not_verified"]
    if "ssl_check_hostname" in how:  # what it is by itself changed from one redis-py to another
        assert bool(told) == is_warned
    assert [vars(record)["server"] for record in told] == ["rediss://localhost:1/0"] * len(told)
    assert_hidden(caplog.text)
