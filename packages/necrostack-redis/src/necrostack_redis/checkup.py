"""What the server says of itself: what would lose events, refuse them, or mislead whoever looks."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from necrostack.backend import Group
from necrostack.errors import BackendError, BackendUnavailable
from necrostack.finding import Finding
from necrostack_redis.config import RedisSettings
from necrostack_redis.link import Link

_OLDEST = (6, 2)
"""The oldest server that has every command that is needed: ZMSCORE, XAUTOCLAIM and LMOVE came with 6.2."""

_VALKEY_MENDED, _REDIS_MENDED = (9, 1, 2), (8, 3)
"""The first versions that are not known to do half of a torn transaction at the start after the next.

https://github.com/valkey-io/valkey/pull/4342; Redis was looked at up to 8.2.
"""

_NEARLY_FULL = 0.8
"""The part of its memory in use from which on somebody should know."""

_SKEW = 1.0
"""Seconds between this machine's clock and the server's from which on times on the command line mislead."""


async def server_findings(link: Link) -> list[Finding]:
    """Ask the server for its state and its time. Where that is forbidden, this is what is found.

    Raises:
        BackendUnavailable: It is out of reach.
    """
    try:
        info: Mapping[str, Any] = await link.call("INFO")
        before = time.time()
        seconds, microseconds = await link.call("TIME")
        asked_at = (before + time.time()) / 2
    except BackendUnavailable:
        raise
    except BackendError as error:
        remedy = "let this user run INFO and TIME (+info +time in its ACL), or check as one who may"
        return [Finding("warning", f"what the server says of itself cannot be read: {error}", remedy)]
    findings = [_kind(info), *_memory(info), *_persistence(info), *_torn_file(info), *_replication(info)]
    return findings + _clock(asked_at - (int(seconds) + int(microseconds) / 1e6))


def _kind(info: Mapping[str, Any]) -> Finding:
    name = "Valkey" if "valkey_version" in info else "Redis"
    version = str(info.get("valkey_version", info.get("redis_version", "")))
    # Valkey says in redis_version with what it is compatible.
    compatible = tuple(int(part) for part in str(info.get("redis_version", "0")).split(".")[:2] if part.isdecimal())
    mode, role = info.get("redis_mode", "standalone"), info.get("role", "master")
    replicas = int(info.get("connected_slaves", 0))
    what = f"{name} {version}, {mode}, {role} with {replicas} {'replica' if replicas == 1 else 'replicas'}"
    if mode == "sentinel":
        return Finding(
            "error", f"{what}: a Sentinel keeps no events", "write redis+sentinel://… with its master's name"
        )
    if compatible < _OLDEST:
        return Finding("error", f"{what} is too old", "update to Redis 6.2 or later, or to Valkey")
    return Finding("note", what)


def trust_findings(link: Link) -> Iterator[Finding]:
    """Say so where anybody may stand in for the server."""
    if link.trusts_anybody:
        what = "the server's certificate is not verified: whoever answers at its address is told the password"
        yield Finding("warning", what, "give the client ssl_cert_reqs='required' and ssl_check_hostname=True")


def _memory(info: Mapping[str, Any]) -> Iterator[Finding]:
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if policy.startswith("allkeys"):
        what = f"maxmemory-policy is {policy}: when its memory is full, the server deletes events"
        yield Finding("error" if limit else "warning", what, "set maxmemory-policy noeviction")
    elif policy != "noeviction":
        what = f"maxmemory-policy is {policy}: when its memory is full, the server forgets which calls were made before"
        yield Finding("warning", what, "set maxmemory-policy noeviction")
    bound = limit or int(info.get("total_system_memory", 0))
    if bound and used > _NEARLY_FULL * bound:
        of = "maxmemory" if limit else "the machine's memory"
        what = f"{used / bound:.0%} of {of} is in use ({used >> 20} of {bound >> 20} MiB)"
        remedy = "look for a group that is behind (necrostack inspect), keep less history, or give it more memory"
        yield Finding("error" if used > 0.95 * bound else "warning", what, remedy)
    elif not limit:
        yield Finding("note", "maxmemory is not set: nothing keeps the server from taking all of the machine's memory")


def _persistence(info: Mapping[str, Any]) -> Iterator[Finding]:
    if info.get("rdb_last_bgsave_status", "ok") != "ok":
        what = "the last snapshot could not be written, so the server may refuse to write anything (MISCONF)"
        yield Finding("error", what, "look into the server's log: is the disk full, may it write there?")
    if info.get("aof_last_write_status", "ok") != "ok" or info.get("aof_last_bgrewrite_status", "ok") != "ok":
        what = "the append-only file could not be written"
        yield Finding("error", what, "look into the server's log: is the disk full, may it write there?")
    if not int(info.get("aof_enabled", 0)):
        since = max(int(time.time()) - int(info.get("rdb_last_save_time", 0)), 0)
        changes = info.get("rdb_changes_since_last_save", 0)
        what = f"the append-only file is off: a crash loses what came after the last snapshot, {since} s ago"
        what += f" ({changes} changes)"
        yield Finding("warning", what, "set appendonly yes, or say that this may be lost")


def _torn_file(info: Mapping[str, Any]) -> Iterator[Finding]:
    """Say that a torn end of the append-only file may still be in it: docs/how-to/operate-on-redis.md."""
    is_valkey = "valkey_version" in info
    mended = _VALKEY_MENDED if is_valkey else _REDIS_MENDED
    version = str(info.get("valkey_version" if is_valkey else "redis_version", "0"))
    # The server says -1 when it has not written the file anew since it was started.
    has_old_file = int(info.get("aof_enabled", 0)) and int(info.get("aof_last_rewrite_time_sec", -1)) < 0
    if has_old_file and tuple(int(part) for part in version.split(".") if part.isdecimal()) < mended:
        what = "if this server's log says 'short read while loading the AOF file', its next start does half of what was"
        what += " torn off there, so that events may be there twice"
        yield Finding("note", what, "then run BGREWRITEAOF (redis-cli), once, before the server is started again")


def _replication(info: Mapping[str, Any]) -> Iterator[Finding]:
    if info.get("role") == "slave":
        what = f"this is a replica of {info.get('master_host')}:{info.get('master_port')}, which takes no events"
        yield Finding("error", what, "write the master's address, or redis+sentinel:// to follow it")


def _clock(ahead: float) -> list[Finding]:
    if abs(ahead) <= _SKEW:
        return []
    what = f"this machine's clock is {abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} the server's"
    remedy = "set both by NTP; nothing is lost, but times on the command line and in events mislead"
    return [Finding("warning", what, remedy)]


def group_findings(group: Group, settings: RedisSettings) -> Iterator[Finding]:
    """Say what is wrong with a group: what nobody takes over, and what it keeps from being forgotten."""
    stats = group.stats
    if stats.oldest_pending is not None and stats.oldest_pending > settings.lease:
        what = (
            f"in the group {group.name!r} a delivery has been pending for {stats.oldest_pending:.0f} s, which is longer"
            f" than the lease of {settings.lease:g} s"
        )
        remedy = "necrostack inspect shows with whom: give that Organ a timeout, or start a worker to take it over"
        yield Finding("warning", what, remedy)
    behind = group.behind or 0.0
    too_old = settings.retain_age is not None and behind > settings.retain_age
    too_many = settings.retain_length is not None and stats.queued > settings.retain_length
    if not stats.consumers and (too_old or too_many):
        what = (
            f"the group {group.name!r}, in which no worker is alive, keeps history from being forgotten:"
            f" {stats.queued + stats.pending} events wait, the oldest for {behind:.0f} s"
        )
        remedy = "start a worker of that group; if nobody needs it any more,"
        yield Finding("error", what, f"{remedy} await backend.admin.remove_group({group.name!r})")
