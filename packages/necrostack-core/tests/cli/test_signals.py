"""The first signal drains, the second cancels, and a handler that holds the loop is interrupted by the second."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest

from necrostack.cli.signals import Signals, ended_as_by_ctrl_c


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


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there is no SIGHUP")
async def test_a_terminal_that_closes_drains_and_does_not_cancel_however_often_that_is_said() -> None:
    calls: list[str] = []
    drained = asyncio.Event()

    def drain() -> None:
        calls.append("drain")
        drained.set()

    with Signals(drain, lambda: calls.append("cancel")) as signals:
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGHUP)
        await drained.wait()
        await asyncio.sleep(0)

    assert calls == ["drain"]
    assert (signals.first, signals.is_second) == (signal.SIGHUP, False)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there is no SIGHUP")
@pytest.mark.parametrize("name", ["SIGHUP", "SIGTERM"])
def test_what_only_looks_or_repairs_cleans_up_and_ends_as_by_ctrl_c(name: str) -> None:
    number, calls = getattr(signal, name), list[str]()

    async def work() -> None:
        os.kill(os.getpid(), number)
        try:
            await asyncio.Event().wait()
        finally:
            calls.append("cleaned up")

    with ended_as_by_ctrl_c(), pytest.raises(KeyboardInterrupt):
        asyncio.run(work())

    assert calls == ["cleaned up"]
    assert signal.getsignal(number) is signal.SIG_DFL


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there is no SIGHUP")
def test_what_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ended_as_by_ctrl_c():
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
