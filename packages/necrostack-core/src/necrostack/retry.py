"""When a failed handler runs again: a frozen value and pure arithmetic."""

from __future__ import annotations

import random
from dataclasses import dataclass

from necrostack.errors import ConfigurationError, check_seconds
from necrostack.value import Value


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class RetryPolicy(Value):
    """How often an Organ that failed gets its event again, and when.

    The delay doubles with each attempt up to `max_delay`. With jitter it is drawn evenly between 0 and that
    ("full jitter"), so that what failed together does not come back together:
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/

    Attributes:
        max_attempts: How often a handler runs at the most, the first time included.
        base_delay: Seconds after the first failure, before jitter.
        max_delay: Seconds that no delay exceeds.
        jitter: Whether to draw the delay.
        retry_on: The errors that are worth another attempt.
        give_up_on: The errors, among those, that are not.
    """

    max_attempts: int = 5
    base_delay: float = 1.0
    max_delay: float = 300.0
    jitter: bool = True
    retry_on: tuple[type[BaseException], ...] = (BaseException,)
    give_up_on: tuple[type[BaseException], ...] = ()

    def __post_init__(self) -> None:
        attempts: object = self.max_attempts
        if isinstance(attempts, bool) or not isinstance(attempts, int) or attempts < 1:
            msg = f"max_attempts={attempts!r} must be a whole number, 1 or more; 1 means no retry"
            raise ConfigurationError(msg)
        for name in ("base_delay", "max_delay"):
            object.__setattr__(self, name, check_seconds(name, getattr(self, name)))
        for name in ("retry_on", "give_up_on"):
            object.__setattr__(self, name, _exception_types(name, getattr(self, name)))

    def delay_after(self, attempt: int) -> float | None:
        """Say how long to wait after `attempt` failed.

        Args:
            attempt: The attempt that just failed, counted from 1.

        Returns:
            Seconds until the next attempt, or None when there is none left.

        >>> RetryPolicy(max_attempts=3, base_delay=0.5, jitter=False).delay_after(2)
        1.0
        """
        if attempt >= self.max_attempts:
            return None
        # 2.0 ** 1024 overflows; long before that, max_delay is what counts.
        longest = min(self.max_delay, self.base_delay * 2.0 ** min(attempt - 1, 1000))
        return random.uniform(0.0, longest) if self.jitter else longest  # noqa: S311 -- spreads load, guards nothing

    def retries(self, error: BaseException) -> bool:
        """Say whether an error is worth another attempt.

        >>> RetryPolicy(give_up_on=(KeyError,)).retries(KeyError("sku"))
        False
        """
        return isinstance(error, self.retry_on) and not isinstance(error, self.give_up_on)


def _exception_types(name: str, value: object) -> tuple[type[BaseException], ...]:
    types = value if isinstance(value, tuple | list) else (value,)
    for item in types:
        if not (isinstance(item, type) and issubclass(item, BaseException)):
            msg = f"{name}={value!r} must hold exception classes, such as (TimeoutError, ConnectionError)"
            raise ConfigurationError(msg)
    return tuple(types)
