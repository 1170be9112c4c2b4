"""The report: a number for each figure, in each section, of each repository."""

from collections import Counter, defaultdict

from examples.github_webhooks.tally import SECTIONS, Section, Tally

Counts = defaultdict[Section, Counter[str]]
Figures = dict[Section, dict[str, int]]
"""Section, figure and number; in reading order, without empty sections."""


class Report:
    """Adds up tallies. The order in which they come does not matter."""

    def __init__(self) -> None:
        self._counts: defaultdict[str, Counts] = defaultdict(lambda: defaultdict(Counter))

    def add(self, tally: Tally) -> None:
        """Change one figure by what a tally says."""
        self._counts[tally.repository][tally.section][tally.figure] += tally.amount

    def repositories(self) -> dict[str, Figures]:
        """Give the figures of every repository, the busiest first."""
        names = sorted(self._counts, key=lambda name: (-self._counts[name]["deliveries"]["total"], name))
        return {name: _ordered(self._counts[name]) for name in names}

    def total(self) -> Figures:
        """Give the figures of all repositories together."""
        summed: Counts = defaultdict(Counter)
        for sections in self._counts.values():
            for section, figures in sections.items():
                # Not `+=`, which would drop figures of zero.
                summed[section].update(figures)
        return _ordered(summed)


def _ordered(sections: Counts) -> Figures:
    return {
        section: dict(sorted(sections[section].items(), key=lambda item: (-item[1], item[0])))
        for section in SECTIONS
        if section in sections
    }
