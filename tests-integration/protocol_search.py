"""Goes through every state of a `Protocol`, breadth first, and finds the shortest way to one that breaks a promise."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from protocol_model import STUCK, Protocol
from protocol_state import State


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        states: How many states there are, or were seen until a promise was broken.
        moves: How many moves lead from one to another.
        broken: The promise that is broken; empty if none is.
        trace: The shortest way there, a line for each move.
    """

    states: int
    moves: int
    broken: str = ""
    trace: Sequence[str] = ()

    def __str__(self) -> str:
        steps = "".join(f"\n    {number}. {what}" for number, what in enumerate(self.trace, 1))
        broken = f", broken: {self.broken}{steps}" if self.broken else ", no promise broken"
        return f"{self.states} states, {self.moves} moves{broken}"


def search(protocol: Protocol, breaks: str = "") -> Found:
    """Look at every state that can be reached.

    Args:
        protocol: Whose.
        breaks: The promise to find broken; any, if it is empty.
    """
    start = canonical(protocol.start())
    numbers, states = {start: 0}, [start]
    parents = array("l", [-1])
    # For each move that is sure to happen if it must: from where, to where.
    sources, targets = array("l"), array("l")
    moves = at = 0
    while at < len(states):
        state = states[at]
        if (broken := protocol.broken_promise(state)) and breaks in (broken, ""):
            return Found(len(states), moves, broken, _trace(protocol, states, parents, at))
        for move in protocol.moves(state):
            found = canonical(move.state)
            number = numbers.setdefault(found, len(states))
            if number == len(states):
                states.append(found)
                parents.append(at)
            if number != at:
                moves += 1
                if move.helps:
                    sources.append(at)
                    targets.append(number)
        at += 1
    stuck = _first_stuck(protocol, states, sources, targets)
    if stuck is None:
        return Found(len(states), moves)
    return Found(len(states), moves, STUCK, _trace(protocol, states, parents, stuck))


def canonical(state: State) -> State:
    """Choose one for all states that are the same but for who is who."""
    workers = state.workers
    ordered = tuple(sorted(workers))
    return state if ordered == workers else state._replace(workers=ordered)


def _first_stuck(protocol: Protocol, states: Sequence[State], sources: array[int], targets: array[int]) -> int | None:
    """Find the nearest state from which no sure moves lead to the end, by going back from all ends there are."""
    before: list[list[int]] = [[] for _ in states]
    for source, target in zip(sources, targets, strict=True):
        before[target].append(source)
    can_end = bytearray(len(states))
    waiting = [number for number, state in enumerate(states) if protocol.is_drained(state)]
    for number in waiting:
        can_end[number] = 1
    while waiting:
        for source in before[waiting.pop()]:
            if not can_end[source]:
                can_end[source] = 1
                waiting.append(source)
    stuck = can_end.find(0)
    return None if stuck < 0 else stuck


def _trace(protocol: Protocol, states: Sequence[State], parents: array[int], last: int) -> Sequence[str]:
    """Tell how a state came about, with each worker under the same name all the way."""
    way: list[int] = []
    while last >= 0:
        way.append(last)
        last = parents[last]
    state, told = protocol.start(), []
    for number in reversed(way[:-1]):
        move = next(move for move in protocol.moves(state) if canonical(move.state) == states[number])
        told.append(move.what)
        state = move.state
    return told
