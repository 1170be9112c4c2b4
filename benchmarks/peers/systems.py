"""What is measured on Redis: the limit, NecroStack, its peers; what each needs, and how it is run."""

from dataclasses import dataclass
from typing import Final

from benchmarks.case import Case


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """One system.

    Attributes:
        name: What tables and `--only` call it.
        module: Its adapter.
        needs: The distributions that must be installed.
        environment: Which environment they are in; see `benchmarks.environments`.
        how: How it consumes.
        share: The part of a workload's n that it gets, so that the slow ones end on the same day.
        emits_at_once: Whether one process can have several calls to emit under way; else the call blocks.
        in_threads: Whether its handlers run in a thread each.
        bulk: How it enqueues many; "" where it cannot.
        chains: Whether its adapter knows the chain: those that come nearest to what a step is.
        is_limit: Whether the others are divided by it.
    """

    name: str
    module: str
    needs: tuple[str, ...]
    environment: str = ""
    how: str
    share: float = 1.0
    emits_at_once: bool = True
    in_threads: bool = False
    bulk: str = ""
    chains: bool = False
    is_limit: bool = False

    def some(self, n: int) -> int:
        """Say how many of n it gets."""
        return max(int(n * self.share), 1)

    def case(self, runner: str, shape: str, n: int, *arguments: object, function: str = "", note: str = "") -> Case:
        """Make the case in which a runner is given its adapter, n, and further arguments."""
        target = f"{self.module}:{function}" if function else self.module
        return Case(
            system=self.name,
            shape=shape,
            n=n,
            command=("-m", f"benchmarks.{runner}", target, str(n), *map(str, arguments)),
            needs=("pydantic", *self.needs),
            environment=self.environment,
            is_limit=self.is_limit,
            note=note or self.how,
        )


LIMIT: Final = System(
    name="limit",
    module="benchmarks.durable.limit",
    needs=("redis", "hiredis"),
    how="redis-py",
    bulk="pipelines of 100 XADD",
    is_limit=True,
)

OURS: Final = System(
    name="necrostack",
    module="benchmarks.durable.necrostack_redis",
    needs=("necrostack-core", "necrostack-redis", "redis", "hiredis"),
    how="RedisBackend, defaults",
    bulk="enqueue of 500",
)

FASTSTREAM: Final = System(
    name="faststream",
    module="benchmarks.peers.faststream_redis",
    needs=("faststream", "redis", "hiredis"),
    how="stream and group, XACK each",
    share=0.2,
    bulk="pipelines of 100",
    chains=True,
)

TASKIQ: Final = System(
    name="taskiq",
    module="benchmarks.peers.taskiq_streams",
    needs=("taskiq", "taskiq-redis", "redis", "hiredis"),
    how="stream and group, 100 at once",
    share=0.2,
    chains=True,
)

PEERS: Final = (
    FASTSTREAM,
    System(
        name="faststream batch",
        module="benchmarks.peers.faststream_batch",
        needs=("faststream", "redis", "hiredis"),
        how="the handler gets a list of 100",
        share=0.5,
    ),
    TASKIQ,
    System(
        name="streaq",
        module="benchmarks.peers.streaq_worker",
        needs=("streaq", "coredis"),
        how="100 at once",
        share=0.1,
        bulk="enqueue_many of 100",
        chains=True,
    ),
    System(
        name="repid",
        module="benchmarks.peers.repid_worker",
        needs=("repid", "redis", "hiredis"),
        environment="repid",
        how="stream and group, 1,000 at once",
        share=0.2,
    ),
    System(
        name="saq",
        module="benchmarks.peers.saq_worker",
        needs=("saq", "redis", "hiredis"),
        environment="saq",
        how="100 at once, no results",
        share=0.1,
    ),
    System(
        name="arq",
        module="benchmarks.peers.arq_worker",
        needs=("arq", "redis", "hiredis"),
        environment="arq",
        how="100 at once, polled each 50 ms",
        share=0.1,
    ),
    System(
        name="dramatiq",
        module="benchmarks.peers.dramatiq_worker",
        needs=("dramatiq", "redis", "hiredis"),
        how="8 threads, 1,000 fetched ahead",
        share=0.1,
        emits_at_once=False,
        in_threads=True,
    ),
    System(
        name="celery",
        module="benchmarks.peers.celery_worker",
        needs=("celery", "kombu", "redis", "hiredis"),
        how="solo, acks_late, 100 fetched ahead",
        share=0.05,
        emits_at_once=False,
        in_threads=True,
    ),
)


def consuming(n: int, shape: str) -> list[Case]:
    """Each consuming what waits."""
    return [peer.case("durable.run", shape, peer.some(n), function="consume") for peer in PEERS]


def chaining(n: int, shape: str) -> list[Case]:
    """Those that know the chain."""
    return [peer.case("durable.run", shape, peer.some(n), function="chain") for peer in PEERS if peer.chains]


def answering() -> list[System]:
    """Those that handle what comes at a rate; batches are for what waits."""
    return [peer for peer in PEERS if peer.name != "faststream batch"]
