"""Random graphs of Organs come to the same end in memory, on Redis, and on paper."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random

import pytest
from organ_graphs import Graph, Outcome, fill_in, random_graph, root_events, spine_of

from necrostack import InMemoryBackend
from necrostack.testing import VirtualClock
from necrostack_redis import RedisBackend


async def run_in_memory(graph: Graph) -> Outcome:
    outcome, clock = Outcome(), VirtualClock()
    backend = InMemoryBackend(history=100_000, clock=clock)
    spine = spine_of(graph, backend, outcome)
    reports = [await clock.run(spine.run_until_idle(*root_events(graph)))]
    if graph.redrives:
        await backend.admin.redrive(*[letter.id async for letter in backend.admin.dead_letters()])
        reports.append(await clock.run(spine.run_until_idle()))
    return await fill_in(outcome, backend, reports)


async def run_on_redis(graph: Graph, url: str, app: str) -> Outcome:
    outcome = Outcome()
    backends = [RedisBackend(url, app=app) for _ in range(graph.workers)]
    spines = [spine_of(graph, backend, outcome) for backend in backends]
    try:
        await spines[0].emit(*root_events(graph))
        reports = await asyncio.gather(*[spine.run_until_idle() for spine in spines])
        if graph.redrives:
            admin = backends[0].admin
            await admin.redrive(*[letter.id async for letter in admin.dead_letters()])
            reports += await asyncio.gather(*[spine.run_until_idle() for spine in spines])
        return await fill_in(outcome, backends[0], reports)
    finally:
        await asyncio.gather(*[backend.aclose() for backend in backends])


@pytest.mark.timeout(600)
@pytest.mark.parametrize("graphs", [10, pytest.param(200, marks=pytest.mark.thorough)])
async def test_random_graphs_come_to_the_same_end_everywhere(graphs: int, redis_url: str, app: str) -> None:
    seen = Counter[str]()

    for seed in range(graphs):
        graph, wanted = random_graph(Random(seed))

        in_memory = await run_in_memory(graph)
        on_redis = await run_on_redis(graph, redis_url, f"{app}-{seed}")

        assert in_memory == wanted, f"seed {seed}, {graph}"
        assert on_redis == wanted, f"seed {seed}, {graph}"
        note(seen, graph, wanted)

    counts = ", ".join(f"{seen[what]} {what}" for what in seen)
    print(f"\n{graphs} graphs, 0 with another end: {counts}")
    assert all(seen[what] > graphs for what in ("handled", "emitted", "failed", "retried", "dead_lettered"))


def note(seen: Counter[str], graph: Graph, outcome: Outcome) -> None:
    """Count what was gone through: graphs in which little happens would show little."""
    seen["organs"] += len(graph.plans)
    for what in ("handled", "emitted", "failed", "retried", "dead_lettered"):
        seen[what] += outcome.numbers[what]
    seen["beyond max_hops"] += sum(times for (_, reason, *_), times in outcome.letters.items() if reason == "max_hops")
    seen["graphs redriven"] += graph.redrives
    seen["graphs of two workers"] += graph.workers == 2
