"""The names of everything that is kept on the server. docs/reference/redis-keys.md describes them for operators."""

from __future__ import annotations

from dataclasses import dataclass, field

RELEASED = "~released"
"""The consumer that stands for nobody: it holds what was handed back. A worker's name never begins with a tilde."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one app and one of its groups. They share a hash tag, so that a Redis Cluster keeps them together.

    Attributes:
        app: Whose they are.
        group: Whose they are, among the app's groups.
        events: Stream: every event, once for all groups.
        schedule: Sorted set: delayed events, by the time at which they are due.
        bell: Stream of one entry: rung when something became available that no stream tells of.
        sequence: Counter: tells apart what is scheduled for the same time.
        groups: Hash: what is known of the app's groups: how many events each has settled, and how many are forgotten.
        nothing: Never exists: scripts try on it what they are about to write elsewhere. See checks.lua.
        inbox: Stream: what goes again in this group alone: retries, redrives, replays.
        retries: Sorted set: the group's retries, by the time at which they are due.
        dead: Stream: the group's dead letters.
        redriven: Sorted set: those of them that went again, by the time at which they did.
        leases: Sorted set: the group's workers, by the time until which they are alive.
        topologies: Hash: which topology each of them runs; and what it says of itself, see `said` and `graph`.
    """

    app: str
    group: str
    events: str = field(init=False)
    schedule: str = field(init=False)
    bell: str = field(init=False)
    sequence: str = field(init=False)
    groups: str = field(init=False)
    nothing: str = field(init=False)
    inbox: str = field(init=False)
    retries: str = field(init=False)
    dead: str = field(init=False)
    redriven: str = field(init=False)
    leases: str = field(init=False)
    topologies: str = field(init=False)

    def __post_init__(self) -> None:
        of_app = f"necrostack:{{{self.app}}}"
        for name in ("events", "schedule", "bell", "sequence", "groups", "nothing"):
            object.__setattr__(self, name, f"{of_app}:{name}")
        for name in ("inbox", "retries", "dead", "redriven", "leases", "topologies"):
            object.__setattr__(self, name, f"{of_app}:{name}:{self.group}")

    def call(self, digest: str) -> str:
        """The mark of an `enqueue` call, by what it held."""
        return f"necrostack:{{{self.app}}}:call:{digest}"

    def settled(self, consumer: str) -> str:
        """What a worker settled in its last calls: a call whose reply was lost is answered as it was the first time."""
        return f"necrostack:{{{self.app}}}:settled:{self.group}:{consumer}"

    def probe(self, name: str) -> str:
        """What a worker writes to see whether it can."""
        return f"necrostack:{{{self.app}}}:probe:{name}"

    def said(self, consumer: str) -> str:
        """The field of `topologies` that holds what a worker said of itself last."""
        return f"said:{consumer}"

    def graph(self, consumer: str) -> str:
        """The field of `topologies` that holds a worker's Organs and event types."""
        return f"graph:{consumer}"


def name_of(data: bytes) -> str:
    """Return the name of a group or a worker, whoever gave it: a server takes any bytes."""
    return data.decode(errors="backslashreplace")
