"""APP on the command line: a Spine, imported."""

from __future__ import annotations

import importlib
import inspect
import sys
import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from necrostack.backend import Backend
from necrostack.backends import open_backend
from necrostack.cli.failures import CommandError, Exit
from necrostack.errors import ConfigurationError, explain
from necrostack.spine import Spine


def load_app(app: str | None, backend: str | None = None) -> Spine:
    """Import the Spine that `module:attribute` names.

    Args:
        app: The module and the attribute, `spine` unless given: a Spine, or a function that makes one. None when
            neither the command line nor a setting names it.
        backend: The URL of the backend that takes the place of the Spine's own.

    Raises:
        CommandError: There is no such thing, it fails, or it is no Spine (exit code 3); or the URL is wrong
            (exit code 2).
    """
    if app is None:
        msg = (
            f"name an APP, such as shop.app:spine, or set it for all commands: {_HOW_TO_SET}; see necrostack run --help"
        )
        raise CommandError(msg, Exit.USAGE)
    module_name, _, attribute = app.partition(":")
    attribute = attribute or "spine"
    found = _attribute(_module(app, module_name), attribute, app)
    spine = _spine(found, app, f"{module_name}:{attribute}")
    return spine if backend is None else spine.with_backend(backend_of(backend))


_HOW_TO_SET = 'app = "…" under [tool.necrostack] in pyproject.toml, or NECROSTACK_APP'


def backend_of(url: str) -> Backend:
    """Make the backend of `--backend`.

    Raises:
        CommandError: The URL is wrong, or what it needs is not installed (exit code 2).
    """
    try:
        return open_backend(url)
    except ConfigurationError as error:
        raise CommandError(str(error), Exit.USAGE, setting="backend") from error


def _module(app: str, name: str) -> ModuleType:
    if "://" in app:  # which may hold a password
        msg = "APP is a URL, which names no module; say where events are kept with --backend URL"
        raise CommandError(msg, Exit.NO_APP, setting="app")
    path = Path(name)
    if path.suffix == ".py" or not all(part.isidentifier() for part in name.split(".")):
        hint = f"; write {'.'.join([*path.parent.parts, path.stem])}:spine" if path.suffix == ".py" else ""
        msg = f"APP is {app!r}, which names no module; write module:attribute, such as shop.app:spine{hint}"
        raise CommandError(msg, Exit.NO_APP, setting="app")
    here = str(Path.cwd())
    if sys.path[0] != here:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            msg = f"no module named {error.name!r}, looked for in {here} first"
            raise CommandError(msg, Exit.NO_APP, setting="app") from error
        raise _failure(f"importing {name!r} failed", error) from error
    except (Exception, SystemExit) as error:
        raise _failure(f"importing {name!r} failed", error) from error


def _attribute(module: ModuleType, path: str, app: str) -> object:
    found: object = module
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as error:
            spines = [known for known, value in vars(module).items() if isinstance(value, Spine)]
            hint = f"; there is {', '.join(f'{module.__name__}:{known}' for known in spines)}" if spines else ""
            msg = f"APP is {app!r}, but {module.__name__} has no attribute {path!r}{hint}"
            raise CommandError(msg, Exit.NO_APP, setting="app") from error
    return found


def _spine(found: object, app: str, name: str) -> Spine:
    if isinstance(found, Spine):
        return found
    if isinstance(found, type) or not callable(found):
        kind = f"the class {found.__name__}" if isinstance(found, type) else f"a {type(found).__name__}"
        msg = f"{name} is {kind}, no Spine; APP names a Spine or a function that makes one"
        raise CommandError(msg, Exit.NO_APP, setting="app")
    made = _called(found, name)
    if isinstance(made, Spine):
        return made
    if inspect.iscoroutine(made):
        made.close()
        msg = f"{name} is an async function; write a plain one, and open connections in an Organ's startup()"
        raise CommandError(msg, Exit.NO_APP, setting="app")
    msg = f"{name}() made a {type(made).__name__}, no Spine"
    raise CommandError(msg, Exit.NO_APP, setting="app")


def _called(function: Callable[..., object], name: str) -> object:
    try:
        inspect.signature(function).bind()
    except TypeError as error:
        msg = f"{name} cannot be called without arguments: {error}"
        raise CommandError(msg, Exit.NO_APP, setting="app") from error
    try:
        return function()
    except (Exception, SystemExit) as error:
        raise _failure(f"{name}() failed", error) from error


def _failure(what: str, error: BaseException) -> CommandError:
    """An error in the user's code, with the place in it that is nearest to the cause."""
    if isinstance(error, SystemExit):
        told = f"it called sys.exit({'' if error.code is None else repr(error.code)})"
    elif isinstance(error, SyntaxError):
        told = f"{type(error).__name__}: {error.msg} ({error.filename}, line {error.lineno})"
        return CommandError(f"{what}: {told}", Exit.NO_APP, setting="app")
    else:
        told = f"{type(error).__name__}: {explain(error)}"
    return CommandError(f"{what}: {told}{place_of(error)}", Exit.NO_APP, setting="app")


def place_of(error: BaseException) -> str:
    """Say where in the user's own files an error comes from; nothing when it is in none of them."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_users(frame.filename)]
    if not frames:
        return ""
    last = frames[-1]
    return f" ({last.filename}, line {last.lineno}, in {last.name})"


def _is_users(filename: str) -> bool:
    installed = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    foreign = [*installed, str(Path(__file__).parents[1])]
    return not filename.startswith("<") and not any(Path(filename).is_relative_to(folder) for folder in foreign)
