"""What a worker says of itself, kept beside its lease: whoever ends the lease takes it away, too."""

from __future__ import annotations

import json
import math
import time

from necrostack.fleet import Announcement
from necrostack.topology import Topology
from necrostack_redis.keys import Keys
from necrostack_redis.link import Link


class Word:
    """A worker's. Its topology, which may be long, goes with it only when it has to.

    Attributes:
        told_at: When it was written last, by the monotonic clock.
    """

    def __init__(self, keys: Keys, consumer: str, lease: float) -> None:
        self._keys = keys
        self._consumer = consumer
        self._lease = lease
        self._topology: Topology | None = None
        self.told_at = -math.inf

    async def tell(self, link: Link, announcement: Announcement) -> None:
        """Write an announcement in place of the one before."""
        keys, me, topology, now = self._keys, self._consumer, announcement.topology, time.monotonic()
        fields = [keys.said(me), f"{int(self._lease * 1000)} {announcement.to_json()}"]
        if topology is not None and topology != self._topology:
            self._topology = None  # until it is there
            fields += [keys.graph(me), json.dumps(topology.to_dict(), separators=(",", ":"))]
        await link.call("HSET", keys.topologies, *fields)
        self._topology, self.told_at = topology, now

    def forget(self) -> None:
        """Let all be told again: what was told is lost."""
        self._topology, self.told_at = None, -math.inf

    async def take_back(self, link: Link) -> None:
        """Take away all that this worker has told, also which topology it runs."""
        keys, me = self._keys, self._consumer
        self.forget()
        await link.call("HDEL", keys.topologies, me, keys.said(me), keys.graph(me))


def read_word(word: bytes, topology: Topology | None) -> tuple[float | None, Announcement | None]:
    """Read what a worker wrote, or anybody else: the seconds of its lease, and the rest; None for what is not there."""
    lease, _, said = word.partition(b" ")
    # Nobody's lease has more digits, and int() would take its time for millions of them.
    seconds = int(lease) / 1000 if lease.isdigit() and len(lease) < 16 else None
    return seconds, Announcement.from_json(said, topology)
