"""One delivery, handled: its Organs run in turn, and what came of each is decided."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from typing import Any

from necrostack.delivery import Attempt, Delivery, Failure, Retry, Settlement
from necrostack.errors import EventError, GiveUp, HandlerResultError, RetryLater
from necrostack.event import Event, caused_by
from necrostack.inspection import OrganSpec
from necrostack.instrumentation import Instrumentation
from necrostack.log import format_traceback, logger
from necrostack.retry import RetryPolicy
from necrostack.tally import Tally

current_event: ContextVar[Event | None] = ContextVar("necrostack_current_event", default=None)
"""The event that is being handled, for whoever emits from inside a handler."""


class RunEnded(BaseException):
    """A handler ended the whole run: SystemExit, KeyboardInterrupt, or a real cancellation.

    Attributes:
        error: What is to go on.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


class Step:
    """What came of one delivery, until it is settled.

    Attributes:
        delivery: What was handled.
        emitted: What its Organs emitted, in order.
        emitters: The Organ behind each of these.
        retries: Who gets it again.
        dead: What becomes a dead letter.
    """

    __slots__ = ("dead", "delivery", "emitted", "emitters", "retries")

    def __init__(self, delivery: Delivery) -> None:
        self.delivery = delivery
        self.emitted: list[Event] = []
        self.emitters: list[str] = []
        self.retries: list[Retry] = []
        self.dead: list[Failure] = []

    def settlement(self) -> Settlement:
        """Return what is to be committed."""
        return Settlement(self.delivery, self.emitted, self.retries, self.dead)


class StepTaker:
    """Runs handlers, and decides what becomes of those that fail."""

    def __init__(self, default_retry: RetryPolicy, instrumentation: Instrumentation | None, tally: Tally) -> None:
        self._default_retry = default_retry
        self._instrumentation = instrumentation
        self._tally = tally
        # What this task was cancelled by before the run is nobody's business here.
        task = asyncio.current_task()
        self._cancelled_before = task.cancelling() if task else 0

    async def take(self, delivery: Delivery, organs: Sequence[OrganSpec]) -> Step:
        """Run the Organs on a delivery, in order. A failure is that Organ's alone.

        Raises:
            RunEnded: A handler ended the run; the delivery is not done.
        """
        step = Step(delivery)
        token = current_event.set(delivery.event)
        try:
            for spec in organs:
                counts = self._tally.organs[spec.name]
                counts.handled += 1
                # Handlers are foreign code: whatever they raise is caught here, and only here.
                try:
                    if self._instrumentation is None:
                        result = spec.handle(delivery.event)
                        if spec.is_async or inspect.isawaitable(result):
                            result = await result if spec.timeout is None else await _within(spec, result)
                    else:
                        result = await self._watched(spec, delivery, self._instrumentation)
                    if result is not None:
                        self._collect(step, spec, result)
                except BaseException as error:  # noqa: BLE001
                    if _ends_run(error):
                        raise RunEnded(error) from None
                    counts.failed += 1
                    self._tally.failed += 1
                    self.fail(step, spec, error)
        finally:
            current_event.reset(token)
        return step

    async def _watched(self, spec: OrganSpec, delivery: Delivery, instrumentation: Instrumentation) -> Any:
        with _entered(instrumentation, spec, delivery):
            result = spec.handle(delivery.event)
            if inspect.isawaitable(result):
                result = await result if spec.timeout is None else await _within(spec, result)
            return result

    def _collect(self, step: Step, spec: OrganSpec, result: object) -> None:
        """Take over what a handler returned: all of it or nothing."""
        events = [result] if isinstance(result, Event) else _several(spec, result)
        try:
            children = [caused_by(event, step.delivery.event) for event in events]
        except EventError as error:
            raise HandlerResultError(str(error)) from error
        if self._instrumentation is not None:
            children = [emitting(self._instrumentation, child, step.delivery.event) for child in children]
        step.emitted += children
        step.emitters += [spec.name] * len(children)

    def fail(self, step: Step, spec: OrganSpec, error: BaseException) -> None:
        """Decide what becomes of an Organ that failed: again later, or a dead letter. Log it, once."""
        delivery = step.delivery
        outcome = self._delay_or_reason(spec, delivery.attempt, error)
        delay = outcome if isinstance(outcome, float) else None
        attempts = (*delivery.attempts, Attempt(self._tally.now(), f"{type(error).__name__}: {error}", delay))
        facts = {
            "event_id": str(delivery.event.id),
            "event_type": delivery.event.event_type,
            "correlation_id": str(delivery.event.correlation_id),
            "organ": spec.name,
            "attempt": delivery.attempt,
        }
        if isinstance(outcome, float):
            step.retries.append(Retry(organ=spec.name, delay=outcome, attempts=attempts))
            logger.warning("retry_scheduled", extra={**facts, "delay": outcome}, exc_info=error)
            return
        step.dead.append(
            Failure(
                reason=outcome,
                organ=spec.name,
                error_type=type(error).__name__,
                error=str(error),
                traceback=format_traceback(error),
                attempts=attempts,
            )
        )
        logger.error("dead_lettered", extra={**facts, "reason": outcome}, exc_info=error)

    def _delay_or_reason(self, spec: OrganSpec, attempt: int, error: BaseException) -> float | str:
        """Seconds until this Organ runs again, or the reason why it does not."""
        policy = spec.retry or self._default_retry
        if isinstance(error, GiveUp):
            return error.reason
        # What came back once comes back again: no retry makes an event of it.
        if isinstance(error, HandlerResultError):
            return "bad_result"
        if isinstance(error, RetryLater):
            # The handler asks for it, so a policy without retries does not forbid it; one with retries sets the limit.
            exhausted = 1 < policy.max_attempts <= attempt
            return "attempts_exhausted" if exhausted else float(error.after)
        if not policy.retries(error):
            return "not_retried"
        delay = policy.delay_after(attempt)
        return "attempts_exhausted" if delay is None else float(delay)


def emitting(instrumentation: Instrumentation, event: Event, parent: Event | None) -> Event:
    """Let instrumentation see an event before it is kept. What it raises is its own failure, not the event's."""
    try:
        return instrumentation.emitting(event, parent)
    except Exception:
        logger.exception("instrumentation_failed", extra={"hook": "emitting"})
        return event


def _entered(instrumentation: Instrumentation, spec: OrganSpec, delivery: Delivery) -> AbstractContextManager[object]:
    try:
        return instrumentation.handling(spec.name, delivery)
    except Exception:
        logger.exception("instrumentation_failed", extra={"hook": "handling"})
        return nullcontext()


def _ends_run(error: BaseException) -> bool:
    """Whether an error is not the handler's failure: the program ends, or somebody cancels this very task."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0
    return isinstance(error, KeyboardInterrupt | SystemExit)


async def _within(spec: OrganSpec, awaitable: Any) -> Any:
    """Await a handler within its Organ's timeout."""
    # Not asyncio.wait_for: on Python 3.11 it swallows a cancellation that arrives with the result.
    try:
        async with asyncio.timeout(spec.timeout) as limit:
            return await awaitable
    except TimeoutError as error:
        if not limit.expired():
            raise
        msg = f"{spec.name}.handle took longer than its timeout of {spec.timeout:g} s"
        raise TimeoutError(msg) from error


def _several(spec: OrganSpec, result: object) -> Sequence[Event]:
    if not isinstance(result, Sequence) or isinstance(result, str | bytes | bytearray):
        msg = f"{spec.name}.handle returned {_shown(result)}; return None, an Event or a list of events"
        raise HandlerResultError(msg)
    for index, item in enumerate(result):
        if not isinstance(item, Event):
            msg = f"{spec.name}.handle returned a list whose item {index} is {_shown(item)}; every item must be an Event"
            raise HandlerResultError(msg)
    return result


def _shown(value: object) -> str:
    if inspect.isgenerator(value) or inspect.isasyncgen(value):
        return "a generator"
    if isinstance(value, type):
        return f"the class {value.__qualname__}"
    return f"{repr(value)[:60]} ({type(value).__name__})"
