"""The Redis Streams backend of NecroStack: durable events, handled by many workers, committed in one atomic step."""

from __future__ import annotations

from necrostack_redis.admin import RedisAdmin
from necrostack_redis.backend import RedisBackend
from necrostack_redis.config import RedisOptions, RedisSettings

__all__ = ["RedisAdmin", "RedisBackend", "RedisOptions", "RedisSettings"]
