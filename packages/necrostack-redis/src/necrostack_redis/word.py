"""What a worker says of itself, kept beside its lease: whoever ends the lease takes it away, too."""

from __future__ import annotations

import json
import time

from necrostack.fleet import Announcement
from necrostack.topology import Topology
from necrostack_redis.keys import Keys
from necrostack_redis.link import Link

_GRAPH_AGAIN = 50.0
"""Seconds after which the topology goes along again, were it forgotten: less than until an idle worker repeats itself."""


class Word:
    """A worker's. Its topology, which may be long, goes with it only when it has to."""

    def __init__(self, keys: Keys, consumer: str) -> None:
        self._keys = keys
        self._consumer = consumer
        self._topology: Topology | None = None
        self._written = 0.0

    async def tell(self, link: Link, announcement: Announcement) -> None:
        """Write an announcement in place of the one before."""
        keys, me, topology, now = self._keys, self._consumer, announcement.topology, time.monotonic()
        fields = [keys.said(me), announcement.to_json()]
        if topology is not None and (topology != self._topology or now - self._written > _GRAPH_AGAIN):
            self._topology = None  # until it is there
            fields += [keys.graph(me), json.dumps(topology.to_dict(), separators=(",", ":"))]
        await link.call("HSET", keys.topologies, *fields)
        if len(fields) > 2:
            self._topology, self._written = topology, now

    async def take_back(self, link: Link) -> None:
        """Take away all that this worker has told, also which topology it runs."""
        keys, me = self._keys, self._consumer
        self._topology = None
        await link.call("HDEL", keys.topologies, me, keys.said(me), keys.graph(me))
