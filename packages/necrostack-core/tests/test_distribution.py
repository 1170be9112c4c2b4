"""What is installed is what the metadata says: its version, its dependencies, its entry points, its types."""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import re
import subprocess
import sys

import pytest

import necrostack

CONTRACT = {
    "Backend",
    "BackendFull",
    "DeadLetter",
    "Delivery",
    "Event",
    "GiveUp",
    "InMemoryBackend",
    "MaxStepsExceeded",
    "NecroStackError",
    "Organ",
    "RetryLater",
    "RetryPolicy",
    "RunReport",
    "Settlement",
    "Spine",
    "open_backend",
}


def test_the_version_is_that_of_the_distribution_that_ships_the_module() -> None:
    assert necrostack.__version__ == importlib.metadata.version("necrostack-core")


def test_the_contract_is_importable_from_the_package() -> None:
    exported = set(necrostack.__all__)

    assert exported >= CONTRACT
    assert all(hasattr(necrostack, name) for name in exported)


def test_the_core_depends_on_pydantic_and_what_pydantic_brings() -> None:
    requirements = importlib.metadata.requires("necrostack-core") or []

    needed = [requirement for requirement in requirements if "extra ==" not in requirement]
    names = {re.split(r"[^A-Za-z0-9._-]", requirement)[0] for requirement in needed}

    assert names == {"pydantic", "typing-extensions"}


@pytest.mark.parametrize("what", ["import necrostack", "from necrostack import *"])
def test_importing_the_package_loads_no_edge_and_no_tool(what: str) -> None:
    unwanted = {
        "opentelemetry",
        "prometheus_client",
        "pytest",
        "redis",
        "rich",
        "argparse",
        "necrostack.cli",
        "necrostack.testing",
    }
    program = f"{what}\nimport sys; print(*sorted({unwanted!r} & sys.modules.keys()))"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.split() == []


def test_the_console_script_and_the_pytest_plugin_can_be_loaded() -> None:
    [script] = importlib.metadata.entry_points(group="console_scripts", name="necrostack")
    [plugin] = importlib.metadata.entry_points(group="pytest11", name="necrostack")

    assert callable(script.load())
    assert plugin.load().__name__ == "necrostack.testing.plugin"


def test_the_package_says_that_it_is_typed() -> None:
    assert importlib.resources.files("necrostack").joinpath("py.typed").is_file()
