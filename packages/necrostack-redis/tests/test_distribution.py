"""What is installed is what the metadata says: its version, its dependencies, its entry points, its scripts."""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import re

import pytest

import necrostack_redis
from necrostack import open_backend
from necrostack_redis import RedisBackend, scripts
from necrostack_redis.address import SCHEMES


def test_the_version_is_the_cores() -> None:
    assert importlib.metadata.version("necrostack-redis") == importlib.metadata.version("necrostack-core")


def test_it_depends_on_exactly_this_core_and_on_redis() -> None:
    requirements = importlib.metadata.requires("necrostack-redis") or []
    version = importlib.metadata.version("necrostack-core")

    names = {re.split(r"[^A-Za-z0-9._-]", requirement)[0] for requirement in requirements}

    assert f"necrostack-core=={version}" in requirements
    assert names == {"necrostack-core", "redis"}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_core_finds_the_backend_by_url(scheme: str) -> None:
    where = {"redis+unix": "/run/redis.sock", "redis+sentinel": "a/b", "rediss+sentinel": "a/b"}.get(scheme, "a")

    backend = open_backend(f"{scheme}://{where}?app=shop")

    assert isinstance(backend, RedisBackend)
    assert backend.settings.app == "shop"


def test_what_is_public_is_there_in_order() -> None:
    names = necrostack_redis.__all__

    assert names == sorted(names)
    assert all(hasattr(necrostack_redis, name) for name in names)


@pytest.mark.parametrize("script", scripts.ALL, ids=lambda script: script.name)
def test_a_script_says_at_its_top_what_it_takes_and_returns(script: scripts.Script) -> None:
    own = importlib.resources.files(scripts).joinpath(f"{script.name}.lua").read_text(encoding="utf-8")
    top = "".join(line for line in own.splitlines(keepends=True) if line.startswith("--"))

    assert own.startswith("-- ")
    assert all(word in top for word in ("KEYS: 1 ", "ARGV: ", "Returns: "))


@pytest.mark.parametrize("script", scripts.ALL, ids=lambda script: script.name)
def test_a_script_touches_only_the_keys_that_it_is_given(script: scripts.Script) -> None:
    named = {int(number) for number in re.findall(r"KEYS\[(\d+)\]", script.text)}
    told = {
        int(number) for number in re.findall(r"\b(\d+) [a-z]", script.text.partition("-- KEYS:")[2].partition("\n")[0])
    }

    assert named <= told
    assert "necrostack:" not in script.text


def test_workers_in_several_processes_may_share_it() -> None:
    assert RedisBackend("redis://localhost").is_shared
