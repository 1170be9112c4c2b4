"""`necrostack schema`: what is written is what it says it is, and it matches the events and nothing else."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft7Validator, Draft202012Validator

if TYPE_CHECKING:
    from cli.conftest import Run

# @asyncapi/specs 6.11.1, schemas/3.0.0-without-$id.json; its licence is beside it.
ASYNCAPI = json.loads(gzip.decompress((Path(__file__).parent / "asyncapi-3.0.0.json.gz").read_bytes()))

APP = '''\
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from necrostack import Event, Organ, Spine


class Cat(BaseModel, frozen=True):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel, frozen=True):
    kind: Literal["dog"]
    born: datetime


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Node(BaseModel, frozen=True):
    children: tuple["Node", ...] = ()


class Everything(BaseModel, frozen=True):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    price: Decimal
    pair: tuple[int, str]
    colour: Colour = Colour.RED
    tree: Node = Node()
    prefixItems: str = ""
    properties: dict[str, int] = {}


class Seen(Event):
    """Something was seen."""

    event_type: Literal["CLI/seen ~ {it}"] = "CLI/seen ~ {it}"
    payload: Everything


class Watcher(Organ[Seen]):
    listens_to = [Seen]

    def handle(self, event: Seen) -> None: ...


class Anyone(Organ):
    listens_to = ["CLI plain", "CLI_plain", Seen]

    def handle(self, event: Event) -> Seen | None: ...


spine = Spine([Watcher(), Anyone(name="any one")])
'''

SEEN = {
    "event_type": "CLI/seen ~ {it}",
    "payload": {"pet": {"kind": "cat", "lives": 9}, "price": "1.50", "pair": [1, "a"], "tree": {"children": [{}]}},
}


@pytest.fixture
def schema_app(folder: Path) -> str:
    """APP of an application whose events use much of what pydantic can say."""
    (folder / "cli_seeing.py").write_text(APP)
    return "cli_seeing"


@pytest.fixture
def schema(necrostack: Run, schema_app: str) -> dict[str, Any]:
    """Its JSON Schema."""
    ended = necrostack("schema", schema_app)
    assert ended.code == 0
    made: dict[str, Any] = json.loads(ended.out)
    return made


@pytest.fixture
def document(necrostack: Run, schema_app: str) -> dict[str, Any]:
    """Its AsyncAPI document."""
    ended = necrostack("schema", schema_app, "--format", "asyncapi")
    assert ended.code == 0
    made: dict[str, Any] = json.loads(ended.out)
    return made


def test_the_schema_is_a_json_schema(schema: dict[str, Any]) -> None:
    Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize(
    "event", [SEEN, {"event_type": "CLI plain"}, {"event_type": "CLI_plain", "payload": {"any": [1, None]}}]
)
def test_events_match_the_schema(schema: dict[str, Any], event: dict[str, Any]) -> None:
    Draft202012Validator(schema).validate(event)


@pytest.mark.parametrize(
    "event",
    [
        {"event_type": "CLI_other"},
        {"event_type": "CLI/seen ~ {it}"},
        {"payload": SEEN["payload"]},
        {**SEEN, "extra": 1},
        {**SEEN, "payload": {}},
        {"event_type": "CLI_plain", "payload": []},
    ],
)
def test_what_is_no_event_of_the_application_does_not_match(schema: dict[str, Any], event: dict[str, Any]) -> None:
    assert not Draft202012Validator(schema).is_valid(event)


def test_the_description_is_the_users_and_not_that_of_the_framework(schema: dict[str, Any]) -> None:
    assert schema["$defs"]["Seen"]["description"] == "Something was seen."
    assert ">>>" not in json.dumps(schema)


def test_the_document_is_asyncapi(document: dict[str, Any]) -> None:
    assert document["asyncapi"] == "3.0.0"
    assert [error.message for error in Draft7Validator(ASYNCAPI).iter_errors(document)] == []


def test_the_official_schema_finds_what_is_wrong(document: dict[str, Any]) -> None:
    document["operations"]["Watcher.receive.CLI_seen____it_"]["action"] = "listen"

    assert not Draft7Validator(ASYNCAPI).is_valid(document)


def test_every_reference_of_the_document_leads_somewhere(document: dict[str, Any]) -> None:
    references = [*references_in(document)]

    assert references
    for reference in references:
        target: Any = document
        for name in reference.removeprefix("#/").split("/"):
            target = target[name]


def references_in(value: Any) -> list[str]:
    if isinstance(value, list):
        return [found for item in value for found in references_in(item)]
    if not isinstance(value, dict):
        return []
    own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
    return own + [found for item in value.values() for found in references_in(item)]


def test_channels_are_event_types_and_operations_are_what_organs_do(document: dict[str, Any]) -> None:
    assert {name: channel["address"] for name, channel in document["channels"].items()} == {
        "CLI_seen____it_": "CLI/seen ~ {it}",
        "CLI_plain": "CLI plain",
        "CLI_plain_2": "CLI_plain",
    }
    assert {name: operation["action"] for name, operation in document["operations"].items()} == {
        "Watcher.receive.CLI_seen____it_": "receive",
        "any_one.receive.CLI_plain": "receive",
        "any_one.receive.CLI_plain_2": "receive",
        "any_one.receive.CLI_seen____it_": "receive",
        "any_one.send.CLI_seen____it_": "send",
    }


def test_the_schemas_of_the_document_are_draft_7_and_say_the_same(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    seen = {"$ref": "#/components/schemas/Seen", "components": document["components"]}

    Draft7Validator.check_schema(schemas["Seen"])
    Draft7Validator(seen).validate(SEEN)
    swapped = {**SEEN["payload"], "pair": ["a", 1]}  # type: ignore[dict-item] # a payload
    assert not Draft7Validator(seen).is_valid({**SEEN, "payload": swapped})
    # Words of JSON Schema that are names of fields stay as they are.
    assert {"prefixItems", "properties"} <= schemas["Everything"]["properties"].keys()


def test_json_writes_one_line(necrostack: Run, app: str) -> None:
    assert necrostack("schema", app, "--json").out.count("\n") == 1
