"""Whose lines are measured: those that pytest's own processes run, and those of the few that ask for it.

All processes that tests start would take a third of the time of all tests, and run little that nobody else runs.
"""

from __future__ import annotations

import os

_VARIABLE = "COVERAGE_PROCESS_CONFIG"

MEASURED = {name: value for name, value in os.environ.items() if name == _VARIABLE}
"""What a process has in its environment that is to be measured; empty where nothing is measured."""


def measure_no_children() -> None:
    """Let no process that is started from here on be measured, unless it is given `MEASURED`."""
    os.environ.pop(_VARIABLE, None)
