"""What a soak does, and how often."""

from __future__ import annotations

from dataclasses import dataclass

_WARMUP = (0.2, 300.0)
"""How much of a soak is left out before anything is compared: caches fill, retention reaches its length."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a soak does, and how often. All durations are seconds.

    Attributes:
        seconds: How long the load lasts.
        rate: How many events a second are stated; each leads to three more.
        workers: How many worker processes there are at a time.
        elders: How many of them are never killed: memory is looked at over a whole life.
        kill_every: After how long a worker is killed, and replaced at once.
        server_every: After how long the server is killed, and started again; for the first time after half of it.
        sample_every: After how long everything is looked at.
        tell_every: After how long a worker says what it saw.
        mend_every: After how long somebody mends the dead letters that there are.
        lease: After how long a worker counts as dead.
        retain_age: For how long handled events are kept; short, so that the stream soon has its length.
        repeat_window: For how long the mark of an `enqueue` call is kept.
    """

    seconds: float
    rate: float = 200.0
    workers: int = 4
    elders: int = 2
    kill_every: float = 30.0
    server_every: float = 600.0
    sample_every: float = 5.0
    tell_every: float = 1.0
    mend_every: float = 5.0
    lease: float = 5.0
    retain_age: float = 30.0
    repeat_window: float = 60.0

    @property
    def warmup(self) -> float:
        """After how long anything is compared: a fifth, but five minutes if that is no more than half."""
        share, least = _WARMUP
        return max(share * self.seconds, min(least, self.seconds / 2))

    @property
    def period(self) -> float:
        """Over how long latencies are brought together: a minute, or less in a short soak."""
        return min(60.0, self.seconds / 6)

    @property
    def block(self) -> float:
        """Over how long samples are brought together, so that single ones count little."""
        return max(self.seconds / 50, 2 * self.sample_every)
