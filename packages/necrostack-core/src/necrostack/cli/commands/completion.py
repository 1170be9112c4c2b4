"""`necrostack completion`: what a shell needs to complete the command line."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

from necrostack.cli.arguments import COMMANDS, add_examples, build_parser
from necrostack.cli.failures import Exit
from necrostack.cli.terminal import Terminal

_SHELLS = ("bash", "zsh", "fish")


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a command.

    Attributes:
        names: Its names, such as `-v` and `--verbose`.
        purpose: What it is for.
        choices: What may follow it; empty when anything may.
        takes_value: Whether something must follow it.
        takes_file: Whether that is the name of a file.
    """

    names: tuple[str, ...]
    purpose: str
    choices: tuple[str, ...]
    takes_value: bool
    takes_file: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.description = "Write the completion script of a shell to stdout. Redirected as below it is there for good."
    parser.add_argument("shell", choices=_SHELLS)
    add_examples(
        parser,
        ("necrostack completion bash > necrostack", "for bash, in ~/.local/share/bash-completion/completions"),
        ("necrostack completion zsh > ~/.zfunc/_necrostack", "for zsh, if ~/.zfunc is in $fpath before compinit"),
        ("necrostack completion fish > ~/.config/fish/completions/necrostack.fish", "for fish"),
    )


def execute(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Write it."""
    write = {"bash": bash, "zsh": zsh, "fish": fish}[arguments.shell]
    terminal.text("\n".join(write(options_of_commands())))
    return Exit.OK


def options_of_commands() -> dict[str, list[Option]]:
    """Read the options of every command off the parser."""
    root = build_parser()
    (commands,) = (action for action in root._actions if isinstance(action, argparse._SubParsersAction))
    found = {name: _options(commands.choices[name]) for name in COMMANDS}
    return {name: [*{option.names or option.choices: option for option in own}.values()] for name, own in found.items()}


def _options(parser: argparse.ArgumentParser) -> Iterator[Option]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):  # such as `dlq list`: what any of them takes
            yield Option((), str(action.metavar), tuple(action.choices), takes_value=True, takes_file=False)
            for own in action.choices.values():
                yield from _options(own)
            continue
        choices = tuple(map(str, action.choices or ()))
        if action.option_strings or choices:
            yield Option(
                names=tuple(action.option_strings),
                purpose=action.help or "",
                choices=choices,
                takes_value=action.nargs != 0,
                takes_file=action.metavar == "FILE",
            )


# --- bash -----------------------------------------------------------------------------------------------


def bash(commands: dict[str, list[Option]]) -> Iterator[str]:
    """Write the script for bash, line by line."""
    yield "# necrostack completion bash"
    yield "_necrostack() {"
    yield '    local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}"'
    yield "    COMPREPLY=()"
    yield "    if [ $COMP_CWORD -eq 1 ]; then"
    yield f'        COMPREPLY=($(compgen -W "{" ".join(commands)} --help --version" -- "$cur"))'
    yield "        return"
    yield "    fi"
    yield '    case "${COMP_WORDS[1]} $prev" in'
    for command, options in commands.items():
        for option in options:
            pattern = "|".join(f'"{command} {name}"' for name in option.names)
            if option.names and option.choices:
                yield f'        {pattern}) COMPREPLY=($(compgen -W "{" ".join(option.choices)}" -- "$cur")); return;;'
            elif option.takes_file:
                yield f'        {pattern}) COMPREPLY=($(compgen -f -- "$cur")); return;;'
            elif option.takes_value and option.names:
                yield f"        {pattern}) return;;"
    yield "    esac"
    yield '    case "${COMP_WORDS[1]}" in'
    for command, options in commands.items():
        words = [word for option in options for word in option.names or option.choices]
        yield f'        {command}) COMPREPLY=($(compgen -W "{" ".join(words)}" -- "$cur"));;'
    yield "    esac"
    yield "}"
    yield "complete -o default -F _necrostack necrostack"


# --- zsh ------------------------------------------------------------------------------------------------


def zsh(commands: dict[str, list[Option]]) -> Iterator[str]:
    """Write the script for zsh, line by line."""
    yield "#compdef necrostack"
    yield "_necrostack() {"
    yield "    if (( CURRENT == 2 )); then"
    yield "        local -a commands=("
    for command in commands:
        yield f"            {_quoted(f'{command}:{COMMANDS[command]}')}"
    yield "        )"
    yield "        _describe command commands"
    yield "        return"
    yield "    fi"
    yield "    local command=$words[2]"
    yield "    shift words"
    yield "    (( CURRENT-- ))"
    yield "    case $command in"
    for command, options in commands.items():
        yield f"        {command})"
        yield "            _arguments \\"
        for option in options:
            for spec in _zsh_specs(option):
                yield f"                {_quoted(spec)} \\"
        yield "                '*:file:_files'"
        yield "            ;;"
    yield "    esac"
    yield "}"
    yield "compdef _necrostack necrostack"


def _zsh_specs(option: Option) -> Iterator[str]:
    values = f"({' '.join(option.choices)})" if option.choices else "_files" if option.takes_file else " "
    if not option.names:
        yield f"1:{option.purpose or 'choice'}:{values}"
    purpose = option.purpose.replace("[", "(").replace("]", ")").replace(":", "\\:")
    for name in option.names:
        yield f"{name}[{purpose}]" + (f":value:{values}" if option.takes_value else "")


# --- fish -----------------------------------------------------------------------------------------------


def fish(commands: dict[str, list[Option]]) -> Iterator[str]:
    """Write the script for fish, line by line."""
    yield "# necrostack completion fish"
    yield "complete -c necrostack -f"
    for command in commands:
        yield f"complete -c necrostack -n __fish_use_subcommand -a {command} -d {_quoted(COMMANDS[command])}"
    for command, options in commands.items():
        begin = f"complete -c necrostack -n {_quoted(f'__fish_seen_subcommand_from {command}')}"
        for option in options:
            values = f" -a {_quoted(' '.join(option.choices))}" if option.choices else ""
            names = "".join(f" {_fish_name(name)}" for name in option.names)
            follows = " -r -F" if option.takes_file else " -x" if option.takes_value and option.names else ""
            yield f"{begin}{names}{follows}{values} -d {_quoted(option.purpose)}"


def _fish_name(name: str) -> str:
    return f"-l {name.removeprefix('--')}" if name.startswith("--") else f"-s {name.removeprefix('-')}"


def _quoted(text: str) -> str:
    """Quote for zsh and fish: nothing in single quotes is special but their end."""
    return "'" + text.replace("'", "'\\''") + "'"
