"""The page for when something is wrong shows what the commands print, in the state that each chapter is about."""

from __future__ import annotations

import importlib
import io
import logging
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import replace
from pathlib import Path

import pytest
from operator_desk import PATIENCE, Desk, Worker, files_of, in_general, sections_of
from redis_server import Server, command
from test_docs import DOCS, matches, rows_of

from necrostack import Event, Organ, Settlement, Spine
from necrostack.cli.arguments import build_parser
from necrostack.delivery import Failure
from necrostack.fleet import Announcement
from necrostack.log import JsonFormatter
from necrostack_redis import RedisBackend

PAGE = DOCS / "how-to" / "operations.md"

SECTIONS = {section.heading: section for section in sections_of(PAGE)}


@pytest.fixture(scope="module")
def server(redis_binary: Path) -> Iterator[Server]:
    """A server for this page, which each test empties."""
    own = Server(redis_binary, ("--appendonly", "yes"))
    yield own.start()
    own.remove()


@pytest.fixture
def desk(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """The desk, in a folder with the page's programs."""
    if server.process is None:
        server.start()
    command(server.port, "CONFIG", "SET", "maxmemory", "0")
    command(server.port, "FLUSHALL")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("NO_COLOR", "1")
    own = Desk(server, tmp_path)
    own.write(files_of(PAGE))
    with logged_to(own.log):
        yield own
        own.leave()


@contextmanager
def logged_to(lines: list[str]) -> Iterator[None]:
    """Keep what is logged, as a worker writes it."""

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    handler = Keep()
    handler.setFormatter(JsonFormatter())
    logging.getLogger("necrostack").addHandler(handler)
    yield
    logging.getLogger("necrostack").removeHandler(handler)


# --- how each thing comes to be wrong -----------------------------------------------------------------------


def order(number: int, total: int = 10) -> Event:
    return Event(event_type="ORDER_PLACED", payload={"number": number, "total": total})


def come_in(desk: Desk, *events: Event, delay: float = 0.0, **settings: object) -> None:
    """Events are emitted, and the last one is `$ID`."""

    async def enqueue(backend: RedisBackend) -> None:
        await backend.enqueue(*events, delay=delay)

    desk.do(enqueue, **settings)
    desk.names["ID"] = str(events[-1].id)


def work(desk: Desk) -> None:
    """A worker does what there is to do, and ends; afterwards there is a group."""
    desk.type_in("necrostack run kiosk --concurrency 50 --until-idle")


def nobody_works(desk: Desk) -> None:
    work(desk)
    come_in(desk, order(1), order(2))


def they_do_not_meet(desk: Desk) -> None:
    desk.start("kiosk")
    come_in(desk, order(1), order(2), url=f"{desk.server.url}/1")


def nobody_listens(desk: Desk) -> None:
    come_in(desk, Event(event_type="ORDER_PLACE", payload={"number": 1}))
    work(desk)


def a_handler_hangs(desk: Desk) -> None:
    desk.start("kiosk")
    come_in(desk, order(13))
    desk.is_settled = lambda stats: stats.history == 2 and stats.queued + stats.pending == 1
    desk.wait_for(desk.is_settled)
    desk.names["ID"] = pending(desk)


def pending(desk: Desk) -> str:
    """What has been pending for longest."""

    async def ask(backend: RedisBackend) -> str:
        return str((await anext(backend.admin.pending())).event.id)

    return desk.do(ask)


def a_worker_died(desk: Desk) -> None:
    """It pulled, and was never heard of again: all that is left of it is in the server."""
    work(desk)
    come_in(desk, order(1))
    dead = ("GROUP", "default", "vm-14872-38a9e842")
    command(desk.server.port, "XREADGROUP", *dead, "STREAMS", "necrostack:{kiosk}:events", ">")


def it_is_not_due(desk: Desk) -> None:
    work(desk)
    come_in(desk, order(1), delay=3600.0)


def something_is_no_event(desk: Desk) -> None:
    work(desk)
    command(desk.server.port, "XADD", "necrostack:{kiosk}:events", "*", "who", "knows")
    work(desk)


def more_comes_than_is_handled(desk: Desk) -> None:
    desk.start("kiosk")
    come_in(desk, *(order(number) for number in range(20, 470)))
    desk.is_settled = lambda stats: True
    desk.moves = True
    desk.wait_for(lambda stats: stats.history == 900)


def billing_fails(desk: Desk) -> None:
    come_in(desk, *(order(number, total=0) for number in range(3)), order(3))
    work(desk)
    desk.names["LETTER"] = letters(desk)[0]


def letters(desk: Desk) -> list[str]:
    async def ask(backend: RedisBackend) -> list[str]:
        return [letter.id async for letter in backend.admin.dead_letters()]

    return desk.do(ask)


def the_server_is_full(desk: Desk) -> None:
    come_in(desk, order(1, total=0))
    work(desk)
    photos = (Event(event_type="PHOTO_TAKEN", payload={"pixels": "x" * 100_000}) for _ in range(40))
    come_in(desk, *photos, order(2))
    command(desk.server.port, "CONFIG", "SET", "maxmemory", used_memory(desk.server) - 200_000)


def used_memory(server: Server) -> int:
    found = re.search(rb"^used_memory:(\d+)", command(server.port, "INFO", "memory"), re.MULTILINE)
    assert found is not None
    return int(found[1])


def a_group_is_left_alone(desk: Desk) -> None:
    async def pull(backend: RedisBackend) -> None:
        await backend.pull(timeout=0)

    desk.do(pull, group="statistics")
    come_in(desk, *(order(number) for number in range(20, 50)))
    work(desk)


def the_server_is_away(desk: Desk) -> None:
    desk.server.kill()


def it_lost_its_data(desk: Desk) -> None:
    desk.start("kiosk")
    come_in(desk, order(1), order(2))
    desk.wait_for(lambda stats: stats.history == 4 and stats.queued + stats.pending == 0)
    command(desk.server.port, "FLUSHALL")
    deadline = time.monotonic() + PATIENCE
    while b"default" not in command(desk.server.port, "HKEYS", "necrostack:{kiosk}:groups"):
        assert time.monotonic() < deadline, "the group is not made anew"
        time.sleep(0.1)


def one_was_handled(desk: Desk) -> None:
    come_in(desk, order(1), order(2))
    work(desk)


def one_killed_its_workers(desk: Desk) -> None:
    work(desk)
    come_in(desk, order(666))

    async def give_up(backend: RedisBackend) -> None:
        (delivery,) = await backend.pull()
        told = "it was taken over from dead workers more than 5 times"
        await backend.settle(Settlement(delivery, dead=(Failure(reason="max_recoveries", error=told),)))

    desk.do(give_up)
    desk.names["LETTER"] = letters(desk)[0]


def old_and_new_work_together(desk: Desk) -> None:
    class Ledger(Organ):
        listens_to = ["ORDER_PLACED"]

        def handle(self, event: Event) -> None: ...

    desk.start("kiosk")
    kiosk = importlib.import_module("kiosk")
    backend = RedisBackend(desk.server.url, app="kiosk", lease=5)
    desk.workers.append(Worker(Spine([kiosk.Billing(), kiosk.Mailer(), Ledger()], backend=backend)))
    desk.wait_for(lambda stats: stats.consumers == 2)


def one_worker_is_newer(desk: Desk) -> None:
    class Newer(RedisBackend):
        async def announce(self, about: Announcement) -> None:
            await super().announce(replace(about, version="0.2.0"))

    async def announced(backend: RedisBackend) -> int:
        return sum(worker.about is not None for worker in await backend.admin.consumers())

    desk.start("kiosk")
    kiosk = importlib.import_module("kiosk")
    desk.workers.append(Worker(Spine([kiosk.Billing(), kiosk.Mailer()], backend=Newer(desk.server.url, app="kiosk"))))
    desk.wait_for(lambda _: desk.do(announced) == 2)


def all_were_redriven(desk: Desk) -> None:
    billing_fails(desk)
    desk.type_in("necrostack dlq redrive kiosk --all --yes")
    work(desk)


SCENES: dict[str, Callable[[Desk], None]] = {
    "No worker": nobody_works,
    "Another app, group or database": they_do_not_meet,
    "Nobody listens": nobody_listens,
    "A handler hangs": a_handler_hangs,
    "A dead or frozen worker has it": a_worker_died,
    "It is not due yet": it_is_not_due,
    "Nobody can handle it": something_is_no_event,
    "Lag grows": more_comes_than_is_handled,
    "One handler fails": billing_fails,
    "Redis is full": the_server_is_full,
    "A group that nobody serves": a_group_is_left_alone,
    "Redis is away": the_server_is_away,
    "It came back without its data": it_lost_its_data,
    "An event was handled twice": one_was_handled,
    "An event seems lost": one_was_handled,
    "A worker restarts again and again": one_killed_its_workers,
    "Shutdown takes too long": a_handler_hangs,
    "A deploy changed the topology": old_and_new_work_together,
    "Workers run different versions": one_worker_is_newer,
    "The wrong letters were redriven": all_were_redriven,
}
"""How each chapter's state comes about. A chapter without an entry shows what only other machines can show."""


@pytest.mark.parametrize("heading", SCENES)
def test_a_chapter_shows_what_the_commands_print_and_the_log_says(heading: str, desk: Desk) -> None:
    SCENES[heading](desk)

    desk.follow(SECTIONS[heading].typed)

    said = [line for line in SECTIONS[heading].lines if event_of(line) not in SAID_ELSEWHERE]
    missing = [line for line in said if not any(matches(in_general(line), in_general(got)) for got in desk.log)]
    assert missing == [], desk.log


SAID_ELSEWHERE = {
    *("lease_given_up", "lease_lapsed", "stream_pinned", "backend_unavailable", "backend_back", "settlement_lost"),
    *("worker_started", "worker_died", "dead_lettered: max_recoveries"),
}
"""Lines of processes that die, freeze, or wait for long. The tests of the deaths, freezes and outages have them."""


def event_of(line: str) -> str:
    """The name of a line of the log, with a reason that only the deaths of processes have."""
    found = re.search(r'"event": "(\w+)"', line)
    assert found is not None, line
    return f"{found[1]}: max_recoveries" if '"max_recoveries"' in line else found[1]


def test_every_line_of_the_log_on_the_page_has_the_level_that_the_reference_says() -> None:
    listed = {(row[0], row[1]) for row in rows_of(DOCS / "reference" / "log-events.md")}

    shown = {
        (found[2], found[1])
        for section in SECTIONS.values()
        for line in section.lines
        for found in [re.search(r'"level": "(\w+)", "logger": "necrostack", "event": "(\w+)"', line)]
        if found is not None
    }

    assert shown
    assert shown - listed == set()


def test_every_chapter_with_commands_is_tried() -> None:
    assert {section.heading for section in SECTIONS.values() if section.typed} == SCENES.keys()


def test_the_page_knows_what_to_do_about_each_alert() -> None:
    alerts = re.findall(r"- alert: (\w+)", (DOCS / "how-to" / "watch-with-prometheus.md").read_text("utf-8"))

    assert alerts
    assert [name for name in alerts if f"`{name}`" not in PAGE.read_text("utf-8")] == []


def test_every_command_on_the_page_is_one() -> None:
    text = PAGE.read_text("utf-8")
    found = re.findall(r"(?:^(?:\$ )?|`)(necrostack [^`\n…]+)(?:`|$)", text, re.MULTILINE)
    assert len(found) > 40

    for typed in found:
        words = [WORDS.get(word, word) for word in shlex.split(typed.partition(" > ")[0].removesuffix("&"))]
        with redirect_stderr(io.StringIO()) as said:
            try:
                build_parser(words[1:]).parse_args(words[1:])
            except SystemExit:
                pytest.fail(f"{typed}\n{said.getvalue()}")


WORDS = {"$ID": "6f1c2b52-0a53-4c5c-9d0e-2b8a1f0f7d11", "$LETTER": "1795812081293-0", "N": "2"}
"""What stands on the page for something that everybody has otherwise."""
