"""W5: what is imported."""

from collections.abc import Sequence

from benchmarks.case import Case, Figure, Workload


def _case(
    system: str,
    shape: str,
    target: str,
    *requirements: str,
    note: str,
    environment: str = "",
    is_limit: bool = False,
) -> Case:
    return Case(
        system=system,
        shape=shape,
        n=0,
        command=("-m", "benchmarks.starting.run", target, *requirements),
        needs=("packaging", *(requirement.partition("[")[0] for requirement in requirements)),
        environment=environment,
        is_limit=is_limit,
        note=note,
    )


def _in_process() -> list[Case]:
    shape, here = "in process", "benchmarks.starting"
    return [
        _case("limit", shape, f"{here}.limit:LOADED", "pydantic", note="asyncio, pydantic, one model", is_limit=True),
        _case("necrostack", shape, f"{here}.necrostack_name:LOADED", "necrostack-core", note="import necrostack"),
        _case(
            "necrostack, every name",
            shape,
            f"{here}.necrostack_core:LOADED",
            "necrostack-core",
            note="all public names used",
        ),
        _case("blinker", shape, "blinker:Signal", "blinker", note="import blinker"),
        _case("pyee", shape, "pyee.asyncio:AsyncIOEventEmitter", "pyee", note="import pyee.asyncio"),
        _case("lato", shape, "lato:Application", "lato", note="import lato"),
        _case("bubus", shape, "bubus:EventBus", "bubus", note="import bubus"),
        _case("taskiq", shape, "taskiq:InMemoryBroker", "taskiq", note="import taskiq"),
    ]


def _on_redis() -> list[Case]:
    shape = "on Redis"
    return [
        _case(
            "limit",
            shape,
            "benchmarks.starting.limit_redis:LOADED",
            "pydantic",
            "redis[hiredis]",
            note="the same, redis.asyncio",
            is_limit=True,
        ),
        _case("necrostack", shape, "necrostack_redis:RedisBackend", "necrostack-redis", note="RedisBackend"),
        _case("faststream", shape, "faststream.redis:RedisBroker", "faststream[redis]", note="RedisBroker"),
        _case("taskiq", shape, "taskiq_redis:RedisStreamBroker", "taskiq-redis", note="RedisStreamBroker"),
        _case("streaq", shape, "streaq:Worker", "streaq", note="Worker"),
        _case("repid", shape, "repid.connections.redis:RedisServer", "repid[redis]", environment="repid", note="Repid"),
        _case("saq", shape, "saq.queue.redis:RedisQueue", "saq[redis]", environment="saq", note="RedisQueue"),
        _case("arq", shape, "arq.worker:Worker", "arq", environment="arq", note="Worker"),
        _case("dramatiq", shape, "dramatiq.brokers.redis:RedisBroker", "dramatiq[redis]", note="RedisBroker"),
        _case("celery", shape, "kombu.transport.redis:Transport", "celery[redis]", note="with its Redis transport"),
    ]


def _cases(_: int) -> Sequence[Case]:
    return [*_in_process(), *_on_redis()]


WORKLOAD = Workload(
    name="W5",
    title="W5: a fresh process until the import is done, and what is installed for it",
    figures=[
        Figure(key="wall_ms", heading="ms", digits=1),
        Figure(key="cpu_ms", heading="CPU ms", digits=1, compared=True),
        Figure(key="rss_mb", heading="RSS MB", digits=1),
        Figure(key="distributions", heading="distributions"),
        Figure(key="installed_mb", heading="installed MB", digits=1),
    ],
    cases=_cases,
    rounds=15,
    warmups=1,
)
