"""One server, reached in every way that a URL or a client can say, and what is told of one that cannot be reached."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import quote

import pytest
import redis
import redis.asyncio
import trustme
from patience import until
from redis.credentials import CredentialProvider
from redis_chain import CHAIN_RETRY, chain, count_chain, roots, whole
from redis_server import Server
from redis_topologies import SLOTS, Sentinel, ask, cluster_port, lease_is_renewed, tls_in_front_of

from necrostack import Spine
from necrostack.errors import BackendError, BackendUnavailable, NecroStackError
from necrostack_redis import RedisBackend, RedisOptions

LEASE = 3.0
PASSWORD = "hunter2-/@:?#"  # noqa: S105 -- nobody's

StartTLS = Callable[..., int]


async def works(backend: RedisBackend) -> None:
    """Use every kind of connection that a worker has: for calls, for waiting, for its lease."""
    async with backend:
        spine = Spine(organs=chain(), backend=backend, retry=CHAIN_RETRY, concurrency=8)
        await spine.run_until_idle(*roots(range(5)))
        assert await count_chain(backend, 5) == whole(5)
        await backend.pull(timeout=0.01)
        await lease_is_renewed(backend)


# --- TLS ---------------------------------------------------------------------------------------------------


class Certificates:
    """An authority and what it signed, in files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._authority = trustme.CA()
        self.authority = str(folder / "ca.pem")
        self._authority.cert_pem.write_to_path(self.authority)

    def of_server(self, name: str, *, asks_for_client: bool = False, ended: datetime | None = None) -> ssl.SSLContext:
        """What a server of that name shows, whether it wants to see the client's, and when it was valid at the last."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        since = None if ended is None else ended - timedelta(days=30)
        self._authority.issue_cert(name, not_before=since, not_after=ended).configure_cert(context)
        if asks_for_client:
            self._authority.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def of_client(self) -> str:
        """A file with a certificate and its key."""
        file = self._folder / "client.pem"
        self._authority.issue_cert("worker").private_key_and_cert_chain_pem.write_to_path(file)
        return str(file)


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


@pytest.fixture
def start_tls(make_server: Callable[..., Server]) -> Iterator[StartTLS]:
    """Starts a server with TLS in front of it, or without, and returns the port."""
    port = make_server().port
    with ExitStack() as started:
        yield lambda context: started.enter_context(tls_in_front_of(port, context)) if context else port


async def test_tls_works_with_the_name_and_the_certificate_verified(
    certificates: Certificates, start_tls: StartTLS, app: str
) -> None:
    port = start_tls(certificates.of_server("localhost"))

    await works(RedisBackend(f"rediss://localhost:{port}?ca_certs={certificates.authority}", app=app, lease=LEASE))


async def test_a_client_shows_its_certificate_when_it_has_one(
    certificates: Certificates, start_tls: StartTLS, app: str
) -> None:
    url = f"rediss://localhost:{start_tls(certificates.of_server('localhost', asks_for_client=True))}"
    known = RedisOptions(ca_certs=certificates.authority, app=app, lease=LEASE)
    shown = RedisOptions(**known, certfile=certificates.of_client())

    async with RedisBackend(url, **known) as stranger:
        with pytest.raises(BackendError):
            await stranger.pull(timeout=0)
    await works(RedisBackend(url, **shown))


YESTERDAY = datetime.now(UTC) - timedelta(days=1)


@pytest.mark.parametrize(
    ("name", "ended", "is_trusted", "problem"),
    [
        ("elsewhere.example", None, True, "Hostname mismatch|not valid for 'localhost'"),
        ("localhost", None, False, "certificate verify failed"),
        ("localhost", YESTERDAY, True, "certificate has expired"),
        (None, None, True, "speaks no TLS; write redis://"),
    ],
    ids=["another name", "unknown authority", "expired", "no TLS"],
)
async def test_a_server_that_is_not_whom_it_should_be_ends_a_run_with_one_clear_error(
    name: str | None,
    ended: datetime | None,
    is_trusted: bool,
    problem: str,
    certificates: Certificates,
    start_tls: StartTLS,
) -> None:
    port = start_tls(certificates.of_server(name, ended=ended) if name else None)
    trusted = certificates.authority if is_trusted else None
    async with RedisBackend(f"rediss://localhost:{port}", ca_certs=trusted, connect_timeout=1.0) as backend:
        with pytest.raises(BackendError, match=problem) as refused:
            await Spine(organs=chain(), backend=backend).run_until_idle(*roots([0]))

    assert not isinstance(refused.value, BackendUnavailable)


@pytest.mark.parametrize("asks_for_client", [False, True])
async def test_a_server_with_tls_that_is_spoken_to_without_ends_a_run_with_one_clear_error(
    asks_for_client: bool, certificates: Certificates, start_tls: StartTLS
) -> None:
    port = start_tls(certificates.of_server("localhost", asks_for_client=asks_for_client))
    async with RedisBackend(f"redis://localhost:{port}", connect_timeout=1.0) as backend:
        with pytest.raises(BackendError, match="speaks TLS; write rediss://") as refused:
            await Spine(organs=chain(), backend=backend).run_until_idle(*roots([0]))

    assert not isinstance(refused.value, BackendUnavailable)


async def test_a_server_that_goes_away_is_not_asked_whether_it_speaks_tls(
    make_server: Callable[..., Server], app: str
) -> None:
    server = make_server()
    async with RedisBackend(server.url, app=app) as backend:
        await backend.admin.stats()
        server.kill()

        with (
            mock.patch.object(backend._connector, "is_with_tls", side_effect=AssertionError),
            pytest.raises(BackendUnavailable),
        ):
            await backend.admin.stats()


async def test_a_server_that_refuses_the_password_is_not_asked_whether_it_speaks_tls(
    make_server: Callable[..., Server],
) -> None:
    """It would keep silent, until `connect_timeout` is over."""
    server = make_server("--requirepass", "s3cret")
    async with RedisBackend(f"redis://:wr0ng@127.0.0.1:{server.port}") as backend:
        with (
            mock.patch.object(backend._connector, "is_with_tls", side_effect=AssertionError),
            pytest.raises(BackendError, match="refuses the default user"),
        ):
            await backend.admin.stats()


async def test_a_cluster_works_over_tls(certificates: Certificates, redis_binary: Path, app: str) -> None:
    port = cluster_port()
    with tls_in_front_of(port, certificates.of_server("127.0.0.1")) as outside:
        # It tells clients of the port where TLS is spoken.
        node = Server(redis_binary, ("--cluster-enabled", "yes", "--cluster-announce-port", str(outside)), port=port)
        try:
            ask(node.start(), "CLUSTER", "ADDSLOTS", *range(SLOTS))
            await until(lambda: b"cluster_state:ok" in ask(node, "CLUSTER", "INFO"), "the cluster is well")
            url = f"rediss+cluster://127.0.0.1:{outside}?ca_certs={certificates.authority}"
            await works(RedisBackend(url, app=app, lease=LEASE))
        finally:
            node.remove()


async def test_sentinels_and_their_master_work_over_tls(
    certificates: Certificates, start_tls: StartTLS, redis_binary: Path, app: str
) -> None:
    context = certificates.of_server("127.0.0.1")
    sentinel = Sentinel(redis_binary, (f"sentinel monitor shop 127.0.0.1 {start_tls(context)} 1",))
    try:
        with tls_in_front_of(sentinel.start().port, context) as outside:
            url = f"rediss+sentinel://127.0.0.1:{outside}/shop?ca_certs={certificates.authority}"
            await works(RedisBackend(url, app=app, lease=LEASE))
    finally:
        sentinel.remove()


# --- other ways --------------------------------------------------------------------------------------------


async def test_a_socket_file_works(make_server: Callable[..., Server], tmp_path: Path, app: str) -> None:
    file = tmp_path / "a b.sock"
    make_server("--unixsocket", str(file))

    await works(RedisBackend(f"redis+unix://{quote(str(file))}?db=1", app=app, lease=LEASE))


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
async def test_an_ipv6_address_works(make_server: Callable[..., Server], app: str) -> None:
    server = make_server("--bind", "127.0.0.1", "::1")

    await works(RedisBackend(f"redis://[::1]:{server.port}/1", app=app, lease=LEASE))


class Rotating(CredentialProvider):
    """Knows a new password each time, as a token service does."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.asked = 0

    def get_credentials(self) -> tuple[str, str]:
        self.asked += 1
        ask(self._server, "ACL", "SETUSER", "worker", "on", "resetpass", f">token-{self.asked}", "allcommands", "~*")
        return "worker", f"token-{self.asked}"


async def test_credentials_that_change_are_asked_for_by_each_connection(
    make_server: Callable[..., Server], app: str
) -> None:
    server = make_server()
    provider = Rotating(server)

    await works(RedisBackend(server.url, app=app, lease=LEASE, credentials=provider))

    assert provider.asked >= 3


@pytest.mark.parametrize("library", [redis, redis.asyncio])
async def test_a_client_of_ones_own_says_how_to_connect(
    library: Any, make_server: Callable[..., Server], app: str
) -> None:
    server = make_server("--requirepass", PASSWORD)
    client = library.Redis(port=server.port, db=1, password=PASSWORD, decode_responses=True)

    await works(RedisBackend(client=client, app=app, lease=LEASE))


async def test_hundreds_of_calls_at_once_are_no_outage(redis_url: str, app: str) -> None:
    async with RedisBackend(redis_url, app=app) as backend:
        await asyncio.gather(*(backend.enqueue(event) for event in roots(range(300))))

        assert (await backend.admin.stats()).queued == 300


# --- passwords ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def locked(redis_binary: Path) -> Iterator[Server]:
    """A server with a password, which is not the one that is given in vain."""
    server = Server(redis_binary, ("--requirepass", "right"))
    try:
        yield server.start()
    finally:
        server.remove()


WAYS = {
    "wrong password": "redis://:{secret}@127.0.0.1:{port}",
    "wrong user": "redis://me:{secret}@127.0.0.1:{port}/1",
    "unreachable": "redis://me:{secret}@127.0.0.1:1",
    "no TLS": "rediss://me:{secret}@127.0.0.1:{port}",
    "no socket": "redis+unix://me:{secret}@/nowhere.sock",
    "no Sentinel": "redis+sentinel://me:{secret}@127.0.0.1:1/shop?sentinel_password={secret}",
    "wrong Sentinel": "redis+sentinel://me:{secret}@127.0.0.1:{port}/shop?sentinel_password={secret}",
    "wrong cluster": "redis+cluster://me:{secret}@127.0.0.1:{port},127.0.0.1:1",
    "malformed": "redis://me:{secret}@127.0.0.1:port",
    "unquoted": "redis://me:{secret}?{secret}/#{secret}@127.0.0.1",
    "unknown option": "redis://me:{secret}@127.0.0.1:{port}?leese={secret}",
    "wrong option": "redis://me:{secret}@127.0.0.1:{port}?lease=-1",
}


async def try_to_run(url: str, said: list[str]) -> None:
    async with RedisBackend(url, connect_timeout=0.5, call_timeout=0.5) as backend:
        said.append(f"{backend} {backend!r} {backend.settings!r} {backend._connector.address!r}")
        await Spine(organs=chain(), backend=backend, max_outage=0.3).run_until_idle(*roots([0]))


@pytest.mark.parametrize("way", WAYS)
async def test_a_password_shows_in_nothing_that_is_said_of_a_failure(
    way: str, locked: Server, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    url = WAYS[way].format(secret=quote(PASSWORD, safe=""), port=locked.port)
    said: list[str] = []

    with pytest.raises(NecroStackError) as failed:
        await try_to_run(url, said)

    said += [*traceback.format_exception(failed.value), caplog.text, *capsys.readouterr()]
    said += [repr(record.__dict__) for record in caplog.records]
    assert "hunter2" not in "\n".join(said)


@pytest.mark.parametrize("way", ["wrong password", "unknown option"])
def test_a_password_shows_in_nothing_that_the_command_line_prints(way: str, locked: Server) -> None:
    url = WAYS[way].format(secret=quote(PASSWORD, safe=""), port=locked.port)

    done = subprocess.run(
        [sys.executable, "-m", "necrostack", "emit", "--backend", url, "A", "{}"],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )

    assert done.returncode != 0
    assert "hunter2" not in done.stdout + done.stderr
