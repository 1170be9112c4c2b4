"""One delivery, handled: its Organs run in turn, and what came of each is decided."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from necrostack.deadline import Deadline
from necrostack.delivery import Attempt, Delivery, Failure, Retry, Settlement
from necrostack.errors import EventError, GiveUp, HandlerResultError, RetryLater, cut, explain
from necrostack.event import Event, caused_by, is_event
from necrostack.handling import now_handling
from necrostack.instrumentation import Instrumentation, emitting, handling
from necrostack.log import event_facts, format_traceback, logger
from necrostack.retry import RetryPolicy
from necrostack.tally import OrganTally, Tally

MAX_ATTEMPTS_KEPT, MAX_ATTEMPT_TEXT = 100, 1024
"""How many failed attempts go with an event, and of how many characters each: `RetryLater` may ask for any number."""


class RunEnded(BaseException):
    """A handler raised SystemExit or KeyboardInterrupt.

    Inside a task those would tear down the event loop at once; like this, the run ends in order before they go on.

    Attributes:
        error: What was raised.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


class Step(Settlement):
    """A settlement in the making. It remembers which Organ emitted what.

    Attributes:
        emitters: The name of the Organ behind each emitted event.
    """

    emitters: tuple[str, ...] = ()

    def __init__(self, delivery: Delivery) -> None:
        # Frozen for everyone else; while it is made, its parts are replaced here, in the instance's dict. Until then
        # they are the class's defaults.
        self.__dict__["delivery"] = delivery

    def set_emitted(self, emitted: Sequence[Event], emitters: tuple[str, ...]) -> None:
        """Say what was emitted until now, and by whom."""
        fields = self.__dict__
        fields["emitted"] = emitted
        fields["emitters"] = emitters

    def add_retry(self, retry: Retry) -> None:
        """Somebody gets the event again."""
        self.__dict__["retries"] = (*self.retries, retry)

    def add_dead(self, *failures: Failure) -> None:
        """Something becomes a dead letter."""
        self.__dict__["dead"] = (*self.dead, *failures)


class StepTaker:
    """Runs handlers, and decides what becomes of those that fail."""

    def __init__(
        self,
        default_retry: RetryPolicy,
        instrumentation: Instrumentation | None,
        tally: Tally,
        admit: Callable[[Sequence[Event], Sequence[Event]], Sequence[Event]],
    ) -> None:
        """Make one for a run.

        Args:
            default_retry: For Organs without a policy of their own.
            instrumentation: Who watches.
            tally: What is counted.
            admit: The backend's.
        """
        self._admit = admit
        self._default_retry = default_retry
        self._instrumentation = instrumentation
        self._tally = tally

    async def take(self, step: Step, organs: Sequence[OrganTally], deadline: Deadline) -> None:
        """Run the Organs on a step's delivery, in order. A failure is that Organ's alone.

        Args:
            step: The delivery's.
            organs: Who gets it.
            deadline: For the timeouts of handlers; this task's own.

        Raises:
            RunEnded: A handler ends the program; the delivery is not done.
            CancelledError: The task is cancelled; the delivery is not done.
        """
        delivery = step.delivery
        event = delivery.event
        try:
            for organ in organs:
                organ.handled += 1
                now_handling.set((event, organ.name))
                # Handlers are foreign code: whatever they raise is caught here, and only here.
                try:
                    if self._instrumentation is not None:
                        result = await self._watched(organ, delivery, deadline, self._instrumentation)
                    else:
                        result = organ.handle(event)
                        if organ.timeout is not None:
                            result = await _within(deadline, organ, result)
                        elif organ.is_async or _is_awaitable(result):
                            result = await result
                    if result is not None:
                        self._collect(step, organ.name, result)
                except BaseException as error:
                    if _is_cancellation(error):
                        raise
                    if isinstance(error, KeyboardInterrupt | SystemExit):
                        raise RunEnded(error) from None
                    self.fail(step, organ, error)
        finally:
            now_handling.set(None)

    async def _watched(
        self, organ: OrganTally, delivery: Delivery, deadline: Deadline, instrumentation: Instrumentation
    ) -> Any:
        with handling(instrumentation, organ.name, delivery):
            result = organ.handle(delivery.event)
            if organ.timeout is not None:
                return await _within(deadline, organ, result)
            return await result if _is_awaitable(result) else result

    def _collect(self, step: Step, name: str, result: object) -> None:
        """Take over what a handler returned: all of it or nothing."""
        events: Sequence[Event] = (result,) if is_event(result) else _several(name, result)
        parent = step.delivery.event
        try:
            children = [caused_by(event, parent) for event in events]
            if self._instrumentation is not None:
                children = [emitting(self._instrumentation, child, parent) for child in children]
            step.set_emitted(self._admit(children, step.emitted), step.emitters + (name,) * len(children))
        except EventError as error:
            raise HandlerResultError(str(error)) from error

    def fail(self, step: Step, organ: OrganTally, error: BaseException) -> None:
        """Decide what becomes of an Organ that failed: again later, or a dead letter. Count it, and log it, once."""
        organ.failed += 1
        self._tally.failed += 1
        delivery = step.delivery
        outcome = self._delay_or_reason(organ.spec.retry or self._default_retry, delivery.attempt, error)
        delay = outcome if isinstance(outcome, float) else None
        text = explain(error)
        last = Attempt(self._tally.now(), cut(f"{type(error).__name__}: {text}", MAX_ATTEMPT_TEXT), delay)
        attempts = (*delivery.attempts[-MAX_ATTEMPTS_KEPT + 1 :], last)
        error_type = type(error).__name__
        facts = event_facts(delivery.event) | {"organ": organ.name, "attempt": delivery.attempt}
        facts |= {"error_type": error_type, "error": f"{error_type}: {text}"}
        # What a handler asks for by name is a decision, not a surprise: it needs no traceback in the log.
        surprise = None if isinstance(error, RetryLater | GiveUp) else error
        if isinstance(outcome, float):
            step.add_retry(Retry(organ=organ.name, delay=outcome, attempts=attempts))
            logger.warning("retry_scheduled", extra={**facts, "delay": outcome}, exc_info=surprise)
            return
        step.add_dead(
            Failure(
                reason=outcome,
                organ=organ.name,
                error_type=error_type,
                error=text,
                traceback=format_traceback(error),
                attempts=attempts,
            )
        )
        logger.error("dead_lettered", extra={**facts, "reason": outcome}, exc_info=surprise)

    @staticmethod
    def _delay_or_reason(policy: RetryPolicy, attempt: int, error: BaseException) -> float | str:
        """Seconds until the Organ runs again, or the reason why it does not."""
        if isinstance(error, GiveUp):
            return cut(error.reason)
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


def _is_awaitable(result: object) -> bool:
    """Whether a sync handler gave back something to wait for, as one that is wrapped may do."""
    return result is not None and not is_event(result) and inspect.isawaitable(result)


def _is_cancellation(error: BaseException) -> bool:
    """Whether somebody cancels this very task. A CancelledError that nobody asked for is the handler's failure."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


async def _within(deadline: Deadline, organ: OrganTally, awaitable: Any) -> Any:
    """Await a handler within its Organ's timeout."""
    assert organ.timeout is not None, "only an Organ with a timeout has a deadline"
    try:
        with deadline.within(organ.timeout):
            return await awaitable
    except TimeoutError as error:
        if not deadline.expired:
            raise
        msg = f"{organ.name}.handle took longer than its timeout of {organ.timeout:g} s"
        raise TimeoutError(msg) from error


def _several(name: str, result: object) -> Sequence[Event]:
    if not isinstance(result, Sequence) or isinstance(result, str | bytes | bytearray):
        msg = f"{name}.handle returned {_shown(result)}; return None, an Event or a list of events"
        raise HandlerResultError(msg)
    for index, item in enumerate(result):
        if not is_event(item):
            msg = f"{name}.handle returned a list whose item {index} is {_shown(item)}; every item must be an Event"
            raise HandlerResultError(msg)
    return result


def _shown(value: object) -> str:
    if inspect.isgenerator(value) or inspect.isasyncgen(value):
        return "a generator"
    if isinstance(value, type):
        return f"the class {value.__qualname__}"
    # Not what it is: that is logged, and may be a payload.
    return "None" if value is None else f"a value of type {type(value).__name__}"
