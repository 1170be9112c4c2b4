"""The targets by name. Each takes any bytes, and raises only where something is found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fuzzing import asking, reading

Work = Callable[[bytes], None]

ONE_ARGUMENT = 2**17
"""Bytes of one argument of a program: MAX_ARG_STRLEN of Linux, execve(2)."""


@dataclass(frozen=True)
class Target:
    """What is fuzzed.

    Attributes:
        name: What it is called.
        run: Does all there is to do with an input, and compares.
        measured: Does once what a program would do: its time and memory are bounded.
        unpacked: What an input holds: its price is by that.
        largest: How many bytes such an input may have, as far as it is measured.
    """

    name: str
    run: Work
    measured: Work
    unpacked: Callable[[bytes], bytes] = bytes
    largest: int = 2**20 - 4096  # a payload of 1 MiB is the most that there is


TARGETS: Mapping[str, Target] = {
    target.name: target
    for target in (
        Target("event", reading.event, reading.measured_event),
        Target("fields", reading.fields, reading.measured_fields),
        Target("feed", reading.feed, reading.measured_feed, reading.unpacked),
        Target("letters", reading.letters, reading.measured_letters, reading.unpacked),
        Target("arguments", asking.arguments, asking.measured_arguments, largest=ONE_ARGUMENT),
        Target("configuration", asking.configuration, asking.configuration, largest=ONE_ARGUMENT),
        Target("urls", asking.urls, asking.measured_urls, largest=ONE_ARGUMENT),
    )
}
