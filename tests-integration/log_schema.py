"""The schema of log lines, as it is shipped, and what in lines does not match it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator

SCHEMA: Mapping[str, Any] = json.loads((files("necrostack") / "log.schema.json").read_text("utf-8"))
LINE = frozenset({"time", "level", "logger", "event"})
"""What every line has."""

_VALIDATOR = Draft202012Validator(SCHEMA, format_checker=Draft202012Validator.FORMAT_CHECKER)


def problems_in(lines: Iterable[Mapping[str, Any]]) -> list[str]:
    """Say what is wrong with each line that does not match the schema."""
    found = []
    for line in lines:
        for error in _VALIDATOR.iter_errors(line):
            # Of all names that there are, the line's own says best what is wrong.
            inner = [
                each.message for each in error.context or () if line["event"] in map(str, each.absolute_schema_path)
            ]
            own = [error.message] if not error.context else inner
            found.append(f"{line.get('event')}: {'; '.join(own) or error.message[:300]}")
    return found
