"""A run in the background of an application: `Spine.running`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from typing import Any

import pytest

from necrostack import Event, InMemoryBackend, Organ, Spine
from necrostack.errors import BackendError, BackendUnavailable, ConfigurationError


class Noted(Organ):
    """Notes what happens to it."""

    listens_to = ["PING"]

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []
        self.entered = asyncio.Event()
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def startup(self) -> None:
        self.notes.append("startup")

    async def handle(self, event: Event) -> None:
        self.entered.set()
        await self.may_end.wait()
        self.notes.append("handled")

    async def shutdown(self) -> None:
        self.notes.append("shutdown")


class Broken(InMemoryBackend):
    """Raises whatever it is given, as soon as it is given it."""

    def __init__(self) -> None:
        super().__init__()
        self.error: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def pull(self, *, limit: int = 1, timeout: float = 1.0) -> Any:
        return await asyncio.shield(self.error)


Failures = Callable[[], Sequence[logging.LogRecord]]
PING = Event(event_type="PING", payload={})


@pytest.fixture
def failures(caplog: pytest.LogCaptureFixture) -> Failures:
    """Tells which lines `run_failed` the log has until now."""
    caplog.set_level(logging.INFO, logger="necrostack")
    return lambda: [record for record in caplog.records if record.message == "run_failed"]


async def test_events_are_handled_while_the_block_lasts_and_what_runs_at_its_end_is_finished() -> None:
    organ = Noted()
    spine = Spine([organ])

    async with spine, spine.running():
        began_with = [*organ.notes]
        organ.may_end.clear()
        await spine.emit(PING)
        await organ.entered.wait()
        asyncio.get_running_loop().call_soon(organ.may_end.set)

    assert began_with == ["startup"]
    assert organ.notes == ["startup", "handled", "shutdown"]


async def test_it_says_whether_it_runs() -> None:
    spine = Spine([Noted()])
    said = [spine.is_running]

    async with spine.running():
        said.append(spine.is_running)
        spine.stop()
        said.append(spine.is_running)
    said.append(spine.is_running)

    assert said == [False, True, False, False]


async def test_it_can_be_entered_again_when_it_has_ended() -> None:
    organ = Noted()
    spine = Spine([organ])

    for _ in range(2):
        async with spine.running():
            pass

    assert organ.notes == ["startup", "shutdown"] * 2


async def test_an_error_of_a_startup_hook_rises_before_the_block_begins(failures: Failures) -> None:
    class NoDatabase(Noted):
        async def startup(self) -> None:
            raise OSError("no database")

    has_begun = False

    with pytest.raises(OSError, match="no database"):
        async with Spine([NoDatabase()]).running():
            has_begun = True

    assert not has_begun
    assert not failures()


async def test_a_second_run_beside_the_first_is_refused_at_once() -> None:
    spine = Spine([Noted()])

    async with spine.running():
        with pytest.raises(ConfigurationError, match="this Spine is running"):
            async with spine.running():
                raise AssertionError("it began")
        await spine.started()
        still_runs = spine.is_running

    assert still_runs


async def test_a_run_that_fails_is_heard_of_at_once_and_again_at_the_end(failures: Failures) -> None:
    backend = Broken()
    spine = Spine([Noted()], backend)
    told = asyncio.get_running_loop().create_future()
    error = BackendError("the disk is gone")
    found: list[object] = []

    async def application() -> None:
        async with spine.running(on_failure=told.set_result):
            backend.error.set_exception(error)
            found.append(await told)
            found.extend(record.exc_info[1] for record in failures() if record.exc_info)
            found.append(spine.is_running)

    with pytest.raises(BackendError, match="the disk is gone"):
        await application()

    assert found == [error, error, False]
    assert len(failures()) == 1


async def test_what_goes_wrong_in_the_drain_is_raised_and_no_failure_of_the_run(
    failures: Failures,
) -> None:
    class Ungrateful(Noted):
        async def shutdown(self) -> None:
            raise OSError("cannot close")

    with pytest.raises(OSError, match="cannot close"):
        async with Spine([Ungrateful()]).running():
            pass

    assert not failures()


async def test_an_error_of_the_block_goes_on_and_the_run_drains() -> None:
    organ = Noted()
    spine = Spine([organ])

    async def application() -> None:
        async with spine.running():
            organ.may_end.clear()
            await spine.emit(PING)
            await organ.entered.wait()
            asyncio.get_running_loop().call_soon(organ.may_end.set)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await application()

    assert organ.notes == ["startup", "handled", "shutdown"]


async def test_an_error_of_the_block_is_not_hidden_by_one_of_the_run(failures: Failures) -> None:
    backend = Broken()

    async def application() -> None:
        async with Spine([Noted()], backend).running():
            backend.error.set_exception(BackendError("the disk is gone"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await application()

    assert len(failures()) == 1


@pytest.mark.parametrize("where", ["startup", "block"])
async def test_a_block_that_is_cancelled_cancels_its_handlers(where: str) -> None:
    reached = asyncio.Event()

    class Stuck(Noted):
        async def startup(self) -> None:
            await super().startup()
            if where == "startup":
                reached.set()
                await asyncio.Event().wait()

    organ = Stuck()
    organ.may_end.clear()
    spine = Spine([organ])

    async def application() -> None:
        async with spine.running():
            await spine.emit(PING)
            await organ.entered.wait()
            reached.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(application())
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert organ.notes == ["startup", "shutdown"]
    assert (await spine.backend.admin.stats()).pending == 0


async def test_who_is_cancelled_in_the_drain_waits_no_longer() -> None:
    organ = Noted()
    organ.may_end.clear()
    spine = Spine([organ], drain_timeout=600)
    loop = asyncio.get_running_loop()

    async def application() -> None:
        async with spine.running():
            await spine.emit(PING)
            await organ.entered.wait()
            # Not before the block has ended, which it does in this very step.
            loop.call_soon(lambda: task.cancel())

    task = asyncio.create_task(application())
    with pytest.raises(asyncio.CancelledError):
        await task

    assert organ.notes == ["startup", "shutdown"]


async def test_an_application_begins_although_its_backend_is_out_of_reach_and_runs_when_that_is_back() -> None:
    class Away(InMemoryBackend):
        is_back = False

        async def join(self, topology: str) -> Collection[str]:
            if not self.is_back:
                raise BackendUnavailable("connection refused")
            return await super().join(topology)

    backend = Away()
    organ = Noted()
    spine = Spine([organ], backend)

    async with spine.running():
        notes, ran = [*organ.notes], spine.is_running
        backend.is_back = True
        await spine.started()
        runs = spine.is_running

    assert notes == ["startup"]
    assert (ran, runs) == (False, True)


async def test_an_application_whose_backend_stays_out_of_reach_can_end() -> None:
    class Gone(InMemoryBackend):
        async def join(self, topology: str) -> Collection[str]:
            raise BackendUnavailable("connection refused")

    organ = Noted()

    async with Spine([organ], Gone()).running():
        pass

    assert organ.notes == ["startup", "shutdown"]


async def test_a_run_that_was_stopped_before_it_began_is_no_failure() -> None:
    class Hasty(Noted):
        async def startup(self) -> None:
            spine.stop()

    spine: Spine = Spine([Hasty()])

    async with spine.running():
        assert not spine.is_running
