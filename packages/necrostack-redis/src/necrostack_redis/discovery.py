"""Which server to talk to, where that may change: the master that Sentinels name, the node of a cluster with our slot.

All keys of an app are in one slot, so there is one server to talk to at any time, and a connection to it is like any
other. Whoever connects asks here first. redis-py's own client for a cluster is not used: it sends commands again whose
reply was lost, and asks the server for the keys of each command that it does not know.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

from redis import exceptions
from redis.crc import key_slot

from necrostack_redis.address import Node

Ask: TypeAlias = Callable[..., Any]
"""Sends one command to a node, given as the first argument, and returns the answer."""


class Sentinels:
    """Finds the master that Sentinels know by a name.

    As in https://redis.io/docs/latest/develop/reference/sentinel-clients/, but for the role of the master, which shows
    when it is written to.
    """

    def __init__(self, nodes: Iterable[Node], service: str, ask: Ask) -> None:
        self._nodes = [*nodes]
        self._service = service
        self._ask = ask

    def find(self) -> Node:
        """Ask one after the other for the master.

        Raises:
            RedisError: None of them answers, or none knows the name.
        """
        failures: list[exceptions.RedisError] = []
        for sentinel in _shuffled(self._nodes):
            try:
                found = self._ask(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service)
            except exceptions.RedisError as error:
                failures.append(error)
            else:
                if found:
                    host, port = found
                    return Node(host.decode(), int(port))
        # One that is not there may know more.
        unknown = exceptions.ResponseError(f"none of the Sentinels knows the service {self._service!r}")
        raise _most_telling(failures) or unknown


class Cluster:
    """Finds the node of a cluster that has the slot of an app."""

    def __init__(self, nodes: Iterable[Node], app: str, ask: Ask) -> None:
        self._given = [*nodes]
        self._known: set[Node] = set()
        self._slot = key_slot(app.encode())  # the hash tag of all its keys
        self._ask = ask

    def find(self) -> Node:
        """Ask one node after the other who has the slot: https://redis.io/docs/latest/commands/cluster-slots/.

        Raises:
            RedisError: None of them answers, or none knows.
        """
        failures: list[exceptions.RedisError] = []
        for node in _shuffled({*self._given, *self._known}):
            try:
                ranges = self._ask(node, "CLUSTER", "SLOTS")
            except exceptions.RedisError as error:
                failures.append(error)
                continue
            # Those that were given may be gone one day.
            self._known = {_master(master, node) for _, _, master, *_ in ranges}
            for first, last, master, *_ in ranges:
                if first <= self._slot <= last:
                    return _master(master, node)
        raise _most_telling(failures) or exceptions.ClusterDownError(f"no node has the slot {self._slot}")


def _master(told: Sequence[Any], by: Node) -> Node:
    """Read where a master is. No name stands for the host that told."""
    return Node(told[0].decode() if told[0] else by.host, told[1])


def _shuffled(nodes: Iterable[Node]) -> list[Node]:
    """One that is cut off from the others, and does not know, must not always be the first to be asked."""
    found = [*nodes]
    random.shuffle(found)
    return found


def _most_telling(failures: Sequence[exceptions.RedisError]) -> exceptions.RedisError | None:
    """Choose one that refused us before those that kept silent: it is what a person can correct."""
    refusals = [
        error for error in failures if isinstance(error, exceptions.AuthenticationError | exceptions.ResponseError)
    ]
    return next(iter(refusals or failures), None)
