"""The workers, some of whom are killed."""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import partial
from typing import Any

from redis_victim import Journal, Worker

from necrostack_redis.config import RedisOptions
from soak.load import RETRY, Watch, organs
from soak.plan import Plan

CONCURRENCY = 8
"""How many handlers a worker runs at once."""


class Crew:
    """A constant number of workers, of whom the elders live as long as the soak does.

    Attributes:
        elders: The workers that are never killed, by name.
    """

    def __init__(self, url: str, journal: Journal, options: RedisOptions, plan: Plan) -> None:
        settings = {"retry": RETRY, "concurrency": CONCURRENCY, "instrumentation": Watch(journal, plan.tell_every)}
        self._start = partial(Worker, url, journal, organs, dict(options), settings)
        self._started = 0
        self.elders = dict(self._begin() for _ in range(plan.elders))
        self._others = dict(self._begin() for _ in range(plan.workers - plan.elders))

    @property
    def alive(self) -> Mapping[str, Worker]:
        """All of them, by name."""
        return {**self.elders, **self._others}

    def _begin(self) -> tuple[str, Worker]:
        self._started += 1
        return f"worker {self._started}", self._start()

    def kill_one(self) -> int:
        """Kill one of those that are no elders, and start another in its place; return the process that died."""
        name = random.choice(list(self._others))
        victim = self._others.pop(name)
        victim.kill()
        self._others |= [self._begin()]
        return victim.pid

    async def stop(self) -> dict[str, Any]:
        """Let them drain; return what each says of its run, by name."""
        return {name: await worker.stop() for name, worker in self.alive.items()}

    def end(self) -> None:
        """Kill those that are left."""
        for worker in self.alive.values():
            worker.kill()
