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
        ratios: Each figure's median over that of the limit of the same shape; None without one, or if that is 0.
        exact: How many of `rounds` did all the work exactly once.
    """

    case: Case
    figures: Sequence[Spread]
    ratios: Sequence[float | None]
    exact: int
    rounds: int

    @property
    def ratio(self) -> float | None:
        """The first figure's ratio."""
        return self.ratios[0] if self.ratios else None

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
    limits = {result.case.shape: found for result, found in zip(results, spreads, strict=True) if result.case.is_limit}
    return [
        Line(
            case=result.case,
            figures=found,
            ratios=_ratios(found, limits.get(result.case.shape, ())),
            exact=sum(measurement.exact for measurement in result.measured),
            rounds=len(result.measured) + len(result.failures),
        )
        for result, found in zip(results, spreads, strict=True)
    ]


def _spreads(result: Result, figures: Sequence[Figure]) -> list[Spread]:
    if not result.measured:
        return []
    return [spread([measurement.figures[figure.key] for measurement in result.measured]) for figure in figures]


def _ratios(found: Sequence[Spread], limit: Sequence[Spread]) -> list[float | None]:
    medians = [spread.median for spread in limit] or [0.0] * len(found)
    return [ours.median / its if its else None for ours, its in zip(found, medians, strict=False)]
