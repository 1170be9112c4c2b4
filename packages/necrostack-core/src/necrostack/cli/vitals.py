"""What a worker tells its supervisor of how it is, also while its event loop is held."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from necrostack.cli.exposing import Family, Together, families
from necrostack.cli.health import Health
from necrostack.cli.messages import Vitals, write
from necrostack.log import logger
from necrostack.metrics import prometheus

INTERVAL = 1.0
"""Seconds between two words. So much of what it counted is lost with a worker that is killed."""

MOST_SAMPLES = 10_000
"""Of metrics that an application has besides ours: what goes up the line every second must stay small."""


class Reporter:
    """Tells how a worker is, from a thread, for as long as it is entered, and a last time at its end."""

    def __init__(self, health: Health, tell: Callable[[bytes], object]) -> None:
        """Say what to tell, and how."""
        self._health = health
        self._tell = tell
        self._order = threading.Lock()
        self._is_over = threading.Event()
        self._has_only_ours = False
        self._thread = threading.Thread(target=self._run, name="necrostack-vitals", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()

    def tell(self) -> None:
        """Tell how it is now. What is told later is newer."""
        with self._order:
            health = self._health
            vitals = Vitals(
                pause=health.pulse.pause,
                ailment=health.ailment(),
                hindrance=health.standing(),
                metrics=self._metrics(),
            )
            self._tell(write(vitals))

    def _metrics(self) -> Sequence[Family]:
        """Write down what is counted here, by us and by the application."""
        counting = self._health.metrics
        if counting is None:
            return ()
        if not self._has_only_ours:
            try:
                found = families(Together((counting.registry, prometheus().REGISTRY)))
                if sum(len(samples) for *_, samples in found) <= MOST_SAMPLES:
                    return found
                logger.warning("metrics_left_out", extra={"most": MOST_SAMPLES})
            except Exception:  # noqa: BLE001 -- what an application registered is foreign code
                logger.warning("metrics_left_out", exc_info=True)
            self._has_only_ours = True
        return families(counting.registry)

    def _run(self) -> None:
        # A signal that the system gives to this thread does not wake the main one, where Python answers it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        while not self._is_over.is_set():
            self.tell()
            self._is_over.wait(INTERVAL)
