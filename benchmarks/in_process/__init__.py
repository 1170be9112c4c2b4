"""W1: events through the systems that need no server, one adapter per system.

In most shapes each order is stated as one event; its handler states a second one, which another handler takes: 2n
handler calls. Every adapter builds and validates its events and orders in the measured time, and has some of

* `prefilled(n, tally)`: all n events are queued first, then handled;
* `streamed(n, tally)`: a producer states them one by one and waits while `BOUND` are queued;
* `untyped(n, tally)`: the same with one class for all events, whose payload is any JSON object;
* `concurrent(n, tally)`: the same with `CONCURRENCY` handlers at once, each of which waits once and has a timeout;
* `listened(n, tally)`: the same with events that end there, each taken by as many handlers as the tally has;
* `inline(n, tally)`: stating an event runs its handler before it returns; nothing is ever queued;
* `filled(n)` and `drain(held, tally)`: the two halves of `prefilled`.
"""

from typing import Final

BOUND: Final = 100
"""How many events a streamed producer may be ahead of the handlers."""

CONCURRENCY: Final = 100
"""How many handlers run at once, where they do."""

TIMEOUT: Final = 30.0
"""Seconds that each of those has."""
