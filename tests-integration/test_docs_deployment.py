"""What the docs show of service managers and of Prometheus is what these take, and fits what our commands do."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client import CollectorRegistry

from necrostack import Event, InMemoryBackend, Organ, Spine
from necrostack.cli.arguments import build_parser
from necrostack.cli.crew import Crew
from necrostack.cli.crew_health import CrewHealth
from necrostack.cli.failures import Exit
from necrostack.cli.health import PROBE_TIMEOUT
from necrostack.cli.lifeline import GRACE
from necrostack.cli.settings import said_in_environment
from necrostack.metrics import Metrics

HOW_TO = Path(__file__).parents[1] / "docs" / "how-to"
SYSTEMD, KUBERNETES, PROMETHEUS = (
    HOW_TO / f"{name}.md" for name in ("run-under-systemd", "run-on-kubernetes", "watch-with-prometheus")
)


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def file_in(page: Path, language: str, name: str) -> str:
    """A file that a page shows, by the comment that it begins with."""
    (found,) = [block for block in blocks(page, language) if block.startswith(f"# {name}\n")]
    return found


def run_arguments(words: Sequence[str]) -> Any:
    """What `necrostack run` makes of a command, wherever it is installed."""
    assert (Path(words[0]).name, words[1]) == ("necrostack", "run")
    return build_parser(words[1:]).parse_args(words[1:])


# --- systemd --------------------------------------------------------------------------------------------------


@pytest.fixture
def unit() -> str:
    return file_in(SYSTEMD, "ini", "shop-worker.service")


def settings_in(unit: str) -> dict[str, list[str]]:
    """The settings of a unit; one may be there more than once."""
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^(\w+)=(.*)$", unit, re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


def test_the_unit_gives_a_drain_the_time_that_it_takes(unit: str) -> None:
    settings = settings_in(unit)
    arguments = run_arguments(shlex.split(settings["ExecStart"][0]))

    assert int(settings["TimeoutStopSec"][0]) > arguments.drain_timeout + GRACE
    assert settings["KillSignal"] == ["SIGTERM"]
    # A worker that is hung is seen only where it is asked, and killed once more than that has passed.
    assert (settings["Type"], settings["WatchdogSignal"]) == (["notify"], ["SIGTERM"])
    assert arguments.health is not None
    # SIGHUP rolls the workers of a supervisor, and ends a single process.
    assert arguments.workers > 1
    assert settings["ExecReload"] == ["/bin/kill -HUP $MAINPID"]


def test_the_unit_does_not_start_again_what_only_a_person_can_mend(unit: str) -> None:
    codes = settings_in(unit)["RestartPreventExitStatus"][0].split()

    assert {int(code) for code in codes} == {Exit.USAGE, Exit.NO_APP}


def test_the_file_of_the_environment_says_what_there_is_to_say() -> None:
    lines = [line for line in file_in(SYSTEMD, "ini", "worker.env").splitlines() if not line.startswith("#")]

    said = said_in_environment(dict(line.split("=", 1) for line in lines))

    assert str(said["backend"].value).startswith("rediss://worker:secret@")


def test_systemd_takes_the_unit(unit: str, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze here")
    file = tmp_path / "shop-worker.service"
    file.write_text(unit.replace("/srv/shop/.venv/bin/necrostack", "/bin/true").replace("/srv/shop", "/"))

    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(file)], capture_output=True, text=True)

    told = [line for line in done.stderr.splitlines() if "shop-worker" in line]
    assert (done.returncode, told) == (0, []), done.stderr


# --- Kubernetes -----------------------------------------------------------------------------------------------


def manifests() -> Iterator[Any]:
    for block in blocks(KUBERNETES, "yaml"):
        yield from yaml.safe_load_all(block)


def of_kind(kind: str) -> Any:
    (found,) = [manifest for manifest in manifests() if manifest["kind"] == kind]
    return found


def test_the_pod_fits_what_its_worker_does() -> None:
    pod = of_kind("Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    arguments = run_arguments(container["command"])

    assert pod["terminationGracePeriodSeconds"] > arguments.drain_timeout + GRACE
    assert [port["containerPort"] for port in container["ports"]] == [arguments.health.port]
    assert arguments.health.host == "0.0.0.0"  # noqa: S104 -- kubelet asks from outside
    assert arguments.workers is None
    paths = {name: container[name]["httpGet"]["path"] for name in container if name.endswith("Probe")}
    assert paths == {"startupProbe": "/live", "livenessProbe": "/live", "readinessProbe": "/ready"}
    assert container["readinessProbe"]["timeoutSeconds"] > PROBE_TIMEOUT + 0.5


def test_the_pod_is_told_where_its_backend_is(tmp_path: Path) -> None:
    pod = of_kind("Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (variable,) = container["env"]
    (mount,) = container["volumeMounts"]
    file = tmp_path / "url"
    file.write_text("redis://localhost:6379")

    assert said_in_environment({variable["name"]: str(file)})["backend"].value == "redis://localhost:6379"
    assert variable["value"] == f"{mount['mountPath']}/url"
    assert mount["name"] in {volume["name"] for volume in pod["volumes"]}


def test_all_manifests_speak_of_the_one_deployment() -> None:
    deployment = of_kind("Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]

    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert of_kind("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    for kind in ("ScaledObject", "HorizontalPodAutoscaler"):
        assert of_kind(kind)["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]


@pytest.mark.parametrize("kind", ["Deployment", "PodDisruptionBudget", "HorizontalPodAutoscaler"])
def test_kubernetes_takes_the_manifests(kind: str) -> None:
    validating = pytest.importorskip("kubernetes_validate", reason="nox -s lint has it, and its schemas of 100 MB")

    validating.validate(of_kind(kind), "1.37", strict=True)


# --- Prometheus -----------------------------------------------------------------------------------------------


class Ear(Organ):
    listens_to = ["deployment.said"]

    def handle(self, event: Event) -> None: ...


@pytest.fixture
async def exposed() -> dict[str, tuple[str, set[str]]]:
    """The type and the labels of every metric that `run --health` can show of us, by the name that Prometheus has."""
    registry = CollectorRegistry()
    metrics = Metrics(Spine([Ear()]).topology, registry)
    crew = Crew(1, [], {}, drain_timeout=1.0, tell_error=lambda _: None)
    collector = CrewHealth(crew, InMemoryBackend(), 60.0).collector
    assert collector is not None
    found: dict[str, tuple[str, set[str]]] = {}
    for family in (*registry.collect(), *collector.collect()):
        if family.name.startswith("necrostack"):
            ending = {"counter": "_total", "info": "_info"}.get(family.type, "")
            kind = "gauge" if family.type == "info" else family.type
            found[family.name + ending] = (kind, set())
    for own in (metrics._deliveries, metrics._emitted, metrics._retries, metrics._dead):
        found[f"{own._name}_total"][1].update(own._labelnames)
    for name in ("necrostack_handler_seconds", "necrostack_handlers_running"):
        found[name][1].add("organ")
    found["necrostack_info"][1].add("version")
    return found


def test_the_page_lists_each_metric_with_its_type_and_labels(exposed: dict[str, tuple[str, set[str]]]) -> None:
    rows = re.findall(
        r"^\| `(necrostack_\w+)` \| (\w+) \|(?: ([^|]*) \|)? [^|]* \|$", PROMETHEUS.read_text("utf-8"), re.MULTILINE
    )

    listed = {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}

    assert listed == exposed


def expressions() -> list[str]:
    (rules,) = [yaml.safe_load(block) for block in blocks(PROMETHEUS, "yaml") if block.startswith("# necrostack.rules")]
    (dashboard,) = blocks(PROMETHEUS, "text")
    (scaled,) = of_kind("ScaledObject")["spec"]["triggers"]
    alerts = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    return [*alerts, *dashboard.splitlines(), scaled["metadata"]["query"]]


@pytest.mark.parametrize("expression", expressions())
def test_prometheus_takes_the_expressions_and_they_ask_for_what_is_there(
    expression: str, exposed: dict[str, tuple[str, set[str]]]
) -> None:
    promql_parser.parse(expression)

    asked = set(re.findall(r"\bnecrostack_\w+", expression))
    assert {re.sub(r"_(bucket|count|sum)$", "", name) for name in asked} <= exposed.keys()
    # What all workers see alike is never added up.
    assert not re.search(r"sum[^()]*\([^()]*necrostack_backend_", expression)


def test_what_is_scraped_and_scaled_by_is_written_as_it_must_be() -> None:
    (scrape,) = [yaml.safe_load(block) for block in blocks(PROMETHEUS, "yaml") if block.startswith("# prometheus.yml")]
    (metric,) = of_kind("HorizontalPodAutoscaler")["spec"]["metrics"]

    assert [job["job_name"] for job in scrape["scrape_configs"]] == ["shop"]
    assert metric["external"]["metric"]["name"] in PROMETHEUS.read_text("utf-8")
