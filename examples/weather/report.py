"""The report: a row for each day, a group of columns for each station, and the warnings."""

import textwrap
from collections.abc import Iterator
from itertools import groupby
from typing import Final

from examples.weather.almanac import Almanac
from examples.weather.readings import Day, Gale

STATIONS: Final[dict[str, str]] = {"EWR": "Newark", "JFK": "Kennedy", "LGA": "La Guardia"}
WIDTH: Final = 21
UNTORN: Final = "\N{NO-BREAK SPACE}"


def report(almanac: Almanac) -> str:
    """Write it in 80 columns."""
    return "\n".join(line.rstrip() for line in [*_table(almanac.days()), *_gales(almanac.gales())])


def _table(days: list[Day]) -> Iterator[str]:
    if not days:
        return
    yield "day       " + "".join(f"  {name:<{WIDTH}}" for name in STATIONS.values())
    yield " " * 10 + "  °C from…to   mm  kn  " * len(STATIONS)
    for moment, found in groupby(days, key=lambda day: day.day):
        cells: dict[str, str] = {day.station: _cell(day) for day in found}
        yield f"{moment}" + "".join(f"  {cells.get(station, ''):<{WIDTH}}" for station in STATIONS)
    yield ""
    gaps = [f"{day.station} {day.day:%d %b}: {24 - day.readings}" for day in days if day.readings < 24]
    told = f"* missing hours: {', '.join(gap.replace(' ', UNTORN) for gap in gaps)}"
    yield from (line.replace(UNTORN, " ") for line in textwrap.wrap(told, 80) if gaps)


def _cell(day: Day) -> str:
    mark = " " if day.readings == 24 else "*"
    return f"{day.coldest:5.1f} {day.warmest:5.1f} {day.millimetres:4.1f} {day.knots:2.0f}{mark}"


def _gales(gales: list[Gale]) -> Iterator[str]:
    yield ""
    for gale in gales:
        yield f"gale warning: {gale.station} {gale.taken_at:%d %b %H:%M}, {gale.knots:.0f} knots"
    yield ""
