"""The soak in small, which `nox -s soak` runs at length: it counts exactly, and its judges notice what grows."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from figures import Recorder
from redis_server import Server
from soak.__main__ import finish
from soak.load import STAGES
from soak.plan import Plan
from soak.record import Record
from soak.run import SERVER_ARGS, Soak
from soak.sampling import Sample, look_at_process
from soak.slope import Points, blocks, percentile, theil_sen
from soak.verdict import Outcome, Verdict, judge, judge_constant, judge_slope
from soak.witness import Count, Witness

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a soak looks at processes through /proc")

PLAN = Plan(seconds=2100, sample_every=5.0)


LEASE = 1.2
"""Seconds; short, so that what the dead held is soon handled."""


def find(verdicts: list[Verdict], what: str) -> Verdict:
    return next(verdict for verdict in verdicts if verdict.what == what)


# --- the soak itself -----------------------------------------------------------------------------------------


@pytest.mark.timeout(120)
async def test_a_short_soak_is_exact_and_looks_at_everything(
    make_server: Callable[..., Server], tmp_path: Path, figures: Recorder
) -> None:
    often = replace(PLAN, kill_every=0.6, server_every=1.6, sample_every=0.1, tell_every=0.1, mend_every=0.3)
    soak = Soak(replace(often, seconds=3.0, workers=3, lease=LEASE), make_server(*SERVER_ARGS), tmp_path)
    told = list[float]()

    record = await soak.run(lambda soak: told.append(soak.elapsed))

    count = asdict(record.count)
    figures(
        "Workers and the server killed under constant load",
        times=len(record.kills) + len(record.restarts),
        **{name: count.pop(name) for name in ("events", "lost", "doubled")},
        **count,
        held_by_the_dead=record.held_by_the_dead,
        mended=record.mended,
    )
    assert (record.count.lost, record.count.doubled, record.count.strange) == (0, 0, 0)
    assert record.count.orders >= 200  # the 51st is broken: it is there only if it was mended
    assert record.kills
    assert record.restarts
    assert len(told) == len(record.samples)
    for name in (*record.elders, "producer"):
        assert all(record.process(name, figure) for figure in ("rss", "fds", "threads", "tasks"))
    for figure in ("memory", "connections", "keys", "consumers", "stream", "queued", "pending", "scheduled", "dead"):
        assert record.server(figure), figure
    assert record.percentiles(record.waits, 0.99)
    assert record.percentiles(record.pings, 0.99)
    assert record.reports.keys() == set(record.elders)


# --- what is judged ------------------------------------------------------------------------------------------


def steady(*, leak: float = 0.0, slower: float = 1.0, pings: float = 1.0, seed: int = 1) -> Record:
    """Make what a soak of 35 minutes might have found.

    Args:
        leak: MiB that the first worker gains in an hour.
        slower: How many times as long orders wait in the end.
        pings: How many times as long PING takes in the end.
        seed: Of the noise.
    """
    chance = random.Random(seed)
    record = Record(PLAN, elders=["worker 1", "worker 2"], count=Count(1000, 4000, 0, 0, 0))
    taken = dict.fromkeys(("worker 1", "worker 2", "producer"), 60.0)
    for number in range(int(PLAN.seconds / PLAN.sample_every)):
        at = number * PLAN.sample_every
        for name in taken:  # an allocator takes more now and then, and keeps it
            taken[name] += (0.1 * (chance.random() < 0.004)) + (leak * PLAN.sample_every / 3600) * (name == "worker 1")
        processes = {
            name: {"rss": rss + chance.uniform(-0.05, 0.05), "fds": 15, "threads": 2, "tasks": 9}
            for name, rss in taken.items()
        }
        server = {"memory": 9 + chance.uniform(-1, 1), "stream": 30_000 + chance.uniform(-900, 900), "connections": 23}
        server |= dict.fromkeys(("queued", "pending", "scheduled", "dead"), 3) | {"consumers": 4 + number % 2}
        record.samples.append(Sample(at, processes, server, load=1.0))
    for minute in range(35):
        share = minute / 34
        record.waits[minute] = [5 * (1 + share * (slower - 1)) + chance.random() for _ in range(100)]
        record.pings[minute] = [2 * (1 + share * (pings - 1)) + chance.random() for _ in range(100)]
    return record


def test_a_steady_soak_breaks_no_limit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = steady()

    code = finish(record, tmp_path, {"machine": "one"})

    assert code == 0, capsys.readouterr().out
    data = json.loads((tmp_path / "soak.json").read_text())
    assert {verdict["outcome"] for verdict in data["verdicts"]} <= {"held", "undecided"}
    assert "| events | 0 lost, 0 doubled of 4,000 | 0 lost, 0 doubled | held |" in (tmp_path / "soak.md").read_text()
    drawn = ElementTree.parse(tmp_path / "soak.svg").getroot()  # noqa: S314 -- it was drawn here
    assert len(drawn.findall("{*}polyline")) >= 15


@pytest.mark.parametrize("leak", [3.0, 30.0])
def test_a_leak_is_found_in_the_worker_that_has_it(leak: float, tmp_path: Path) -> None:
    record = steady(leak=leak)

    verdicts = judge(record)

    assert find(verdicts, "memory of worker 1").outcome is Outcome.BROKEN
    assert find(verdicts, "memory of worker 1").figures["slope"] == pytest.approx(leak, abs=1.0)
    assert find(verdicts, "memory of worker 2").outcome is not Outcome.BROKEN
    assert finish(record, tmp_path, {}) == 1


KEEPER = """
import sys
kept = []
for _ in sys.stdin:
    kept.append(bytearray(b"!" * 2**20))
    print(flush=True)
"""


def test_objects_that_a_process_keeps_show_in_what_is_seen_of_it() -> None:
    seen = list[tuple[float, float]]()

    # A process of its own: one that has run tests takes what it keeps from what it has free.
    with subprocess.Popen(
        [sys.executable, "-S", "-c", KEEPER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as keeper:
        assert keeper.stdin is not None
        assert keeper.stdout is not None
        for second in range(40):
            keeper.stdin.write(b"\n")
            keeper.stdin.flush()
            keeper.stdout.readline()
            seen.append((float(second), look_at_process(keeper.pid, None)["rss"]))

    verdict = judge_slope("memory of a process that keeps what it makes", seen, 1.0, "MiB")
    assert verdict.outcome is Outcome.BROKEN
    assert verdict.figures["slope"] / 3600 == pytest.approx(1.0, abs=0.1)  # MiB a second


def test_what_a_process_that_has_ended_had_is_nothing() -> None:
    assert look_at_process(2**22 + 1, 3) == {}


@pytest.mark.parametrize(
    ("slower", "pings", "outcome"),
    [(1.0, 1.0, Outcome.HELD), (2.0, 1.0, Outcome.BROKEN), (2.0, 2.0, Outcome.UNDECIDED)],
)
def test_what_takes_longer_is_ours_unless_ping_takes_longer_too(slower: float, pings: float, outcome: Outcome) -> None:
    verdicts = judge(steady(slower=slower, pings=pings))

    assert find(verdicts, "p99 from emit to handler").outcome is outcome


def test_a_series_is_constant_within_five() -> None:
    def seen(*numbers: float) -> Points:
        return [(float(at), number) for at, number in enumerate(numbers)]

    assert judge_constant("threads", seen(2, 2, 7, 2)).outcome is Outcome.HELD
    assert judge_constant("threads", seen(2, 2, 8, 2)).outcome is Outcome.BROKEN
    assert judge_constant("threads", []).outcome is Outcome.UNDECIDED


def test_connections_may_be_away_as_long_as_the_server_is() -> None:
    record = steady()
    for number in range(200, 220):
        record.samples[number] = replace(record.samples[number], server={"connections": 1.0})
    assert find(judge(record), "connections").outcome is Outcome.BROKEN

    record.restarts = [(1000.0, 95.0)]

    assert find(judge(record), "connections").outcome is Outcome.HELD


# --- slopes --------------------------------------------------------------------------------------------------


def test_outliers_do_not_turn_a_slope() -> None:
    points = [(60.0 * minute, 10 + minute / 60) for minute in range(30)]
    points[3], points[17], points[28] = (180.0, 900.0), (1020.0, -5.0), (1680.0, 400.0)

    slope = theil_sen(points)

    assert slope is not None
    assert slope.value == pytest.approx(1.0)
    assert slope.low <= slope.value <= slope.high
    assert slope.high - slope.low < 0.5


def test_the_interval_holds_the_true_slope_as_often_as_it_says() -> None:
    chance, held = random.Random(7), 0

    for _ in range(200):
        slope = theil_sen([(60.0 * minute, minute / 60 + chance.gauss(0, 1)) for minute in range(25)])
        assert slope is not None
        held += slope.low <= 1.0 <= slope.high

    assert 180 <= held <= 200


def test_a_slope_needs_five_points() -> None:
    assert theil_sen([(float(at), 1.0) for at in range(4)]) is None
    assert judge_slope("memory", [], 1.0, "MiB").outcome is Outcome.UNDECIDED


def test_blocks_are_medians() -> None:
    assert blocks([(0, 1.0), (4, 2.0), (9, 90.0), (10, 5.0)], 10) == [(4, 2.0), (10, 5.0)]


def test_a_percentile_is_one_of_the_numbers() -> None:
    assert [percentile(range(1, 101), share) for share in (0.5, 0.99, 1)] == [50, 99, 100]
    assert percentile([7.0], 0.5) == 7.0


# --- counting ------------------------------------------------------------------------------------------------


def test_the_witness_tells_lost_doubled_and_strange_apart() -> None:
    witness = Witness(None, "events")  # type: ignore[arg-type] # it reads nothing here
    for stage in STAGES:
        for order in range(10):
            witness.see(stage, order)
    assert witness.count(10) == Count(orders=10, events=40)

    witness.see("BILLED", 3)
    witness.see("SHIPPED", 11)
    witness.see("LOST", 1)

    assert witness.count(11) == Count(orders=11, events=44, lost=3 + 1, doubled=1, strange=2)
