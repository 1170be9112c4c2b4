"""Which lines of a feed are finished: those of which nothing is left to be settled."""

from __future__ import annotations

import pytest

from necrostack import Delivery, Event, Settlement
from necrostack.cli.progress import Watch
from necrostack.delivery import Failure, Retry
from necrostack.errors import EventError
from necrostack.event import caused_by

FIRST, SECOND = Event(event_type="CLI_A", payload={}), Event(event_type="CLI_A", payload={})
CHILD = caused_by(Event(event_type="CLI_B", payload={}), FIRST)


@pytest.fixture
def watch() -> Watch:
    """Watches the two lines 3 and 5."""
    made = Watch()
    made.began([(3, FIRST), (5, SECOND)])
    return made


def test_a_line_is_finished_when_its_event_is_settled(watch: Watch) -> None:
    assert watch.first_unfinished() == 3

    watch.settled([Settlement(Delivery(FIRST))], [True])
    assert watch.first_unfinished() == 5

    watch.settled([Settlement(Delivery(SECOND))], [True])
    assert watch.first_unfinished() is None


def test_a_line_is_unfinished_while_what_came_of_it_is_not_settled(watch: Watch) -> None:
    watch.settled([Settlement(Delivery(FIRST), emitted=[CHILD]), Settlement(Delivery(SECOND))], [True, True])
    assert watch.first_unfinished() == 3

    watch.settled([Settlement(Delivery(CHILD))], [True])
    assert watch.first_unfinished() is None


def test_a_line_is_unfinished_while_each_of_its_retries_is_to_come(watch: Watch) -> None:
    retries = [Retry(organ="A", delay=1.0), Retry(organ="B", delay=1.0)]
    watch.settled([Settlement(Delivery(FIRST), retries=retries), Settlement(Delivery(SECOND))], [True, True])

    watch.settled([Settlement(Delivery(FIRST, attempt=2, organs=("A",)))], [True])
    assert watch.first_unfinished() == 3

    watch.settled([Settlement(Delivery(FIRST, attempt=2, organs=("B",)))], [True])
    assert watch.first_unfinished() is None


def test_a_dead_letter_finishes_a_line_and_is_counted(watch: Watch) -> None:
    watch.settled([Settlement(Delivery(FIRST), dead=[Failure(reason="no")])], [True])

    assert watch.first_unfinished() == 5
    assert (watch.settled_deliveries, watch.dead) == (1, 1)


def test_a_settlement_that_was_not_accepted_finishes_nothing(watch: Watch) -> None:
    watch.settled([Settlement(Delivery(FIRST))], [False])

    assert watch.first_unfinished() == 3
    assert watch.settled_deliveries == 0


def test_lines_of_one_chain_are_finished_together() -> None:
    watch = Watch()
    watch.began([(1, FIRST), (2, CHILD)])

    watch.settled([Settlement(Delivery(FIRST))], [True])
    assert watch.first_unfinished() == 1

    watch.settled([Settlement(Delivery(CHILD))], [True])
    assert watch.first_unfinished() is None


def test_what_nobody_fed_is_not_looked_at(watch: Watch) -> None:
    watch.settled([Settlement(Delivery(Event(event_type="CLI_C", payload={})))], [True])

    assert watch.first_unfinished() == 3


def test_what_cannot_be_read_is_counted_and_is_nobodys_line(watch: Watch) -> None:
    class Sealed(Delivery):
        @property
        def event(self) -> Event:
            raise EventError

    unreadable = object.__new__(Sealed)

    watch.settled([Settlement(unreadable, dead=[Failure(reason="undecodable")])], [True])

    assert (watch.settled_deliveries, watch.dead, watch.first_unfinished()) == (1, 1, 3)
