"""How clients are made: what is taken from whom, and what never is."""

from __future__ import annotations

from typing import Any

import pytest
import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider, UsernamePasswordCredentialProvider

from necrostack.errors import ConfigurationError
from necrostack_redis import RedisBackend
from necrostack_redis.connector import Client

PROVIDER: CredentialProvider = UsernamePasswordCredentialProvider("me", "hunter2")


def arguments(client: Any) -> dict[str, Any]:
    """What redis-py's connections are made with."""
    return dict(client.connection_pool.connection_kwargs)


def both(backend: RedisBackend) -> list[Client | Any]:
    return [backend._connector.client(), backend._connector.blocking_client()]


@pytest.mark.parametrize(
    "url", ["redis://a", "rediss://a", "redis+unix:///a", "redis+sentinel://a/b", "redis+cluster://a"]
)
def test_no_client_sends_anything_twice_or_waits_for_ever(url: str) -> None:
    for client in both(RedisBackend(url, call_timeout=2.0, connect_timeout=1.0)):
        found = arguments(client)

        assert found["retry"]._retries == 0
        assert found["retry_on_error"] == []
        assert (found["socket_timeout"], found["socket_connect_timeout"]) == (2.0, 1.0)


def test_more_calls_may_be_under_way_than_redis_py_has_connections_for() -> None:
    assert RedisBackend("redis://a")._connector.client().connection_pool.max_connections > 10_000


def test_tls_is_verified_with_name_and_certificate() -> None:
    for client in both(RedisBackend("rediss://a")):
        connection = client.connection_pool.make_connection()

        assert connection.check_hostname is True
        assert connection.cert_reqs == 2  # ssl.CERT_REQUIRED


@pytest.mark.parametrize("library", [redis, redis.asyncio])
def test_a_client_says_where_the_server_is_and_how_to_log_in(library: Any) -> None:
    client = library.Redis(host="a", port=7000, db=2, credential_provider=PROVIDER, client_name="shop")

    backend = RedisBackend(client=client, app="shop")

    assert "redis://a:7000/2 app=shop" in repr(backend)
    for made in both(backend):
        found = arguments(made)
        assert (found["host"], found["port"], found["db"], found["client_name"]) == ("a", 7000, 2, "shop")
        assert found["credential_provider"] is PROVIDER


def test_what_of_a_client_would_be_unsafe_here_is_left_behind() -> None:
    client = redis.asyncio.Redis(
        decode_responses=True,
        retry=AsyncRetry(NoBackoff(), 5),
        retry_on_error=[redis.ConnectionError],
        socket_timeout=None,
        health_check_interval=1,
    )

    for made in both(RedisBackend(client=client)):
        found = arguments(made)
        assert "decode_responses" not in found
        assert found["retry"]._retries == 0
        assert found["retry_on_error"] == []
        assert found["socket_timeout"] == 5.0
        assert found["health_check_interval"] == 0


def test_a_client_that_speaks_tls_its_own_way_is_followed() -> None:
    client = redis.asyncio.Redis(host="a", ssl=True, ssl_check_hostname=False, ssl_ca_data="-----BEGIN")

    for made in both(RedisBackend(client=client)):
        assert issubclass(made.connection_pool.connection_class, redis.SSLConnection | redis.asyncio.SSLConnection)
        found = arguments(made)
        assert (found["ssl_check_hostname"], found["ssl_ca_data"]) == (False, "-----BEGIN")


def test_a_client_of_a_socket_file_is_followed() -> None:
    backend = RedisBackend(client=redis.Redis(unix_socket_path="/run/redis.sock"))

    assert "redis+unix:///run/redis.sock" in repr(backend)
    assert all(arguments(made)["path"] == "/run/redis.sock" for made in both(backend))


class OwnConnection(redis.asyncio.Connection):
    """Does something else."""


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (
            lambda: redis.asyncio.Redis(connection_pool=redis.asyncio.ConnectionPool(connection_class=OwnConnection)),
            "client is a client whose connections are OwnConnection; it must be a redis.Redis",
        ),
        (
            lambda: redis.asyncio.RedisCluster(host="a"),
            "client is a RedisCluster; it must be a redis.Redis .* write a URL that begins with redis",
        ),
        (lambda: redis.Redis(ssl=True, ssl_validate_ocsp=True), "client has ssl_validate_ocsp, which redis-py cannot"),
    ],
)
def test_a_client_that_cannot_be_followed_is_refused(make: Any, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        RedisBackend(client=make())


def test_credentials_are_asked_for_everywhere_but_by_sentinels() -> None:
    backend = RedisBackend("redis+cluster://a", credentials=PROVIDER)

    for made in both(backend):
        found = arguments(made)
        assert found["credential_provider"] is PROVIDER
        assert found["username"] is None


@pytest.mark.parametrize(
    ("url", "more", "problem"),
    [
        ("", {}, "needs a URL or a client, and not both"),
        ("redis://a", {"client": redis.Redis()}, "needs a URL or a client, and not both"),
        ("redis://me@a", {"credentials": PROVIDER}, "credentials besides those of the keyword"),
        ("", {"client": redis.Redis(username="me"), "credentials": PROVIDER}, "credentials besides"),
        ("", {"client": redis.Redis(), "ca_certs": "ca.pem"}, "ca_certs is for TLS"),
        ("", {"client": redis.Redis(), "leese": 1}, "no setting 'leese'"),
        ("rediss://a", {"keyfile": "key.pem"}, "keyfile='key.pem' is the key of no certificate"),
        ("rediss://a", {"ca_certs": "/nowhere/ca.pem"}, "ca_certs='/nowhere/ca.pem' cannot be used: .*No such file"),
        ("rediss://a", {"certfile": __file__}, "certfile='.*' cannot be used: .*; it must be a PEM file"),
    ],
)
def test_what_cannot_work_is_refused_when_the_backend_is_made(url: str, more: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem) as refused:
        RedisBackend(url, **more)

    assert "hunter2" not in str(refused.value)
