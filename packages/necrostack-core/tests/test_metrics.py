"""Metrics for Prometheus: what they count, what they tell apart, and what they say of a backend."""

from __future__ import annotations

import asyncio
import re
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.parser import text_string_to_metric_families

import necrostack.metrics
from necrostack import Event, GiveUp, InMemoryBackend, Organ, RetryPolicy, Spine
from necrostack.backend import BackendStats
from necrostack.delivery import Delivery, Failure, Retry, Settlement
from necrostack.errors import BackendUnavailable, ConfigurationError, EventError
from necrostack.instrumentation import Instrumentation, together
from necrostack.memory_admin import InMemoryAdmin
from necrostack.metrics import REASONS, REASONS_OF_EVENTS, REASONS_OF_ORGANS, BackendMetrics, Metrics

SECRET = "do-not-show"  # noqa: S105 -- what must not be found


class Buyer(Organ):
    """Buys, fails at first, or gives up."""

    listens_to = ["metrics.wanted"]
    retry = RetryPolicy(max_attempts=2, base_delay=0.0, jitter=False)

    async def handle(self, event: Event) -> Event | None:
        how = event.payload["how"]
        if how == "never":
            raise GiveUp(f"{SECRET} is sold out")
        if how == "later":
            raise ValueError(SECRET)
        return Event(event_type=event.payload.get("leads_to", "metrics.bought"), payload={"secret": SECRET})


class Clerk(Organ):
    listens_to = ["metrics.bought"]

    def handle(self, event: Event) -> None: ...


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def spine_of(registry: CollectorRegistry, backend: InMemoryBackend | None = None) -> Spine:
    spine = Spine([Buyer(), Clerk()], backend)
    return spine.with_settings(instrumentation=Metrics(spine.topology, registry))


def wanted(how: str = "now", **more: str) -> Event:
    return Event(event_type="metrics.wanted", payload={"how": how, **more})


def samples(text: str | bytes, name: str) -> dict[tuple[str, ...], float]:
    """The values of a metric by its labels, as whoever reads the page finds them."""
    page = text if isinstance(text, str) else text.decode()
    return {
        tuple(value for label, value in sorted(sample.labels.items()) if label != "le"): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == name
    }


def counted(page: bytes, name: str) -> dict[tuple[str, ...], float]:
    """Those of the values that are not 0."""
    return {labels: value for labels, value in samples(page, name).items() if value}


# --- what is counted ------------------------------------------------------------------------------------------


async def test_deliveries_are_counted_by_type_and_outcome(registry: CollectorRegistry) -> None:
    await spine_of(registry).run_until_idle(wanted(), wanted(), wanted("later"), wanted("never"))

    page = generate_latest(registry)
    assert samples(page, "necrostack_deliveries_total") == {
        ("metrics.wanted", "done"): 2,
        ("metrics.wanted", "retried"): 1,
        ("metrics.wanted", "dead_lettered"): 2,
        ("metrics.bought", "done"): 2,
    }
    assert samples(page, "necrostack_emitted_events_total") == {("metrics.bought",): 2}
    assert samples(page, "necrostack_retries_total") == {("Buyer",): 1, ("Clerk",): 0}
    assert counted(page, "necrostack_dead_letters_total") == {
        ("Buyer", "attempts_exhausted"): 1,
        ("Buyer", "given_up"): 1,
    }
    assert samples(page, "necrostack_handler_seconds_count") == {("Buyer",): 5, ("Clerk",): 2}
    assert samples(page, "necrostack_handlers_running") == {("Buyer",): 0, ("Clerk",): 0}
    assert len(samples(page, "necrostack_info")) == 1


def test_what_can_be_known_is_told_from_0_on(registry: CollectorRegistry) -> None:
    Metrics(Spine([Clerk()]).topology, registry)

    page = generate_latest(registry)
    assert samples(page, "necrostack_retries_total") == {("Clerk",): 0}
    found = samples(page, "necrostack_dead_letters_total")
    assert {*found.values()} == {0}
    assert {reason for organ, reason in found if organ} == {*REASONS_OF_ORGANS, "given_up"}
    assert {reason for organ, reason in found if not organ} == {*REASONS_OF_EVENTS}


async def test_names_from_data_make_no_series_of_their_own(registry: CollectorRegistry) -> None:
    strangers = [Event(event_type=f"metrics.stranger-{number}", payload={}) for number in range(50)]
    leading = [wanted(leads_to=f"metrics.nobody-{number}") for number in range(50)]

    await spine_of(registry).run_until_idle(*strangers, *leading)

    page = generate_latest(registry)
    assert samples(page, "necrostack_deliveries_total") == {("metrics.wanted", "done"): 50, ("other", "done"): 100}
    assert samples(page, "necrostack_emitted_events_total") == {("other",): 50}
    assert b"stranger" not in page


async def test_nothing_of_an_event_but_its_type_is_shown(registry: CollectorRegistry) -> None:
    await spine_of(registry).run_until_idle(wanted(), wanted("later"), wanted("never"))

    assert SECRET.encode() not in generate_latest(registry)


def test_what_the_topology_does_not_know_is_counted_together(registry: CollectorRegistry) -> None:
    metrics = Metrics(Spine([Clerk()]).topology, registry)
    delivery = Delivery(Event(event_type="metrics.bought", payload={}))

    with metrics.handling("Stranger", delivery):
        assert metrics.running == {"Clerk": 0, "other": 1}
    retries = [Retry(organ="Stranger", delay=0.0)]
    dead = [Failure(reason="max_hops"), Failure(reason="unknown_organ", organ="Stranger")]
    metrics.settled([Settlement(delivery, retries=retries, dead=dead)], [True])

    page = generate_latest(registry)
    assert samples(page, "necrostack_handler_seconds_count") == {("Clerk",): 0, ("other",): 1}
    assert samples(page, "necrostack_retries_total") == {("Clerk",): 0, ("other",): 1}
    assert counted(page, "necrostack_dead_letters_total") == {("", "max_hops"): 1, ("other", "unknown_organ"): 1}


def test_what_was_taken_over_by_others_is_lost_and_counts_for_nothing_else(registry: CollectorRegistry) -> None:
    metrics = Metrics(Spine([Clerk()]).topology, registry)
    delivery = Delivery(Event(event_type="metrics.bought", payload={}))

    metrics.settled([Settlement(delivery, emitted=[wanted()], dead=[Failure(reason="no")])], [False])

    page = generate_latest(registry)
    assert samples(page, "necrostack_deliveries_total") == {("metrics.bought", "lost"): 1}
    assert samples(page, "necrostack_emitted_events_total") == {}
    assert counted(page, "necrostack_dead_letters_total") == {}


def test_what_cannot_be_read_is_counted(registry: CollectorRegistry) -> None:
    class Unreadable(Delivery):
        @property
        def event(self) -> Event:
            raise EventError

    metrics = Metrics(Spine([Clerk()]).topology, registry)

    metrics.settled([Settlement(object.__new__(Unreadable), dead=[Failure(reason="undecodable")])], [True])

    page = generate_latest(registry)
    assert samples(page, "necrostack_deliveries_total") == {("other", "dead_lettered"): 1}
    assert counted(page, "necrostack_dead_letters_total") == {("", "undecodable"): 1}


async def test_a_handler_is_running_until_it_is_left_however_that_is(registry: CollectorRegistry) -> None:
    metrics = Metrics(Spine([Clerk()]).topology, registry)
    delivery = Delivery(Event(event_type="metrics.bought", payload={}))

    with suppress(LookupError), metrics.handling("Clerk", delivery), metrics.handling("Clerk", delivery):
        assert samples(generate_latest(registry), "necrostack_handlers_running") == {("Clerk",): 2}
        raise LookupError

    page = generate_latest(registry)
    assert samples(page, "necrostack_handlers_running") == {("Clerk",): 0}
    assert samples(page, "necrostack_handler_seconds_count") == {("Clerk",): 2}


async def test_metrics_go_with_other_instrumentation(registry: CollectorRegistry) -> None:
    spine = Spine([Buyer(), Clerk()])
    metrics = Metrics(spine.topology, registry)

    spine = spine.with_settings(instrumentation=together(Instrumentation(), metrics))
    await spine.run_until_idle(wanted())

    assert samples(generate_latest(registry), "necrostack_deliveries_total")["metrics.wanted", "done"] == 1


def test_the_reasons_are_those_of_the_reference() -> None:
    page = Path(__file__).parents[3] / "docs" / "reference" / "dead-letters.md"
    if not page.exists():
        pytest.skip("the docs are not here")

    listed = set(re.findall(r"^\| `(\w+)` \| (?:yes|None) \|", page.read_text("utf-8"), re.MULTILINE))

    assert listed == REASONS


def test_without_the_library_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)

    with pytest.raises(ConfigurationError, match=r"pip install 'necrostack-core\[metrics\]'"):
        Metrics(Spine([Clerk()]).topology)


# --- what a backend holds -------------------------------------------------------------------------------------


class CountedAdmin(InMemoryAdmin):
    """Counts how often it is asked, and does not answer while there is an error, or a reason to wait."""

    asked = 0
    error: Exception | None = None
    waits = False

    async def stats(self) -> BackendStats:
        self.asked += 1
        if self.error is not None:
            raise self.error
        if self.waits:
            await asyncio.Event().wait()
        return await super().stats()


class Asked(InMemoryBackend):
    def __init__(self) -> None:
        super().__init__(history=10)
        self._admin = self.counted = CountedAdmin(self._store, self.clock, 1000, self.open_and_awake)


def gauges(page: bytes) -> Mapping[str, Any]:
    found = re.findall(r"^necrostack_backend_(\w+) (\S+)$", page.decode(), re.MULTILINE)
    return {name: float(value) for name, value in found}


async def scraped(registry: CollectorRegistry) -> Mapping[str, Any]:
    return gauges(await asyncio.to_thread(generate_latest, registry))


async def test_the_gauges_say_what_a_backend_holds(registry: CollectorRegistry) -> None:
    backend = InMemoryBackend(history=10)
    BackendMetrics(backend, registry)
    await backend.enqueue(wanted(), wanted(), wanted())
    await backend.enqueue(wanted(), delay=3600.0)
    first, _ = await backend.pull(limit=2)
    await backend.settle(Settlement(first, dead=[Failure(reason="no")]))

    found = dict(await scraped(registry))

    assert found.pop("oldest_pending_seconds") >= 0
    assert found == {
        "up": 1, "queued": 1, "pending": 1, "scheduled": 1, "dead_letters": 1, "workers": 1, "history": 3,
    }  # fmt: skip


async def test_however_many_scrape_the_backend_is_asked_once(registry: CollectorRegistry) -> None:
    backend = Asked()
    BackendMetrics(backend, registry, at_most_every=3600.0)

    pages = await asyncio.gather(*(scraped(registry) for _ in range(5)))

    assert backend.counted.asked == 1
    assert [page["up"] for page in pages] == [1] * 5


async def test_a_backend_that_is_out_of_reach_is_down_and_nothing_old_is_told(registry: CollectorRegistry) -> None:
    backend = Asked()
    BackendMetrics(backend, registry, at_most_every=0.0)
    assert (await scraped(registry))["queued"] == 0

    backend.counted.error = BackendUnavailable("gone")
    assert await scraped(registry) == {"up": 0}

    backend.counted.error = None
    assert (await scraped(registry))["queued"] == 0


async def test_a_backend_that_does_not_answer_in_time_is_down(registry: CollectorRegistry) -> None:
    backend = Asked()
    backend.counted.waits = True
    BackendMetrics(backend, registry, timeout=0.01)

    assert await scraped(registry) == {"up": 0}


async def test_while_a_handler_holds_the_loop_a_scrape_is_answered(registry: CollectorRegistry) -> None:
    BackendMetrics(InMemoryBackend(), registry, timeout=0.01)
    found: list[Mapping[str, Any]] = []

    def hold_the_loop() -> None:
        scraping = threading.Thread(target=lambda: found.append(gauges(generate_latest(registry))))
        scraping.start()
        scraping.join(30)

    hold_the_loop()

    assert found == [{"up": 0}]


async def test_a_scrape_inside_the_loop_gets_the_last_answer(registry: CollectorRegistry) -> None:
    backend = Asked()
    BackendMetrics(backend, registry, at_most_every=3600.0)

    assert gauges(generate_latest(registry)) == {"up": 0}
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert gauges(generate_latest(registry))["up"] == 1
    assert backend.counted.asked == 1


def test_when_the_loop_is_closed_nothing_is_known(registry: CollectorRegistry) -> None:
    async def make() -> None:
        BackendMetrics(InMemoryBackend(), registry)

    asyncio.run(make())

    assert gauges(generate_latest(registry)) == {"up": 0}


def test_without_a_loop_it_is_said_where_to_make_it(registry: CollectorRegistry) -> None:
    with pytest.raises(ConfigurationError, match="inside a coroutine"):
        BackendMetrics(InMemoryBackend(), registry)


async def test_the_server_of_the_library_serves_both(registry: CollectorRegistry) -> None:
    spine = spine_of(registry)
    BackendMetrics(spine.backend, registry)
    await spine.run_until_idle(wanted())
    server, thread = start_http_server(0, "127.0.0.1", registry)

    page = await asyncio.to_thread(_fetch, f"http://127.0.0.1:{server.server_port}/")

    server.shutdown()
    server.server_close()
    thread.join()
    assert samples(page, "necrostack_deliveries_total")["metrics.wanted", "done"] == 1
    assert samples(page, "necrostack_backend_up") == {(): 1}


def _fetch(url: str) -> bytes:
    with urlopen(url) as answer:  # noqa: S310 -- it is ours
        return bytes(answer.read())


def test_the_module_does_not_need_the_library_to_be_imported() -> None:
    assert "prometheus_client" not in vars(necrostack.metrics)
