"""A pace: so many steps a second, however long each takes."""

from __future__ import annotations

import pytest

from necrostack.clock import Pace
from necrostack.errors import ConfigurationError
from necrostack.testing import VirtualClock


async def steps(clock: VirtualClock, pace: Pace, *durations: float) -> list[float]:
    """When steps begin that take so long."""
    begun = []
    for duration in durations:
        await pace.next()
        begun.append(round(clock.monotonic(), 6))
        if duration:
            await clock.sleep(duration)
    return begun


async def test_what_a_step_takes_does_not_slow_the_pace() -> None:
    clock = VirtualClock()
    start = clock.monotonic()

    begun = await clock.run(steps(clock, Pace(clock, 10.0), 0.0, 0.03, 0.09, 0.0, 0.0))

    assert [round(at - start, 6) for at in begun] == [0.0, 0.1, 0.2, 0.3, 0.4]


async def test_a_step_that_took_too_long_is_followed_by_no_burst() -> None:
    clock = VirtualClock()
    start = clock.monotonic()

    begun = await clock.run(steps(clock, Pace(clock, 20.0), 10.0, 0.0, 0.0, 0.0, 0.0, 0.0))

    assert [round(at - start, 6) for at in begun] == [0.0, 10.0, 10.0, 10.0, 10.05, 10.1]


async def test_without_a_rate_nothing_is_waited_for() -> None:
    clock = VirtualClock()

    assert len(set(await steps(clock, Pace(clock, None), 0.0, 0.0, 0.0))) == 1


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(ConfigurationError, match="must be a number of events a second, over 0"):
        Pace(VirtualClock(), rate)
