"""Settings: by keyword, in the URL, and what is refused."""

from __future__ import annotations

import traceback
from dataclasses import fields
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from necrostack.errors import ConfigurationError
from necrostack_redis import RedisBackend, RedisOptions, RedisSettings
from necrostack_redis.address import SCHEMES, Address, Node
from necrostack_redis.config import read_url

PASSWORD = "hunter2-😀/@:?#%"  # noqa: S105 -- nobody's
QUOTED = "hunter2-%F0%9F%98%80%2F%40%3A%3F%23%25"


def test_every_setting_is_a_keyword_of_the_backend() -> None:
    assert [*get_type_hints(RedisOptions)] == [setting.name for setting in fields(RedisSettings)]


def one(host: str, port: int = 6379, **more: Any) -> Address:
    return Address(nodes=(Node(host, port),), **more)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://", one("localhost")),
        ("redis://example", one("example")),
        ("REDIS://example", one("example")),
        (" redis://example:7000/3 ", one("example", 7000, db=3)),
        ("redis://example?db=3", one("example", db=3)),
        ("redis://example/3?db=3", one("example", db=3)),
        ("redis://[::1]:7000", one("::1", 7000)),
        (f"redis://:{QUOTED}@example", one("example", password=PASSWORD)),
        (f"rediss://me:{QUOTED}@example", one("example", username="me", password=PASSWORD, tls=True)),
        ("redis+unix:///run/redis.sock?db=1", Address(topology="unix", path="/run/redis.sock", db=1)),
        ("redis+unix://me@/a%20b.sock", Address(topology="unix", path="/a b.sock", username="me")),
        (
            f"redis+sentinel://me:{QUOTED}@a,b:7000,[::1]:7001,[::2]/shop?db=2&sentinel_username=watcher",
            Address(
                topology="sentinel",
                nodes=(Node("a", 26379), Node("b", 7000), Node("::1", 7001), Node("::2", 26379)),
                service="shop",
                db=2,
                username="me",
                password=PASSWORD,
                sentinel_username="watcher",
            ),
        ),
        (
            f"rediss+sentinel://a/shop/2?sentinel_password={QUOTED}",
            Address(
                topology="sentinel",
                nodes=(Node("a", 26379),),
                service="shop",
                db=2,
                sentinel_password=PASSWORD,
                tls=True,
            ),
        ),
        (
            "redis+cluster://me@a:7000,b:7001/0",
            Address(topology="cluster", nodes=(Node("a", 7000), Node("b", 7001)), username="me"),
        ),
        ("rediss+cluster://a", Address(topology="cluster", nodes=(Node("a", 6379),), tls=True)),
    ],
)
def test_a_url_says_where_the_server_is(url: str, address: Address) -> None:
    assert read_url(url, {})[0] == address


@pytest.mark.parametrize(
    "url",
    [
        "redis://a:1/2",
        "rediss://[::1]:1/0",
        "redis+unix:///a.sock",
        "redis+sentinel://a:1,[::1]:2/shop/3",
        "rediss+sentinel://a:1/shop/0",
        "redis+cluster://a:1,b:2/0",
        "rediss+cluster://a:1/0",
    ],
)
def test_an_address_is_written_as_its_url(url: str) -> None:
    assert str(read_url(url, {})[0]) == url


def test_settings_come_from_the_query_and_from_keywords() -> None:
    url = "redis://example?group=billing&lease=30&max_size=5&retain_age=none&start=latest"

    _, settings = read_url(url, {"app": "shop", "lease": 30.0})

    expected = RedisSettings(app="shop", group="billing", lease=30.0, max_size=5, retain_age=None, start="latest")
    assert settings == expected


@pytest.mark.parametrize(
    ("url", "options", "problem"),
    [
        ("http://example", {}, "a Redis URL begins with redis://, rediss://, redis\\+unix://"),
        ("example:6379", {}, "a Redis URL begins with"),
        ("redis://example:port", {}, "cannot be read"),
        ("redis://example:70000", {}, "cannot be read"),
        ("redis://[::1", {}, "cannot be read"),
        ("redis://example#1", {}, "in a password write %23"),
        ("redis://me:1/2@example", {}, "in a password write .* %2F for /"),
        ("redis://me:1?2@example", {}, "in a password write .* %3F for \\?"),
        ("redis://a,b", {}, "names one server; write redis\\+sentinel:// or redis\\+cluster://"),
        ("redis+unix://run/redis.sock", {}, "three slashes begin a path"),
        ("redis+sentinel://a,b", {}, "names no service; write redis\\+sentinel://.*/service"),
        ("redis+sentinel://a/shop/1?db=2", {}, "names the databases 1 and 2"),
        ("redis://a?sentinel_password=x", {}, "sentinel_password is for redis\\+sentinel://"),
        ("redis+cluster://a?db=1", {}, "a cluster has no database 1"),
        ("redis+cluster://a/shop", {}, "the database 'shop' must be a number"),
        ("redis://example/first", {}, "the database 'first' must be a number"),
        ("redis://example?db=-1", {}, "the database '-1' must be a number"),
        ("redis://example/1?db=2", {}, "names the databases 1 and 2"),
        ("redis+unix://", {}, "names no socket file; write redis\\+unix:///run/redis.sock"),
        ("redis://example?lease=1&lease=2", {}, "lease stands twice"),
        ("redis://example?leese=1", {}, "no setting 'leese'; there are app, batch_size, .*lease, "),
        ("redis://example", {"leese": 1}, "no setting 'leese'; there are app, batch_size, .*lease, "),
        ("redis://example?lease=long", {}, "lease=long in the Redis URL must be a number of seconds"),
        ("redis://example?max_size=many", {}, "max_size=many in the Redis URL must be a whole number"),
        ("redis://example?lease=30", {"lease": 31.0}, "lease is 30.0 in the URL and 31.0 as a keyword; give it once"),
        ("redis://example?lease=none", {}, "lease=none in the Redis URL must be"),
        ("redis://example", {"lease": 0.1}, "lease=0.1 must be a number of seconds, 0.3 or more"),
        ("redis://example", {"lease": float("inf")}, "lease=inf must be"),
        ("redis://example", {"lease": 1e300}, "lease=1e\\+300 must be"),
        ("redis://example", {"lease": True}, "lease=True must be"),
        ("redis://example", {"retain_age": -1.0}, "retain_age=-1.0 must be"),
        ("redis://example", {"max_size": 0}, "max_size=0 must be a whole number, 1 or more"),
        ("redis://example", {"batch_size": 2.5}, "batch_size=2.5 must be a whole number"),
        ("redis://example", {"max_recoveries": -1}, "max_recoveries=-1 must be a whole number, 0 or more"),
        ("redis://example", {"start": "now"}, "start='now' must be 'earliest' or 'latest'"),
        ("redis://example", {"app": "a{b}"}, "app='a{b}' must be 1 to 64 letters"),
        ("redis://example", {"group": ""}, "group='' must be 1 to 64 letters"),
        ("redis://example", {"group": "x" * 65}, "must be 1 to 64 letters"),
        ("redis://example?app=a%0Ab", {}, "must be 1 to 64 letters"),
        ("redis://example", {"ca_certs": "ca.pem"}, "ca_certs is for TLS; write a URL that begins with rediss"),
    ],
)
def test_what_cannot_work_is_refused_with_the_fix(url: str, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        read_url(url, options)


def test_a_password_shows_nowhere() -> None:
    backend = RedisBackend(f"redis://me:{QUOTED}@example:7000/1")

    shown = f"{backend!r} {backend} {backend._connector.address!r} {backend._connector.address} {backend.settings!r}"

    assert "hunter2" not in shown
    assert "redis://example:7000/1" in shown


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


schemes = st.sampled_from(SCHEMES)


@given(schemes, texts, st.sampled_from(["", ":port", "/x", "?a=b", "#", "/x?sentinel_password=pass-word&db=-1"]))
def test_no_error_ever_shows_a_password(scheme: str, secret: str, ending: str) -> None:
    url = f"{scheme}://me:pass-{secret}-word@example{ending}"

    shown = told_about(url)

    assert "pass-" not in shown
    assert "-word" not in shown


def told_about(url: str) -> str:
    """What is said of a URL, in an error and all that is chained to it, or of the address."""
    try:
        address, _ = read_url(url, {})
    except ConfigurationError as error:
        return "".join(traceback.format_exception(error, limit=0))
    return f"{address!r} {address}"
