"""What the server says of itself, and what is made of it."""

from __future__ import annotations

import time
from typing import Any, cast

import pytest

from necrostack.backend import BackendStats, Group
from necrostack.errors import BackendError, BackendUnavailable
from necrostack.finding import Finding
from necrostack_redis import RedisSettings
from necrostack_redis.checkup import group_findings, server_findings
from necrostack_redis.link import Link

SOUND: dict[str, Any] = {
    "redis_version": "7.0.15",
    "redis_mode": "standalone",
    "role": "master",
    "connected_slaves": 1,
    "used_memory": 1 << 20,
    "maxmemory": 1 << 30,
    "maxmemory_policy": "noeviction",
    "aof_enabled": 1,
    "aof_last_write_status": "ok",
    "aof_last_bgrewrite_status": "ok",
    "aof_last_rewrite_time_sec": 0,
    "rdb_last_bgsave_status": "ok",
}


class Telling:
    """A link to a server that says this of itself."""

    def __init__(self, info: dict[str, Any] | Exception, ahead: float = 0.0) -> None:
        self._info = info
        self._ahead = ahead

    async def call(self, command: str) -> Any:
        if isinstance(self._info, Exception):
            raise self._info
        now = time.time() - self._ahead
        return self._info if command == "INFO" else (int(now), int(now % 1 * 1e6))


async def told(info: dict[str, Any] | Exception, ahead: float = 0.0) -> list[Finding]:
    return await server_findings(cast("Link", Telling(info, ahead)))


async def test_of_a_sound_server_there_is_only_what_it_is() -> None:
    assert await told(SOUND) == [Finding("note", "Redis 7.0.15, standalone, master with 1 replica")]


@pytest.mark.parametrize(
    ("said", "severity", "what"),
    [
        (
            {"maxmemory_policy": "allkeys-lru"},
            "error",
            "allkeys-lru: when its memory is full, the server deletes events",
        ),
        ({"maxmemory_policy": "allkeys-lru", "maxmemory": 0}, "warning", "the server deletes events"),
        ({"maxmemory_policy": "volatile-ttl"}, "warning", "the server forgets which calls were made before"),
        ({"maxmemory": 0}, "note", "maxmemory is not set"),
        ({"maxmemory": 0, "total_system_memory": 1 << 20}, "error", "100% of the machine's memory is in use"),
        ({"used_memory": 900 << 20}, "warning", "88% of maxmemory is in use (900 of 1024 MiB)"),
        ({"used_memory": 1000 << 20}, "error", "98% of maxmemory is in use (1000 of 1024 MiB)"),
        ({"aof_enabled": 0, "rdb_changes_since_last_save": 7}, "warning", "the append-only file is off"),
        ({"rdb_last_bgsave_status": "err"}, "error", "the last snapshot could not be written"),
        ({"aof_last_write_status": "err"}, "error", "the append-only file could not be written"),
        ({"aof_last_bgrewrite_status": "err"}, "error", "the append-only file could not be written"),
        ({"role": "slave", "master_host": "a", "master_port": 1}, "error", "this is a replica of a:1"),
        ({"redis_version": "6.0.9"}, "error", "Redis 6.0.9, standalone, master with 1 replica is too old"),
        ({"redis_mode": "sentinel"}, "error", "a Sentinel keeps no events"),
        ({"valkey_version": "9.1.0", "redis_version": "7.2.4"}, "note", "Valkey 9.1.0, standalone"),
    ],
)
async def test_what_would_lose_or_refuse_events_is_found(said: dict[str, Any], severity: str, what: str) -> None:
    findings = await told(SOUND | said)

    assert [found.severity for found in findings if what in found.what] == [severity]
    assert all(found.remedy for found in findings if found.severity != "note")


@pytest.mark.parametrize(
    ("said", "is_told"),
    [
        ({}, True),
        ({"redis_version": "6.2.14"}, True),
        ({"redis_version": "8.2.3"}, True),
        ({"redis_version": "8.4.0"}, False),
        ({"valkey_version": "9.1.1", "redis_version": "7.2.4"}, True),
        ({"valkey_version": "9.1.2", "redis_version": "7.2.4"}, False),
        ({"aof_last_rewrite_time_sec": 1}, False),
        ({"aof_enabled": 0}, False),
    ],
)
async def test_what_a_torn_file_may_still_hold_is_told_until_it_is_written_anew(
    said: dict[str, Any], is_told: bool
) -> None:
    findings = await told(SOUND | {"aof_last_rewrite_time_sec": -1} | said)

    remedies = [found.remedy for found in findings if "short read while loading the AOF file" in found.what]
    assert ["BGREWRITEAOF" in remedy for remedy in remedies] == [True] * is_told


@pytest.mark.parametrize(("ahead", "what"), [(30.0, "30.0 s ahead of the server's"), (-90.0, "90.0 s behind the")])
async def test_a_clock_that_goes_wrong_is_found(ahead: float, what: str) -> None:
    *_, last = await told(SOUND, ahead)

    # A busy machine may add to it.
    assert last.severity == "warning"
    assert last.what.startswith("this machine's clock is ")
    assert what.partition(" s ")[2] in last.what


async def test_what_it_may_not_say_is_a_finding_and_no_error() -> None:
    (found,) = await told(BackendError("redis://localhost:6379/0 refuses the user 'worker': NOPERM"))

    assert found.severity == "warning"
    assert "+info +time" in found.remedy


async def test_a_server_out_of_reach_is_an_error() -> None:
    with pytest.raises(BackendUnavailable):
        await told(BackendUnavailable("gone fishing"))


SETTINGS = RedisSettings(lease=10.0, retain_age=100.0, retain_length=1000)


def of_group(behind: float | None = None, **stats: Any) -> list[tuple[str, str]]:
    group = Group(name="audit", stats=BackendStats(**stats), behind=behind)
    return [(found.severity, found.what) for found in group_findings(group, SETTINGS)]


def test_what_is_pending_for_longer_than_the_lease_is_found() -> None:
    assert of_group(oldest_pending=9.0, pending=1, consumers=1) == []
    ((severity, what),) = of_group(oldest_pending=11.0, pending=1, consumers=1)
    assert severity == "warning"
    assert "pending for 11 s, which is longer than the lease of 10 s" in what


@pytest.mark.parametrize("held", [{"behind": 101.0, "queued": 1}, {"behind": 1.0, "queued": 1001}])
def test_a_group_that_keeps_history_from_being_forgotten_is_found(held: dict[str, Any]) -> None:
    ((severity, what),) = of_group(**held)

    assert severity == "error"
    assert "keeps history from being forgotten" in what
    assert of_group(**held, consumers=1) == []
    assert of_group(behind=99.0, queued=999) == []
