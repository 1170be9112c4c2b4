"""The example on weather: its days and warnings are what plain counting of the raw lines gives, in every group."""

import gzip
import json
import random
import re
import shutil
import sys
import tarfile
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from examples.weather import __main__ as program
from examples.weather import app as weather
from examples.weather import rebuild
from examples.weather.almanac import Almanac
from examples.weather.organs import Days, Gales
from examples.weather.readings import Day, Reading, ReadingTaken
from necrostack.cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "examples" / "weather" / "README.md").read_text("utf-8")

Row = dict[str, Any]


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delenv("WEATHER_ALMANAC", raising=False)


@pytest.fixture
def feed(tmp_path: Path) -> Path:
    """The feed, where bad lines may be put beside it."""
    return Path(shutil.copy(rebuild.FEED, tmp_path))


# --- plain counting -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    return gzip.decompress(rebuild.FEED.read_bytes()).splitlines(keepends=True)


@pytest.fixture(scope="module")
def bad(lines: list[bytes]) -> list[bytes]:
    """The lines that are torn off, and the one that cannot be true."""
    return [line for line in lines if not line.endswith(b"}}\n") or json.loads(line)["payload"]["knots"] > 220]


@pytest.fixture(scope="module")
def rows(lines: list[bytes], bad: list[bytes]) -> list[Row]:
    """What was measured, each once, in the order of time."""
    return [json.loads(line)["payload"] for line in dict.fromkeys(lines) if line not in bad]


def days_of(rows: list[Row], until: str = "2013-02-25") -> list[Day]:
    """Sum up the days, as the stations' clocks tell them, oldest first."""
    found: defaultdict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        found[row["taken_at"][:10], row["station"]].append(row)
    return [summed(station, day, of_it) for (day, station), of_it in sorted(found.items()) if day < until]


def summed(station: str, day: str, rows: list[Row]) -> Day:
    celsius = [row["celsius"] for row in rows]
    numbers = {"readings": len(rows), "coldest": min(celsius), "warmest": max(celsius)}
    rain, knots = round(sum(row["millimetres"] for row in rows), 2), max(row["knots"] for row in rows)
    return Day.model_validate({"station": station, "day": day, **numbers, "millimetres": rain, "knots": knots})


def gales_of(rows: list[Row]) -> list[tuple[str, str, float]]:
    last: dict[str, datetime] = {}
    found = []
    for row in rows:
        moment = datetime.fromisoformat(row["taken_at"])
        silent = row["station"] in last and moment - last[row["station"]] < timedelta(hours=6)
        if row["knots"] >= 25 and not silent:
            last[row["station"]] = moment
            found.append((row["station"], row["taken_at"], row["knots"]))
    return found


def warned(almanac: Almanac) -> list[tuple[str, str, float]]:
    return [(gale.station, gale.taken_at.isoformat(), gale.knots) for gale in almanac.gales()]


# --- the feed -------------------------------------------------------------------------------------------


def test_the_feed_holds_what_the_readme_says_of_it(lines: list[bytes], bad: list[bytes], rows: list[Row]) -> None:
    hours = 17 * 24 + 4  # the last of them closes the last day

    assert len(lines) == 1242
    assert len(lines) - len(set(lines)) == 12
    assert len(bad) == 3
    assert 3 * hours - len(rows) - len(bad) == 6
    assert 911 in [json.loads(line)["payload"]["knots"] for line in bad if line.endswith(b"}}\n")]


def test_a_row_of_the_package_becomes_what_the_instrument_measured() -> None:
    measured = {"temp": "39.02", "wind_speed": "10.357019999999999", "precip": "0.11"}

    event = rebuild.event({"origin": "EWR", "time_hour": "2013-02-12T08:00:00Z", **measured})

    when = "2013-02-12T03:00:00-05:00"
    assert event["payload"] == {"station": "EWR", "taken_at": when, "celsius": 3.9, "knots": 9, "millimetres": 2.79}


def test_another_package_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "other.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo(rebuild.MEMBER)
        member.size = 1
        archive.addfile(member, BytesIO(b"x"))

    with pytest.raises(SystemExit, match="SHA-256"):
        rebuild.table_of(tmp_path / "other.tar.gz")


# --- in memory ------------------------------------------------------------------------------------------


def test_bad_lines_are_put_aside_and_one_that_is_mended_changes_its_day(
    feed: Path, bad: list[bytes], rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEATHER_ALMANAC", str(feed.parent / "almanac.sqlite"))
    almanac = Almanac(feed.parent / "almanac.sqlite")
    run = ["run", "examples.weather.app:spine", "--until-idle", "--on-bad-line", "skip", "--feed"]

    assert main([*run, str(feed)]) == 7

    aside = Path(f"{feed}.skipped.ndjson")
    assert aside.read_bytes().splitlines(keepends=True) == bad
    assert almanac.days() == days_of(rows)
    assert warned(almanac) == gales_of(rows)

    mended = aside.read_bytes().replace(b'"knots":911', b'"knots":9.11')
    aside.with_name("mended.ndjson").write_bytes(mended)
    assert main([*run, str(aside.with_name("mended.ndjson"))]) == 7  # two are still torn

    late = [json.loads(line)["payload"] for line in mended.splitlines() if line.endswith(b"}}")]
    assert almanac.days() == days_of([*rows, *late])
    assert almanac.days() != days_of(rows)
    assert warned(almanac) == gales_of(rows)


def test_the_mistake_is_mended_as_the_readme_shows(rows: list[Row], capsys: pytest.CaptureFixture[str]) -> None:
    program.main([])

    printed = capsys.readouterr().out
    [shown] = re.findall(r"```text\n(.*?)\n```", README, re.DOTALL)
    assert set(shown.splitlines()) - {"…"} <= set(printed.splitlines())
    assert max(map(len, printed.splitlines()[5:])) <= 80
    for day in days_of(rows):
        told = f"{day.coldest:5.1f} {day.warmest:5.1f} {day.millimetres:4.1f} {day.knots:2.0f}"
        assert re.search(rf"^{day.day} .*{re.escape(told)}", printed, re.MULTILINE)
    assert f"{len(rows) + 12} readings were replayed" in printed


# --- on Redis -------------------------------------------------------------------------------------------


def test_each_group_gets_every_reading_and_a_new_one_the_history(
    redis_url: str, app: str, feed: Path, rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(spine: str, group: str, *more: str) -> Almanac:
        path = feed.parent / f"{group}.sqlite"
        monkeypatch.setenv("WEATHER_ALMANAC", str(path))
        where = f"{redis_url}?app={app}&group={group}"
        command = ["run", f"examples.weather.app:{spine}", "--backend", where, "--until-idle", *more]
        assert main(command) == (7 if more else 0)
        return Almanac(path)

    with monkeypatch.context() as mistaken:
        mistaken.setattr(weather, "Days", partial(Days, by_clock=lambda moment: moment.astimezone(UTC)))
        first = run("climate", "climate", "--feed", str(feed), "--on-bad-line", "skip")
    watch = run("watch", "watch")
    second = run("climate", "climate-2")

    assert second.days() == days_of(rows)
    assert sum(day not in first.days() for day in second.days()) == 48
    assert warned(watch) == gales_of(rows)
    assert not first.gales()
    assert not watch.days()


# --- its parts ------------------------------------------------------------------------------------------


def reading(hour: float, knots: float = 0.0) -> ReadingTaken:
    moment = rebuild.FIRST + timedelta(hours=hour)
    return ReadingTaken(payload=Reading(station="EWR", taken_at=moment, celsius=1, knots=knots, millimetres=0))


def test_nobody_is_warned_twice_in_six_hours_unless_the_same_reading_comes_again() -> None:
    organ, first = Gales(Almanac()), reading(0, 30)

    results = [organ.handle(event) for event in (first, reading(5, 40), first, reading(6, 25), reading(7, 60))]

    assert [result and result.payload.knots for result in results] == [30, None, 30, 25, None]
    assert results[0] is not None
    assert results[2] is not None
    assert results[0].id == results[2].id


def test_a_day_closes_once_and_again_for_what_comes_late() -> None:
    organ = Days(Almanac())
    closing = reading(28)

    results = [organ.handle(event) for event in (reading(1), reading(26), closing, reading(29), closing, reading(2))]

    assert [[day.payload.readings for day in closed] for closed in results] == [[], [], [1], [], [1], [2]]


def test_the_days_are_the_same_in_whatever_order_readings_come(rows: list[Row]) -> None:
    almanac = Almanac()
    organ = Days(almanac)
    chosen = rows[: 3 * 24 * 4 + 12]

    for row in random.Random(6).sample(chosen, len(chosen)):
        for closed in organ.handle(ReadingTaken(payload=Reading.model_validate(row))):
            almanac.archive(closed.payload, closed.timestamp)

    assert almanac.days() == days_of(chosen, until="2013-02-12")


def test_of_two_statements_on_a_day_the_later_one_stays() -> None:
    almanac = Almanac()
    day = Day(station="EWR", day=rebuild.FIRST, readings=24, coldest=0, warmest=1, millimetres=0, knots=0)

    almanac.archive(day, rebuild.FIRST + timedelta(hours=1))
    almanac.archive(day.model_copy(update={"readings": 23}), rebuild.FIRST)

    assert [found.readings for found in almanac.days()] == [24]


def test_the_organs_hang_together_as_the_readme_draws_them() -> None:
    drawn = re.findall(r"^ +(\w+) -- (\w+) --> (\w+)$", README, re.MULTILINE)

    for spine in (weather.climate(), weather.watch()):
        assert set(spine.topology.edges) <= set(drawn)
    whole = weather.spine().topology
    assert Counter(edge for edge in drawn if edge[0] != "feed") == Counter(whole.edges)
    assert set(whole.orphans) == {"READING_TAKEN"}
    assert whole.dead_ends == ()
    assert whole.cycles == ()
