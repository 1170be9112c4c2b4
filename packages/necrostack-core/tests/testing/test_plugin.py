"""The pytest plugin, run by pytest as a user's project would."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest_plugins = ["pytester"]

PROJECT = """
import asyncio

from necrostack import Event, InMemoryBackend, Organ, RetryPolicy


class Flaky(Organ):
    listens_to = ["PING"]
    calls = 0

    def handle(self, event: Event) -> Event:
        self.calls += 1
        if self.calls == 1:
            raise TimeoutError("no answer")
        return Event(event_type="PONG")


def test_a_spine_runs_in_virtual_time(necrostack_spine, necrostack_clock):
    fixture = necrostack_spine([Flaky()], retry=RetryPolicy(base_delay=60.0, jitter=False))

    report = asyncio.run(fixture.run(Event(event_type="PING")))

    assert report.retried == 1
    assert necrostack_clock.monotonic() == 60.0
    fixture.assert_emitted("PONG", times=1)


def test_each_test_has_a_clock_of_its_own(necrostack_clock):
    assert necrostack_clock.monotonic() == 0.0


def test_a_failure_shows_the_tree(necrostack_spine):
    fixture = necrostack_spine([Flaky()])
    asyncio.run(fixture.run(Event(event_type="PING")))
    fixture.assert_emitted("PONG")
"""


def test_the_installed_plugin_brings_its_fixtures(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(PROJECT)

    result = pytester.runpytest_inprocess("-p", "no:asyncio", "-W", "error")

    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*AssertionError: PONG was emitted 0 times, not at least once; what happened:",
            "*PING ????????; Flaky failed with TimeoutError: no answer; dead letter: attempts_exhausted",
        ]
    )


def test_the_fixtures_are_told_by_pytest(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_inprocess("--fixtures", "-p", "no:asyncio")

    result.stdout.fnmatch_lines(["necrostack_clock*", "*necrostack_spine*"])


def test_only_the_plugin_imports_pytest() -> None:
    program = "import sys, necrostack.testing.contract; print('pytest' in sys.modules)"

    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert said.stdout.strip() == "False"
