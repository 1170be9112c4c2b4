"""Settings of the command line: `[tool.necrostack]` in pyproject.toml, the environment, and flags; a later one wins.

Nothing here acts on anything: it reads, checks, and says what is in force and who said so.
"""

from __future__ import annotations

import argparse
import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType

from necrostack.cli.address import listening_address
from necrostack.cli.arguments import seconds, stall, whole_number
from necrostack.cli.failures import CommandError, Exit
from necrostack.cli.logs import FORMATS, LEVELS, add_log, repeats
from necrostack.cli.printable import without_passwords
from necrostack.errors import cut

FILE = "pyproject.toml"
TABLE = "tool.necrostack"
PREFIX = "NECROSTACK_"
HANDED_DOWN = "NECROSTACK_RUN_SETTINGS"
"""The environment variable in which a supervisor hands down what the file said when it read it, as JSON."""

_OTHERS = frozenset({HANDED_DOWN, *(f"{PREFIX}{name}" for name in ("WORKER", "RUN_FOLDER", "SUPERVISOR", "WATCHER"))})
"""Variables with another meaning, which a supervisor sets. One of them is nearly called as a setting."""

_OF_SERVICES = re.compile(r"_(SERVICE_(HOST|PORT)|PORT)(_|$)")
"""What Kubernetes adds of a service that is called necrostack-…:
https://kubernetes.io/docs/tutorials/services/connect-applications-service/#environment-variables
"""

_LONGEST = 100
"""Characters of a value that are shown."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What can be set. A command takes it if it has an option, or an APP, of this name.

    Attributes:
        name: In the table of the file; the option is called so, too, with `--`.
        read: Reads its text, as argparse has it read.
        example: What may be written.
        default: What it is when nobody says anything; None leaves it to the application.
    """

    name: str
    read: Callable[[str], object]
    example: str | int | float
    default: object = None

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return PREFIX + self.attribute.upper()

    @property
    def attribute(self) -> str:
        """What it is called among parsed arguments."""
        return self.name.replace("-", "_")

    @property
    def kinds(self) -> tuple[type, ...]:
        """Which types it may have in the file."""
        return (int, float) if isinstance(self.example, float) else (type(self.example),)


def _text(text: str) -> str:
    if not text.strip():
        msg = "it is empty"
        raise argparse.ArgumentTypeError(msg)
    return text


def one_of(*choices: str) -> Callable[[str], str]:
    """Make what reads one of some words, however they are capitalised."""

    def read(text: str) -> str:
        if text.lower() not in choices:
            msg = f"{text!r} is none of {', '.join(choices)}"
            raise argparse.ArgumentTypeError(msg)
        return text.lower()

    return read


SETTINGS: Mapping[str, Setting] = {
    setting.name: setting
    for setting in (
        Setting("app", _text, "shop.app:spine"),
        Setting("backend", _text, "redis://localhost:6379"),
        Setting("workers", whole_number, 4, default=1),
        Setting("concurrency", whole_number, 10),
        Setting("max-steps", whole_number, 1_000_000),
        Setting("drain-timeout", seconds, 30.0),
        Setting("health", listening_address, "127.0.0.1:8080"),
        Setting("max-stall", stall, 60.0, default=60.0),
        Setting("log-format", one_of(*FORMATS), "console"),
        Setting("log-level", one_of(*LEVELS), "warning"),
        Setting("log-repeats", repeats, "10/60"),
    )
}


@dataclass(frozen=True, slots=True)
class Said:
    """What somebody said a setting is.

    Attributes:
        value: What it is, read; None takes away what was said before.
        source: Who said so: a flag, an environment variable, or a place in the file.
        is_flag: Whether it was said on the command line.
    """

    value: object
    source: str
    is_flag: bool = False


_POSITIONAL = "the command line"


class Settings:
    """What is in force for one command, by the names of settings, and who said so.

    Attributes:
        table: What the file says, for processes that are to have the same.
    """

    def __init__(
        self,
        said: Mapping[str, Said] = MappingProxyType({}),
        elsewhere: Mapping[str, Said] = MappingProxyType({}),
        table: str = "{}",
    ) -> None:
        """Say what is in force, and what is said elsewhere than on the command line, by whatever settings."""
        self._said = said
        self._elsewhere = elsewhere
        self.table = table

    def placed(self, name: str, message: str) -> str:
        """Put before what is wrong with a setting who said it; APP speaks for itself."""
        said = self._said.get(name)
        if said is None or said.source == _POSITIONAL:
            return message
        place = f"{FILE}, [{TABLE}] {name}" if said.source == FILE else said.source
        return f"{place}: {message}"

    @property
    def shows_password(self) -> bool:
        """Whether the file holds a URL with a password."""
        url = json.loads(self.table).get("backend", "")
        return isinstance(url, str) and without_passwords(url) != url

    def is_flag(self, attribute: str) -> bool:
        """Whether an argument was said on the command line; what is no setting can be said nowhere else."""
        name = attribute.replace("_", "-")
        return name not in SETTINGS or (name in self._said and self._said[name].is_flag)

    def told(self) -> Iterator[str]:
        """Say of each setting in force that somebody set what it is, and who said so; no passwords."""
        return _told(self._said)

    def told_elsewhere(self) -> Iterator[str]:
        """Say the same of what is set elsewhere than on the command line, for whatever command."""
        return _told(self._elsewhere)


def _told(said: Mapping[str, Said]) -> Iterator[str]:
    for name, each in said.items():
        if each.value is not None:
            yield f"{name} = {_shown(each.value)}, from {each.source}"


# --- what is said where -----------------------------------------------------------------------------------


def from_file(folder: Path) -> dict[str, object]:
    """Read the table of a folder's pyproject.toml as it stands; empty when there is none.

    Raises:
        CommandError: The file cannot be read (exit code 2).
    """
    try:
        with (folder / FILE).open("rb") as file:
            found = tomllib.load(file)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"this is no TOML: {error}"
        raise _refusal(FILE, f"{reason}", "mend it, or go to the folder of the project") from error
    tool = found.get("tool", {})
    table = tool.get("necrostack", {}) if isinstance(tool, dict) else {}
    if not isinstance(table, dict):
        raise _refusal(FILE, f"{TABLE} is {_shown(repr(table))}, no table", f'write [{TABLE}] and under it app = "…"')
    return table


def said_in_file(table: Mapping[str, object]) -> dict[str, Said]:
    """Check what the table says.

    Raises:
        CommandError: A setting is unknown, or not what it must be (exit code 2).
    """
    found = {}
    for key, value in table.items():
        place = f"{FILE}, [{TABLE}] {key}"
        if key not in SETTINGS:
            raise _refusal(f"{FILE}, [{TABLE}]", f"there is no setting {_shown(repr(key))}", _nearest(key))
        setting = SETTINGS[key]
        proper = f"write {key} = {json.dumps(setting.example)}"
        if isinstance(value, bool) or not isinstance(value, setting.kinds):
            raise _refusal(place, f"{_shown(repr(value))} is of the wrong type", proper)
        found[key] = Said(_read(setting, str(value), place, proper), FILE)
    return found


def said_in_environment(environment: Mapping[str, str]) -> dict[str, Said]:
    """Read what environment variables say. An empty one takes away what the file says.

    Raises:
        CommandError: One is not what it must be, or nearly called as one that there is (exit code 2).
    """
    found = {}
    for setting in SETTINGS.values():
        text = environment.get(setting.variable)
        if text is not None:
            proper = f"write {setting.variable}={setting.example}"
            value = _read(setting, text, setting.variable, proper) if text.strip() else None
            found[setting.name] = Said(value, setting.variable)
    path = environment.get(_BACKEND_FILE)
    if path:
        if found.get("backend", _NOTHING).value is not None:
            raise _refusal(_BACKEND_FILE, "NECROSTACK_BACKEND is set, too", "leave one of them out")
        found["backend"] = Said(_in(path), _BACKEND_FILE)
    known = {setting.variable for setting in SETTINGS.values()} | {_BACKEND_FILE}
    for name in environment:
        if name.startswith(PREFIX) and name not in known | _OTHERS and not _OF_SERVICES.search(name):
            _refuse_misspelt(name, known)
    return found


_BACKEND_FILE = f"{PREFIX}BACKEND_FILE"
"""The variable with the name of a file that holds the URL: passwords are mounted as files."""

_NOTHING = Said(None, "")


def _in(path: str) -> str:
    try:
        text = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        # Without its cause, as below: who puts the URL itself there would have it shown.
        raise _refusal(_BACKEND_FILE, f"{path!r} cannot be read: {reason}", "name a file that holds a URL") from None
    if not text or len(text.splitlines()) > 1:
        # What it holds is not shown: it may be a secret in another form.
        msg = f"{path!r} holds {len(text.splitlines())} lines"
        raise _refusal(_BACKEND_FILE, msg, "write one line with a URL, such as redis://localhost:6379")
    return text


def _refuse_misspelt(name: str, known: set[str]) -> None:
    """Refuse a variable that is nearly called as a setting. Others may be anybody's."""
    endings = {variable.removeprefix(PREFIX): variable for variable in known}
    for near in get_close_matches(name.removeprefix(PREFIX).upper(), endings, n=1, cutoff=0.8):
        raise _refusal(_shown(name), "there is no such setting", f"did you mean {endings[near]}?")


def _nearest(key: str) -> str:
    near = get_close_matches(key.replace("_", "-").lower(), SETTINGS, n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(SETTINGS)}"


def _read(setting: Setting, text: str, place: str, proper: str) -> object:
    try:
        return setting.read(text)
    except (argparse.ArgumentTypeError, ValueError) as error:
        # Another error quotes nothing that can be relied on.
        told = str(error) if isinstance(error, argparse.ArgumentTypeError) else f"{_shown(repr(text))} cannot be read"
        # Without its cause, which a traceback would show: that quotes the value, and it may hold a password.
        raise _refusal(place, told, proper) from None


def _refusal(place: str, what: str, proper: str) -> CommandError:
    # Cut last: half a URL may not look like one, and show half a password.
    return CommandError(f"{place}: {cut(without_passwords(what), 3 * _LONGEST)}; {proper}", Exit.USAGE)


def _shown(value: object) -> str:
    return cut(without_passwords(str(value)), _LONGEST)


# --- on the command line ----------------------------------------------------------------------------------


def announce(parser: argparse.ArgumentParser) -> None:
    """Give a command that has a backend the options of the log, and have its help say where else they may be set."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for own in action.choices.values():
                announce(own)
    if any(action.dest == "backend" for action in parser._actions):
        add_log(parser)
    known = {setting.attribute: setting.variable for setting in SETTINGS.values()}
    named = [action for action in parser._actions if action.dest in known]
    for action in named:
        action.help = f"{action.help} [{known[action.dest]}]"
    if named:
        parser.epilog = f"{_EPILOG}\n{parser.epilog or ''}"


_EPILOG = f"""\
settings:
  What is not said here comes from the environment variable in brackets, or
  else from [{TABLE}] in the {FILE} of the current folder.
  -v says what is in force, and who said so.
"""


# --- put together -----------------------------------------------------------------------------------------


def settle(arguments: argparse.Namespace, folder: Path, environment: Mapping[str, str]) -> Settings:
    """Give each setting that a command takes, and that its arguments do not name, what was said elsewhere.

    Args:
        arguments: The command's, parsed; they are completed.
        folder: Where the file is looked for.
        environment: The environment. What a supervisor handed down in it takes the place of the file.

    Raises:
        CommandError: The file or the environment says something wrong (exit code 2).
    """
    taken = [setting for setting in SETTINGS.values() if setting.attribute in arguments]
    if not taken:
        return Settings()
    above = environment.get(HANDED_DOWN)
    table = from_file(folder) if above is None else json.loads(above)
    said = {**said_in_file(table), **said_in_environment(environment)}
    in_force: dict[str, Said] = {}
    for setting in taken:
        flag = getattr(arguments, setting.attribute)
        if flag is not None:
            source = _POSITIONAL if setting.name == "app" else f"--{setting.name}"
            in_force[setting.name] = Said(flag, source, is_flag=True)
        elif setting.name in said:
            in_force[setting.name] = said[setting.name]
        if setting.name not in in_force or in_force[setting.name].value is None:
            setattr(arguments, setting.attribute, setting.default)
        else:
            setattr(arguments, setting.attribute, in_force[setting.name].value)
    return Settings(in_force, said, json.dumps(table))


def flags_of(arguments: argparse.Namespace, names: Sequence[str]) -> tuple[str | None, dict[str, object]]:
    """Return APP and some options, each if the command line said it: for another process, which finds the rest itself.

    The command line of a process is for everybody to see. Its environment is not, and may hold a password.
    """
    settings: Settings = arguments.settings
    options = {name: getattr(arguments, name) for name in names if settings.is_flag(name)}
    return (arguments.app if settings.is_flag("app") else None), options
