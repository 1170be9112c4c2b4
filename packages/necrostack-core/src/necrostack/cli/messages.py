"""What a supervisor and its workers tell each other: a word down, a line of JSON up."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from necrostack.cli.exposing import Family
from necrostack.report import RunReport


class Order(StrEnum):
    """What a worker is told."""

    FINISH = "finish"  # end when nothing is left to do
    STOP = "stop"  # drain
    CANCEL = "cancel"  # end now


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker pulls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far it is: deliveries that it settled, and dead letters that came of them."""

    settled: int
    dead: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """How it is, told every second by a thread of its own. See `necrostack.cli.health`.

    Attributes:
        pause: Seconds for which its event loop has not turned.
        ailment: Why it does not live; None when it does.
        hindrance: Why it does not pull; None when it does.
        metrics: What it has counted; empty without the library for it.
    """

    pause: float
    ailment: str | None
    hindrance: str | None
    metrics: Sequence[Family]


@dataclass(frozen=True, slots=True)
class Ended:
    """Its run is over, in an orderly way. The report is None when it was cancelled or failed."""

    report: RunReport | None


Message = Ready | Progress | Vitals | Ended


def write(message: Message) -> bytes:
    """Write a message as one line, without its end."""
    match message:
        case Ready():
            value: dict[str, Any] = {"ready": True}
        case Progress(settled=settled, dead=dead):
            value = {"progress": [settled, dead]}
        case Vitals(pause=pause, ailment=ailment, hindrance=hindrance, metrics=metrics):
            value = {"vitals": [pause, ailment, hindrance, metrics]}
        case Ended(report=report):
            value = {"ended": None if report is None else report.to_dict()}
    return json.dumps(value).encode()


def read(line: bytes) -> Message:
    """Read a message.

    >>> read(write(Progress(settled=3, dead=1)))
    Progress(settled=3, dead=1)
    """
    ((name, value),) = json.loads(line).items()
    match name:
        case "ready":
            return Ready()
        case "progress":
            return Progress(settled=value[0], dead=value[1])
        case "vitals":
            pause, ailment, hindrance, metrics = value
            return Vitals(pause=pause, ailment=ailment, hindrance=hindrance, metrics=metrics)
        case _:
            return Ended(None if value is None else RunReport.from_dict(value))
