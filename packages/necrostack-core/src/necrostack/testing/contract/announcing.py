"""What workers say of themselves is shown beside them, for as long as they are there."""

from __future__ import annotations

from datetime import UTC, datetime

from necrostack.backend import Backend
from necrostack.fleet import Announcement
from necrostack.report import OrganReport, RunReport
from necrostack.testing.contract.check import check
from necrostack.testing.contract.expect import expect_equal, pull_one
from necrostack.testing.contract.factory import BackendFactory
from necrostack.testing.contract.samples import numbered
from necrostack.topology import OrganNode, Topology

TOPOLOGY = Topology(
    (
        OrganNode(name="Billing", listens_to=("ORDERED",), emits=("INVOICED",), is_async=True),
        OrganNode(name="Ärger", listens_to=("INVOICED", "REFUSED"), emits=None, is_async=False),
    )
)


def announcement(pid: int, *, topology: Topology | None = TOPOLOGY) -> Announcement:
    """Make an announcement in which nothing is left at its default."""
    organs = {"Billing": OrganReport(handled=3, emitted=2, failed=1, retried=1), "Ärger": OrganReport()}
    return Announcement(
        host="machine-\u00e9",
        pid=pid,
        version="1.2.3",
        python="3.11.9",
        started_at=datetime(2026, 1, 1, 12, tzinfo=UTC),
        at=datetime(2026, 1, 1, 12, 0, 9, 250_000, tzinfo=UTC),
        concurrency=4,
        in_work=2,
        report=RunReport(handled=3, unrouted=1, emitted=2, failed=1, retried=1, duration=9.25, organs=organs),
        recent=RunReport(handled=1, duration=2.0),
        topology=topology,
    )


async def _about(backend: Backend) -> list[Announcement | None]:
    return [consumer.about for consumer in await backend.admin.consumers()]


@check("announces")
async def check_what_a_worker_says_of_itself_is_shown_with_it(factory: BackendFactory) -> None:
    """All of it, and only the last."""
    backend = await factory.make()
    await backend.enqueue(numbered(1))
    await pull_one(factory, backend)

    expect_equal(await _about(backend), [None], "what is shown before anything was said")
    for pid in (1, 2):
        await backend.announce(announcement(pid))
        expect_equal(await _about(backend), [announcement(pid)], "what is shown")
    changed = announcement(2, topology=Topology(TOPOLOGY.organs[:1]))
    await backend.announce(changed)
    expect_equal(await _about(backend), [changed], "what is shown when the topology is another one")


@check("announces")
async def check_what_a_worker_said_is_gone_when_it_leaves(factory: BackendFactory) -> None:
    """It may stay, and say something again."""
    backend = await factory.make()
    await backend.enqueue(numbered(1))
    await pull_one(factory, backend)
    await backend.join(TOPOLOGY.fingerprint)
    await backend.announce(announcement(1))

    await backend.leave(TOPOLOGY.fingerprint)

    left = [about for about in await _about(backend) if about is not None]
    expect_equal(left, [], "what is shown of a worker that has left")
    await backend.join(TOPOLOGY.fingerprint)
    await backend.announce(announcement(2))
    expect_equal(await _about(backend), [announcement(2)], "what is shown when it came back")


@check("announces", "durable")
async def check_each_worker_speaks_for_itself(factory: BackendFactory) -> None:
    """Also of those who run the same; and what a dead one said goes with it."""
    backend = await factory.make()
    other = await factory.attach(backend)
    await backend.enqueue(numbered(1), numbered(2))
    for pid, worker in enumerate((backend, other), 1):
        await pull_one(factory, worker)
        await worker.announce(announcement(pid))

    expect_equal(await _of_pids(other), [1, 2], "who speaks")
    await factory.freeze(backend)
    await factory.wait(factory.recovery)
    await pull_one(factory, other)

    expect_equal(await _of_pids(other), [2], "who speaks when one is dead")


async def _of_pids(backend: Backend) -> list[int]:
    return sorted(about.pid for about in await _about(backend) if about is not None and about.topology == TOPOLOGY)
