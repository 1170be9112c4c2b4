"""A mistake, and how it is mended: `python -m examples.weather`.

The first version of the program begins each day at midnight UTC. The second does it by the clock of the station, and
gets all readings again, from the history.
"""

import argparse
import asyncio
import gzip
from datetime import UTC

from examples.weather.almanac import Almanac
from examples.weather.organs import Archive, Days, Gales, Siren
from examples.weather.rebuild import FEED
from examples.weather.report import report
from necrostack import Backend, Event, InMemoryBackend, Spine, open_backend
from necrostack.errors import EventError


async def run(backend: Backend) -> None:
    """Run the first version on the feed, replay its history into the second, and print what that makes of it."""
    wrong, right = Almanac(), Almanac()
    first = Spine(
        [Days(wrong, lambda moment: moment.astimezone(UTC)), Archive(wrong), Gales(right), Siren(right)],
        backend,
        concurrency=16,
    )
    second = Spine([Days(right), Archive(right), Gales(right), Siren(right)], backend, concurrency=16)
    async with backend:
        await first.run_until_idle(*read())
        count = await backend.admin.replay(event_type="READING_TAKEN", organs=["Days"])
        await second.run_until_idle()
    print(report(right))
    differ = sum(day not in wrong.days() for day in right.days())
    print(f"{count} readings were replayed; {differ} of {len(right.days())} days had been wrong.")


def read() -> list[Event]:
    """Read the feed, and tell of the lines that are no readings. `necrostack run --feed` does it better."""
    events = []
    with gzip.open(FEED) as lines:
        for number, line in enumerate(lines, start=1):
            try:
                events.append(Event.from_json(line.rstrip()))
            except EventError as error:
                print(f"line {number}: {error}")
    print()
    return events


def main(argv: list[str] | None = None) -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(prog="python -m examples.weather", description=__doc__)
    parser.add_argument("--backend", metavar="URL", help="where events are kept; in memory unless given")
    url: str | None = parser.parse_args(argv).backend
    asyncio.run(run(InMemoryBackend(history=10_000) if url is None else open_backend(url)))


if __name__ == "__main__":
    main()
