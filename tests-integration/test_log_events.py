"""Log lines: what the code logs, what the page says of it, what the schema says, and what is really written."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from log_calls import Logged, logged_in
from log_schema import LINE, SCHEMA, problems_in
from redis.asyncio import Redis

import necrostack
import necrostack_redis
from necrostack import Event, GiveUp, InMemoryBackend, Organ, RetryPolicy, Spine
from necrostack.delivery import Delivery
from necrostack.instrumentation import Instrumentation
from necrostack.log import JsonFormatter, Sampling, set_redaction, set_sampling
from necrostack_redis import RedisBackend
from necrostack_redis.keys import Keys

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "log-events.md"
FIELDS: Mapping[str, Any] = SCHEMA["then"]["properties"]
OWN = "redaction_failed"


@pytest.fixture(scope="module")
def called() -> dict[str, Logged]:
    return logged_in(*(Path(str(package.__file__)).parent for package in (necrostack, necrostack_redis)))


def rows(heading: str | None) -> dict[str, list[str]]:
    """The rows of the table under a heading, or of the first one."""
    text = PAGE.read_text("utf-8")
    text = text if heading is None else text.partition(f"\n## {heading}\n")[2]
    table = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert table is not None
    found = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table[0].splitlines()[2:]]
    return {row[0].strip(" `"): row[1:] for row in found}


# --- what is said is what is logged -------------------------------------------------------------------------


def test_the_schema_has_what_the_code_logs_and_nothing_else(called: dict[str, Logged]) -> None:
    described = {name: each for name, each in SCHEMA["$defs"].items() if name != OWN}

    assert {*described} == {*called}
    assert [each["$ref"] for each in SCHEMA["then"]["oneOf"]] == [f"#/$defs/{name}" for name in (*described, OWN)]
    for name, logged in called.items():
        assert described[name]["properties"] == {
            "event": {"const": name},
            "level": {"const": next(iter(logged.levels))},
        }
        assert {*described[name]["propertyNames"]["enum"]} == logged.facts | LINE | {"worker"}, name
        assert {*described[name].get("required", ())} == logged.always, name


def test_the_page_has_the_facts_of_each_line(called: dict[str, Logged]) -> None:
    listed = {name: (row[0], {*re.findall(r"`(\w+)`", row[2])}) for name, row in rows(None).items()}

    assert listed == {name: (next(iter(logged.levels)), logged.facts) for name, logged in called.items()}


def test_the_page_has_the_type_of_each_fact() -> None:
    listed = {name: row[0] for name, row in rows("Facts").items()}

    assert listed == {name: as_words(field) for name, field in FIELDS.items() if name not in LINE - {"time"}}


def as_words(field: Mapping[str, Any]) -> str:
    kind = field["type"]
    return "list of strings" if kind == "array" else kind if isinstance(kind, str) else " or ".join(kind)


# --- what is written is what is said ------------------------------------------------------------------------


class Lines(io.StringIO):
    @property
    def all(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]

    @property
    def names(self) -> set[str]:
        return {line["event"] for line in self.all}


@pytest.fixture
def lines() -> Iterator[Lines]:
    """All that is logged, as JSON."""
    stream, root, ours = Lines(), logging.getLogger(), logging.getLogger("necrostack")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    root.addHandler(handler)
    ours.setLevel(logging.DEBUG)
    yield stream
    ours.setLevel(logging.NOTSET)
    root.removeHandler(handler)
    set_redaction(None)
    set_sampling(None)


class Failing(Organ):
    """Fails in as many ways as a payload says."""

    listens_to = ["LOGGED"]
    retry = RetryPolicy(max_attempts=2, base_delay=0.0)

    async def handle(self, event: Event) -> Any:
        logging.getLogger("shop").warning("failing", extra={"attempt": "mine"})
        match event.payload:
            case {"how": "error"}:
                raise ValueError("no such card")
            case {"how": "give up"}:
                raise GiveUp("the order was cancelled")
            case {"how": "result"}:
                return "nonsense"
        return None

    async def shutdown(self) -> None:
        raise OSError("not closed")


class Other(Failing):
    listens_to = ["LOGGED_OTHER"]


class Watching(Instrumentation):
    def emitting(self, event: Event, parent: Event | None) -> Event:
        raise OSError("no collector")

    def settled(self, settlements: object, accepted: object) -> None:
        raise OSError("no collector")

    def handling(self, organ: str, delivery: Delivery) -> Any:
        raise OSError("no collector")


FAILURES = [Event(event_type="LOGGED", payload={"how": how}) for how in ("error", "give up", "result", "not at all")]


async def run_and_fail(spine: Spine) -> None:
    with pytest.raises(OSError, match="not closed"):
        await spine.run_until_idle(*FAILURES, Event(event_type="UNHEARD", payload={}))


async def test_every_line_of_a_run_with_failures_matches_the_schema(lines: Lines) -> None:
    set_sampling(Sampling(first=1))
    spine = Spine([Failing(), Other()], InMemoryBackend(), instrumentation=Watching())

    await run_and_fail(spine)

    assert problems_in(lines.all) == []
    assert lines.names >= {
        *("run_started", "run_stopped", "delivery_handled", "retry_scheduled", "dead_lettered", "unrouted"),
        *("instrumentation_failed", "shutdown_failed", "repeated", "failing"),
    }


async def test_a_line_whose_redaction_failed_matches_it_too(lines: Lines) -> None:
    set_redaction(lambda _: 1 / 0)  # type: ignore[arg-type, return-value]  # wrong on purpose

    await run_and_fail(Spine([Failing()]))

    assert problems_in(lines.all) == []
    assert {line["redaction_failed"] for line in lines.all} == {"ZeroDivisionError"}


async def test_every_line_of_a_run_on_redis_matches_it(lines: Lines, redis_url: str, app: str) -> None:
    keys = Keys(app, "default")
    async with RedisBackend(redis_url, app=app) as backend, Redis.from_url(redis_url) as client:
        spine = Spine([Failing()], backend)
        await client.xadd(keys.events, {"nonsense": "1"})
        await run_and_fail(spine)
        await client.xgroup_destroy(keys.events, keys.group)
        await run_and_fail(spine)

    assert problems_in(lines.all) == []
    assert {line["reason"] for line in lines.all if line["event"] == "dead_lettered"} >= {"undecodable", "bad_result"}
    assert "group_recreated" in lines.names


def test_the_schema_tells_what_is_wrong() -> None:
    line = {"time": "2026-03-01T12:00:00+00:00", "level": "INFO", "logger": "necrostack", "event": "run_started"}

    assert problems_in([line | {"organs": [], "backend": "B"}]) == []
    assert problems_in([line | {"organs": "A", "backend": "B"}])
    assert problems_in([line | {"organs": []}])
    assert problems_in([line | {"organs": [], "backend": "B", "payload": {}}])
    assert problems_in([line | {"organs": [], "backend": "B", "level": "ERROR"}])
    assert problems_in([line | {"event": "unheard_of"}])
    assert problems_in([line | {"logger": "shop", "event": "whatever", "attempt": "mine"}]) == []
