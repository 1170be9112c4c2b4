"""The benchmarks' own arithmetic, and that every workload runs and counts exactly. Nothing here is timed."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.case import Case, Figure, Measurement, Result, Workload
from benchmarks.durable.progress import Marks
from benchmarks.earlier import RunsDiffer, read
from benchmarks.environments import ROOT
from benchmarks.orders import Order, Tally, new_order, order_id
from benchmarks.overview import overview
from benchmarks.plot import svg
from benchmarks.report import as_data, markdown
from benchmarks.rounds import RunFailed, missing, run_case, run_rounds
from benchmarks.summary import Spread, spread, summarise
from benchmarks.workloads import WORKLOADS

MICROSECONDS = Figure(key="us", heading="µs", digits=1)
MEGABYTES = Figure(key="mb", heading="MB", digits=1, compared=True)


def case(system: str = "ours", *, shape: str = "prefilled", is_limit: bool = False, code: str = "") -> Case:
    return Case(system=system, shape=shape, n=10, command=("-c", code), is_limit=is_limit)


def result(of: Case, *numbers: float, exact: Sequence[bool] = (), failures: Sequence[str] = ()) -> Result:
    flags = exact or [True] * len(numbers)
    measured = [Measurement(exact=flag, figures={"us": us}) for us, flag in zip(numbers, flags, strict=True)]
    return Result(case=of, measured=measured, failures=list(failures))


def benchmarks(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    # Nobody looks at which lines they run: that would take as long as all the rest.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


# --- arithmetic ------------------------------------------------------------------------------------------


def test_an_even_number_of_rounds_has_the_mean_of_the_middle_two_as_median() -> None:
    assert spread([4.0, 1.0, 3.0, 10.0]) == Spread(median=3.5, low=1.0, high=10.0)


def test_a_ratio_is_the_median_over_the_median_of_the_limit_of_the_same_shape() -> None:
    results = [
        result(case("limit", is_limit=True), 10.0, 20.0, 12.0),
        result(case("limit", shape="streamed", is_limit=True), 5.0),
        result(case("ours"), 18.0, 90.0, 17.0),
        result(case("ours", shape="streamed"), 6.0),
    ]

    ratios = [line.ratio for line in summarise(results, [MICROSECONDS])]

    assert ratios == [1.0, 1.0, 1.5, 1.2]


def test_without_a_limit_in_its_shape_a_case_has_no_ratio() -> None:
    (line,) = summarise([result(case(), 3.0)], [MICROSECONDS])

    assert line.ratio is None


def test_a_limit_of_nothing_makes_no_ratio() -> None:
    lines = summarise([result(case("limit", is_limit=True), 0.0), result(case(), 3.0)], [MICROSECONDS])

    assert [line.ratio for line in lines] == [None, None]


def test_a_round_that_was_not_exact_or_failed_makes_its_line_unsound() -> None:
    inexact, failed, sound = summarise(
        [
            result(case("a"), 1.0, 2.0, exact=[True, False]),
            result(case("b"), 1.0, failures=["killed"]),
            result(case("c"), 1.0, 2.0),
        ],
        [MICROSECONDS],
    )

    assert (inexact.exact, inexact.rounds, inexact.is_sound) == (1, 2, False)
    assert (failed.exact, failed.rounds, failed.is_sound) == (1, 2, False)
    assert (sound.exact, sound.rounds, sound.is_sound) == (2, 2, True)


def test_a_case_without_a_single_round_has_no_figures_and_its_shape_no_ratios() -> None:
    limit, ours = summarise(
        [result(case("limit", is_limit=True), failures=["killed"]), result(case(), 3.0)], [MICROSECONDS]
    )

    assert (limit.figures, limit.ratio, ours.ratio) == ([], None, None)


# --- the check of the counts -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "exact"),
    [
        ([0, 1], [1, 0], True),
        ([0], [0, 1], False),
        ([0, 1], [0], False),
        ([0, 1, 1], [0, 1], False),
        ([0, 1], [0, 0, 1], False),
        ([0, 1, 2], [0, 1], False),
    ],
)
def test_only_once_each_in_every_handler_is_exact(first: list[int], second: list[int], exact: bool) -> None:
    tally = Tally(2)
    for handler, numbers in enumerate([first, second]):
        for number in numbers:
            tally.count(order_id(number), handler)

    assert tally.is_exact(2) is exact


@pytest.mark.parametrize(
    ("numbers", "exact"),
    [([1, 0, 2], True), ([0, 1], False), ([0, 1, 1], False), ([0, 1, 2, 2], False)],
)
def test_the_count_that_does_not_grow_is_as_exact(numbers: list[int], exact: bool) -> None:
    marks = Marks(3, steps=1)
    for number in numbers:
        marks.count(order_id(number))

    assert marks.is_exact() is exact


def test_memory_is_read_after_a_hundredth_of_all_calls_and_after_the_last() -> None:
    marks = Marks(100, steps=2)
    before = marks.first

    marks.count(order_id(0))
    assert marks.first is before
    marks.count(order_id(0), 1)
    first = marks.first
    for number in range(1, 100):
        marks.count(order_id(number))
        marks.count(order_id(number), 1)

    assert marks.done.is_set()
    assert before.wall < first.wall < marks.last.wall
    assert marks.first is first
    assert marks.figures().keys() == {"rss_mb", "first_rss_mb", "growth", "wall_us", "cpu_us"}


def test_an_order_has_the_size_that_the_pages_name() -> None:
    text = new_order(order_id(7)).model_dump_json()

    assert len(text) == 297
    assert Order.model_validate_json(text).order_id == "order-00000007"


# --- rounds ----------------------------------------------------------------------------------------------


def test_cases_are_interleaved_and_warmups_forgotten() -> None:
    printed = "import json; print(json.dumps({'exact': True, 'figures': {'us': 1.5}}))"
    told: list[str] = []

    results = run_rounds([case("a", code=printed), case("b", code=printed)], rounds=2, warmups=1, tell=told.append)

    assert [line.split(":")[0] + line.split(",")[1].split(":")[0] for line in told] == [
        "warm-up a", "warm-up b", "round 1/2 a", "round 1/2 b", "round 2/2 a", "round 2/2 b",
    ]  # fmt: skip
    assert [len(found.measured) for found in results] == [2, 2]
    assert results[0].measured[0] == Measurement(exact=True, figures={"us": 1.5})


def test_a_failed_process_is_a_failed_round_that_says_why() -> None:
    (found,) = run_rounds([case(code="raise SystemExit('no server')")], rounds=1, warmups=0, tell=lambda _: None)

    assert found.failures == ["no server"]


def test_a_process_that_prints_no_measurement_is_refused_with_what_it_printed() -> None:
    with pytest.raises(RunFailed, match="printed no measurement, but 'hello'"):
        run_case(case(code="print('hello')"))


def test_a_distribution_that_is_not_installed_is_named() -> None:
    needs = ("pydantic", "no-such-distribution")

    assert missing(Case(system="a", shape="b", n=1, command=(), needs=needs)) == ["no-such-distribution"]


# --- what is written -------------------------------------------------------------------------------------


def test_the_table_shows_median_range_ratio_and_how_many_rounds_were_exact() -> None:
    workload = Workload(name="W", title="A title", figures=[MICROSECONDS], cases=lambda _: [])
    results = [
        result(case("limit", is_limit=True), 10.0, 20.0, 12.0),
        result(case(), 18.0, 1500.0, 17.0),
        result(case("gone"), failures=["killed"]),
    ]

    table = markdown(workload, summarise(results, workload.figures))

    assert table.splitlines() == [
        "## A title",
        "",
        "| shape | system | how | N | µs | min–max | × limit | exact |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |",
        "| prefilled | limit |  | 10 | 12.0 | 10.0–20.0 | 1.00 | 3/3 |",
        "| prefilled | ours |  | 10 | 18.0 | 17.0–1,500.0 | 1.50 | 3/3 |",
        "| prefilled | gone |  | 10 |  |  |  | 0/1 |",
    ]


def test_a_figure_that_is_compared_has_its_ratio_beside_it() -> None:
    workload = Workload(name="W", title="A title", figures=[MICROSECONDS, MEGABYTES], cases=lambda _: [])
    limit, ours = (
        Result(case=of, measured=[Measurement(exact=True, figures={"us": 2.0, "mb": mb})])
        for of, mb in ((case("limit", is_limit=True), 4.0), (case(), 10.0))
    )

    table = markdown(workload, summarise([limit, ours], workload.figures))

    assert table.splitlines()[2] == "| shape | system | how | N | µs | min–max | × limit | MB | × limit | exact |"
    assert table.splitlines()[5] == "| prefilled | ours |  | 10 | 2.0 | 2.0–2.0 | 1.00 | 10.0 | 2.50 | 1/1 |"


def test_the_plot_has_a_bar_for_every_case_that_ended_and_escapes_names() -> None:
    workload = Workload(name="W", title="A & B", figures=[MICROSECONDS], cases=lambda _: [])
    results = [
        result(case("limit", is_limit=True), 10.0),
        result(case("<ours>"), 12.0, 15.0),
        result(case("gone"), failures=["killed"]),
        result(case("nothing"), 0.0),
    ]

    drawn = svg([(workload, summarise(results, workload.figures))])
    drawing = ElementTree.fromstring(drawn)  # noqa: S314 -- drawn here

    texts = [text.text for text in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert texts == ["A & B: µs", "prefilled", "limit", "10.0", "<ours>", "13.5 · 1.35×", "nothing", "0.0 · 0.00×"]
    widths = [float(bar.attrib["width"]) for bar in drawing.iter("{http://www.w3.org/2000/svg}rect")][1:]
    assert widths[1] > widths[0] > widths[2] == 0.0


def test_the_overview_has_a_dot_for_each_sound_ratio_and_names_who_is_nearest() -> None:
    workload = Workload(name="W", title="A & B", figures=[MICROSECONDS], cases=lambda _: [])
    results = [
        result(case("limit", is_limit=True), 10.0),
        result(case("necrostack"), 15.0),
        result(case("<far>"), 500.0),
        result(case("near"), 20.0),
        result(case("inexact"), 11.0, exact=[False]),
        result(case("gone"), failures=["killed"]),
        result(case("alone", shape="without a limit"), 7.0),
    ]

    drawn = overview([(workload, summarise(results, workload.figures))])
    drawing = ElementTree.fromstring(drawn)  # noqa: S314 -- drawn here

    space = "{http://www.w3.org/2000/svg}"
    assert [title.text for title in drawing.iter(f"{space}title")] == ["<far> 50.00×", "near 2.00×", "necrostack 1.50×"]
    far, near, ours = (float(dot.attrib["cx"]) for dot in drawing.iter(f"{space}circle"))
    assert ours < near < far
    texts = [text.text for text in drawing.iter(f"{space}text")]
    assert texts[texts.index("A & B: µs") + 1 :] == ["prefilled", "10.0", "1.50×", "2.00× near"]


def test_the_data_keeps_every_round() -> None:
    workload = Workload(name="W", title="A title", figures=[MICROSECONDS], cases=lambda _: [])
    results = [result(case(), 2.0, 4.0, failures=["killed"])]

    data = json.loads(json.dumps(as_data(workload, summarise(results, workload.figures), results)))

    (line,) = data["lines"]
    assert line["figures"] == {"us": {"median": 3.0, "low": 2.0, "high": 4.0}}
    assert [measured["figures"]["us"] for measured in line["measured"]] == [2.0, 4.0]
    assert line["failures"] == ["killed"]


# --- what was measured before -----------------------------------------------------------------------------


WORKLOAD = Workload(name="W", title="A title", figures=[MICROSECONDS], cases=lambda _: [])


def written(path: Path, results: Sequence[Result], *, machine: str = "a machine", redis: str = "8.1.0") -> Path:
    data = as_data(WORKLOAD, summarise(results, WORKLOAD.figures), results)
    run = {"machine": machine, "versions": {"redis": redis}, "workloads": [data]}
    path.write_text(json.dumps(run), encoding="utf-8")
    return path


def test_the_rounds_of_one_case_come_together_and_its_shape_stays_together(tmp_path: Path) -> None:
    limit = result(case("limit", is_limit=True), 2.0)
    first = written(tmp_path / "1.json", [limit, result(case(shape="streamed"), 9.0)])
    second = written(tmp_path / "2.json", [result(case("limit", is_limit=True), 4.0, failures=["killed"])])
    third = written(tmp_path / "3.json", [result(case(), 6.0)])

    run = read([first, second, third], [WORKLOAD])

    lines = summarise(run.results["W"], WORKLOAD.figures)
    assert [(line.case.system, line.case.shape, line.ratio) for line in lines] == [
        ("limit", "prefilled", 1.0), ("ours", "prefilled", 2.0), ("ours", "streamed", None),
    ]  # fmt: skip
    assert (lines[0].figures, lines[0].exact, lines[0].rounds) == ([Spread(median=3.0, low=2.0, high=4.0)], 2, 3)


def test_what_differs_between_runs_is_said(tmp_path: Path) -> None:
    one = written(tmp_path / "1.json", [result(case(), 2.0)])
    other = written(tmp_path / "2.json", [result(case(), 2.0)], machine="another", redis="8.2.0")

    run = read([one, other, one], [WORKLOAD])

    assert (run.machine, run.versions) == ("a machine or another", {"redis": "8.1.0 or 8.2.0"})


def test_another_n_or_a_figure_that_is_not_there_is_refused(tmp_path: Path) -> None:
    one = written(tmp_path / "1.json", [result(case(), 2.0)])
    larger = written(tmp_path / "2.json", [result(replace(case(), n=1000), 2.0)])
    more = replace(WORKLOAD, figures=[MICROSECONDS, MEGABYTES])

    with pytest.raises(RunsDiffer, match=r"W: prefilled, ours: .*2\.json has n = 1,000, and a file before it 10;"):
        read([one, larger], [WORKLOAD])
    with pytest.raises(RunsDiffer, match=r"1\.json lacks mb, which was not measured then; measure it again"):
        read([one], [more])


def test_what_was_measured_before_is_shown_again_without_measuring(tmp_path: Path) -> None:
    us = {"wall_us": 2.0, "cpu_us": 2.0, "peak_rss_mb": 30.0}
    results = [
        Result(case=replace(case(system), is_limit=system == "limit"), measured=[Measurement(exact=True, figures=us)])
        for system in ("limit", "necrostack", "pyee")
    ]
    (w1,) = (workload for workload in WORKLOADS if workload.name == "W1")
    data = as_data(w1, summarise(results, w1.figures), results)
    earlier = {"machine": "a machine", "versions": {"pydantic": "2"}, "workloads": [data]}
    (tmp_path / "in.json").write_text(json.dumps(earlier), encoding="utf-8")
    files = {kind: tmp_path / f"out.{kind}" for kind in ("json", "markdown", "plot", "overview")}

    done = benchmarks(f"--from={tmp_path / 'in.json'}", *[f"--{kind}={path}" for kind, path in files.items()])
    chosen = benchmarks("W1", f"--from={tmp_path / 'in.json'}", "--only=necrostack")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("a machine; pydantic 2\n\n## W1: ")
    assert json.loads(files["json"].read_text(encoding="utf-8")) == earlier
    assert files["markdown"].read_text(encoding="utf-8") == done.stdout
    assert all(files[kind].read_text(encoding="utf-8").startswith("<svg ") for kind in ("plot", "overview"))
    assert "pyee" in done.stdout
    assert "pyee" not in chosen.stdout


# --- the whole -------------------------------------------------------------------------------------------


BOTH = ("limit", "necrostack")
ON_REDIS = {"hiredis", "necrostack-redis", "redis", "server"}


@pytest.mark.parametrize(
    ("workload", "n", "shapes", "alone"),
    [
        (
            "W1",
            130,
            ["prefilled", "streamed", "untyped", "concurrent"],
            {("limit", "inline")},
        ),
        ("W1g", 1000, ["1,000 queued"], set()),
        ("W2", 130, ["consume", "consume, 100 at once"], set()),
        ("W2p", 130, ["one by one", "100 emitters", "bulk"], set()),
        ("W3", 130, ["A→B→C"], set()),
        ("W3f", 130, ["1→10", "A→B, C→D"], set()),
        ("W4", 40, ["70% of capacity"], set()),  # which runs what the other shape does, too
        ("W6", 1, ["idle"], set()),
        ("W7", 20, ["2 × 1"], set()),
        ("W8", 3000, ["on Redis", "in process"], set()),
        ("W5", 1, ["in process", "on Redis"], set()),
    ],
)
def test_a_small_run_is_exact_for_the_limit_and_for_us(
    workload: str, n: int, shapes: Sequence[str], alone: set[tuple[str, str]], tmp_path: Path
) -> None:
    files = [f"--json={tmp_path / 'out.json'}", f"--markdown={tmp_path / 'out.md'}"]
    chosen = [f"--shape={shape}" for shape in (*shapes, *(shape for _, shape in alone))]

    done = benchmarks(workload, "--rounds=1", f"--n={n}", "--only=necrostack", *chosen, *files)

    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    (data,) = found["workloads"]
    wanted = {(system, shape) for system in BOTH for shape in shapes} | alone
    assert {(line["system"], line["shape"]) for line in data["lines"]} == wanted
    assert all((line["exact"], line["rounds"]) == (1, 1) for line in data["lines"])
    assert found["versions"].keys() >= {"necrostack-core", "pydantic"}
    assert (found["versions"].keys() >= ON_REDIS) is (workload not in ("W1", "W1g", "W5"))
    assert (tmp_path / "out.md").read_text(encoding="utf-8") == done.stdout
    assert f"round 1/1: {data['lines'][0]['shape']}, limit:" in done.stderr


def test_an_unknown_workload_is_refused_with_the_known_ones() -> None:
    done = benchmarks("W99")

    assert done.returncode == 2
    assert "there is no workload 'W99'; there are W1, W1g, W2, W2p, W3, W3f, W4, W5, W6, W7, W8" in done.stderr


def test_a_run_that_lost_an_event_fails(tmp_path: Path) -> None:
    broken = tmp_path / "sitecustomize.py"
    broken.write_text(
        "import benchmarks.orders\nbenchmarks.orders.Tally.count = lambda tally, name, handler=0: None\n",
        encoding="utf-8",
    )
    path = os.pathsep.join(filter(None, [str(tmp_path), str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": path}
    command = [
        sys.executable,
        "-m",
        "benchmarks",
        "W1",
        "--only=necrostack",
        "--shape=streamed",
        "--rounds=1",
        "--n=5",
    ]

    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "NOT EXACT" in done.stderr
    assert "| 0/1 |" in done.stdout
