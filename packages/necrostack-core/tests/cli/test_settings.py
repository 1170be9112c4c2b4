"""Settings: who is asked, who wins, and what is said of a wrong one."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from necrostack.cli.arguments import build_parser
from necrostack.cli.child import command_of
from necrostack.cli.settings import HANDED_DOWN, PREFIX, SETTINGS, flags_of, settle

if TYPE_CHECKING:
    from cli.conftest import Lasting, Run, Write

Configure = Callable[..., None]


@pytest.fixture(autouse=True)
def no_settings_of_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)


@pytest.fixture
def configure(folder: Path) -> Configure:
    """Writes lines under [tool.necrostack]."""

    def write(*lines: str) -> None:
        (folder / "pyproject.toml").write_text("\n".join(["[tool.necrostack]", *lines]))

    return write


def settled(*argv: str, environment: Mapping[str, str] | None = None) -> argparse.Namespace:
    """Arguments of `run` with what is said elsewhere."""
    words = ["run", *argv]
    arguments = build_parser(words).parse_args(words)
    arguments.settings = settle(arguments, Path.cwd(), environment or {})
    return arguments


# --- who wins -----------------------------------------------------------------------------------------------


def test_a_flag_wins_over_the_environment_and_that_over_the_file(configure: Configure) -> None:
    configure("concurrency = 1", "workers = 2", "max-steps = 3", 'app = "shop:spine"')

    found = settled("--concurrency=7", environment={"NECROSTACK_CONCURRENCY": "5", "NECROSTACK_WORKERS": "6"})

    assert (found.concurrency, found.workers, found.max_steps, found.app) == (7, 6, 3, "shop:spine")
    assert [*found.settings.told()] == [
        "app = shop:spine, from pyproject.toml",
        "workers = 6, from NECROSTACK_WORKERS",
        "concurrency = 7, from --concurrency",
        "max-steps = 3, from pyproject.toml",
    ]


def test_what_nobody_says_is_as_the_application_has_it(folder: Path) -> None:
    found = settled()

    assert (found.app, found.backend, found.concurrency, found.drain_timeout, found.workers) == (*[None] * 4, 1)
    assert [*found.settings.told()] == []


@pytest.mark.parametrize("empty", ["", " "])
def test_an_empty_variable_takes_away_what_the_file_says(configure: Configure, empty: str) -> None:
    configure('app = "shop:spine"', "workers = 4")

    found = settled(environment={"NECROSTACK_APP": empty, "NECROSTACK_WORKERS": empty})

    assert (found.app, found.workers) == (None, 1)


def test_every_setting_can_be_said_in_each_place_and_means_the_same(configure: Configure) -> None:
    configure(*(f"{name} = {json.dumps(setting.example)}" for name, setting in SETTINGS.items()))
    said = settled()
    configure()
    variables = settled(environment={setting.variable: str(setting.example) for setting in SETTINGS.values()})
    words = [f"--{name}={setting.example}" for name, setting in SETTINGS.items() if name != "app"]
    flags = settled(*words, str(SETTINGS["app"].example))

    values = [
        [getattr(found, setting.attribute) for setting in SETTINGS.values()] for found in (said, variables, flags)
    ]

    assert values[0] == values[1] == values[2]
    assert None not in values[0]


def test_a_setting_is_read_as_its_flag_is() -> None:
    known = {setting.attribute: setting for setting in SETTINGS.values()}
    actions = [action for parser in parsers(build_parser()) for action in parser._actions if action.dest in known]

    assert {action.dest for action in actions} == {*known}
    for action in actions:
        setting = known[action.dest]
        assert action.default is None, f"{action.option_strings} has a default, so nobody else could set it"
        assert setting.variable in (action.help or "")
        if action.choices is not None:
            assert [setting.read(choice) for choice in action.choices] == [*action.choices]
        elif action.type is not None:
            assert action.type is setting.read


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from parsers(inner)


def test_levels_and_formats_may_be_written_in_capitals(folder: Path) -> None:
    found = settled("--log-format=JSON", environment={"NECROSTACK_LOG_LEVEL": "ERROR"})

    assert (found.log_format, found.log_level) == ("json", "error")


def test_a_file_may_hold_the_url(folder: Path) -> None:
    (folder / "url").write_text("redis://:secret@example:6379\n")

    found = settled(environment={"NECROSTACK_BACKEND_FILE": "url"})

    assert found.backend == "redis://:secret@example:6379"
    assert [*found.settings.told()] == ["backend = redis://…@example:6379, from NECROSTACK_BACKEND_FILE"]


# --- what is wrong ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("worker = 2", ": there is no setting 'worker'; did you mean 'workers'?"),
        ("drain_timeout = 2", ": there is no setting 'drain_timeout'; did you mean 'drain-timeout'?"),
        ("colour = true", ": there is no setting 'colour'; there are app, backend, workers, "),
        ('workers = "4"', " workers: '4' is of the wrong type; write workers = 4"),
        ("workers = true", " workers: True is of the wrong type; write workers = 4"),
        ("workers = 0", " workers: '0' is no whole number, 1 or more; write workers = 4"),
        ("drain-timeout = inf", " drain-timeout: 'inf' is no number of seconds, 0 or more; write drain-timeout = 30.0"),
        ('log-level = "loud"', " log-level: 'loud' is none of debug, info, warning, error; write log-level = "),
        (
            'log-repeats = "many"',
            " log-repeats: 'many' is no number of lines and seconds, such as 10/60, nor off; write ",
        ),
        (
            'backend = ["redis://:secret@example"]',
            " backend: ['redis://…@example'] is of the wrong type; write backend = ",
        ),
        ('app = " "', ' app: it is empty; write app = "shop.app:spine"'),
    ],
)
def test_what_is_wrong_in_the_file_is_told_in_one_line(
    necrostack: Run, configure: Configure, line: str, told: str
) -> None:
    configure(line)

    ended = necrostack("tail")

    assert (ended.code, ended.out) == (2, "")
    (written,) = ended.told
    assert written.startswith(f"necrostack: error: pyproject.toml, [tool.necrostack]{told}")
    assert "secret" not in written


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "[tool]\nnecrostack = 5",
            "pyproject.toml: tool.necrostack is 5, no table; write [tool.necrostack] and under it",
        ),
        (b"\xff", "pyproject.toml: this is no TOML: "),
        (
            "[tool.necrostack]\nworkers =",
            "pyproject.toml: this is no TOML: Invalid value (at end of document); mend it, ",
        ),
    ],
)
def test_a_file_that_is_none_of_ours_is_told(necrostack: Run, folder: Path, text: str | bytes, told: str) -> None:
    (folder / "pyproject.toml").write_bytes(text if isinstance(text, bytes) else text.encode())

    ended = necrostack("tail")

    assert ended.code == 2
    assert ended.told[0].startswith(f"necrostack: error: {told}")


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("NECROSTACK_WORKERS", "many", "'many' is no whole number, 1 or more; write NECROSTACK_WORKERS=4"),
        ("NECROSTACK_WORKERS", "9" * 5000, "'99"),
        ("NECROSTACK_CONCURRENT", "4", "there is no such setting; did you mean NECROSTACK_CONCURRENCY?"),
        ("NECROSTACK_LOGLEVEL", "4", "there is no such setting; did you mean NECROSTACK_LOG_LEVEL?"),
        ("NECROSTACK_BACKEND_FILE", "absent", "'absent' cannot be read: No such file or directory; name a file that "),
    ],
)
def test_what_is_wrong_in_the_environment_is_told_in_one_line(
    necrostack: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    monkeypatch.setenv(name, value)

    ended = necrostack("run")

    assert (ended.code, ended.out) == (2, "")
    (written,) = ended.told
    assert written.startswith(f"necrostack: error: {name}: {told}")
    assert len(written) < 400


@pytest.mark.parametrize("text", ["", "redis://:secret@a\nredis://:secret@b"])
def test_a_file_that_holds_no_url_is_told_without_what_it_holds(
    necrostack: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    (folder / "url").write_text(text)
    monkeypatch.setenv("NECROSTACK_BACKEND_FILE", "url")

    ended = necrostack("tail")

    assert ended.code == 2
    assert (
        f"NECROSTACK_BACKEND_FILE: 'url' holds {len(text.splitlines())} lines; write one line with a URL" in ended.err
    )
    assert "secret" not in ended.err


@pytest.mark.parametrize(
    "url",
    [
        "redis://:secret@127.0.0.1:1",
        "redis+sentinel://127.0.0.1:1/service?sentinel_password=secret",
        "redis+sentinel://127.0.0.1:1/service?db=0&sentinel_password=a&secret",
        f"redis://:{'secret' * 100}@127.0.0.1:1",
    ],
)
def test_no_password_is_shown_wherever_a_url_is_put(
    necrostack: Run, configure: Configure, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    for name in ("NECROSTACK_BACKEND", "NECROSTACK_APP", "NECROSTACK_LOG_LEVEL", "NECROSTACK_BACKEND_FILE"):
        with monkeypatch.context() as patch:
            patch.setenv(name, url)
            assert "secret" not in necrostack("doctor", "-v").err + necrostack("run", "-v").err
    for line in (f'workers = "{url}"', f'log-format = "{url}"', f'"{url}" = 1', f'app = "{url}"'):
        configure(line)
        ended = necrostack("run", "-v")
        assert ended.code != 0
        assert "secret" not in ended.err


def test_two_places_for_the_url_are_one_too_many(
    folder: Path, necrostack: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NECROSTACK_BACKEND", "redis://example")
    monkeypatch.setenv("NECROSTACK_BACKEND_FILE", "url")

    assert "NECROSTACK_BACKEND is set, too; leave one of them out" in necrostack("tail").err


@pytest.mark.parametrize(
    "name",
    [
        "NECROSTACK_WORKER",
        "NECROSTACK_RUN_FOLDER",
        "NECROSTACK_SHOP_DATABASE",
        "NECROSTACK_BACKEND_PORT",
        "NECROSTACK_BACKEND_SERVICE_HOST",
        "NECROSTACK_HEALTH_PORT_8081_TCP_ADDR",
    ],
)
def test_variables_with_another_meaning_are_left_alone(folder: Path, name: str) -> None:
    assert settled(environment={name: "tcp://10.0.0.1:80"}).backend is None


# --- commands -----------------------------------------------------------------------------------------------


def test_in_a_configured_project_no_command_needs_app_or_backend(
    necrostack: Run, app: str, lasting: Lasting, configure: Configure, write: Write
) -> None:
    configure(f'app = "{app}"', 'backend = "lasting://"')
    necrostack("run", "--feed", write(1, -2), "--until-idle")

    emitted = necrostack("emit", "CLI_COUNTED", '{"n": 3}')
    tailed = necrostack("tail", "--json")
    found = necrostack("inspect", emitted.out.strip(), "--json")
    looked = necrostack("inspect", "--json")
    (letter,) = necrostack("dlq", "list", "--json").out.splitlines()
    shown = necrostack("dlq", "show", json.loads(letter)["id"])
    graph = necrostack("graph")
    schema = necrostack("schema")
    doctor = necrostack("doctor", "--json")

    ended = [emitted, tailed, found, looked, shown, graph, schema]
    assert [each.code for each in ended] == [0] * len(ended)
    assert [json.loads(line)["event_type"] for line in tailed.out.splitlines()].count("CLI_COUNTED") == 3
    notes = [finding["what"] for finding in json.loads(doctor.out)["findings"]]
    assert {f"app = {app}, from pyproject.toml", "backend = lasting://, from pyproject.toml"} <= {*notes}


def test_what_the_command_line_names_is_told_apart_as_ever(
    necrostack: Run, app: str, lasting: Lasting, configure: Configure
) -> None:
    configure('app = "absent:spine"', 'backend = "lasting://"')

    assert necrostack("emit", app, "CLI_COUNTED", '{"n": 3}').code == 0
    assert necrostack("emit", app, "CLI_COUNTED", "{}").code == 1  # its class is asked
    assert necrostack("inspect", app).code == 0
    assert necrostack("dlq", "redrive", app, "1", "--yes").code != 3
    assert necrostack("emit", "CLI_COUNTED").code == 3


@pytest.mark.parametrize(
    ("variable", "value", "code", "told"),
    [
        ("NECROSTACK_APP", "absent:spine", 3, "NECROSTACK_APP: no module named 'absent', looked for in "),
        ("NECROSTACK_APP", "redis://:secret@example", 3, "NECROSTACK_APP: APP is a URL, which names no module; "),
        (
            "NECROSTACK_BACKEND",
            "http://:secret@example",
            2,
            "NECROSTACK_BACKEND: no backend for http://; installed are ",
        ),
    ],
)
def test_who_set_what_is_wrong_is_told(
    necrostack: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, code: int, told: str
) -> None:
    monkeypatch.setenv(variable, value)

    ended = necrostack("tail")

    assert ended.code == code
    assert ended.told[0].startswith(f"necrostack: error: {told}")
    assert "secret" not in ended.err


def test_a_command_that_takes_no_setting_does_not_mind_wrong_ones(necrostack: Run, configure: Configure) -> None:
    configure("workers = 0")

    assert necrostack("version").code == 0


def test_verbose_says_what_is_in_force_without_passwords(necrostack: Run, configure: Configure, app: str) -> None:
    configure(f'app = "{app}"')

    ended = necrostack("run", "-v", "--until-idle", "--backend", "memory://?max_size=5#user:secret@example")

    assert ended.told[:2] == [
        f"necrostack: app = {app}, from pyproject.toml",
        "necrostack: backend = memory://…@example, from --backend",
    ]


def test_a_password_in_the_file_is_a_finding(necrostack: Run, configure: Configure, lasting: Lasting) -> None:
    configure('backend = "lasting://:secret@example"')

    found = json.loads(necrostack("doctor", "--json").out)["findings"]

    assert [each["remedy"] for each in found if "holds a password" in each["what"]] == [
        "leave the password out there; set NECROSTACK_BACKEND, or NECROSTACK_BACKEND_FILE to a file with the URL"
    ]
    assert "secret" not in json.dumps(found)


# --- processes of their own ---------------------------------------------------------------------------------

OPTIONS = ("backend", "concurrency", "feed", "verbose")


def test_a_process_is_told_flags_alone_and_finds_the_rest_itself(configure: Configure) -> None:
    configure('app = "shop:spine"', "concurrency = 3")

    found = settled("-v", "--feed=a.ndjson", environment={"NECROSTACK_BACKEND": "redis://:secret@example"})

    assert found.backend == "redis://:secret@example"
    assert command_of(*flags_of(found, OPTIONS))[5:] == ["--feed=a.ndjson", "--verbose"]
    assert command_of(*flags_of(settled("other", "--concurrency=2"), OPTIONS))[5:] == ["--concurrency=2", "other"]


def test_a_worker_has_what_its_supervisor_found_in_the_file(configure: Configure) -> None:
    configure("concurrency = 3")
    above = settled().settings.table
    configure("concurrency = 99", "nonsense = true")

    found = settled(environment={HANDED_DOWN: above})

    assert found.concurrency == 3
