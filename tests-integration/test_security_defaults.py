"""What holds where nobody chose anything: the safe side."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import test_redis_acl
from redis_server import Server

from necrostack import Event, InMemoryBackend, Organ, Spine
from necrostack.errors import ConfigurationError
from necrostack.payload import MAX_DEPTH
from necrostack_redis import RedisBackend
from necrostack_redis.config import RedisSettings


class Sink(Organ):
    """Takes anything."""

    listens_to = ["A"]

    def handle(self, event: Event) -> None: ...


def test_every_limit_is_on() -> None:
    spine, redis, memory = Spine([Sink()]), RedisSettings(), InMemoryBackend()

    assert memory.max_event_size == redis.max_event_size == 2**20
    assert MAX_DEPTH == 64
    assert spine.settings.retry.max_attempts == 1  # what has an effect elsewhere is not done again unasked
    assert spine.settings.max_hops == 1000
    assert spine.settings.concurrency == 1
    assert (redis.max_recoveries, redis.lease, redis.max_stall) == (5, 60.0, 300.0)
    assert (redis.call_timeout, redis.connect_timeout) == (5.0, 3.0)
    assert (redis.retain_length, redis.retain_age) == (1_000_000, 7 * 86_400.0)


def test_tls_is_verified_and_no_url_can_say_otherwise() -> None:
    found: dict[str, Any] = RedisBackend("rediss://a")._connector._arguments()

    assert (found["ssl_cert_reqs"], found["ssl_check_hostname"]) == ("required", True)
    for name in ("ssl_cert_reqs", "ssl_check_hostname", "verify", "insecure"):
        with pytest.raises(ConfigurationError, match=f"no setting '{name}'"):
            RedisBackend(f"rediss://a?{name}=none")


@pytest.mark.parametrize("policy", ["noeviction", "volatile-lru", "allkeys-lru"])
async def test_a_server_that_may_evict_is_warned_of(policy: str, make_server: Callable[..., Server], app: str) -> None:
    server = make_server("--maxmemory-policy", policy)
    async with RedisBackend(server.url, app=app) as backend:
        found = [found for found in await backend.admin.check() if "maxmemory-policy" in found.what]

    assert [finding.severity for finding in found] == ([] if policy == "noeviction" else ["warning"])
    assert all(finding.remedy == "set maxmemory-policy noeviction" for finding in found)


LISTENERS = """\
import asyncio, os, sys
from necrostack import Event, Organ, Spine
from necrostack_redis import RedisBackend

class Sink(Organ):
    listens_to = ["A"]
    def handle(self, event):
        mine = {os.stat(f"/proc/self/fd/{number}").st_ino for number in os.listdir("/proc/self/fd")
                if os.path.exists(f"/proc/self/fd/{number}")}
        for kind in ("tcp", "tcp6", "udp", "udp6"):
            for line in open(f"/proc/net/{kind}").readlines()[1:]:
                words = line.split()
                # 0A: it listens. https://www.kernel.org/doc/html/latest/networking/proc_net_tcp.html
                if int(words[9]) in mine and (words[3] == "0A" or kind.startswith("udp")):
                    print("listens", line)
        print("connected", len(mine) > 3)

asyncio.run(Spine([Sink()], backend=RedisBackend(sys.argv[1])).run_until_idle(Event(event_type="A", payload={})))
"""


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="which sockets listen is asked as Linux says it")
def test_nobody_can_connect_to_a_worker(redis_url: str, app: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LISTENERS, f"{redis_url}?app={app}"],
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )

    assert done.stdout == "connected True\n"


ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "explanation" / "threat-model.md"


def files_of_tests() -> Iterator[Path]:
    for folder in (*ROOT.glob("packages/*/tests"), ROOT / "tests-integration"):
        yield from folder.rglob("test_*.py")


def test_the_threat_model_names_tests_that_are_there_and_counts_as_they_do() -> None:
    page, files = PAGE.read_text("utf-8"), {file.name: file for file in files_of_tests()}
    named = re.findall(r"`(?:cli/)?(test_\w+\.py)(?:::(\w+))?`", page)

    missing = [
        (name, test)
        for name, test in named
        if name not in files or f"def {test}" not in files[name].read_text("utf-8") + "def "
    ]
    commands, dangerous = re.findall(r"runs (\d+) commands .*, (\d+) dangerous ones", page)[0]

    assert len(named) >= 30
    assert missing == []
    assert int(commands) == len(test_redis_acl.allowed())
    assert int(dangerous) == len(test_redis_acl.DANGEROUS.splitlines())
