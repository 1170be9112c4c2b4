"""The benchmarks' own arithmetic, and that every workload runs and counts exactly. Nothing here is timed."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.case import Case, Figure, Measurement, Result, Workload
from benchmarks.environments import ROOT
from benchmarks.orders import Order, Tally, new_order, order_id
from benchmarks.plot import svg
from benchmarks.report import as_data, markdown
from benchmarks.rounds import RunFailed, missing, run_case, run_rounds
from benchmarks.summary import Spread, spread, summarise

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
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


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


def test_the_data_keeps_every_round() -> None:
    workload = Workload(name="W", title="A title", figures=[MICROSECONDS], cases=lambda _: [])
    results = [result(case(), 2.0, 4.0, failures=["killed"])]

    data = json.loads(json.dumps(as_data(workload, summarise(results, workload.figures), results)))

    (line,) = data["lines"]
    assert line["figures"] == {"us": {"median": 3.0, "low": 2.0, "high": 4.0}}
    assert [measured["figures"]["us"] for measured in line["measured"]] == [2.0, 4.0]
    assert line["failures"] == ["killed"]


# --- the whole -------------------------------------------------------------------------------------------


BOTH = ("limit", "necrostack")
ON_REDIS = {"hiredis", "necrostack-redis", "redis", "server"}


@pytest.mark.parametrize(
    ("workload", "n", "shapes", "alone"),
    [
        (
            "W1",
            130,
            ["prefilled", "streamed", "untyped", "concurrent", "1 organ", "5 organs", "50 organs"],
            {("limit", "inline")},
        ),
        ("W1g", 1000, ["1 queued", "10 queued", "100 queued", "1,000 queued"], set()),
        ("W2", 130, ["consume", "consume, 100 at once"], set()),
        ("W2p", 130, ["one by one", "100 emitters", "bulk"], set()),
        ("W3", 130, ["A→B→C"], set()),
        ("W3f", 130, ["1→10", "A→B, C→D"], set()),
        ("W4", 130, ["200 events/s", "70% of capacity"], set()),
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
