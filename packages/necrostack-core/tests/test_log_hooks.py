"""What a log says besides: which event is handled, what was left out, and no secrets."""

from __future__ import annotations

import asyncio
import contextvars
import io
import json
import logging
import logging.handlers
import queue
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from necrostack import Event, GiveUp, Organ, RetryPolicy, Spine
from necrostack.instrumentation import Instrumentation
from necrostack.log import (
    JsonFormatter,
    Sampling,
    end_repeats,
    logger,
    name_handled_event,
    set_redaction,
    set_sampling,
)

SHOP = logging.getLogger("shop")
CARD = "4111-1111"


class Lines(io.StringIO):
    def all(self, logger_name: str | None = None) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in self.getvalue().splitlines()]
        return [line for line in found if logger_name in (None, line["logger"])]

    def named(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.all() if line["event"] == name]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """What everybody logs from INFO on, as JSON."""
    stream = Lines()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logging.getLogger().addHandler(handler)
    yield stream
    logging.getLogger().removeHandler(handler)


@pytest.fixture(autouse=True)
def nothing_set() -> Iterator[None]:
    yield
    set_redaction(None)
    set_sampling(None)


def event(payload: dict[str, Any] | None = None, event_type: str = "PAID") -> Event:
    return Event(event_type=event_type, payload=payload or {})


class Charging(Organ):
    """Calls a function with its event."""

    listens_to = ["PAID"]

    def __init__(self, do: Callable[[Event], object]) -> None:
        super().__init__()
        self.do = do

    async def handle(self, event: Event) -> None:
        result = self.do(event)
        if asyncio.iscoroutine(result):
            await result


class Shipping(Organ):
    listens_to = ["PAID"]

    def handle(self, event: Event) -> None:
        SHOP.info("shipped")


def raising(error: Exception) -> Callable[[Event], object]:
    def fail(_: Event) -> None:
        raise error

    return fail


# --- who is handled -----------------------------------------------------------------------------------------


async def test_what_a_handler_logs_names_its_event_and_organ(lines: Lines) -> None:
    root = event()
    paid = Event(event_type="PAID", payload={}, correlation_id=root.id)

    await Spine([Charging(lambda _: SHOP.info("charged", extra={"amount": 3})), Shipping()]).run_until_idle(paid)
    SHOP.info("done")

    facts = {"event_id": str(paid.id), "event_type": "PAID", "correlation_id": str(root.id)}
    charged, shipped, done = lines.all("shop")
    assert {name: charged[name] for name in (*facts, "organ", "amount")} == facts | {"organ": "Charging", "amount": 3}
    assert {name: shipped[name] for name in (*facts, "organ")} == facts | {"organ": "Shipping"}
    assert not {*done} & {*facts, "organ"}


async def test_threads_and_tasks_of_a_handler_know_it_too(lines: Lines) -> None:
    async def later(what: str) -> None:
        await asyncio.sleep(0)
        SHOP.info(what)

    async def handle(_: Event) -> None:
        await asyncio.to_thread(SHOP.info, "thread")
        with ThreadPoolExecutor(1) as pool:
            pool.submit(contextvars.copy_context().run, SHOP.info, "own thread").result()
        await asyncio.create_task(later("task"))

    await Spine([Charging(handle)]).run_until_idle(event())

    assert [(line["event"], line["organ"]) for line in lines.all("shop")] == [
        ("thread", "Charging"),
        ("own thread", "Charging"),
        ("task", "Charging"),
    ]


async def test_two_that_are_handled_at_once_are_not_mixed_up(lines: Lines) -> None:
    both = asyncio.Barrier(2)

    async def handle(event: Event) -> None:
        await both.wait()
        SHOP.info("charged", extra={"whose": str(event.id)})

    await Spine([Charging(handle)], concurrency=2).run_until_idle(event(), event())

    charged = lines.all("shop")
    assert [line["whose"] for line in charged] == [line["event_id"] for line in charged]
    assert len({line["event_id"] for line in charged}) == 2


async def test_a_line_that_names_an_event_itself_is_left_alone(lines: Lines) -> None:
    await Spine([Charging(lambda _: SHOP.info("refunded", extra={"event_id": "other"}))]).run_until_idle(event())

    (line,) = lines.all("shop")
    assert line["event_id"] == "other"
    assert "organ" not in line


async def test_the_filter_names_the_event_where_another_thread_formats() -> None:
    records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    handler = logging.handlers.QueueHandler(records)
    handler.addFilter(name_handled_event)
    SHOP.addHandler(handler)

    await Spine([Charging(lambda _: SHOP.info("charged"))]).run_until_idle(event())
    SHOP.removeHandler(handler)

    assert vars(records.get_nowait())["organ"] == "Charging"


async def test_every_line_about_an_event_names_it(lines: Lines) -> None:
    class Failing(Instrumentation):
        def emitting(self, event: Event, parent: Event | None) -> Event:
            raise OSError("no collector")

    retry = RetryPolicy(max_attempts=2, base_delay=0.0)
    spine = Spine([Charging(raising(ValueError("no")))], retry=retry, instrumentation=Failing())
    paid, unheard = event(), event(event_type="UNHEARD")

    await spine.run_until_idle(paid, unheard)

    names = [(line["event"], line.get("event_id")) for line in lines.all("necrostack")]
    assert [(name, whose) for name, whose in names if not name.startswith("run_")] == [
        ("instrumentation_failed", str(paid.id)),
        ("instrumentation_failed", str(unheard.id)),
        ("retry_scheduled", str(paid.id)),
        ("unrouted", str(unheard.id)),
        ("dead_lettered", str(paid.id)),
    ]
    assert all({"event_type", "correlation_id"} <= {*line} for line in lines.all() if "event_id" in line)


# --- errors that repeat -------------------------------------------------------------------------------------


async def test_by_default_every_failure_is_written(lines: Lines) -> None:
    await Spine([Charging(raising(ValueError("no")))]).run_until_idle(*(event() for _ in range(30)))

    assert len(lines.named("dead_lettered")) == 30
    assert lines.named("repeated") == []


async def test_of_repeated_errors_the_first_are_written_and_the_rest_is_told_when_the_run_ends(lines: Lines) -> None:
    set_sampling(Sampling(first=3, window=3600.0))

    report = await Spine([Charging(raising(ValueError("no")))]).run_until_idle(*(event() for _ in range(30)))

    (repeated,) = lines.named("repeated")
    assert len(lines.named("dead_lettered")) == 3
    assert (repeated["of"], repeated["organ"], repeated["error_type"]) == ("dead_lettered", "Charging", "ValueError")
    assert repeated["count"] == 27
    assert report.dead_lettered == 30
    assert [line["event"] for line in lines.all()][-2:] == ["repeated", "run_stopped"]


async def test_what_is_no_error_is_never_left_out(lines: Lines) -> None:
    set_sampling(Sampling(first=1, window=3600.0))
    spine = Spine([])

    for _ in range(3):
        await spine.run_until_idle(event(event_type="UNHEARD"))

    assert len(lines.named("unrouted")) == 3
    assert len(lines.named("run_started")) == 3


def test_sampling_that_is_taken_back_tells_what_it_left_out(lines: Lines) -> None:
    before = set_sampling(Sampling(first=1))
    for _ in range(3):
        logger.error("dead_lettered", extra={"error_type": "ValueError"})

    assert set_sampling(None) == Sampling(first=1)
    logger.error("dead_lettered", extra={"error_type": "ValueError"})
    end_repeats()

    assert before is None
    assert [line["event"] for line in lines.all()] == ["dead_lettered", "repeated", "dead_lettered"]


# --- secrets ------------------------------------------------------------------------------------------------


def without_secrets(fields: dict[str, object]) -> dict[str, object]:
    return {name: str(value).replace(CARD, "…") if name != "attempt" else value for name, value in fields.items()}


async def test_a_hook_changes_the_fields_of_ours_and_of_a_handlers_lines(lines: Lines) -> None:
    set_redaction(without_secrets)

    def charge(_: Event) -> None:
        SHOP.info("charging %s", CARD, extra={"card": CARD})
        raise ValueError(CARD)

    await Spine([Charging(charge)]).run_until_idle(event())

    (own,) = lines.named("dead_lettered")
    (shop,) = lines.all("shop")
    assert CARD not in lines.getvalue()
    assert (own["error"], own["organ"], own["attempt"]) == ("ValueError: …", "Charging", 1)
    assert own["traceback"].endswith("ValueError: …")
    assert (shop["event"], shop["card"], shop["organ"]) == ("charging …", "…", "Charging")


def test_a_hook_holds_for_formatters_of_the_application(lines: Lines) -> None:
    plain = io.StringIO()
    handler = logging.StreamHandler(plain)
    handler.setFormatter(logging.Formatter("%(message)s %(error)s"))
    logger.addHandler(handler)
    set_redaction(without_secrets)

    logger.error("dead_lettered", extra={"error": CARD}, exc_info=ValueError(CARD))
    logger.removeHandler(handler)

    first, *_, last = plain.getvalue().splitlines()
    assert (first, last) == ("dead_lettered …", "ValueError: …")


def test_what_a_hook_leaves_out_is_not_written(lines: Lines) -> None:
    set_redaction(lambda fields: {"event": fields["event"]})

    logger.error("dead_lettered", extra={"error": CARD}, exc_info=ValueError(CARD))
    SHOP.error("failed", exc_info=ValueError(CARD))

    assert [{*line} for line in lines.all()] == [{"time", "level", "logger", "event"}] * 2
    assert CARD not in lines.getvalue()


def test_a_hook_that_leaves_out_the_event_has_something_stand_for_it(lines: Lines) -> None:
    set_redaction(lambda _: {})

    SHOP.error(CARD)

    assert [line["event"] for line in lines.all()] == ["redacted"]


def failing(fields: dict[str, object]) -> Mapping[str, object]:
    raise LookupError(f"not expected: {fields}")


def answering(fields: dict[str, object]) -> Any:
    return [fields]


class Unshowable:
    def __str__(self) -> str:
        raise RuntimeError(CARD)


@pytest.mark.parametrize(
    ("hook", "error"),
    [(failing, "LookupError"), (answering, "AttributeError"), (lambda _: {Unshowable(): CARD}, "RuntimeError")],
)
def test_when_a_hook_fails_nothing_of_the_fields_is_written_and_the_failure_is(
    lines: Lines, hook: Callable[[dict[str, object]], Any], error: str
) -> None:
    set_redaction(hook)

    logger.error("dead_lettered", extra={"error": CARD}, exc_info=ValueError(CARD))
    SHOP.error("charging %s", CARD, extra={"card": CARD})

    assert CARD not in lines.getvalue()
    assert [(line["event"], line["redaction_failed"], len(line)) for line in lines.all()] == [
        ("dead_lettered", error, 5),
        ("redaction_failed", error, 5),
    ]


async def test_a_hook_that_fails_does_not_stop_the_work(lines: Lines) -> None:
    set_redaction(failing)

    report = await Spine([Charging(raising(GiveUp(CARD)))]).run_until_idle(event())

    assert report.dead_lettered == 1
    assert CARD not in lines.getvalue()
