"""Random graphs of Organs that fail as they are told, what came of running one, and what must come of it.

`expected` is a third opinion: it goes through a graph in plain Python, with neither a Spine nor a backend.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal

from necrostack import Event, GiveUp, Organ, RetryLater, RetryPolicy, Spine
from necrostack.backend import Backend
from necrostack.report import RunReport

How = Literal["raises", "asks", "gives up", "returns what it must not"]
"""How a handler fails: by an error, by asking to be run again, for good, or by what it returns."""

TYPES = "ABCDE"

SMALLEST, LARGEST = 5, 200
"""Handler calls of the graphs that are run: loops and fan-out could make millions."""


@dataclass(frozen=True)
class Plan:
    """What one Organ does.

    Attributes:
        listens_to: The event types that it gets.
        emits: What it emits when it succeeds.
        how: How it fails.
        times: How often it does, with each event that it fails with, before it succeeds.
        among: With every which event: 1 for all of them.
        attempts: How often it may run.
        delay: Seconds between two attempts.
        is_async: Whether its handler is.
    """

    listens_to: tuple[str, ...]
    emits: tuple[str, ...] = ()
    how: How = "raises"
    times: int = 0
    among: int = 1
    attempts: int = 1
    delay: float = 0.0
    is_async: bool = False

    def fails(self, path: str, call: int) -> bool:
        """Whether the call of this number, from 1, fails with the event at this path."""
        return call <= self.times and sum(map(ord, path)) % self.among == 0

    def is_final(self, attempt: int) -> bool:
        """Whether what fails at this attempt is given up."""
        match self.how:
            case "raises":
                return attempt >= self.attempts
            case "asks":
                return 1 < self.attempts <= attempt
        return True

    @property
    def reason(self) -> str:
        """What its dead letters say."""
        return {"gives up": "scripted", "returns what it must not": "bad_result"}.get(self.how, "attempts_exhausted")


@dataclass(frozen=True)
class Graph:
    """Organs, what begins, and how the Spine runs them.

    Attributes:
        plans: One for each Organ.
        roots: The types of the events that begin it all.
        max_hops: As the Spine's: this is what bounds loops.
        unrouted: As the Spine's.
        concurrency: As the Spine's.
        workers: How many of them share the work, where the backend is shared.
        redrives: Whether all dead letters go again when nothing else is left.
    """

    plans: tuple[Plan, ...]
    roots: tuple[str, ...]
    max_hops: int = 3
    unrouted: Literal["ack", "dead_letter"] = "ack"
    concurrency: int = 1
    workers: int = 1
    redrives: bool = False


@dataclass
class Outcome:
    """What came of it.

    Attributes:
        handled: Which Organ got which event, by its path, and how often.
        letters: Which event was given up, with the reason, the Organ, and how often it was tried.
        numbers: The report of all runs, without how long they took.
        events: The paths of all events that there ever were.
    """

    handled: Counter[tuple[str, str]] = field(default_factory=Counter)
    letters: Counter[tuple[str, str, str | None, int]] = field(default_factory=Counter)
    numbers: dict[str, Any] = field(default_factory=dict)
    events: Counter[str] = field(default_factory=Counter)


def random_graph(luck: Random) -> tuple[Graph, Outcome]:
    """Make a graph that is worth to be run and not too large, and say what must come of it."""
    while True:
        graph = Graph(
            plans=tuple(_random_plan(luck) for _ in range(luck.randint(2, 6))),
            roots=tuple(luck.choices(TYPES, k=luck.randint(1, 3))),
            max_hops=luck.randint(1, 5),
            unrouted=luck.choice(["ack", "dead_letter"]),
            concurrency=luck.choice([1, 3]),
            workers=luck.choice([1, 1, 1, 1, 2]),
            redrives=luck.random() < 0.5,
        )
        outcome = expected(graph)
        if outcome is not None and outcome.handled.total() >= SMALLEST:
            return graph, outcome


def _random_plan(luck: Random) -> Plan:
    return Plan(
        listens_to=tuple(luck.sample(TYPES, luck.randint(1, 2))),
        emits=tuple(luck.choices(TYPES, k=luck.randint(0, 2))),
        how=luck.choice(["raises", "raises", "asks", "gives up", "returns what it must not"]),
        times=luck.choice([0, 0, 1, 2, 5]),
        among=luck.randint(1, 3),
        attempts=luck.randint(1, 3),
        delay=luck.choice([0.0, 0.002]),
        is_async=luck.random() < 0.5,
    )


def child(path: str, organ: str, number: int) -> str:
    return f"{path}/{organ}.{number}"


# --- run ---------------------------------------------------------------------------------------------------


class Planned(Organ):
    """An Organ that does what its plan says, and notes it."""

    def __init__(self, name: str, plan: Plan, outcome: Outcome) -> None:
        super().__init__(name=name)
        self.listens_to = list(plan.listens_to)  # type: ignore[misc]  # here each object is an Organ of its own kind
        self.retry = RetryPolicy(max_attempts=plan.attempts, base_delay=plan.delay, jitter=False)
        self._plan = plan
        self._outcome = outcome

    def run(self, event: Event) -> Any:
        path, plan = event.payload["path"], self._plan
        self._outcome.handled[self.name, path] += 1
        if plan.fails(path, self._outcome.handled[self.name, path]):
            match plan.how:
                case "raises":
                    raise ValueError(path)
                case "asks":
                    raise RetryLater(after=plan.delay)
                case "gives up":
                    raise GiveUp("scripted")
            return "no event"
        return [
            Event(event_type=kind, payload={"path": child(path, self.name, number)})
            for number, kind in enumerate(plan.emits)
        ]


class Sync(Planned):
    def handle(self, event: Event) -> Any:
        return self.run(event)


class Async(Planned):
    async def handle(self, event: Event) -> Any:
        return self.run(event)


def spine_of(graph: Graph, backend: Backend, outcome: Outcome) -> Spine:
    """Make a Spine that runs a graph."""
    organs = [
        (Async if plan.is_async else Sync)(f"Organ{number}", plan, outcome) for number, plan in enumerate(graph.plans)
    ]
    return Spine(organs, backend, max_hops=graph.max_hops, unrouted=graph.unrouted, concurrency=graph.concurrency)


def root_events(graph: Graph) -> list[Event]:
    return [Event(event_type=kind, payload={"path": f"{number}"}) for number, kind in enumerate(graph.roots)]


async def fill_in(outcome: Outcome, backend: Backend, reports: Sequence[RunReport]) -> Outcome:
    """Note what a backend holds in the end, and what the runs counted."""
    async for event in backend.admin.history():
        outcome.events[event.payload["path"]] += 1
    for redriven in (False, True):
        async for letter in backend.admin.dead_letters(redriven=redriven):
            assert letter.event is not None
            outcome.letters[letter.event.payload["path"], letter.reason, letter.organ, len(letter.attempts)] += 1
    outcome.numbers = RunReport.summed(reports).to_dict()
    del outcome.numbers["duration"]
    return outcome


# --- what must come of it ----------------------------------------------------------------------------------


def expected(graph: Graph) -> Outcome | None:
    """Say what must come of a graph; None if it is too large to be run."""
    outcome, names = Outcome(), [f"Organ{number}" for number in range(len(graph.plans))]
    zeros = dict.fromkeys(("handled", "emitted", "failed", "retried", "dead_lettered"), 0)
    organs = {name: Counter(zeros) for name in names}
    totals = Counter({**zeros, "unrouted": 0, "deduplicated": 0, "lost": 0})
    # What waits: the path and type of the event, its hops, which attempt it is, and for whom.
    waiting = deque((f"{number}", kind, 0, 1, names) for number, kind in enumerate(graph.roots))
    outcome.events.update(path for path, *_ in waiting)
    dead: list[tuple[str, str, list[str], bool]] = []

    def bury(path: str, kind: str, reason: str, organ: str | None, attempts: int) -> None:
        outcome.letters[path, reason, organ, attempts] += 1
        totals["dead_lettered"] += 1
        if organ is not None:
            organs[organ]["dead_lettered"] += 1
        dead.append((path, kind, names if organ is None else [organ], organ is None))

    for has_redriven in (False, True):
        while waiting:
            path, kind, hops, attempt, for_whom = waiting.popleft()
            listeners = [name for name in for_whom if kind in graph.plans[names.index(name)].listens_to]
            if not listeners:
                totals["unrouted"] += 1
                if graph.unrouted == "dead_letter":
                    bury(path, kind, "unrouted", None, 0)
                continue
            if hops > graph.max_hops:
                bury(path, kind, "max_hops", None, 0)
                continue
            totals["handled"] += 1
            for name in listeners:
                plan = graph.plans[names.index(name)]
                outcome.handled[name, path] += 1
                if outcome.handled.total() > LARGEST:
                    return None
                organs[name]["handled"] += 1
                if plan.fails(path, outcome.handled[name, path]):
                    organs[name]["failed"] += 1
                    totals["failed"] += 1
                    if plan.is_final(attempt):
                        bury(path, kind, plan.reason, name, attempt)
                    else:
                        organs[name]["retried"] += 1
                        totals["retried"] += 1
                        waiting.append((path, kind, hops, attempt + 1, [name]))
                    continue
                for number, emitted in enumerate(plan.emits):
                    outcome.events[child(path, name, number)] += 1
                    organs[name]["emitted"] += 1
                    totals["emitted"] += 1
                    waiting.append((child(path, name, number), emitted, hops + 1, 1, names))
        if has_redriven or not graph.redrives:
            break
        waiting.extend((path, kind, 0, 1, for_whom) for path, kind, for_whom, _ in dead)
        dead.clear()
    outcome.numbers = {**totals, "organs": {name: dict(found) for name, found in organs.items()}}
    return outcome
