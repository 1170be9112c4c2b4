"""`necrostack completion`: what a shell needs to complete the command line."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
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


@dataclass(frozen=True, slots=True)
class Words:
    """What may follow a command.

    Attributes:
        options: Its options.
        choices: What its first word may be, and what that is for: actions, or such as a shell. Empty when it may be
            anything.
        has_actions: Whether those are actions, of which each has options of its own.
    """

    options: tuple[Option, ...]
    choices: Mapping[str, str]
    has_actions: bool


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
    terminal.text("\n".join(write(words_of_commands())))
    return Exit.OK


def words_of_commands() -> dict[str, Words]:
    """Read off the parser what may follow each command, and each such as `dlq list`."""
    root = build_parser()
    (commands,) = (action for action in root._actions if isinstance(action, argparse._SubParsersAction))
    found: dict[str, Words] = {}
    for name in COMMANDS:
        parser = commands.choices[name]
        found[name] = _words(parser)
        for group in parser._actions:
            if isinstance(group, argparse._SubParsersAction):
                found |= {f"{name} {action}": _words(own) for action, own in group.choices.items()}
    return found


def _words(parser: argparse.ArgumentParser) -> Words:
    options, choices, has_actions = list[Option](), dict[str, str](), False
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            has_actions = True
            choices = {each.dest: each.help or "" for each in action._choices_actions}
        elif not action.option_strings:
            choices = dict.fromkeys(map(str, action.choices or ()), "")
        else:
            option = Option(
                names=tuple(action.option_strings),
                purpose=action.help or "",
                choices=tuple(map(str, action.choices or ())),
                takes_value=action.nargs != 0,
                takes_file=action.metavar == "FILE",
            )
            options.append(option)
    return Words(tuple(options), choices, has_actions)


# --- bash -----------------------------------------------------------------------------------------------


def bash(commands: dict[str, Words]) -> Iterator[str]:
    """Write the script for bash, line by line. Where it offers nothing, bash offers files."""
    yield "# necrostack completion bash"
    yield "_necrostack() {"
    yield '    local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}"'
    yield '    local command="${COMP_WORDS[1]}" word=2'
    yield "    COMPREPLY=()"
    yield "    if [ $COMP_CWORD -eq 1 ]; then"
    yield f'        COMPREPLY=($(compgen -W "{" ".join(COMMANDS)} --help --version" -- "$cur"))'
    yield "        return"
    yield "    fi"
    for command, words in commands.items():
        if words.has_actions:
            is_it = f'[ "$command" = {command} ] && [ $COMP_CWORD -gt 2 ]'
            yield f'    if {is_it}; then command="{command} ${{COMP_WORDS[2]}}" word=3; fi'
    yield '    case "$command $prev" in'
    for command, words in commands.items():
        for option in words.options:
            pattern = "|".join(f'"{command} {name}"' for name in option.names)
            if option.choices:
                yield f'        {pattern}) COMPREPLY=($(compgen -W "{" ".join(option.choices)}" -- "$cur")); return;;'
            elif option.takes_file:
                yield f"        {pattern}) return;;"
            elif option.takes_value:
                yield f"        {pattern}) compopt +o default 2>/dev/null; return;;"
    yield "    esac"
    yield '    case "$command $cur" in'
    for command, words in commands.items():
        names = " ".join(name for option in words.options for name in option.names)
        yield f'        "{command} -"*) COMPREPLY=($(compgen -W "{names}" -- "$cur")); return;;'
    yield "    esac"
    yield '    case "$command $((COMP_CWORD - word))" in'
    for command, words in commands.items():
        if words.choices:
            yield f'        "{command} 0") COMPREPLY=($(compgen -W "{" ".join(words.choices)}" -- "$cur"));;'
    yield "    esac"
    yield "}"
    yield "complete -o default -F _necrostack necrostack"


# --- zsh ------------------------------------------------------------------------------------------------


def zsh(commands: dict[str, Words]) -> Iterator[str]:
    """Write the script for zsh, line by line."""
    yield "#compdef necrostack"
    yield "_necrostack() {"
    yield from _zsh_describe("command", COMMANDS)
    yield "    local command=$words[2]"
    yield "    shift words"
    yield "    (( CURRENT-- ))"
    for command, words in commands.items():
        if words.has_actions:
            yield f"    if [[ $command == {command} ]]; then"
            yield from _zsh_describe("action", words.choices)
            yield f'    command="{command} $words[2]"'
            yield "    shift words"
            yield "    (( CURRENT-- ))"
            yield "    fi"
    yield "    case $command in"
    for command, words in commands.items():
        yield f"        {_quoted(command)})"
        yield "            _arguments \\"
        for option in words.options:
            for spec in _zsh_specs(option):
                yield f"                {_quoted(spec)} \\"
        if words.choices:
            choice = f"1:choice:({' '.join(words.choices)})"
            yield f"                {_quoted(choice)} \\"
        yield "                '*:file:_files'"
        yield "            ;;"
    yield "    esac"
    yield "}"
    yield "compdef _necrostack necrostack"


def _zsh_describe(what: str, choices: Mapping[str, str]) -> Iterator[str]:
    """Offer the words of which one comes second."""
    yield "    if (( CURRENT == 2 )); then"
    yield f"        local -a {what}s=("
    for name, purpose in choices.items():
        yield f"            {_quoted(f'{name}:{purpose}')}"
    yield "        )"
    yield f"        _describe {what} {what}s"
    yield "        return"
    yield "    fi"


def _zsh_specs(option: Option) -> Iterator[str]:
    values = f"({' '.join(option.choices)})" if option.choices else "_files" if option.takes_file else " "
    purpose = option.purpose.replace("[", "(").replace("]", ")").replace(":", "\\:")
    for name in option.names:
        yield f"{name}[{purpose}]" + (f":value:{values}" if option.takes_value else "")


# --- fish -----------------------------------------------------------------------------------------------


def fish(commands: dict[str, Words]) -> Iterator[str]:
    """Write the script for fish, line by line."""
    yield "# necrostack completion fish"
    yield "complete -c necrostack -f"
    for name, purpose in COMMANDS.items():
        yield f"complete -c necrostack -n __fish_use_subcommand -a {name} -d {_quoted(purpose)}"
    for command, words in commands.items():
        is_it = "; and ".join(f"__fish_seen_subcommand_from {word}" for word in command.split())
        begin = f"complete -c necrostack -n {_quoted(is_it)}"
        if words.choices:
            is_first = f"{is_it}; and not __fish_seen_subcommand_from {' '.join(words.choices)}"
            for name, purpose in words.choices.items():
                yield f"complete -c necrostack -n {_quoted(is_first)} -a {name} -d {_quoted(purpose)}"
        for option in words.options if not words.has_actions else ():
            values = f" -a {_quoted(' '.join(option.choices))}" if option.choices else ""
            names = "".join(f" {_fish_name(name)}" for name in option.names)
            follows = " -r -F" if option.takes_file else " -x" if option.takes_value else ""
            yield f"{begin}{names}{follows}{values} -d {_quoted(option.purpose)}"


def _fish_name(name: str) -> str:
    return f"-l {name.removeprefix('--')}" if name.startswith("--") else f"-s {name.removeprefix('-')}"


def _quoted(text: str) -> str:
    """Quote for zsh and fish: nothing in single quotes is special but their end."""
    return "'" + text.replace("'", "'\\''") + "'"
