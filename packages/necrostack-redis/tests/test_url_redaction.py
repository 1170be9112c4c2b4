"""Whatever the password in a URL, and however it is written, no part of it is told by anything."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from necrostack.errors import ConfigurationError
from necrostack_redis import RedisBackend
from necrostack_redis.address import SCHEMES

MARK = "zqx"
"""Each part of a password holds this, and nothing else does: also a part alone would be found."""

# Passwords that have in them what means something in a URL.
secrets = st.lists(st.sampled_from([*"/?#@:;&=%+,[] \\\n", "&&", "%2", "//", "://", "😀", "%40", ""]), max_size=4).map(
    lambda between: MARK + "".join(f"{special}{MARK}" for special in between)
)


def quoted(secret: str) -> str:
    return quote(secret, safe="")


ways: st.SearchStrategy[Callable[[str], str]] = st.sampled_from([quoted, quoted, quote, str])
hosts = st.sampled_from(
    [*["example"] * 6, "", "example:7000", "a,b:7000", "[::1]:7000", "example:port", "[::1", "exa mple"]
)
paths = st.sampled_from(["", "/", "/0", "/0", "/shop", "/shop", "/shop/2", "/x", "/run/redis.sock", "//", "/-1"])
queries = st.sampled_from(
    [*[""] * 4, "lease=30", "lease=30", "db=1", "db=x", "lease=x", "app=", "bogus=1", "lease=1&lease=2"]
)


@st.composite
def urls(draw: st.DrawFn) -> str:
    """URLs that hold a password, as it should be written or as somebody would write it."""
    scheme, user = (
        draw(st.sampled_from([*SCHEMES, "redis", "redis", "amqp"])),
        draw(st.sampled_from(["", "me", "m%40e"])),
    )
    place = draw(st.sampled_from(["before the host", "before the host", "in the query", "in both"]))
    written = draw(ways)(draw(secrets))
    password = f"{user}:{written}@" if place != "in the query" else ""
    query = [draw(queries)] + ([f"sentinel_password={draw(ways)(draw(secrets))}"] if place != "before the host" else [])
    asked = "&".join(filter(None, query))
    return f"{scheme}://{password}{draw(hosts)}{draw(paths)}{'?' if asked else ''}{asked}"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", [200, pytest.param(2000, marks=pytest.mark.thorough)])
def test_no_part_of_a_password_is_told(number: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    refused = []

    @settings(max_examples=number, derandomize=True)
    @given(urls())
    def check(url: str) -> None:
        try:
            backend = RedisBackend(url)
        except ConfigurationError as error:
            refused.append(url)
            told = [*traceback.format_exception(error), repr(error), *map(str, error.args)]
        else:
            address = backend._connector.address
            told = [f"{found!r} {found}" for found in (backend, backend.settings, backend._connector, address)]
        assert MARK not in "".join(told)

    check()

    assert MARK not in caplog.text
    print(f"\n{number} URLs, {len(refused)} of them refused")
    assert 0 < len(refused) < number


@settings(max_examples=50)
@given(secrets, st.sampled_from(["redis", "rediss", "redis+sentinel"]))
def test_a_password_that_is_quoted_is_the_one_that_is_used(secret: str, scheme: str) -> None:
    backend = RedisBackend(f"{scheme}://me:{quote(secret, safe='')}@example/{'shop' if 'sentinel' in scheme else ''}")

    assert backend._connector.address.password == secret
