"""Outages that pass: workers wait, nothing is lost, nothing doubled, and it is said once."""

from __future__ import annotations

import asyncio
import time

import pytest
from figures import Recorder
from patience import until
from redis_orders import COUNT, PER_ORDER, chain, expected_dead, is_idle, lost_and_doubled, names, orders
from redis_place import FAULTS, SILENT, Place, add_ballast

import necrostack.run
from necrostack.errors import BackendUnavailable


@pytest.mark.parametrize("name", FAULTS)
async def test_an_outage_is_waited_out_logged_once_and_healed(
    name: str, place: Place, caplog: pytest.LogCaptureFixture, figures: Recorder
) -> None:
    begin, end = FAULTS[name]
    if name == "LOADING":
        await add_ballast(place)
    # Long enough that a busy machine is no outage, where the fault does not show in a time that is up.
    # And no outage may end the lease.
    worker = place.backend(call_timeout=1.0 if name in SILENT else 10.0, lease=300.0)
    async with place.direct() as watcher, chain(worker) as spine:
        running = asyncio.create_task(spine.run(*orders(COUNT)))
        await until(lambda: place.proxy.seen["settle"] > 3, "some work")
        await begin(place)
        await until(lambda: names(caplog)["backend_unavailable"], "the outage to be noticed")
        seen, since = place.proxy.seen.total(), time.monotonic()
        await asyncio.sleep(0.7)
        attempts, lasts = place.proxy.seen.total() - seen, time.monotonic() - since
        await end(place)
        await until(lambda: names(caplog)["backend_back"], "the end of the outage")
        await watcher.enqueue(*orders(2 * COUNT)[COUNT:])
        await until(lambda: is_idle(watcher), "an end of all work")
        spine.stop()
        report = await running
        lost, doubled = await lost_and_doubled(watcher, 2 * COUNT)
        if name.isupper():
            assert name in "".join(place.proxy.errors), "it was another outage"

    events = 2 * COUNT * PER_ORDER
    told = {"attempts": attempts, "seconds": round(lasts, 1)}
    figures(f"Outage: {name}", times=1, events=events, lost=lost, doubled=doubled, **told)
    assert (lost, doubled) == (0, 0)
    assert report.dead_lettered == expected_dead(2 * COUNT)
    assert (names(caplog)["backend_unavailable"], names(caplog)["backend_back"]) == (1, 1)
    assert not names(caplog)["settlement_lost"]
    assert attempts < 100 * lasts  # without a pause it would be thousands


@pytest.mark.parametrize("when", ["before", "amid"])
async def test_an_outage_longer_than_max_outage_ends_the_run_and_a_later_run_goes_on(
    when: str, place: Place, caplog: pytest.LogCaptureFixture, figures: Recorder
) -> None:
    async with chain(place.backend(), max_outage=0.5) as spine:
        if when == "before":
            await place.proxy.refuse()
        running = asyncio.create_task(spine.run_until_idle(*orders(COUNT)))
        if when == "amid":
            await until(lambda: place.proxy.seen["settle"] > 3, "some work")
            place.proxy.cuts = lambda _: True  # so much of what is asked for is done, and nobody knows
        with pytest.raises(BackendUnavailable, match=r"longer than max_outage=0\.5 allows: redis://127\.0\.0\.1:"):
            await running
        if when == "before":
            await place.proxy.accept()
        place.proxy.cuts = lambda _: False
        await spine.run_until_idle(*(orders(COUNT) if when == "before" else ()))
    async with place.direct() as watcher:
        lost, doubled = await lost_and_doubled(watcher, COUNT)

    figures(f"Outage longer than max_outage, {when}", times=1, events=COUNT * PER_ORDER, lost=lost, doubled=doubled)
    assert (lost, doubled) == (0, 0)
    assert (names(caplog)["backend_unavailable"], names(caplog)["backend_back"]) == (1, 1)


@pytest.mark.parametrize("when", ["before", "amid"])
async def test_a_run_that_is_stopped_in_an_outage_ends_soon(
    when: str, place: Place, monkeypatch: pytest.MonkeyPatch, figures: Recorder
) -> None:
    monkeypatch.setattr(necrostack.run, "CANCEL_GRACE", 1.0)
    async with chain(place.backend(), drain_timeout=1.0) as spine:
        if when == "before":
            await place.proxy.refuse()
        running = asyncio.create_task(spine.run(*(orders(COUNT) if when == "amid" else ())))
        if when == "amid":
            await until(lambda: place.proxy.seen["settle"] > 3, "some work")
            await place.proxy.refuse()
        await until(lambda: spine.backend.outage.error, "the outage to be noticed")
        spine.stop()
        # What is not settled is said; where nothing is, the run just ends.
        done, _ = await asyncio.wait({running}, timeout=30)
        assert done
        error = running.exception()
        await place.proxy.accept()
        if when == "amid":
            await spine.run_until_idle()
    async with place.direct() as watcher:
        lost, doubled = await lost_and_doubled(watcher, kept := COUNT if when == "amid" else 0)

    figures(f"Stopped {when} an outage", times=1, events=kept * PER_ORDER, lost=lost, doubled=doubled)
    assert error is None or isinstance(error, BackendUnavailable)
    assert (lost, doubled) == (0, 0)
