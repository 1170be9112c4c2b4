"""The groups of an app: what is kept for each, and how one goes that nobody serves any more."""

from __future__ import annotations

from collections.abc import Sequence

from necrostack.backend import BackendStats, Group
from necrostack_redis.keys import RELEASED, Keys, name_of
from necrostack_redis.link import Link
from necrostack_redis.scripts import REMOVE, STATS


async def group_names(link: Link, keys: Keys) -> Sequence[str]:
    """List the groups of an app."""
    if not await link.call("EXISTS", keys.events):
        return ()
    found: list[list[bytes]] = await link.call("XINFO", "GROUPS", keys.events)
    return sorted(name_of(group[group.index(b"name") + 1]) for group in found)


async def look_at(link: Link, keys: Keys, start: str) -> Group:
    """Count what is kept for a group, all at one instant.

    Args:
        link: To the server.
        keys: Whose.
        start: Where the group will start if it does not exist yet.
    """
    names = (keys.events, keys.inbox, keys.schedule, keys.retries, keys.dead, keys.redriven, keys.leases, keys.groups)
    found = await link.run(STATS, names, (keys.group, start, RELEASED))
    queued, pending, scheduled, dead, consumers, oldest, history, behind, ephemeral_after = found
    stats = BackendStats(
        queued=queued,
        pending=pending,
        scheduled=scheduled,
        dead=dead,
        consumers=consumers,
        oldest_pending=_seconds(oldest),
        history=history,
    )
    return Group(name=keys.group, stats=stats, behind=_seconds(behind), ephemeral_after=_seconds(ephemeral_after))


async def ephemeral_groups(link: Link, keys: Keys) -> Sequence[str]:
    """List the groups that go when nobody serves them."""
    fields = await link.call("HKEYS", keys.groups)
    return sorted(name_of(field).removeprefix("ephemeral:") for field in fields if field.startswith(b"ephemeral:"))


async def remove(link: Link, keys: Keys, *, expired_only: bool = False) -> int:
    """Remove a group in which nobody works.

    Args:
        link: To the server.
        keys: Which one.
        expired_only: Whether to remove it only if it is ephemeral, and nobody worked in it for long enough.

    Returns:
        1 if it was removed; 0 if it is not there or not expired; less than 0 if so many workers are alive.
    """
    names = (keys.events, keys.inbox, keys.retries, keys.dead, keys.redriven, keys.leases, keys.topologies, keys.groups)
    return int(await link.run(REMOVE, names, (keys.group, "1" if expired_only else "")))


def _seconds(milliseconds: int) -> float | None:
    return None if milliseconds < 0 else milliseconds / 1000
