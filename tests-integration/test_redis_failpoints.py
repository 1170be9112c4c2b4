"""Something happens at every step, at one after the other: of each script, and of the Spine's cycle.

The replies that are lost one by one are in `test_redis_replies.py` and `redis_checks.py`.
"""

from __future__ import annotations

import asyncio
import re
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import count, product

import pytest
import redis_mortal
from figures import Recorder
from redis_acts import WORKERS_ACTS, Act, Count, an_event_is_kept, deliveries_are_settled
from redis_checks import Stand
from redis_cycle_failpoints import awaits
from redis_mortal import Calls, Life
from redis_operator_acts import OPERATORS_ACTS, dead_letters_go_again, it_is_counted, it_is_listed
from redis_script_failpoints import POINTS, SERVER, Failing, Killing
from redis_server import Server
from redis_troubles import TROUBLES, Refusing, Trouble, admit_watcher
from redis_victim import Journal

# --- the scripts -------------------------------------------------------------------------------------------

Acts = Sequence[Act]

ACTS = (*WORKERS_ACTS, *OPERATORS_ACTS)

CHECKED_FIRST = {"enqueue", "pull", "settle", "redrive"}
"""The scripts of which nothing may be done when a part of it cannot be: so they look first."""


def each(few: Acts) -> pytest.MarkDecorator:
    """Take a few acts, and all of them where there is time."""
    return pytest.mark.parametrize("acts", [few, pytest.param(ACTS, marks=pytest.mark.thorough)], ids=["few", "all"])


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


@each([an_event_is_kept, dead_letters_go_again])
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


@pytest.mark.parametrize(
    ("acts", "troubles"),
    [
        ([an_event_is_kept, dead_letters_go_again], [one for one in TROUBLES if one.about in ("", "inbox", "XADD")]),
        pytest.param(
            [act for act in ACTS if act not in (it_is_counted, it_is_listed)],  # what only looks may see less
            TROUBLES,
            marks=pytest.mark.thorough,
        ),
    ],
    ids=["few", "all"],
)
@pytest.mark.timeout(900)
async def test_whatever_a_server_refuses_in_a_script_costs_nothing(
    acts: Acts, troubles: Sequence[Trouble], make_server: Callable[..., Server], app: str, figures: Recorder
) -> None:
    """What a script looks at first is all that can be wrong with what it does then."""
    server, numbers = make_server(), count()
    admit_watcher(server)
    refused: Counter[str] = Counter()
    total = Count()

    for trouble, act in product(troubles, acts):
        stand = Stand(server.url, app).part(next(numbers))
        refusing = Refusing(server, stand.app, trouble)
        found = await act(stand, refusing)
        assert (found.lost, found.doubled) == (0, 0), f"{act.__name__}, {trouble}: {found}, {refusing.refused}"
        total += found
        refused.update(script for script, _ in refusing.refused)

    figures("Script refused", times=refused.total(), **asdict(total), scripts=len(refused))
    assert "redrive" in refused


# --- the Spine's cycle -------------------------------------------------------------------------------------

SOME = r"RedisBackend\.(pull_sealed|settle|release|leave)#1|settle\.lua|Splits\.handle"

ELSEWHERE = {
    "what an operator does": r"Admin\.|group_names#|Link\.send#",
    "who asks whether it can work, or speaks before it has joined": r"(Redis)?Backend\.probe#|RedisBackend\.announce#1",
    "an application that a run is a part of": r"in_background#|_until_begun#",
    "a run that ends as it is announced": r"Announcer\.__aexit__#",
    "what a backend of another kind does": r"Backend\.pull_sealed#",
    "a server that lost its scripts, its group or its slot": (
        r"Link\.(_again#|_execute#[23]|run#2|run_all#2)|Reader\._read_or_join#[23]|Settler\._run#2"
    ),
    "another way out of an error": r"Link\.(_told#[23]|call#2|run#3|run_all#3|wait#2)|Run\._wind_up#[1345]",
    "a group that holds up the others": r"Trimmer\._(trim#4|warn_of#)",
    "what had come too late, or twice": (
        r"Run\._work#2|Gate\.may_start#|Reader\.(_release_strays#2|aclose#2|hand_back#2|take_when_there#1)"
    ),
    "a server that is slower than the handlers": r"Committer\.keep_up#1",
}
"""The awaits that a life in which nothing else goes wrong does not come to, and what leads to them."""

BESIDE = "|".join(ELSEWHERE.values())


@pytest.mark.parametrize("which", [SOME, pytest.param("", marks=pytest.mark.thorough)], ids=["some", "all"])
@pytest.mark.timeout(900)
async def test_a_worker_that_is_killed_at_any_step_of_its_life_loses_and_doubles_nothing(
    which: str, redis_url: str, app: str, journal: Journal, figures: Recorder
) -> None:
    at_once, numbers = asyncio.Semaphore(8), count()
    took: list[float] = []

    async def live(fatal: str) -> tuple[Life, bool]:
        life = Life(redis_url, f"{app}-{next(numbers)}", Calls.make())
        code = await redis_mortal.run(life, fatal, journal)
        # 255: the server of forks was not told how it ended. Then it is done once more.
        assert code in (0, 255, -signal.SIGKILL), f"it dies of something else than {fatal!r}"
        return life, code == -signal.SIGKILL

    async def die(fatal: str) -> Count:
        async with at_once:
            for _ in range(5):  # it need not come there each time
                life, is_dead = await live(fatal)
                found, seconds = await life.outlive()
                if is_dead or (found.lost, found.doubled) != (0, 0):
                    break
            assert is_dead, f"nobody came to {fatal!r}"
            assert (found.lost, found.doubled) == (0, 0), f"dead {fatal}: {found}"
            took.append(seconds)
            return found

    passed: dict[str, None] = {}
    for _ in range(5):  # what hangs on time, not every life comes to
        await live("")
        passed |= dict.fromkeys(journal.read("passed")[-1].about)
        missing = {name for name in awaits() if f"before {name}" not in passed and not re.match(BESIDE, name)}
        if not missing:
            break
    assert not missing, "nothing brings anybody there"
    points = [point for point in passed if re.search(which, point)]
    total = sum(await asyncio.gather(*map(die, points)), Count())

    figures("Worker killed at a step", times=len(points), **asdict(total), seconds_until_all_was_done=max(took))
    assert (total.lost, total.doubled) == (0, 0)


def test_every_await_of_a_worker_is_a_step() -> None:
    for what, names in ELSEWHERE.items():
        assert any(re.match(names, found) for found in awaits()), f"{what}: {names} are not there any more"
