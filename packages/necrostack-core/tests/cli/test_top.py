"""`necrostack top`, and what it and `inspect` make of what workers say of themselves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from necrostack import Event
from necrostack.backend import Consumer, Group
from necrostack.cli.columns import cells_of
from necrostack.cli.fitting import Table
from necrostack.cli.fleet import organ_lines, per_second, remarks, topologies, worker_table
from necrostack.errors import BackendUnavailable
from necrostack.fleet import Announcement
from necrostack.memory_admin import InMemoryAdmin
from necrostack.report import OrganReport, RunReport
from necrostack.topology import OrganNode, Topology

if TYPE_CHECKING:
    from cli.conftest import Lasting, Run

BACKEND = ("--backend", "lasting://")
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def organ(name: str, *listens_to: str) -> OrganNode:
    return OrganNode(name=name, listens_to=listens_to, emits=(), is_async=True)


BOTH = Topology((organ("Billing", "ORDERED"), organ("Mail", "INVOICED")))
ONE = Topology((organ("Billing", "ORDERED"),))

SAID = Announcement(
    host="alpha",
    pid=7,
    version="1.0",
    python="3.11.9",
    started_at=NOW - timedelta(hours=2),
    at=NOW - timedelta(seconds=1),
    concurrency=4,
    in_work=2,
    report=RunReport(handled=100, failed=3, duration=7200.0, organs={"Billing": OrganReport(handled=100, failed=3)}),
    recent=RunReport(
        handled=9, failed=1, duration=2.0, organs={"Billing": OrganReport(handled=9, emitted=8, failed=1)}
    ),
    topology=BOTH,
)


def worker(number: int = 1, about: Announcement | None = SAID) -> Consumer:
    return Consumer(name=f"alpha-{number}", pending=2, idle=0.5, about=about)


def pulling(lasting: Lasting, about: Announcement | None = SAID) -> None:
    """Let a worker hold one event, and say something of itself."""

    async def pull() -> None:
        await lasting.enqueue(*[Event(event_type="CLI_COUNTED", payload={"n": n}) for n in range(3)])
        await lasting.pull()
        if about is not None:
            await lasting.inner.announce(about)

    asyncio.run(pull())


# --- what workers say ---------------------------------------------------------------------------------------


def test_a_worker_is_a_row_with_who_it_is_and_what_it_does() -> None:
    table = worker_table([worker(), worker(2, None)], NOW)

    assert [*table.header] == [
        *("worker", "host", "pid", "version", "up", "pending", "in work", "handled/s", "failed", "last heard"),
    ]
    assert table.rows == [
        ("alpha-1", "alpha", 7, "1.0", "2h", 2, 2, "4.5", 3, "0.5s"),
        ("alpha-2", "-", "-", "-", "-", 2, "-", "-", "-", "0.5s"),
    ]


def test_organs_are_added_up_over_the_workers_also_those_that_did_nothing() -> None:
    billing, mail = organ_lines([worker(), worker(2), worker(3, None)])

    assert (billing.name, billing.total.handled, billing.handled, billing.failed, billing.emitted) == (
        *("Billing", 200, 9.0, 1.0, 8.0),
    )
    assert (mail.name, mail.total, mail.handled) == ("Mail", OrganReport(), 0.0)


def test_all_is_well_when_the_workers_are_alike_and_speak() -> None:
    assert remarks([worker(), worker(2), worker(3, None)], NOW) == []


def test_different_versions_are_pointed_out() -> None:
    others = [worker(2), worker(3, replace(SAID, version="0.9"))]

    assert remarks([worker(), *others], NOW) == [
        "the workers run different versions of necrostack: 0.9 (1 worker); 1.0 (2 workers)"
    ]


def test_different_topologies_are_pointed_out_with_the_organs_that_not_all_have() -> None:
    workers = [worker(), worker(2, replace(SAID, topology=ONE)), worker(3, replace(SAID, topology=None))]

    assert remarks(workers, NOW) == ["the workers run different Organs: Mail (on INVOICED) in 1 of 2"]
    assert topologies([*workers, worker(4, replace(SAID, topology=ONE))]) == {
        ONE.fingerprint: ONE,
        BOTH.fingerprint: BOTH,
    }


def test_a_worker_that_holds_something_and_has_no_turn_to_say_so_is_told_of_and_comes_first() -> None:
    silent = [worker(number, replace(SAID, at=NOW - timedelta(seconds=30))) for number in range(2, 7)]
    idle = replace(worker(9, replace(SAID, at=NOW - timedelta(seconds=30))), pending=0)

    told = remarks([worker(), *silent, idle], NOW)

    assert told[0] == "alpha-2 holds 2 and is silent for 30s: does a handler block its event loop?"
    assert told[3:] == ["and 2 more workers like that"]
    assert worker_table([worker(), silent[0]], NOW).rows[0][0] == "alpha-2"


@pytest.mark.parametrize(("rate", "shown"), [(0.0, "0"), (-0.5, "-0.5"), (99.6, "100"), (0.049, "0.05")])
def test_rates_are_short(rate: float, shown: str) -> None:
    assert per_second(rate) == shown


@settings(max_examples=25)
@given(
    st.lists(st.tuples(st.text(max_size=40), st.integers(), st.text(max_size=9)), min_size=1, max_size=4),
    st.integers(40, 200),
)
def test_a_table_is_no_wider_than_its_terminal(rows: Sequence[Sequence[object]], width: int) -> None:
    table = Table(("worker", "handled", "host"), rows, ("host",)).fitted(width)

    lines = [*table.lines()]
    assert len(lines) == len(rows) + 1
    if all(str(row[0]).isascii() and str(row[0]).isprintable() for row in rows):
        assert max(map(cells_of, lines)) <= width


def test_what_is_spare_goes_before_names_are_cut() -> None:
    table = Table(("worker", "host", "pending"), [("alpha-1234-0a1b2c3d", "alpha", 3)], ("host",))

    assert [*table.fitted(30).lines()] == ["worker               pending", "alpha-1234-0a1b2c3d        3"]
    assert [*table.fitted(22).lines()] == ["worker         pending", "…234-0a1b2c3d        3"]


# --- inspect ------------------------------------------------------------------------------------------------


def test_inspect_shows_what_workers_say(necrostack: Run, lasting: Lasting) -> None:
    pulling(lasting, replace(SAID, at=datetime.now(UTC) - timedelta(hours=1)))

    ended = necrostack("inspect", *BACKEND)
    as_json = json.loads(necrostack("inspect", *BACKEND, "--json").out)

    lines = [line.split() for line in ended.out.splitlines()]
    (row,) = [line for line in lines if line[:1] == ["memory"]]
    assert row[:4] == ["memory", "alpha", "7", "1.0"]
    assert row[5:9] == ["1", "2", "4.5", "3"]
    assert ["Billing", "100", "4.5", "4.0", "3", "0.5", "0", "0"] in lines
    assert ended.told == [
        "necrostack: memory holds 1 and is silent for 1h: does a handler block its event loop?",
    ]
    (found,) = as_json["workers"]
    assert found["about"]["host"] == "alpha"
    assert found["about"]["report"] == SAID.report.to_dict()
    assert as_json["topologies"][found["about"]["topology"]] == BOTH.to_dict()
    assert as_json["remarks"] == [line.removeprefix("necrostack: ") for line in ended.told]


def test_doctor_finds_what_is_odd_about_the_workers(necrostack: Run, lasting: Lasting) -> None:
    pulling(lasting)  # long ago

    found = json.loads(necrostack("doctor", *BACKEND, "--json").out)["findings"]

    (blocked,) = [each for each in found if "silent for" in each["what"]]
    assert (blocked["severity"], blocked["remedy"][:16]) == ("warning", "let handlers awa")


# --- top ----------------------------------------------------------------------------------------------------


def test_one_look_shows_groups_organs_and_workers(necrostack: Run, lasting: Lasting) -> None:
    pulling(lasting, replace(SAID, at=datetime.now(UTC)))

    ended = necrostack("top", *BACKEND, "--once")

    lines = [line.split() for line in ended.out.splitlines()]
    assert (ended.code, ended.err) == (0, "")
    assert lines[0][0].endswith("Z")
    assert ["default", "2", "-", "1", "0", "0", "-", "1"] in [line[:8] for line in lines]
    assert any(line[:3] == ["Billing", "100", "4.5"] for line in lines)
    assert any(line[:3] == ["memory", "alpha", "7"] for line in lines)


def test_each_look_is_a_block_with_what_changed_in_between(necrostack: Run, lasting: Lasting) -> None:
    pulling(lasting, None)

    ended = necrostack("top", *BACKEND, "--count", "2", "--interval", "0.1")

    rows = [line.split() for line in ended.out.splitlines() if line.startswith("default")]
    assert [row[2] for row in rows] == ["-", "0"]


def test_nothing_that_is_said_acts_on_the_terminal(necrostack: Run, lasting: Lasting) -> None:
    pulling(lasting, replace(SAID, host="\x1b[31mred\n", topology=Topology((organ("\x9b2J", "A"),))))

    ended = necrostack("top", *BACKEND, "--once")

    assert "\\x1b[31mred\\n" in ended.out
    assert "\x1b" not in ended.out
    assert "\x9b" not in ended.out


def test_a_backend_that_nobody_ever_pulled_from_says_so(necrostack: Run, lasting: Lasting) -> None:
    ended = necrostack("top", *BACKEND, "--once")

    assert ended.out.splitlines()[-1] == "no worker is alive"


def test_each_look_is_an_object_a_line(necrostack: Run, lasting: Lasting) -> None:
    pulling(lasting)

    ended = necrostack("top", *BACKEND, "--json", "--count", "2", "--interval", "0.1")

    first, second = map(json.loads, ended.out.splitlines())
    assert [group["queued_per_second"] for group in (*first["groups"], *second["groups"])] == [None, 0.0]
    assert second["organs"][0]["handled_per_second"] == 4.5
    assert second["workers"][0]["about"]["pid"] == 7
    assert {*second} == {"time", "groups", "organs", "workers", "topologies", "remarks"}


class Away(InMemoryAdmin):
    """Out of reach for some looks."""

    outages: Sequence[int] = ()
    looks = 0

    async def groups(self) -> Sequence[Group]:
        self.looks += 1
        if self.looks in self.outages:
            msg = "connection refused"
            raise BackendUnavailable(msg)
        return await super().groups()


def away(lasting: Lasting, *outages: int) -> None:
    inner = lasting.inner
    admin = Away(inner._store, inner.clock, inner.max_event_size, inner.open_and_awake)
    admin.outages = outages
    inner._admin = admin


def test_a_backend_that_goes_away_is_waited_for_and_told_of_once(necrostack: Run, lasting: Lasting) -> None:
    away(lasting, 2, 3)

    ended = necrostack("top", *BACKEND, "--count", "2", "--interval", "0.1")

    assert ended.code == 0
    assert ended.out.count("no worker is alive") == 2
    (told,) = ended.told
    assert told.startswith("necrostack: away for 0.")
    assert told.endswith("connection refused; waiting for it")


def test_as_json_each_look_at_a_backend_that_is_away_is_an_object_with_the_error(
    necrostack: Run, lasting: Lasting
) -> None:
    away(lasting, 2)

    ended = necrostack("top", *BACKEND, "--json", "--count", "2", "--interval", "0.1")

    errors = [json.loads(line).get("error", "") for line in ended.out.splitlines()]
    assert ["connection refused" in error for error in errors] == [False, True, False]


def test_a_backend_that_is_away_from_the_beginning_ends_it(necrostack: Run, lasting: Lasting) -> None:
    away(lasting, 1)

    ended = necrostack("top", *BACKEND)

    assert (ended.code, ended.out) == (4, "")
    assert ended.told == ["necrostack: error: connection refused"]


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        ((), "name an APP, or where events are kept with --backend"),
        ((*BACKEND, "--interval", "0"), "'0' is no number of seconds, from 0.1 to 86400"),
        ((*BACKEND, "--interval", "nan"), "'nan' is no number of seconds, from 0.1 to 86400"),
        ((*BACKEND, "--count", "0"), "'0' is no whole number, 1 or more"),
        ((*BACKEND, "--count", "2", "--once"), "not allowed with argument --count"),
        (("--backend", "memory://"), "events in memory are seen by their own process alone"),
    ],
)
def test_a_wrong_command_line_is_told(necrostack: Run, folder: object, argv: Sequence[str], told: str) -> None:
    ended = necrostack("top", *argv)

    assert (ended.code, ended.out) == (2, "")
    assert told in ended.told[-1]
