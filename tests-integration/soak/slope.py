"""Whether a series grows: a slope that outliers do not turn, with an interval that says how well it is known."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median

Points = Sequence[tuple[float, float]]
"""Seconds, and what was seen then."""

HOUR = 3600.0
_NORMAL = 1.959964
"""95 % of a normal distribution lie within so many standard deviations."""


@dataclass(frozen=True)
class Slope:
    """By how much a series grows in an hour.

    Attributes:
        value: The median of the slopes between any two points.
        low: The lower end of its 95 % interval.
        high: The upper end.
    """

    value: float
    low: float
    high: float


def theil_sen(points: Points) -> Slope | None:
    """Fit a line through points that may lie anywhere now and then; None where there are less than five.

    The interval is Sen's, from the distribution of Kendall's S: https://doi.org/10.1080/01621459.1968.10480934
    It takes the points for independent of each other: bring neighbours together before, by `blocks`.
    """
    if len(points) < 5:
        return None
    pairs = combinations(sorted(points), 2)
    slopes = sorted(HOUR * (y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in pairs if x2 > x1)
    n = len(points)
    spread = _NORMAL * math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    low, high = math.floor((len(slopes) - spread) / 2), math.ceil((len(slopes) + spread) / 2)
    return Slope(median(slopes), slopes[max(low, 0)], slopes[min(high, len(slopes) - 1)])


def blocks(points: Points, width: float) -> list[tuple[float, float]]:
    """Take the medians over so many seconds each: neighbours say the same, and would count as many witnesses."""
    found = defaultdict(list)
    for x, y in points:
        found[x // width].append((x, y))
    return [(median(x for x, _ in block), median(y for _, y in block)) for _, block in sorted(found.items())]


def after(points: Points, seconds: float) -> list[tuple[float, float]]:
    """Leave out the beginning."""
    return [(x, y) for x, y in points if x >= seconds]


def percentile(numbers: Sequence[float], share: float) -> float:
    """Say under which number such a share of them lies: the least that is not below it."""
    ordered = sorted(numbers)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]
