"""The limit on Redis: the same, and redis-py's asyncio client."""

from redis.asyncio import Redis

from benchmarks.starting.limit import LOADED as BESIDE

LOADED = (*BESIDE, Redis)
