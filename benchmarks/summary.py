"""From rounds to one line of a table: pure arithmetic."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.case import Case, Figure, Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The middle of some numbers, and how far they lie apart."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What all rounds of one case say together.

    Attributes:
        figures: In the order of the workload's; empty when no round ended.
        ratio: The first figure's median over that of the limit of the same shape; None without one, or if that is 0.
        exact: How many of `rounds` did all the work exactly once.
    """

    case: Case
    figures: Sequence[Spread]
    ratio: float | None
    exact: int
    rounds: int

    @property
    def is_sound(self) -> bool:
        """Whether every round ended and was exact."""
        return self.exact == self.rounds


def spread(numbers: Sequence[float]) -> Spread:
    """Summarise at least one number.

    >>> spread([3.0, 1.0, 2.0])
    Spread(median=2.0, low=1.0, high=3.0)
    """
    return Spread(median=median(numbers), low=min(numbers), high=max(numbers))


def summarise(results: Sequence[Result], figures: Sequence[Figure]) -> list[Line]:
    """Make one line of each result, in the same order."""
    spreads = [_spreads(result, figures) for result in results]
    limits = {
        result.case.shape: found[0].median
        for result, found in zip(results, spreads, strict=True)
        if result.case.is_limit and found and found[0].median
    }
    return [
        Line(
            case=result.case,
            figures=found,
            ratio=found[0].median / limits[result.case.shape] if found and result.case.shape in limits else None,
            exact=sum(measurement.exact for measurement in result.measured),
            rounds=len(result.measured) + len(result.failures),
        )
        for result, found in zip(results, spreads, strict=True)
    ]


def _spreads(result: Result, figures: Sequence[Figure]) -> list[Spread]:
    if not result.measured:
        return []
    return [spread([measurement.figures[figure.key] for measurement in result.measured]) for figure in figures]
