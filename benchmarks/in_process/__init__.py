"""W1: typed events through the systems that need no server, one adapter per system.

Each order is stated as one event; its handler states a second one, which another handler takes: 2n handled
events. Every adapter builds and validates both events and both orders in the measured time, and has some of

* `prefilled(n, tally)`: all n events are queued first, then handled;
* `streamed(n, tally)`: a producer states them one by one and waits while `BOUND` are queued;
* `inline(n, tally)`: stating an event runs its handler before it returns; nothing is ever queued;
* `filled(n)`: queues n events and returns what holds them.
"""

from typing import Final

BOUND: Final = 100
"""How many events a streamed producer may be ahead of the handlers."""
