"""A mistake, and how it is mended: `python -m examples.weather`.

The first version of the program begins each day at midnight UTC. The second does it by the clock of the station, and
gets all readings again, from the history.
"""

import argparse
import asyncio
import gzip
import logging
from datetime import UTC

from examples.weather.almanac import Almanac
from examples.weather.organs import Archive, Days, Gales, Siren
from examples.weather.rebuild import FEED
from examples.weather.report import report
from necrostack import Backend, Event, NecroStackError, Spine, open_backend
from necrostack.errors import EventError


async def run(backend: Backend) -> None:
    """Run the first version on the feed, replay its history into the second, and print what that makes of it."""
    wrong, right = Almanac(), Almanac()
    first = Spine(
        [Days(wrong, lambda moment: moment.astimezone(UTC)), Archive(wrong), Gales(right), Siren(right)],
        backend,
        concurrency=16,
        max_outage=5.0,
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
    parser.add_argument("--backend", metavar="URL", default="memory://?history=10000", help="where events are kept")
    try:
        asyncio.run(run(open_backend(parser.parse_args(argv).backend)))
    except NecroStackError as error:  # a wrong URL, or nobody who answers there
        parser.exit(1, f"{parser.prog}: {error}\n")


if __name__ == "__main__":
    logging.getLogger("necrostack").addHandler(logging.NullHandler())  # `necrostack run` shows what is logged
    main()
