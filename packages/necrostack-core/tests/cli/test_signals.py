"""The first signal drains, the second cancels, and a handler that holds the loop is interrupted by the second."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest

from necrostack.cli.signals import Signals


async def test_the_first_signal_drains_and_the_second_cancels() -> None:
    calls: list[str] = []
    drained, cancelled = asyncio.Event(), asyncio.Event()

    def drain() -> None:
        calls.append("drain")
        drained.set()

    def cancel() -> None:
        calls.append("cancel")
        cancelled.set()

    with Signals(drain, cancel) as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        await drained.wait()
        os.kill(os.getpid(), signal.SIGINT)
        await cancelled.wait()

    assert calls == ["drain", "cancel"]
    assert (signals.first, signals.is_second) == (signal.SIGTERM, True)


async def test_a_second_signal_interrupts_what_does_not_let_the_loop_run() -> None:
    with Signals(lambda: None, lambda: None) as signals:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012 -- the signal comes while the loop is held
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(60)

    assert signals.first == signal.SIGINT


async def test_afterwards_signals_are_what_they_were() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    with Signals(lambda: None, lambda: None):
        assert signal.getsignal(signal.SIGINT) != before[0]

    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


async def test_where_nothing_holds_the_loop_signals_that_come_at_once_wait_for_it() -> None:
    calls: list[str] = []
    done = asyncio.Event()

    def cancel() -> None:
        calls.append("cancel")
        if len(calls) == 3:
            done.set()

    with Signals(lambda: calls.append("drain"), cancel, is_loop_free=True):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(number)
        await done.wait()

    assert calls == ["drain", "cancel", "cancel"]
