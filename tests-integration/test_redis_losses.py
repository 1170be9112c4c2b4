"""What is lost with the server is said, its results are not emitted, and new events are handled."""

from __future__ import annotations

import asyncio
import shutil

import pytest
from figures import Recorder
from patience import until
from redis_orders import COUNT, PER_ORDER, chain, is_idle, lost_and_doubled, names, orders
from redis_place import Fault, Place

from necrostack import Event, Organ, Spine


class Holder(Organ):
    """Holds what it was handed for as long as it is told to."""

    listens_to = ["HELD"]

    def __init__(self) -> None:
        super().__init__()
        self.handled: list[int] = []
        self.go_on = asyncio.Event()

    async def handle(self, event: Event) -> Event:
        self.handled.append(event.payload["n"])
        await self.go_on.wait()
        return Event(event_type="LET_GO", payload=event.payload)


class Witness(Organ):
    listens_to = ["LET_GO"]

    def __init__(self) -> None:
        super().__init__()
        self.handled: list[int] = []

    def handle(self, event: Event) -> None:
        self.handled.append(event.payload["n"])


def held(n: int) -> Event:
    return Event(event_type="HELD", payload={"n": n})


async def forget_all(place: Place) -> None:
    place.tell("FLUSHALL")


async def forget_stream(place: Place) -> None:
    place.tell("DEL", f"necrostack:{{{place.app}}}:events")


async def forget_group(place: Place) -> None:
    place.tell("XGROUP", "DESTROY", f"necrostack:{{{place.app}}}:events", "default")


async def restart_empty(place: Place) -> None:
    place.server.kill()
    shutil.rmtree(place.server.directory)
    place.server.directory.mkdir()
    place.server.start()


async def forget_scripts(place: Place) -> None:
    place.tell("SCRIPT", "FLUSH")


async def cut_off_clients(place: Place) -> None:
    place.tell("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


LOSSES: dict[str, Fault] = {
    "FLUSHALL": forget_all,
    "DEL": forget_stream,
    "XGROUP DESTROY": forget_group,
    "restarted without its files": restart_empty,
}


@pytest.mark.parametrize("name", LOSSES)
async def test_what_is_lost_with_the_server_is_said_and_new_events_are_handled(
    name: str, place: Place, caplog: pytest.LogCaptureFixture, figures: Recorder
) -> None:
    holder, witness = Holder(), Witness()
    async with place.direct() as watcher, Spine([holder, witness], place.backend(), concurrency=2) as spine:
        running = asyncio.create_task(spine.run(held(0), held(1)))
        await until(lambda: len(holder.handled) == 2, "both to be held")
        await LOSSES[name](place)
        holder.go_on.set()
        await until(lambda: names(caplog)["group_recreated"], "the group to be made again")
        await watcher.enqueue(held(2))
        await until(lambda: 2 in witness.handled, "a new event to be handled")
        await until(lambda: is_idle(watcher), "an end of all work")
        spine.stop()
        report = await running

    said = names(caplog)
    lost, doubled = 3 - len({*witness.handled}), len(witness.handled) - len({*witness.handled})
    figures(f"Data lost: {name}", times=1, events=3, lost=lost, doubled=doubled, refused=said["settlement_lost"])
    # Where the stream itself is left, the group begins again with all that it holds.
    again = 2 if name == "XGROUP DESTROY" else 0
    assert sorted(holder.handled) == sorted([0, 1, 2] + [0, 1] * bool(again))
    assert sorted(witness.handled) == ([0, 1, 2] if again else [2])
    assert (said["group_recreated"], said["settlement_lost"]) == (1, 2)
    assert report.emitted == len(witness.handled)


@pytest.mark.parametrize("fault", [forget_scripts, cut_off_clients])
async def test_scripts_and_connections_that_are_gone_are_not_missed(
    fault: Fault, place: Place, caplog: pytest.LogCaptureFixture, figures: Recorder
) -> None:
    times = 0
    async with place.direct() as watcher, chain(place.backend(batch_size=10)) as spine:
        running = asyncio.create_task(spine.run(*orders(2 * COUNT)))
        await until(lambda: place.proxy.seen["settle"], "some work")
        while not await is_idle(watcher):
            await fault(place)
            times += 1
            await asyncio.sleep(0.05)
        spine.stop()
        await running
        lost, doubled = await lost_and_doubled(watcher, 2 * COUNT)

    what = "Scripts forgotten" if fault is forget_scripts else "Clients cut off"
    figures(what, times=times, events=2 * COUNT * PER_ORDER, lost=lost, doubled=doubled)
    assert (lost, doubled) == (0, 0)
    assert not names(caplog)["settlement_lost"]
    # The last fault may come when all work is done: then the run is stopped before it hears that the backend is back.
    assert names(caplog)["backend_unavailable"] - names(caplog)["backend_back"] in (0, 1)
