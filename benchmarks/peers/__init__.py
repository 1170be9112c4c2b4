"""What is measured beside NecroStack on Redis: one adapter per system, with the settings its documentation recommends.

Each has

* `emitter(url)`: emits one by one, as in `benchmarks.durable`;
* `bulk_emitter(url)`, where the system can: emits many with one call;
* `fill(url, n)`: enqueues n orders, in bulk where the system can;
* `consume(url, progress, concurrency)`: works until every order is handled and the server owes nothing. It does not
  wait for its worker to end: what that costs is no cost of an event.

Every handler gets its order as a validated model, and calls `progress.handle` with its id.
"""
