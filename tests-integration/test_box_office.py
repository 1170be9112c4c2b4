"""The example of a web application: events from requests, through an outbox, to Organs that write to a database."""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid5

import httpx2
import pytest
from figures import Recorder
from patience import until
from redis_place import Place
from redis_server import free_port
from redis_victim import FORKS
from relay_lives import Life, Relays
from starlette.applications import Starlette

from examples.box_office.database import Database, PostgreSQL, open_database
from examples.box_office.events import Booking, BookingMade, SeatsTaken
from examples.box_office.organs import Seating
from examples.box_office.outbox import Outbox
from examples.box_office.relay import Relay
from examples.box_office.web import REQUESTS, create_app
from examples.box_office.workers import build
from necrostack import Backend, Delivery, Event, InMemoryBackend, Spine
from necrostack_redis import RedisBackend

SHOW = "Hamlet"


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database with one show of 100 seats."""
    is_file = request.param == "sqlite"
    made = open_database(f"sqlite:///{tmp_path}/office.sqlite" if is_file else request.getfixturevalue("postgres_url"))
    made.create_tables()
    with made.transaction() as rows:
        rows.change("INSERT INTO shows VALUES (?, 100)", SHOW)
    yield made
    made.close()


@pytest.fixture(params=["memory", "redis"])
async def backend(request: pytest.FixtureRequest, app: str) -> AsyncIterator[Backend]:
    in_memory = request.param == "memory"
    made = InMemoryBackend(history=1000) if in_memory else RedisBackend(request.getfixturevalue("redis_url"), app=app)
    async with made:
        yield made


@asynccontextmanager
async def client_of(app: Starlette) -> AsyncIterator[httpx2.AsyncClient]:
    """Let an application live, and ask it without a network."""
    transport = httpx2.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        yield client


async def book(client: httpx2.AsyncClient, key: str, seats: int = 1, request: str = "") -> httpx2.Response:
    headers = {"Idempotency-Key": key, "X-Request-ID": request or key}
    return await client.post("/bookings", json={"show": SHOW, "seats": seats}, headers=headers)


async def scan(client: httpx2.AsyncClient, ticket: str) -> httpx2.Response:
    return await client.post("/scans", json={"ticket": ticket, "show": SHOW})


def found(database: Database, sql: str) -> list[Any]:
    """What a query finds: of rows with one column, that."""
    with database.transaction() as rows:
        return [row[0] if len(row) == 1 else row for row in rows.all(sql)]


def bookings(amount: int) -> list[BookingMade]:
    return [BookingMade(payload=Booking(id=str(number), show=SHOW, seats=1)) for number in range(amount)]


def enter(database: Database, *events: BookingMade) -> None:
    """Enter bookings as the web application does, all in one transaction."""
    with database.transaction() as rows:
        for event in events:
            rows.change("INSERT INTO bookings VALUES (?, ?, ?, 'open')", event.payload.id, SHOW, event.payload.seats)
            Outbox(database).put(rows, event)


def open_seats(database: Database, free: int) -> None:
    """Say how many seats there are."""
    with database.transaction() as rows:
        rows.change("UPDATE shows SET free = ?", free)


def in_outbox(database: Database, limit: int = 10) -> list[str]:
    """The oldest bookings whose events wait."""
    return [Event.from_json(row.event).payload.id for row in Outbox(database).waiting(limit)]


# --- the application ----------------------------------------------------------------------------------------


async def test_what_is_asked_for_happens_once_also_when_it_is_asked_for_twice(
    database: Database, backend: Backend
) -> None:
    app = create_app(database, build(database, backend), is_worker=True)
    open_seats(database, 35)

    async with client_of(app) as client:
        answers = await asyncio.gather(*(book(client, key, 10) for key in ["ann", "bob", "ann", "eve", "ann", "dan"]))
        scans = [await scan(client, ticket) for ticket in ["7", "8", "7"]]
        paths = [f"/bookings/{answer.json()['id']}" for answer in answers]

        async def statuses() -> list[str]:
            return [(await client.get(path)).json()["status"] for path in paths]

        async def is_over() -> bool:
            return "open" not in await statuses() and len(found(database, "SELECT ticket FROM visits")) == 2

        await until(is_over, "all is handled")
        told = await statuses()
        is_well = await client.get("/health")

    assert {answer.status_code for answer in (*answers, *scans)} == {202}
    assert len(set(paths)) == 4
    assert Counter(dict(zip(paths, told, strict=True)).values()) == {"confirmed": 3, "sold out": 1}
    assert found(database, "SELECT free FROM shows") == [5]
    assert len(found(database, "SELECT text FROM mails")) == 4
    assert found(database, "SELECT number FROM outbox") == []
    assert is_well.status_code == 200


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_all_that_comes_of_a_request_can_be_found_by_its_id(database: Database, backend: Backend) -> None:
    spine = build(database, backend)

    async with client_of(create_app(database, spine, is_worker=False)) as client:
        await book(client, "ann", request="request 7")
        await Relay(Outbox(database), backend).emit_waiting()
        await spine.run_until_idle()
        chain = [event async for event in backend.admin.history()]

    assert [event.event_type for event in chain] == ["BOOKING_MADE", "SEATS_TAKEN"]
    assert {event.correlation_id for event in chain} == {uuid5(REQUESTS, "request 7")}


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("path", "content", "status"),
    [
        ("/bookings", '{"show": "Hamlet"', 422),
        ("/bookings", '{"show": "Hamlet", "seats": 11}', 422),
        ("/scans", "[]", 422),
        ("/scans", '{"ticket": "\\u0000", "show": "Hamlet"}', 422),
        ("/bookings", '{"show": "Hamlet", "seats": 2}', 422),
    ],
    ids=["no JSON", "too many", "no object", "a control character", "another booking under that key"],
)
async def test_what_makes_no_sense_is_refused_and_not_quoted(
    database: Database, path: str, content: str, status: int
) -> None:
    app = create_app(database, Spine([], InMemoryBackend()), is_worker=False)

    async with client_of(app) as client:
        await book(client, "ann", 1)
        answer = await client.post(path, content=content, headers={"Idempotency-Key": "ann"})
        unknown = await client.get("/bookings/7")

    assert (answer.status_code, unknown.status_code) == (status, 404)
    assert "input" not in answer.text.replace("Input", "")
    assert len(found(database, "SELECT id FROM bookings")) == 1


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_a_full_backend_asks_for_patience(database: Database) -> None:
    backend = InMemoryBackend(max_size=1)

    async with client_of(create_app(database, Spine([], backend), is_worker=False)) as client:
        kept, full = await scan(client, "7"), await scan(client, "8")
        (delivery,) = await backend.pull()
        await backend.ack(delivery)
        again = await scan(client, "8")

    assert [answer.status_code for answer in (kept, full, again)] == [202, 503, 202]
    assert full.headers["Retry-After"] == "2"


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_a_scan_whose_answer_was_lost_is_kept_once_when_it_is_sent_again(
    database: Database, place: Place
) -> None:
    spine = Spine([], RedisBackend(place.proxy.url, app=place.app))

    async with client_of(create_app(database, spine, is_worker=False)) as client:
        await scan(client, "6")  # from now on the server knows the script, and each call is one
        place.proxy.cuts = lambda name: name == "enqueue" and not place.proxy.cut["enqueue"]
        lost, kept = await scan(client, "7"), await scan(client, "7")
        await place.proxy.refuse()
        away = await scan(client, "8")
        await place.proxy.accept()
        back = await scan(client, "8")
        tickets = [event.payload.ticket async for event in spine.backend.admin.history()]

    assert [answer.status_code for answer in (lost, kept, away, back)] == [503, 202, 503, 202]
    assert tickets == ["6", "7", "8"]


def serve(port: int, environment: dict[str, str]) -> None:
    """Serve everything in one process. This is the program of a process."""
    import uvicorn

    os.environ.update(environment)
    uvicorn.run("examples.box_office.web:alone", factory=True, port=port, log_config=None)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_a_server_that_is_told_to_end_loses_nothing_that_it_said_yes_to(
    database: Database, redis_url: str, app: str
) -> None:
    port = free_port()
    environment = {"DATABASE_URL": database.url, "BACKEND_URL": f"{redis_url}?app={app}"}
    server = FORKS.Process(target=serve, args=(port, environment), daemon=True)
    server.start()
    answered: list[str] = []

    async def ask(client: httpx2.AsyncClient, key: str) -> None:
        try:
            answered.append((await book(client, key)).json()["id"])
        except httpx2.TransportError:
            return
        if len(answered) == 20:
            os.kill(server.pid or 0, signal.SIGTERM)

    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:

        async def is_up() -> bool:
            try:
                return (await client.get("/health")).status_code == 200
            except httpx2.TransportError:
                return False

        await until(is_up, "it serves")
        await asyncio.gather(*(ask(client, str(number)) for number in range(60)))
    await asyncio.to_thread(server.join, 45)
    ended_by = server.exitcode

    async with RedisBackend(redis_url, app=app) as backend:
        drained = await backend.admin.stats()
        while await Relay(Outbox(database), backend).emit_waiting():
            pass
        await build(database, backend).run_until_idle()
    entered = dict(found(database, "SELECT id, status FROM bookings"))

    assert ended_by == -signal.SIGTERM  # as uvicorn ends
    assert (drained.pending, drained.consumers) == (0, 0)
    assert len(answered) >= 20
    assert {entered[booking] for booking in answered} == {"confirmed"}
    assert found(database, "SELECT free FROM shows") == [100 - len(entered)]


def test_the_organs_hang_together_as_the_readme_draws_them() -> None:
    readme = (Path(__file__).parents[1] / "examples" / "box_office" / "README.md").read_text("utf-8")
    drawn = re.findall(r"^    (\w+) -- (?:relay: )?([A-Z_]+) --> (\w+)$", readme, re.MULTILINE)

    topology = build(open_database("sqlite:///:memory:"), InMemoryBackend()).topology

    assert {edge for edge in drawn if edge[0] != "outbox"} == set(topology.edges)
    assert {edge[1] for edge in drawn if edge[0] == "outbox"} | {"TICKET_SCANNED"} == set(topology.orphans)


def test_a_database_that_is_not_known_is_refused_with_those_that_are() -> None:
    with pytest.raises(ValueError, match="'mysql://localhost' is no database that is known here; write sqlite:///FILE"):
        open_database("mysql://localhost")


# --- the outbox ---------------------------------------------------------------------------------------------


async def test_what_is_taken_back_is_not_emitted(database: Database) -> None:
    backend = InMemoryBackend()
    enter(database, *bookings(1))

    with pytest.raises(Exception, match=r"(?i)unique"):
        enter(database, *bookings(2)[::-1])  # the second of them is there already
    await Relay(Outbox(database), backend).emit_waiting()

    assert [delivery.event.payload.id for delivery in await backend.pull(limit=9)] == ["0"]


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
async def test_who_is_numbered_first_and_committed_last_is_emitted(database: Database) -> None:
    backend, outbox = InMemoryBackend(), Outbox(database)
    first, second = bookings(2)

    with database.transaction() as rows:
        outbox.put(rows, first)
        enter(database, second)
        seen = outbox.waiting(9)
    outbox.done(seen)
    await Relay(outbox, backend).emit_waiting()

    assert [Event.from_json(row.event) for row in seen] == [second]
    assert [delivery.event for delivery in await backend.pull(limit=9)] == [first]
    assert outbox.waiting(9) == []


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_what_can_never_be_emitted_is_left_to_people_and_holds_nobody_up(database: Database) -> None:
    backend = InMemoryBackend(max_event_size=60)
    small, large = bookings(1)[0], BookingMade(payload=Booking(id="x" * 99, show=SHOW, seats=1))
    enter(database, large, small)

    await Relay(Outbox(database), backend).emit_waiting()

    assert [delivery.event for delivery in await backend.pull(limit=9)] == [small]
    [why] = found(database, "SELECT refused FROM outbox")
    assert "more than the 60 that are allowed" in why


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_the_outbox_waits_for_room_and_a_relay_that_is_cancelled_forgets_what_it_emitted(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    backend = InMemoryBackend(max_size=2)
    enter(database, *bookings(5))

    relay = asyncio.create_task(Relay(Outbox(database), backend, interval=0.01).run())
    await until(lambda: "the outbox waits: max_size is 2" in caplog.text, "there is no room")
    for delivery in await backend.pull(limit=2):
        await backend.ack(delivery)
    await until(lambda: "".join(caplog.messages).count("waits") == 2, "there is no room again")
    relay.cancel()
    with pytest.raises(asyncio.CancelledError):
        await relay

    assert in_outbox(database) == ["4"]


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
async def test_the_bell_rings_and_a_second_relay_has_it_when_the_first_is_gone(
    database: Database, postgres_url: str
) -> None:
    backend, other = InMemoryBackend(), PostgreSQL(postgres_url)
    first = asyncio.create_task(Relay(Outbox(database), backend, interval=600).run())
    await until(lambda: listeners(database) == 1, "it listens")
    standby = asyncio.create_task(Relay(Outbox(other), backend, interval=600).run())

    emitted: list[Delivery] = []
    for number, booking in enumerate(bookings(2)):
        enter(database, booking)
        emitted += await backend.pull(timeout=45)
        if number == 0:
            first.cancel()
            await asyncio.wait({first})
            await until(lambda: listeners(database) == 1, "the other one listens")
    standby.cancel()
    await asyncio.wait({standby})
    other.close()

    assert [delivery.event.payload.id for delivery in emitted] == ["0", "1"]


def listeners(database: Database) -> int:
    """How many have the bell."""
    [locks] = found(
        database, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 'outbox'::regclass::oid"
    )
    return int(locks)


def test_the_sql_that_the_docs_show_for_postgresql_runs_there(postgres_url: str) -> None:
    page = (Path(__file__).parents[1] / "docs" / "how-to" / "emit-with-a-database.md").read_text("utf-8")
    shown = re.findall(r"^```sql\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)

    connection = PostgreSQL(postgres_url).connect()
    with connection:
        for block in shown:
            connection.execute(block)
        [waits] = connection.execute("SELECT count(*) FROM outbox").fetchone() or [None]

    assert len(shown) == 5
    assert waits == 0


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_two_who_share_the_rows_take_different_ones(database: Database) -> None:
    enter(database, *bookings(2))
    oldest = "SELECT event FROM outbox WHERE refused IS NULL ORDER BY number LIMIT 1 FOR UPDATE SKIP LOCKED"

    with database.transaction() as mine, database.transaction() as others:
        taken = [Event.from_json(rows.all(oldest)[0][0]).payload.id for rows in (mine, others)]

    assert taken == ["0", "1"]


@pytest.mark.parametrize(
    ("database", "when", "repeat_window"),
    [
        ("sqlite", "and back in the window", 120.0),
        ("postgresql", "and back in the window", 120.0),
        ("sqlite", "and back after the window", 0.001),
    ],
    indirect=["database"],
)
@pytest.mark.parametrize("kills", [8, pytest.param(150, marks=pytest.mark.thorough)])
@pytest.mark.timeout(900)
async def test_killed_relays_lose_nothing_and_nothing_is_done_twice(
    database: Database, redis_url: str, app: str, figures: Recorder, when: str, repeat_window: float, kills: int
) -> None:
    events, came_again = kills * 25, 0
    open_seats(database, events)
    enter(database, *bookings(events))
    relays = Relays(database.url, redis_url, {"app": app, "repeat_window": repeat_window})

    async with RedisBackend(redis_url, app=app) as backend:

        async def emitted(since: datetime | None = None) -> list[str]:
            history = backend.admin.history(since=since, event_type="BOOKING_MADE")
            return [event.payload.id async for event in history]

        for kill in range(kills):
            born = datetime.now(UTC)
            await relays.live(Life(random.randint(1, 25), random.uniform(0, 0.002)) if kill else Life(5))
            came_again += len({*await emitted(since=born)} & {*in_outbox(database, 100)})
        relays.close()
        while await Relay(Outbox(database), backend).emit_waiting():
            pass
        kept = await emitted()
        await build(database, backend).run_until_idle()

    confirmed = found(database, "SELECT id FROM bookings WHERE status = 'confirmed'")
    [free] = found(database, "SELECT free FROM shows")
    kept_twice = len(kept) - events
    figures(
        f"Relay of an outbox killed, {when}",
        times=kills,
        events=events,
        lost=events - len({*kept}),
        doubled=events - len(confirmed),
        came_again=came_again,
        kept_twice=kept_twice,
    )
    assert [*dict.fromkeys(kept)] == [str(number) for number in range(events)]
    assert (len(confirmed), free) == (events, 0)
    assert came_again > 0
    assert (kept_twice > 0) == (repeat_window < 1)


# --- the inbox ----------------------------------------------------------------------------------------------


async def test_a_booking_that_is_delivered_again_takes_its_seats_once_and_says_the_same(
    database: Database, backend: Backend
) -> None:
    [made] = bookings(1)
    enter(database, made)
    await backend.enqueue(made)

    # It is handled, its worker dies before it can say so, and somebody else gets it.
    [delivery] = await backend.pull()
    assert isinstance(delivery.event, BookingMade)
    first = await Seating(database).handle(delivery.event)
    await backend.release(delivery)
    await build(database, backend).run_until_idle()
    taken = [event async for event in backend.admin.history(event_type="SEATS_TAKEN")]

    assert isinstance(first, SeatsTaken)
    assert [event.payload for event in taken] == [first.payload]
    assert found(database, "SELECT free FROM shows") == [99]
    assert len(found(database, "SELECT text FROM mails")) == 1
