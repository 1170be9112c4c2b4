"""Backends by URL."""

from __future__ import annotations

import importlib.metadata
import sys
import traceback
from collections.abc import Callable
from functools import partial
from importlib.metadata import EntryPoint
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from necrostack import InMemoryBackend, open_backend
from necrostack.backends import GROUP
from necrostack.errors import ConfigurationError

Install = Callable[..., None]


class OtherBackend(InMemoryBackend):
    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Pretends that distributions with these entry points are installed."""

    def install(**found: str) -> None:
        entries = [EntryPoint(name.rstrip("_"), value, GROUP) for name, value in found.items()]
        monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: entries)
        monkeypatch.setitem(sys.modules, "other_backends", sys.modules[__name__])

    return install


@pytest.mark.parametrize("url", ["memory://", "MEMORY://", " memory:// ", "memory:///", "memory://?"])
def test_memory_is_built_in(url: str) -> None:
    assert type(open_backend(url)) is InMemoryBackend


def test_settings_stand_in_the_query() -> None:
    backend: Any = open_backend("memory://?max_size=5&history=2&max_event_size=100")

    assert (backend.max_size, backend.max_event_size) == (5, 100)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        (
            "memory://?size=5",
            "memory:// has no setting 'size'; there are max_size, history and max_event_size",
        ),
        ("memory://?max_size=", "memory://?max_size= must be a whole number"),
        ("memory://?max_size=-1", "memory://?max_size=-1 must be a whole number"),
        ("memory://?max_size=1.5", "memory://?max_size=1.5 must be a whole number"),
        ("memory://?max_size=²", "memory://?max_size=² must be a whole number"),
        ("memory://?history=" + "9" * 5000, "memory://?history=" + "9" * 40 + " must be a whole number"),
        ("memory://?max_size=0", "max_size=0 must be a whole number, 1 or more, or None for no limit"),
        (
            "memory://max_size=5",
            "memory:// has no place to name; write memory:// or, with settings, memory://?max_size=1000",
        ),
        ("", "no backend for a URL without a scheme; installed are memory://"),
        ("memory", "no backend for a URL without a scheme; installed are memory://"),
        ("localhost:6379", "no backend for a URL without a scheme; installed are memory://"),
        ("http://[::1", "no backend for http://; installed are memory://"),
    ],
    ids=range(12),
)
def test_a_url_that_opens_nothing_is_refused_with_the_reason(install: Install, url: str, problem: str) -> None:
    install()

    with pytest.raises(ConfigurationError) as caught:
        open_backend(url)

    assert str(caught.value).startswith(problem)


@pytest.mark.parametrize("scheme", ["redis", "rediss", "redis+unix", "redis+cluster", "redis+sentinel"])
def test_a_backend_that_is_not_installed_answers_with_what_brings_it(install: Install, scheme: str) -> None:
    install()

    with pytest.raises(ConfigurationError) as caught:
        open_backend(f"{scheme}://localhost")

    assert str(caught.value) == (f"no backend for {scheme}:// is installed; pip install 'necrostack[redis]'")


@pytest.mark.parametrize(
    "url", ["redis://u:s3cret@host", "nats://u:s3cret@host", "u:s3cret@host", "memory://u:s3cret@host"]
)
def test_a_password_is_in_no_message(install: Install, url: str) -> None:
    install()

    with pytest.raises(ConfigurationError) as caught:
        open_backend(url)

    assert "s3cret" not in str(caught.value)


# Parts that are marked, with what means something in a URL between them.
secrets = st.lists(st.sampled_from([*"/?#@:;&=%+,[] \n", "://"]), max_size=4).map(
    lambda between: "zqx" + "".join(f"{special}zqx" for special in between)
)


schemes = st.sampled_from(["memory", "MEMORY", "redis", "rediss", "nats", "amqp", "", "a b"])
separators = st.sampled_from(["://", ":", ""])
ways: st.SearchStrategy[Callable[[str], str]] = st.sampled_from([str, partial(quote, safe="")])
endings = st.sampled_from(["@host", "@host/0", "@", "@host?max_size=1", "@host?x=1"])


@pytest.mark.parametrize("number", [100, pytest.param(2000, marks=pytest.mark.thorough)])
def test_no_part_of_a_password_is_told(number: int, install: Install) -> None:
    install()

    @settings(max_examples=number, derandomize=True)
    @given(schemes, separators, secrets, ways, endings)
    def check(scheme: str, separator: str, secret: str, written: Callable[[str], str], ending: str) -> None:
        with pytest.raises(ConfigurationError) as caught:
            open_backend(f"{scheme}{separator}me:{written(secret)}{ending}")

        assert "zqx" not in "".join(traceback.format_exception(caught.value)) + repr(caught.value)

    check()


def test_a_backend_is_found_by_its_entry_point_and_gets_the_whole_url(install: Install) -> None:
    install(redis="other_backends:OtherBackend")
    url = "Redis://u:p@[::1]:6379/0?group=a"

    backend = open_backend(url)

    assert isinstance(backend, OtherBackend)
    assert backend.url == url


def test_two_backends_for_one_scheme_are_refused_by_name(install: Install) -> None:
    install(redis="one:Backend", redis_="two:Backend")

    with pytest.raises(ConfigurationError) as caught:
        open_backend("redis://")

    assert str(caught.value) == (
        "two distributions bring a backend for redis:// (one:Backend, two:Backend); uninstall one of them"
    )


def test_one_backend_that_is_listed_twice_is_one(install: Install) -> None:
    install(redis="other_backends:OtherBackend", redis_="other_backends:OtherBackend")

    assert isinstance(open_backend("redis://x"), OtherBackend)


def test_what_is_installed_is_listed_when_a_scheme_is_unknown(install: Install) -> None:
    install(redis="one:Backend", nats="two:Backend")

    with pytest.raises(ConfigurationError) as caught:
        open_backend("kafka://x")

    assert str(caught.value) == "no backend for kafka://; installed are memory://, nats://, redis://"
