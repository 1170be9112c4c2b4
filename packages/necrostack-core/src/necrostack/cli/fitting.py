"""Tables that a terminal has room for: of a narrow one, columns that say least are left out."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from necrostack.cli.columns import cells_of, stdout_width
from necrostack.cli.printable import printable

_BETWEEN = 2
"""Cells between two columns, here and in what `Terminal.table` writes."""

_LEAST = 8
"""A name that is cut to less says nothing."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a header. The first column is a name, the others are numbers.

    Attributes:
        header: What each column is.
        rows: As many cells each.
        spare: Columns that may be left out, in the order in which they are.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[object]]
    spare: Sequence[str] = ()

    def fitted(self, width: int | None = None) -> Table:
        """Leave out columns, and at last cut the names, until it fits into so many cells.

        Args:
            width: How many; None for a table of `Terminal.table`, in the terminal that stdout goes to.
        """
        room = stdout_width() if width is None else width
        if room is None:
            return self
        table = self._without(())
        for count in range(len(self.spare) + 1):
            table = self._without(self.spare[:count])
            if table._width() <= room:
                return table
        too_much = table._width() - room
        name_room = max(table._widths()[0] - too_much, _LEAST)
        return Table(table.header, [(_end_of(printable(str(row[0])), name_room), *row[1:]) for row in table.rows])

    def lines(self) -> Iterator[str]:
        """Write it: the header, then each row."""
        widths = self._widths()
        for row in (self.header, *self.rows):
            name, *numbers = (printable(str(cell)) for cell in row)
            begin = name + " " * (widths[0] - cells_of(name))
            rest = (
                " " * (width - cells_of(number) + _BETWEEN) + number
                for number, width in zip(numbers, widths[1:], strict=True)
            )
            yield f"{begin}{''.join(rest)}"

    def _without(self, names: Collection[str]) -> Table:
        kept = [number for number, name in enumerate(self.header) if name not in names]
        return Table([self.header[number] for number in kept], [[row[number] for number in kept] for row in self.rows])

    def _widths(self) -> list[int]:
        return [
            max(cells_of(printable(str(row[column]))) for row in (self.header, *self.rows))
            for column in range(len(self.header))
        ]

    def _width(self) -> int:
        widths = self._widths()
        return sum(widths) + _BETWEEN * (len(widths) - 1)


def _end_of(name: str, room: int) -> str:
    """Cut a name at its beginning: what tells workers of one machine apart is at the end.

    >>> _end_of("alpha-1234-0a1b2c3d", 12)
    '…34-0a1b2c3d'
    """
    return name if len(name) <= room else f"…{name[-(room - 1) :]}"
