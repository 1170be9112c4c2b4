"""The example on orders: its books are what plain counting of the raw feed gives, whatever is killed meanwhile."""

import gzip
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from examples.orders import __main__ as program
from examples.orders import generate, payments
from examples.orders.app import build, spine
from examples.orders.books import Books
from examples.orders.events import Line, Money, Order, OrderReceived, PaymentTaken, Refusal, StockShort, Transfer
from examples.orders.provider import Provider
from examples.orders.report import report
from examples.orders.shop import Deadline, Fulfilment
from necrostack import Event
from necrostack.cli import main
from necrostack.testing import SpineFixture, VirtualClock

ROOT = Path(__file__).parents[1]
README = (ROOT / "examples" / "orders" / "README.md").read_text("utf-8")
COMMAND = ["run", "examples.orders.app:spine", "--feed", str(generate.FEED), "--until-idle", "--json"]

SHIPPED = "shipped"
SOLD_OUT = "cancelled, sold out, the money given back"
DECLINED = "cancelled, the card was declined"
REMINDED = "to be paid by transfer, reminded"
STUCK = "not paid"


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delenv("ORDERS_FOLDER", raising=False)


# --- plain counting -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def feed() -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(generate.FEED.read_bytes()).splitlines()]


@pytest.fixture(scope="module")
def orders(feed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line["payload"] for line in feed if line["event_type"] == "ORDER_RECEIVED"]


@pytest.fixture(scope="module")
def ends(feed: list[dict[str, Any]], orders: list[dict[str, Any]]) -> dict[int, str]:
    """How each order must end before anybody mends anything."""
    paid = {line["payload"]["order"] for line in feed if line["event_type"] == "MONEY_ARRIVED"}
    return {order["order"]: end_of(order, paid) for order in orders}


def end_of(order: dict[str, Any], paid: set[int]) -> str:
    card = order["means"].get("number", "")
    if order["means"]["kind"] == "transfer" and order["order"] not in paid:
        return REMINDED
    if "O" in card:
        return STUCK
    if card.endswith("0000"):
        return DECLINED
    return SOLD_OUT if any(line["sku"] == "blue teapot" for line in order["lines"]) else SHIPPED


def total(order: dict[str, Any]) -> int:
    cents: int = sum(line["pieces"] * line["price"] for line in order["lines"])
    return cents


def balances(orders: list[dict[str, Any]], ends: dict[int, str]) -> dict[str, int]:
    accounts = {"card": "provider", "transfer": "bank", "gift card": "gift cards"}
    sums = Counter({"customers": 0, "sales": 0})
    for order in orders:
        if ends[order["order"]] in (SHIPPED, SOLD_OUT):
            sums[accounts[order["means"]["kind"]]] += 0
        if ends[order["order"]] == SHIPPED:
            sums[accounts[order["means"]["kind"]]] += total(order)
            sums["sales"] -= total(order)
    return dict(sums)


def pieces(orders: list[dict[str, Any]], ends: dict[int, str]) -> dict[str, int]:
    """What has left the shelves: shipped, or put aside for whoever has not paid yet."""
    gone: Counter[str] = Counter()
    for order in orders:
        bought = {line["sku"]: line["pieces"] for line in order["lines"]}
        if ends[order["order"]] not in (SOLD_OUT, DECLINED) and "blue teapot" not in bought:
            gone.update(bought)
    return dict(gone)


def told(text: str) -> tuple[dict[str, int], dict[str, int]]:
    """The orders by how they ended, and the cents by account, as a report says."""
    states = {name: int(count) for count, name in re.findall(r"^ {4,}(\d+) (?!orders)(.+)$", text, re.MULTILINE)}
    sums = re.findall(r"^  (\w[\w ]+?) {2,}(-?[\d,.]+) €$", text, re.MULTILINE)
    return states, {name: round(float(euros.replace(",", "")) * 100) for name, euros in sums if name != "sum"}


def check_books(folder: Path, orders: list[dict[str, Any]], ends: dict[int, str]) -> None:
    """Compare all there is: each order, each account, each shelf, and each amount that the provider moved."""
    books, provider = Books(folder / "books.sqlite"), Provider(folder / "provider.sqlite")
    assert books.states() == ends
    assert books.balances() == balances(orders, ends)
    assert sum(books.balances().values()) == 0
    assert books.pieces() == pieces(orders, ends)
    by_card = [order for order in orders if order["means"]["kind"] == "card"]
    charged = [total(order) for order in by_card if ends[order["order"]] in (SHIPPED, SOLD_OUT)]
    given_back = [-total(order) for order in by_card if ends[order["order"]] == SOLD_OUT]
    assert Counter(provider.moved().values()) == Counter(charged + given_back)


# --- the feed -------------------------------------------------------------------------------------------


def test_the_seed_makes_the_feed_that_is_there(feed: list[dict[str, Any]], ends: dict[int, str]) -> None:
    assert generate.lines() == feed
    assert set(ends.values()) == {SHIPPED, SOLD_OUT, DECLINED, REMINDED, STUCK}


# --- in memory ------------------------------------------------------------------------------------------


def test_every_order_account_and_shelf_is_what_plain_counting_gives(
    orders: list[dict[str, Any]],
    ends: dict[int, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("ORDERS_FOLDER", str(tmp_path / "books"))

    assert main(COMMAND) == 0

    check_books(tmp_path / "books", orders, ends)
    *text, last = capsys.readouterr().out.splitlines()
    assert told("\n".join(text)) == (Counter(ends.values()), balances(orders, ends))
    numbers = json.loads(last)["organs"]
    stuck = Counter(ends.values())[STUCK]
    assert stuck == numbers["Payments"]["dead_lettered"] == sum(organ["dead_lettered"] for organ in numbers.values())
    assert numbers["Payments"]["retried"] > 0
    assert numbers["Stock"]["retried"] == numbers["Ledger"]["retried"] == 0


def test_what_the_clerk_mends_is_paid_and_shipped(
    orders: list[dict[str, Any]], ends: dict[int, str], capsys: pytest.CaptureFixture[str]
) -> None:
    mended = {number: SHIPPED if end == STUCK else end for number, end in ends.items()}

    program.main([])

    evening, night = capsys.readouterr().out.split("when the clerk has gone home:")
    assert told(evening) == (Counter(ends.values()), balances(orders, ends))
    assert told(night) == (Counter(mended.values()), balances(orders, mended))
    [shown] = re.findall(r"```text\n(In the evening.*?)\n```", README, re.DOTALL)
    assert set(shown.splitlines()) - {"…"} <= set(f"{evening}when the clerk has gone home:{night}".splitlines())


def test_a_url_that_is_none_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="1"):
        program.main(["--backend", "teapot://here"])

    assert re.fullmatch(r"python -m examples.orders: no backend for teapot://; .*\n", capsys.readouterr().err)


async def test_without_a_key_of_its_own_a_payment_moves_twice_and_the_report_shows_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(payments, "key_of", lambda _: str(uuid4()))
    books, provider = Books(), Provider()

    with gzip.open(generate.FEED) as lines:
        await build(books, provider).run_until_idle(*map(Event.from_json, lines))

    assert sum(provider.moved().values()) > books.balances()["provider"]
    [shown] = re.findall(r"^.*MORE THAN OUR BOOKS SAY$", README, re.MULTILINE)
    assert shown in report(books, provider)


# --- on Redis -------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name == "nt", reason="kills with SIGKILL")
def test_the_books_are_the_same_when_the_program_is_killed_and_all_is_fed_again(
    redis_url: str,
    app: str,
    orders: list[dict[str, Any]],
    ends: dict[int, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ORDERS_FOLDER", str(tmp_path))
    # A window so short that the second feed is no repetition: each line is handled twice, by its id.
    there = [*COMMAND, "--backend", f"{redis_url}?app={app}&lease=1&repeat_window=0.001"]
    endless = [argument for argument in there if argument != "--until-idle"]  # it does not end before it is killed
    with subprocess.Popen(
        [sys.executable, "-m", "necrostack", *endless],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as victim:
        assert victim.stderr is not None
        at_work = any('"retry_scheduled"' in line for line in victim.stderr)
        victim.send_signal(signal.SIGKILL)
    assert at_work
    assert victim.returncode == -signal.SIGKILL

    assert main(there) == 0

    check_books(tmp_path, orders, ends)


def test_the_clerk_mends_the_same_on_redis(
    redis_url: str, app: str, ends: dict[int, str], capsys: pytest.CaptureFixture[str]
) -> None:
    program.main(["--backend", f"{redis_url}?app={app}"])

    evening, night = capsys.readouterr().out.split("when the clerk has gone home:")
    assert told(evening)[0] == Counter(ends.values())
    assert told(night)[0] == Counter(SHIPPED if end == STUCK else end for end in ends.values())


# --- its parts ------------------------------------------------------------------------------------------

ORDER = Order(order=7, customer="Ada", lines=(Line(sku="cup", pieces=2, price=790),), means=Transfer(iban="XX7"))


@pytest.mark.parametrize("is_paid", [False, True])
async def test_a_customer_is_reminded_when_the_time_is_over_and_nothing_was_paid(is_paid: bool) -> None:
    clock, books = VirtualClock(), Books()
    if is_paid:
        books.note_payment(uuid4(), Money(order=7, cents=1580))
    organ = Deadline(books, timedelta(minutes=5), clock.now)

    async with SpineFixture([organ], clock=clock) as fixture:
        await fixture.run(OrderReceived(timestamp=clock.now(), payload=ORDER))

    assert clock.monotonic() == timedelta(minutes=5).total_seconds()
    fixture.assert_emitted("PAYMENT_OVERDUE", times=0 if is_paid else 1)


@pytest.mark.parametrize("order", ["paid short", "short paid", "paid paid short", "paid short paid short short"])
def test_of_payment_and_stock_the_one_that_came_second_decides_however_often_they_come(order: str) -> None:
    events: dict[str, PaymentTaken | StockShort] = {
        "paid": PaymentTaken(payload=Money(order=7, cents=1580)),
        "short": StockShort(payload=Refusal(order=7, why="no cups")),
    }
    fulfilment = Fulfilment(Books())

    results = [fulfilment.handle(events[name]) for name in order.split()]

    emitted = [result for result in results if result is not None]
    assert {event.event_type for event in emitted} == {"ORDER_CANCELLED"}
    assert len({event.id for event in emitted}) == 1


def test_the_organs_hang_together_as_the_readme_draws_them() -> None:
    drawn = re.findall(r"^    (\w+) -- (\w+) --> (\w+)$", README, re.MULTILINE)

    topology = spine().topology
    assert {edge for edge in drawn if edge[0] != "feed"} == set(topology.edges)
    assert set(topology.orphans) == {"ORDER_RECEIVED", "MONEY_ARRIVED"}
    assert topology.dead_ends == ()
    assert topology.cycles == ()


async def test_the_provider_answers_a_key_that_it_knows_without_moving_anything() -> None:
    provider = Provider()

    for _ in range(9):
        with suppress(ConnectionError, TimeoutError):
            await provider.move("key", "4123", 100)

    assert provider.moved() == {"key": 100}
