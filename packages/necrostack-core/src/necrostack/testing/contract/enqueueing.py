"""Enqueue: what is kept, all or nothing, once for each call, and up to which bounds."""

from __future__ import annotations

from necrostack.delivery import Failure, Retry, Settlement
from necrostack.errors import BackendFull, ConfigurationError, EventError, EventTooLarge
from necrostack.testing.contract.check import check
from necrostack.testing.contract.expect import (
    expect_empty,
    expect_equal,
    expect_error,
    numbers,
    pull_all,
    pull_one,
)
from necrostack.testing.contract.factory import BackendFactory
from necrostack.testing.contract.samples import misfit, numbered, ordered, several


@check()
async def check_an_enqueue_of_nothing_keeps_nothing(factory: BackendFactory) -> None:
    """No events, no effect."""
    backend = await factory.make()

    await backend.enqueue()

    await expect_empty(backend, "after enqueue()")


@check()
async def check_a_negative_delay_is_refused(factory: BackendFactory) -> None:
    """A delay is a number of seconds from now on."""
    backend = await factory.make()

    for delay in (-1.0, float("inf"), float("nan")):
        await expect_error(backend.enqueue(numbered(1), delay=delay), ConfigurationError)

    await expect_empty(backend, "after refused delays")


@check()
async def check_an_enqueue_keeps_all_or_nothing(factory: BackendFactory) -> None:
    """One event that is not what its type says keeps the others of the call out, too."""
    backend = await factory.make()

    for events in ([numbered(1), misfit()], [misfit(), numbered(1)], [numbered(1), misfit(), numbered(2)]):
        await expect_error(backend.enqueue(*events), EventError)

    await expect_empty(backend, "after refused calls")
    expect_equal((await backend.admin.stats()).history, 0, "the history after refused calls")


@check()
async def check_an_enqueue_of_too_large_an_event_keeps_nothing(factory: BackendFactory) -> None:
    """The size limit is checked where bytes exist, before anything is kept."""
    backend = await factory.make(max_event_size=1_000)

    large = numbered(2, text="ü" * 600)
    await expect_error(backend.enqueue(numbered(1), large), EventTooLarge)

    await expect_empty(backend, "after a refused call")
    await backend.enqueue(numbered(3, text="ü" * 400))
    expect_equal(numbers(await pull_all(factory, backend, 1)), [3], "what is just small enough")


@check()
async def check_an_identical_enqueue_is_kept_once(factory: BackendFactory) -> None:
    """A call whose answer was lost may be made again, also when its events were handled meanwhile."""
    backend = await factory.make()
    events = [numbered(1), ordered(2)]

    await backend.enqueue(*events)
    await backend.enqueue(*events)
    for delivery in await pull_all(factory, backend, 2):
        await backend.ack(delivery)
    await backend.enqueue(*events)

    await expect_empty(backend, "after the third identical call")


@check()
async def check_copies_in_one_enqueue_are_all_kept(factory: BackendFactory) -> None:
    """What one call says twice, it means twice."""
    backend = await factory.make()
    event = numbered(1)

    await backend.enqueue(event, event, event)

    expect_equal(numbers(await pull_all(factory, backend, 3)), [1, 1, 1], "copies")


@check()
async def check_the_same_ids_with_other_content_are_another_enqueue(factory: BackendFactory) -> None:
    """Only the identical call is a repetition: an event may be corrected, or come along with another one."""
    backend = await factory.make()
    event = numbered(1)
    corrected = event.model_copy(update={"payload": numbered(2).payload})

    await backend.enqueue(event)
    await backend.enqueue(corrected)
    await backend.enqueue(event, numbered(3))
    await backend.enqueue(event)

    expect_equal(numbers(await pull_all(factory, backend, 4)), [1, 2, 1, 3], "what was kept")
    await expect_empty(backend, "after a call that was identical to the first")


@check("bounded")
async def check_a_full_backend_refuses_whole_calls(factory: BackendFactory) -> None:
    """`max_size` refuses what does not fit, all of it, and takes what fits."""
    backend = await factory.make(max_size=3)
    await backend.enqueue(*several(2))

    await expect_error(backend.enqueue(numbered(7), numbered(8)), BackendFull)
    await backend.enqueue(numbered(2))
    await expect_error(backend.enqueue(numbered(9)), BackendFull)
    await expect_error(backend.enqueue(numbered(9), delay=factory.unit), BackendFull)

    expect_equal(numbers(await pull_all(factory, backend, 3)), [0, 1, 2], "what was kept")
    await expect_empty(backend, "after refused calls")


@check("bounded")
async def check_what_is_pending_takes_no_room(factory: BackendFactory) -> None:
    """`max_size` bounds what waits: live events, retries and replays that were pulled do not; handed back they do."""
    backend = await factory.make(max_size=2)
    await backend.enqueue(*several(2))
    live, retried = await pull_all(factory, backend, 2)
    await backend.settle(Settlement(retried, retries=[Retry(organ="Billing", delay=0.0)]))
    retry = await pull_one(factory, backend)

    await backend.enqueue(numbered(2))
    await backend.enqueue(numbered(3))
    await expect_error(backend.enqueue(numbered(4)), BackendFull)
    await backend.ack(await pull_one(factory, backend))
    await backend.release(live, retry)
    await expect_error(backend.enqueue(numbered(5)), BackendFull)

    expect_equal(sorted(numbers(await pull_all(factory, backend, 3))), [0, 1, 3], "what was kept")


@check("bounded")
async def check_a_refused_enqueue_may_be_made_again(factory: BackendFactory) -> None:
    """What was refused was not kept, so making the call again is no repetition."""
    backend = await factory.make(max_size=1)
    await backend.enqueue(numbered(1))
    event = numbered(2)
    await expect_error(backend.enqueue(event), BackendFull)
    await backend.ack(await pull_one(factory, backend))

    await backend.enqueue(event)

    expect_equal(numbers(await pull_all(factory, backend, 1)), [2], "what was kept the second time")


@check("bounded")
async def check_an_enqueue_may_be_repeated_when_it_filled_the_backend(factory: BackendFactory) -> None:
    """The repetition of a call that was kept is answered as it was, also when nothing more fits."""
    backend = await factory.make(max_size=2)
    events = several(2)
    await backend.enqueue(*events)

    await backend.enqueue(*events)

    expect_equal(numbers(await pull_all(factory, backend, 2)), [0, 1], "what was kept")
    await expect_empty(backend, "after the repetition")


@check("bounded")
async def check_a_full_backend_still_settles(factory: BackendFactory) -> None:
    """What handling leads to is never refused for size, or a full backend could not be drained."""
    backend = await factory.make(max_size=2)
    await backend.enqueue(*several(2))
    delivery = await pull_one(factory, backend)
    await backend.enqueue(numbered(2))

    ours = await backend.settle(
        Settlement(
            delivery,
            emitted=several(5),
            retries=[Retry(organ="Billing", delay=0.0)],
            dead=[Failure(reason="given up", organ="Audit")],
        )
    )

    expect_equal(list(ours), [True], "the answer of a full backend")
    expect_equal((await backend.admin.stats()).dead, 1, "dead letters")
    await pull_all(factory, backend, 8)
