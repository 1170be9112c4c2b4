"""The program, whole and in two halves: each half may be a group of its own, and gets every reading."""

import os
from pathlib import Path

from examples.weather.almanac import Almanac
from examples.weather.organs import Archive, Days, Gales, Siren
from examples.weather.report import report
from necrostack import InMemoryBackend, Spine


def open_almanac() -> Almanac:
    """Open the almanac: the file that WEATHER_ALMANAC names, or else one for this run alone."""
    folder = os.environ.get("NECROSTACK_RUN_FOLDER")
    path = os.environ.get("WEATHER_ALMANAC") or (folder and Path(folder, "almanac.sqlite"))
    return Almanac(path or ":memory:")


def show(almanac: Almanac) -> None:
    """Print the report; of several workers, one does."""
    if os.environ.get("NECROSTACK_WORKER", "1") == "1":
        print(report(almanac))


def spine() -> Spine:
    """All of it, in one group."""
    almanac = open_almanac()
    return Spine(
        organs=[Days(almanac), Gales(almanac), Siren(almanac), Archive(almanac, lambda: show(almanac))],
        backend=InMemoryBackend(),
        concurrency=16,
    )


def climate() -> Spine:
    """What wants all readings, in any order: any number of workers."""
    almanac = open_almanac()
    return Spine(
        organs=[Days(almanac), Archive(almanac, lambda: show(almanac))],
        backend=InMemoryBackend(),
        concurrency=16,
    )


def watch() -> Spine:
    """What wants them in their order: one worker, one at a time."""
    almanac = open_almanac()
    return Spine(organs=[Gales(almanac), Siren(almanac, lambda: show(almanac))], backend=InMemoryBackend())
