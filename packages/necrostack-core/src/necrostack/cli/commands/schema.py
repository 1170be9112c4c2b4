"""`necrostack schema`: what the events look like."""

from __future__ import annotations

import argparse
import itertools
import re
from collections.abc import Container, Iterable, Mapping
from typing import Any, cast

from pydantic.json_schema import models_json_schema

from necrostack.cli.apps import load_app
from necrostack.cli.arguments import add_app, add_examples, add_json
from necrostack.cli.failures import Exit
from necrostack.cli.printable import json_text
from necrostack.cli.terminal import Terminal
from necrostack.event import Event, declared_class
from necrostack.spine import Spine
from necrostack.topology import Topology

Schema = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.description = (
        "Write down the event types of a Spine. json-schema: one JSON Schema (2020-12) that every event "
        "matches. asyncapi: an AsyncAPI 3.0 document with a channel for each event type."
    )
    add_app(parser)
    parser.add_argument("--format", choices=("json-schema", "asyncapi"), default="json-schema")
    add_json(parser, "write it in one line")
    add_examples(
        parser,
        ("necrostack schema shop.app > events.schema.json", "a JSON Schema that every event matches"),
        ("necrostack schema shop.app --format asyncapi > asyncapi.json", "a document for AsyncAPI's tools"),
    )


def execute(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Write it."""
    spine = load_app(arguments.app)
    made = asyncapi(spine, arguments.app) if arguments.format == "asyncapi" else json_schema(spine, arguments.app)
    terminal.text(json_text(made, None if arguments.json else 2))
    return Exit.OK


def json_schema(spine: Spine, title: str) -> Schema:
    """Make a schema that matches the events of all event types, with a definition for each."""
    names, definitions = _described(spine.topology, "#/$defs/")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"The events of {title}",
        "oneOf": [{"$ref": f"#/$defs/{name}"} for name in names.values()],
        "$defs": definitions,
    }


def asyncapi(spine: Spine, title: str) -> Schema:
    """Make an AsyncAPI document, https://www.asyncapi.com/docs/reference/specification/v3.0.0."""
    topology = spine.topology
    names, definitions = _described(topology, "#/components/schemas/")
    channels = _ids(topology.event_types)
    return {
        "asyncapi": "3.0.0",
        # An application has no version that could be asked for; this one changes with its Organs.
        "info": {"title": title, "version": topology.fingerprint},
        "defaultContentType": "application/json",
        "channels": {channel: _channel(event_type, channel) for event_type, channel in channels.items()},
        "operations": _operations(topology, channels),
        "components": {
            "messages": {channel: _message(event_type, names[event_type]) for event_type, channel in channels.items()},
            "schemas": {name: _as_draft_7(definition) for name, definition in definitions.items()},
        },
    }


# --- JSON Schema ----------------------------------------------------------------------------------------


def _described(topology: Topology, prefix: str) -> tuple[dict[str, str], dict[str, Schema]]:
    """Describe every event type, as a line of a feed may hold it.

    Args:
        topology: Where the event types are.
        prefix: What references begin with.

    Returns:
        For each event type the name of its definition, and the definitions, with those that they refer to.
    """
    classes = {event_type: declared_class(event_type) for event_type in topology.event_types}
    wanted = [(cls, "validation") for cls in dict.fromkeys([Event, *classes.values()])]
    references, schema = models_json_schema(cast("Any", wanted), ref_template=f"{prefix}{{model}}")
    definitions: dict[str, Schema] = schema["$defs"]
    names = {}
    for event_type, cls in classes.items():
        name = _name_of(references[cls, "validation"], cls, definitions, prefix)
        if cls is Event:
            plain = {"$ref": f"{prefix}{name}"}
            name = _unlike(_id(event_type), definitions)
            definitions[name] = {"allOf": [plain, {"properties": {"event_type": {"const": event_type}}}]}
        else:
            # What is a default in Python is what tells the class in JSON.
            definitions[name]["required"] = ["event_type", *definitions[name].get("required", ())]
        names[event_type] = name
    plain_name = _name_of(references[Event, "validation"], Event, definitions, prefix)
    if Event in classes.values():
        definitions[plain_name]["description"] = "An immutable, validated statement that something happened."
    else:
        del definitions[plain_name]
    return names, definitions


def _name_of(reference: Schema, cls: type[Event], definitions: dict[str, Schema], prefix: str) -> str:
    """The name of a class's definition. pydantic writes a class with a check of its own where it is referred to."""
    if "$ref" in reference:
        return str(reference["$ref"]).removeprefix(prefix)
    for name, definition in definitions.items():
        if definition == reference:
            return name
    name = _unlike(_id(cls.__name__), definitions)
    definitions[name] = reference
    return name


def _id(text: str) -> str:
    """Write a name with the characters that AsyncAPI allows in a key of components."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", text)


def _unlike(name: str, others: Container[str]) -> str:
    """Return the name, with a number if others have it."""
    candidates = itertools.chain([name], (f"{name}_{number}" for number in itertools.count(2)))
    return next(candidate for candidate in candidates if candidate not in others)


def _ids(names: Iterable[str]) -> dict[str, str]:
    """A key of its own for each name."""
    ids: dict[str, str] = {}
    for name in names:
        ids[name] = _unlike(_id(name), ids.values())
    return ids


# --- AsyncAPI -------------------------------------------------------------------------------------------


def _channel(event_type: str, channel: str) -> Schema:
    return {"address": event_type, "messages": {channel: {"$ref": f"#/components/messages/{channel}"}}}


def _message(event_type: str, definition: str) -> Schema:
    return {
        "name": event_type,
        "contentType": "application/json",
        "correlationId": {"location": "$message.payload#/correlation_id"},
        "payload": {"$ref": f"#/components/schemas/{definition}"},
    }


def _operations(topology: Topology, channels: Mapping[str, str]) -> dict[str, Schema]:
    """What each Organ receives and sends."""
    organs = _ids(organ.name for organ in topology.organs)
    operations: dict[str, Schema] = {}
    for organ in topology.organs:
        for action, event_types in (("receive", organ.listens_to), ("send", organ.emits or ())):
            for event_type in event_types:
                channel = channels[event_type]
                operations[f"{organs[organ.name]}.{action}.{channel}"] = {
                    "action": action,
                    "title": f"{organ.name} {action}s {event_type}",
                    "channel": {"$ref": f"#/channels/{channel}"},
                    "messages": [{"$ref": f"#/channels/{channel}/messages/{channel}"}],
                }
    return operations


def _as_draft_7(schema: Any, *, is_schema: bool = True) -> Any:
    """Write a schema of JSON Schema 2020-12 as AsyncAPI's own dialect, which is a superset of draft 7.

    https://www.asyncapi.com/docs/reference/specification/v3.0.0#schemaObject
    """
    if isinstance(schema, list):
        return [_as_draft_7(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if not is_schema:
        return {name: _as_draft_7(value) for name, value in schema.items()}
    made: Schema = {}
    for keyword, value in schema.items():
        if keyword in _VALUES:
            made[keyword] = value
        elif keyword == "prefixItems":
            made["items"] = _as_draft_7(value)
            made["additionalItems"] = _as_draft_7(schema.get("items", True))
        elif keyword != "discriminator" and not (keyword == "items" and "prefixItems" in schema):
            # A discriminator is OpenAPI's object, where AsyncAPI wants a name; `oneOf` says the same without it.
            made[keyword] = _as_draft_7(value, is_schema=keyword not in _MAPS)
    return made


_VALUES = frozenset({"const", "default", "enum", "examples"})
"""Keywords whose values are no schemas, whatever they look like."""

_MAPS = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
"""Keywords whose values are schemas by name."""
