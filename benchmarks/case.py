"""What there is to measure: a workload is a list of cases, a case is one command in a process of its own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One system at one shape of a workload.

    Attributes:
        system: Its name in tables and for `--only`.
        shape: What it does; cases are compared within one shape.
        n: The scale that `command` is run at; 0 where there is none.
        command: What follows the interpreter's name. Its last line on stdout is one `Measurement` as JSON.
        needs: The distributions that must be installed.
        environment: In which environment, by its name in `benchmarks.environments`; "" is the one that runs all this.
        is_limit: Whether the others of its shape are divided by it.
        note: A word on how the system does it.
    """

    system: str
    shape: str
    n: int
    command: tuple[str, ...]
    needs: tuple[str, ...] = ()
    environment: str = ""
    is_limit: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number that every case of a workload reports.

    Attributes:
        key: Its name in the measurement.
        heading: Its column, with the unit.
        digits: How many decimals are shown.
        compared: Whether it is divided by the limit's; the first one always is.
    """

    key: str
    heading: str
    digits: int = 0
    compared: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What is compared with what.

    Attributes:
        name: What the command line calls it.
        title: The heading of its table.
        figures: The first one is shown with its range and divided by the limit's.
        cases: Makes the cases for a scale n.
        n: The scale unless the command line gives one.
        rounds: How often each case runs unless the command line says so.
        warmups: Rounds before those, which are not counted: to fill the file cache and write the .pyc files.
        surroundings: Names what else its figures depend on, with the version: a server.
    """

    name: str
    title: str
    figures: Sequence[Figure]
    cases: Callable[[int], Sequence[Case]]
    n: int = 0
    rounds: int = 5
    warmups: int = 0
    surroundings: Callable[[], Mapping[str, str]] = dict


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What one run of a case found.

    Attributes:
        exact: Whether everything that had to be done was done, and once.
        figures: A number for each `Figure.key` of the workload.
    """

    exact: bool
    figures: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """All rounds of one case.

    Attributes:
        measured: The rounds that ended, in order.
        failures: For each round that did not, what its process said last.
    """

    case: Case
    measured: list[Measurement] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
