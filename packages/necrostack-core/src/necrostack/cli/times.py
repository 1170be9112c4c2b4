"""Times on the command line: how they are written, and how they are shown."""

from __future__ import annotations

import argparse
import re
from datetime import UTC, datetime, timedelta

_UNITS = {"w": 604_800, "d": 86_400, "h": 3600, "m": 60, "s": 1}
_AGO = re.compile(r"(?:\d+[wdhms])+")


def moment(text: str) -> datetime:
    """Read a time, for argparse: ISO 8601 with its offset from UTC, or so long ago by this machine's clock.

    A time without an offset is refused: it would mean something else on every machine.

    >>> moment("2026-03-01T12:00:00+01:00")
    datetime.datetime(2026, 3, 1, 11, 0, tzinfo=datetime.timezone.utc)
    """
    word = text.strip()
    if _AGO.fullmatch(word):
        seconds = sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)([wdhms])", word))
        try:
            return datetime.now(UTC) - timedelta(seconds=seconds)
        except OverflowError:
            return datetime.min.replace(tzinfo=UTC)
    try:
        found = datetime.fromisoformat(word)
        if found.tzinfo is not None:
            return found.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        msg = f"{text!r} is no time; write 2026-03-01T12:00:00Z, or so long ago: 10m, 2h, 1d12h"
        raise argparse.ArgumentTypeError(msg) from error
    whole = found.isoformat(timespec="seconds")
    msg = f"{text!r} does not say which time zone it is in; write {whole}Z for UTC, or {whole}+02:00 with your offset"
    raise argparse.ArgumentTypeError(msg)


def shown(moment: datetime) -> str:
    """Show a time in UTC, to the millisecond.

    >>> shown(datetime(2026, 3, 1, 12, tzinfo=UTC))
    '2026-03-01T12:00:00.000Z'
    """
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def span(seconds: float) -> str:
    """Show how long something is, in its two largest units.

    >>> span(0.25), span(42), span(8000), span(90_000)
    ('0.2s', '42s', '2h13m', '1d1h')
    """
    if seconds < 10:
        return f"{max(seconds, 0):.1f}s"
    left, parts = int(seconds), list[tuple[int, str]]()
    for unit, size in _UNITS.items():
        count, left = divmod(left, size)
        if count or parts:
            parts.append((count, unit))
    return "".join(f"{count}{unit}" for count, unit in parts[:2] if count)
