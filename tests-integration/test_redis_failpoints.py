"""Something happens at every step, at one after the other: of each script, and of the Spine's cycle.

The replies that are lost one by one are in `test_redis_replies.py` and `redis_checks.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import count, product

import pytest
from figures import Recorder
from redis_acts import (
    ACTS,
    Act,
    Count,
    a_worker_leaves,
    an_event_is_kept,
    dead_letters_go_again,
    deliveries_are_settled,
    it_is_counted,
    it_is_listed,
)
from redis_checks import Stand
from redis_script_failpoints import POINTS, SERVER, Failing, Killing
from redis_server import Server
from redis_troubles import TROUBLES, Refusing, admit_watcher

Acts = Sequence[Act]

CHECKED_FIRST = {"enqueue", "pull", "settle", "redrive"}
"""The scripts of which nothing may be done when a part of it cannot be: so they look first."""


def each(few: Acts, acts: Acts = ACTS) -> pytest.MarkDecorator:
    """Take a few acts, and all of them where there is time."""
    return pytest.mark.parametrize("acts", [few, pytest.param(acts, marks=pytest.mark.thorough)], ids=["few", "all"])


@each([an_event_is_kept, deliveries_are_settled])
@pytest.mark.timeout(900)
async def test_a_server_that_is_killed_in_a_script_keeps_nothing_of_it(
    acts: Acts, make_server: Callable[..., Server], app: str, figures: Recorder
) -> None:
    """In a few acts once at each place, in all acts at each call that is made."""
    server = make_server(*SERVER)
    reached: Counter[str] = Counter()
    total = Count()

    for number, act in enumerate(acts):
        stand = Stand(server.url, app).part(number)
        total += await act(stand, Killing(server, reached, app=stand.app, is_brief=acts is not ACTS))

    figures("Server killed in a script", times=reached.total(), **asdict(total), places=len(reached))
    assert (total.lost, total.doubled) == (0, 0)
    assert not (POINTS - reached.keys() if acts is ACTS else ()), "nothing brings anybody there"


@each([an_event_is_kept, a_worker_leaves, dead_letters_go_again])
@pytest.mark.timeout(900)
async def test_a_call_that_fails_in_a_script_has_no_part_before_it_or_one_that_does_no_harm(
    acts: Acts, make_server: Callable[..., Server], app: str, figures: Recorder
) -> None:
    server, numbers = make_server(), count()
    reached: Counter[str] = Counter()
    torn: set[tuple[str, str]] = set()
    total = Count()

    for act in acts:
        failing = Failing(server, reached, torn=torn)
        is_over = False
        while not is_over:
            stand = Stand(server.url, app).part(next(numbers))
            failing.begin(stand.app)
            try:
                found = await act(stand, failing)
            except (AssertionError, pytest.fail.Exception):
                found = Count(lost=1)
            if not (failing.failed in torn and failing.failed[0] in CHECKED_FIRST):
                assert (found.lost, found.doubled) == (0, 0), f"{act.__name__}, {failing.failed} failed: {found}"
                total += found
            is_over = not failing.has_more()

    checked = {place for place in torn if place[0] in CHECKED_FIRST}
    figures("Call of a script fails", times=reached.total(), **asdict(total), places_behind_the_checks=len(checked))
    assert reached


@each(
    [an_event_is_kept, dead_letters_go_again],
    # What only looks may see less than there is.
    [act for act in ACTS if act not in (it_is_counted, it_is_listed)],
)
@pytest.mark.timeout(900)
async def test_whatever_a_server_refuses_in_a_script_costs_nothing(
    acts: Acts, make_server: Callable[..., Server], app: str, figures: Recorder
) -> None:
    """What a script looks at first is all that can be wrong with what it does then."""
    server, numbers = make_server(), count()
    admit_watcher(server)
    refused: Counter[str] = Counter()
    total = Count()

    for trouble, act in product(TROUBLES, acts):
        stand = Stand(server.url, app).part(next(numbers))
        refusing = Refusing(server, stand.app, trouble)
        found = await act(stand, refusing)
        assert (found.lost, found.doubled) == (0, 0), f"{act.__name__}, {trouble}: {found}, {refusing.refused}"
        total += found
        refused.update(script for script, _ in refusing.refused)

    figures("Script refused", times=refused.total(), **asdict(total), scripts=len(refused))
    assert {"enqueue", "redrive"} <= refused.keys()
