"""The example on GitHub webhooks: its figures are those that plain counting of the raw file gives."""

import gzip
import io
import json
import os
import re
import shlex
import subprocess
import sys
from collections import Counter, defaultdict
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import pytest

from necrostack import Event, Spine
from necrostack.cli.picture import svg

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "github_webhooks"
FEED = EXAMPLE / "deliveries.ndjson.gz"
BURST = 3
ALERTS = {"GITHUB_CODE_SCANNING_ALERT", "GITHUB_DEPENDABOT_ALERT", "GITHUB_REPOSITORY_VULNERABILITY_ALERT"}
LEVELS = {"note": "low", "warning": "medium", "moderate": "medium", "error": "high"}

Figures = dict[str, dict[str, int]]


@pytest.fixture(scope="module")
def deliveries() -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(FEED.read_bytes()).splitlines()]


@pytest.fixture(autouse=True)
def _examples_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT)


def readable(delivery: dict[str, Any]) -> bool:
    """Tell whether a delivery says all that the report needs to know."""
    kind, payload = delivery["event_type"], delivery["payload"]
    if kind == "GITHUB_ISSUES":
        return payload["issue"].get("state") is not None
    if kind == "GITHUB_WORKFLOW_RUN" and payload["action"] == "completed":
        return payload["workflow_run"]["conclusion"] is not None
    return True


def opens_an_alert(delivery: dict[str, Any]) -> bool:
    is_alert = delivery["event_type"] in ALERTS
    return is_alert and delivery["payload"]["action"] in {"create", "created", "reopened"}


def figures_of(delivery: dict[str, Any]) -> list[tuple[str, str, int]]:
    """Give the section, figure and amount of what one readable delivery adds, all but what is open now."""
    payload, action = delivery["payload"], delivery["payload"].get("action")
    match delivery["event_type"]:
        case "GITHUB_PUSH":
            deleted = [("code", "deleted refs", 1)] if payload["deleted"] else []
            return [("code", "pushes", 1), ("code", "commits", len(payload["commits"])), *deleted]
        case "GITHUB_ISSUES":
            return [("issues", action, 1)]
        case "GITHUB_PULL_REQUEST":
            merged = action == "closed" and payload["pull_request"]["merged_at"] is not None
            return [("pull requests", "merged" if merged else action, 1)]
        case "GITHUB_PULL_REQUEST_REVIEW":
            return [("reviews", payload["review"]["state"], 1)]
        case "GITHUB_RELEASE":
            return [("releases", action, 1)]
        case "GITHUB_WORKFLOW_RUN":
            return [("workflows", payload["workflow_run"]["conclusion"], 1)] if action == "completed" else []
        case "GITHUB_CODE_SCANNING_ALERT":
            severity = payload["alert"]["rule"]["severity"]
        case "GITHUB_DEPENDABOT_ALERT":
            severity = payload["alert"]["security_advisory"]["severity"]
        case "GITHUB_REPOSITORY_VULNERABILITY_ALERT":
            severity = payload["alert"]["severity"]
        case _:
            return []
    level = LEVELS.get(severity, severity)
    opened = [("alerts", f"{level} opened", 1), ("alerts", "paged", 1)]
    return opened if opens_an_alert(delivery) else [("alerts", f"{level} resolved", 1)]


@pytest.fixture(scope="module")
def counted(deliveries: list[dict[str, Any]]) -> dict[str, Figures]:
    """The report as it must be, by repository, section and figure."""
    counts: defaultdict[str, defaultdict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    states: dict[tuple[str, str, int], list[str]] = defaultdict(list)
    for delivery in deliveries:
        payload = delivery["payload"]
        repository = payload.get("repository", {}).get("full_name", "(no repository)")
        counts[repository]["deliveries"]["total"] += 1
        if "sender" in payload:
            counts[repository]["senders"][payload["sender"]["login"]] += 1
        if not readable(delivery):
            continue
        for section, figure, amount in figures_of(delivery):
            counts[repository][section][figure] += amount
        for kind, section, key in (
            ("GITHUB_ISSUES", "issues", "issue"),
            ("GITHUB_PULL_REQUEST", "pull requests", "pull_request"),
        ):
            if delivery["event_type"] == kind:
                states[repository, section, payload[key]["number"]].append(payload[key]["state"])
    for (repository, section, _), told in states.items():
        if "open" in told:
            counts[repository][section]["open now"] += told[-1] == "open"
    return {name: plain(sections) for name, sections in counts.items()}


def plain(sections: dict[str, Counter[str]]) -> Figures:
    return {section: dict(figures) for section, figures in sections.items()}


def summed(report: dict[str, Figures]) -> Figures:
    total: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for sections in report.values():
        for section, figures in sections.items():
            total[section].update(figures)
    return plain(total)


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command at the root of the repository, with the programs beside this Python first."""
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    env = {**os.environ, "PATH": programs, "NO_COLOR": "1", "COLUMNS": "400", **environment}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=50)
    assert done.returncode == 0, done.stderr
    return done


def readme_command() -> list[str]:
    """The command line that the README of the example tells its readers to type."""
    [line] = re.findall(r"^\$ (necrostack run .*)$", (EXAMPLE / "README.md").read_text("utf-8"), re.MULTILINE)
    return shlex.split(line)


# --- the recording --------------------------------------------------------------------------------


def test_the_feed_holds_every_recorded_delivery_once(deliveries: list[dict[str, Any]]) -> None:
    moments = [datetime.fromisoformat(delivery["timestamp"]) for delivery in deliveries]

    assert len(deliveries) == 329
    assert len({delivery["event_type"] for delivery in deliveries}) == 58
    assert len({UUID(delivery["id"]) for delivery in deliveries}) == 329
    assert moments == sorted(moments)  # raises if a single one is naive


def test_the_census_knows_every_kind_in_the_feed(deliveries: list[dict[str, Any]]) -> None:
    from examples.github_webhooks.kinds import KINDS

    assert Counter(KINDS) == Counter({delivery["event_type"] for delivery in deliveries})


def test_the_same_package_is_rebuilt_into_the_same_feed(deliveries: list[dict[str, Any]], tmp_path: Path) -> None:
    from examples.github_webhooks.rebuild import PACKAGE, write_feed

    # An id is the uuid5 of the place in the package, so the package can be put together again from the feed.
    payloads = {delivery["id"]: delivery["payload"] for delivery in deliveries}
    sizes = Counter(delivery["event_type"].removeprefix("GITHUB_").lower() for delivery in deliveries)
    package = [
        {
            "name": name,
            "examples": [payloads[str(uuid5(NAMESPACE_URL, f"npm:{PACKAGE}/{name}/{index}"))] for index in range(size)],
        }
        for name, size in sorted(sizes.items())
    ]

    write_feed(package, tmp_path / "first.gz")
    write_feed(package, tmp_path / "second.gz")

    first = (tmp_path / "first.gz").read_bytes()
    assert first == (tmp_path / "second.gz").read_bytes()
    assert first[4:8] == FEED.read_bytes()[4:8] == bytes(4)  # the header's clock is stopped
    # Not the compressed bytes: they are zlib's, and differ from one of its versions to the next.
    assert gzip.decompress(first) == gzip.decompress(FEED.read_bytes())


def test_a_package_of_other_contents_is_refused(tmp_path: Path) -> None:
    import tarfile

    from examples.github_webhooks.rebuild import MEMBER, member_of

    with tarfile.open(tmp_path / "other.tgz", "w:gz") as archive:
        member = tarfile.TarInfo(MEMBER)
        member.size = 2
        archive.addfile(member, io.BytesIO(b"[]"))

    with pytest.raises(SystemExit, match="SHA-256"):
        member_of(tmp_path / "other.tgz")


# --- the report -----------------------------------------------------------------------------------


def test_every_figure_of_every_repository_is_what_plain_counting_gives(counted: dict[str, Figures]) -> None:
    report = json.loads(run(sys.executable, "-m", "examples.github_webhooks", "--format", "json").stdout)

    assert report["repositories"] == counted
    assert report["total"] == summed(counted)
    assert report["total"]["deliveries"]["total"] == 329


def test_the_command_of_the_readme_prints_the_same_figures_as_a_table(counted: dict[str, Figures]) -> None:
    done = run(*readme_command())

    table, _, _ = done.stdout.partition("\n\n")
    heading, rule, *rows = table.splitlines()
    assert heading.split() == ["repository", "section", "figures"]
    starts = [match.start() for match in re.finditer("-+", rule)]
    read: dict[str, Figures] = {}
    name = ""
    for row in rows:
        shown, section, figures = (row[a:b].strip() for a, b in zip(starts, [*starts[1:], None], strict=True))
        name = shown or name
        pairs = (pair.rsplit(" ", 1) for pair in figures.split(", "))
        read.setdefault(name, {})[section] = {figure: int(number) for figure, number in pairs}
    wanted = {**counted, "all together": summed(counted)}
    assert read == {name if len(name) <= 31 else f"{name[:30]}…": figures for name, figures in wanted.items()}


def test_on_a_narrow_terminal_no_figure_is_torn_from_its_number(counted: dict[str, Figures]) -> None:
    table = run(sys.executable, "-m", "examples.github_webhooks", COLUMNS="80").stdout

    assert max(len(line) for line in table.splitlines()) <= 80
    for figure, number in counted["Codertocat/Hello-World"]["issues"].items():
        assert re.search(rf"(?<!\w){figure} {number}(?!\d)", table)


def test_the_readme_shows_what_is_printed() -> None:
    [shown] = re.findall(r"```text\n(.*?)\n```", (EXAMPLE / "README.md").read_text("utf-8"), re.DOTALL)

    table = run(sys.executable, "-m", "examples.github_webhooks", COLUMNS="100").stdout

    assert set(shown.splitlines()) - {"…"} <= set(table.splitlines())


def test_the_markdown_report_says_the_same(counted: dict[str, Figures]) -> None:
    page = run(sys.executable, "-m", "examples.github_webhooks", "--format", "markdown").stdout

    read: defaultdict[str, defaultdict[str, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
    for block in page.split("\n## ")[1:]:
        name, _, table = block.partition("\n")
        for section, figure, number in re.findall(r"^\| (.+) \| (.+) \| (-?\d+) \|$", table, re.MULTILINE):
            read[name][section][figure] = int(number)
    assert read == {**counted, "all together": summed(counted)}


def test_the_run_retries_and_gives_up_exactly_what_the_recording_leads_one_to_expect(
    deliveries: list[dict[str, Any]],
) -> None:
    unreadable = sum(not readable(delivery) for delivery in deliveries)
    waiting = sum(opens_an_alert(delivery) for delivery in deliveries) - BURST
    assert unreadable > 0
    assert waiting > 0

    done = run(*readme_command(), "--json", REPORT="json")

    *_, last = done.stdout.splitlines()
    report = json.loads(last)
    assert report["dead_lettered"] == unreadable
    assert report["retried"] == waiting
    assert report["failed"] == unreadable + waiting
    assert report["organs"]["Pager"]["retried"] == waiting
    assert report["organs"]["Census"]["handled"] == len(deliveries)
    assert report["unrouted"] == 0
    counts = json.loads(done.stdout.removesuffix(last + "\n"))
    assert counts["total"]["deliveries"]["total"] == len(deliveries)


def test_what_was_given_up_is_named_with_the_reason(deliveries: list[dict[str, Any]]) -> None:
    told = run(sys.executable, "-m", "examples.github_webhooks").stderr

    for delivery in deliveries:
        if readable(delivery):
            continue
        payload = delivery["payload"]
        thing = f"issue {payload['issue']['number']} was {payload['action']}" if "issue" in payload else None
        assert f"dead letter of {'Issues' if thing else 'Workflows'}" in told
        assert (thing or f"workflow run {payload['workflow_run']['id']} completed") in told


# --- the graph ------------------------------------------------------------------------------------


def test_its_picture_in_the_docs_is_how_it_is() -> None:
    from examples.github_webhooks.app import spine

    picture = (ROOT / "docs" / "how-to" / "github_webhooks.svg").read_text("utf-8")

    how = "draw it again: necrostack graph examples.github_webhooks.app --output docs/how-to/github_webhooks.svg"
    assert picture.splitlines() == "\n".join(svg(spine().topology)).splitlines(), how


def test_the_organs_hang_together_as_the_readme_draws_them() -> None:
    from examples.github_webhooks.app import spine
    from examples.github_webhooks.kinds import KINDS

    drawn = re.findall(r"^    (\w+) -- (\w+) --> (\w+)$", (EXAMPLE / "README.md").read_text("utf-8"), re.MULTILINE)

    topology = spine().topology
    assert {edge for edge in drawn if edge[0] != "feed"} == set(topology.edges)
    assert set(topology.orphans) == set(KINDS)
    assert topology.dead_ends == ()
    assert topology.cycles == ()


# --- what the recording does not hold ---------------------------------------------------------------


async def report_on(event_type: str, payload: dict[str, Any]) -> tuple[Figures, Spine]:
    """Run the program on one delivery, and give what it reports of the repository."""
    from examples.github_webhooks.app import build
    from examples.github_webhooks.organs.reporter import Reporter
    from examples.github_webhooks.outbox import Outbox

    out = io.StringIO()
    spine = build(Reporter(out, "json"), Outbox())
    whole = {"repository": {"full_name": "a/b"}, "sender": {"login": "c"}, **payload}
    await spine.run_until_idle(Event(event_type=event_type, payload=whole))
    figures: Figures = json.loads(out.getvalue())["repositories"]["a/b"]
    return figures, spine


@pytest.mark.parametrize(("merged", "figure"), [(True, "merged"), (False, "closed")])
async def test_a_closed_pull_request_was_merged_or_not(merged: bool, figure: str) -> None:
    pull = {"number": 1, "state": "closed", "merged": merged}

    figures, _ = await report_on("GITHUB_PULL_REQUEST", {"action": "closed", "pull_request": pull})

    assert figures["pull requests"] == {figure: 1}


async def test_an_alert_of_unknown_severity_is_given_up_and_pages_nobody() -> None:
    alert = {"rule": {"id": "java/sql-injection", "severity": None}}

    figures, spine = await report_on("GITHUB_CODE_SCANNING_ALERT", {"action": "created", "alert": alert})

    [letter] = [letter async for letter in spine.backend.admin.dead_letters()]
    assert letter.organ == "Alerts"
    assert "java/sql-injection" in f"{letter.reason} {letter.error}"
    assert "alerts" not in figures


async def test_the_outbox_lets_a_burst_out_and_keeps_places_for_the_rest() -> None:
    from examples.github_webhooks.outbox import Outbox, OutboxBusyError

    now = 100.0
    outbox = Outbox(burst=1, window=60.0, interval=5.0, clock=lambda: now)
    await outbox.send("first", "at once")
    waits = []
    for key in ("second", "third", "second"):
        with pytest.raises(OutboxBusyError) as busy:
            await outbox.send(key, "later")
        waits.append(busy.value.after)
    now = 105.0
    await outbox.send("second", "in its place")
    now = 160.0
    await outbox.send("fourth", "in a new window")

    assert waits == [5.0, 10.0, 5.0]
    assert [*outbox.sent] == ["first", "second", "fourth"]


async def test_the_outbox_sends_a_message_once_however_often_it_is_asked() -> None:
    from examples.github_webhooks.outbox import Outbox

    outbox = Outbox(burst=1)
    await outbox.send("key", "once")
    await outbox.send("key", "twice")

    assert outbox.sent == {"key": "once"}


def test_an_unknown_form_of_report_is_refused_with_those_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    from examples.github_webhooks.app import spine

    monkeypatch.setenv("REPORT", "xml")

    with pytest.raises(ValueError, match="'xml'; set it to one of table, json, markdown"):
        spine()
