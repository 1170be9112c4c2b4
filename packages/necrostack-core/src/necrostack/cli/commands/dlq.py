"""`necrostack dlq`: look at dead letters, and let them go again or away."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from necrostack.cli.arguments import Parser, add_actions, add_backend, add_examples, add_json, add_rate, whole_number
from necrostack.cli.asking import add_yes, confirm
from necrostack.cli.bulk import (
    Choice,
    Outcome,
    choices,
    discard_all,
    picked,
    problem_of,
    redrive_all,
    show_outcome,
    show_problems,
    told,
)
from necrostack.cli.editing import edit_letter
from necrostack.cli.exporting import export
from necrostack.cli.facts import letter_facts
from necrostack.cli.failures import CommandError, Exit
from necrostack.cli.importing import Importer
from necrostack.cli.letters import (
    add_filters,
    chosen,
    how_many,
    letter_of,
    none_chosen,
    show_letter,
    write_causes,
    write_letters,
)
from necrostack.cli.target import Target, add_target, told_apart, with_target
from necrostack.cli.terminal import Terminal, counted
from necrostack.delivery import DeadLetter

_ID = "1767225600000-0"
"""A letter's id, in examples."""

_Do = Callable[[Target, list[str], argparse.Namespace, Terminal], Awaitable[int]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.description = (
        "Dead letters are events that were given up: kept, with the reason, until somebody lets them go again"
        " (redrive, edit) or away (discard)."
    )
    add = add_actions(parser)
    _add_list(add("list", "write the dead letters, oldest first"))
    show = add("show", "write all that one dead letter says, with its traceback")
    _add_one(show, _show)
    add_examples(
        show,
        (f"necrostack dlq show shop.app {_ID}", "why it was given up, its attempts, its payload"),
        (f"necrostack dlq show --backend redis://localhost {_ID} --json", "the same for a program"),
    )
    _add_redrive(add("redrive", "deliver dead letters again, each to the Organ that failed"))
    edit = add("edit", "edit the payload of a dead letter in $EDITOR, and redrive it")
    _add_one(edit, _edit)
    add_examples(
        edit,
        (f"necrostack dlq edit shop.app {_ID}", "what is written is checked against the event's class"),
        (f"EDITOR='code --wait' necrostack dlq edit shop.app {_ID}", "with another editor"),
    )
    _add_discard(add("discard", "forget dead letters"))
    _add_export(add("export", "write dead letters to a file, one JSON object a line"))
    _add_import(add("import", "keep the dead letters of such a file again"))
    add_examples(
        parser,
        ("necrostack dlq list shop.app --group-by cause", "how many letters each cause left"),
        ("necrostack dlq redrive shop.app --organ Billing --dry-run", "what would go again"),
        ("necrostack dlq redrive shop.app --organ Billing --rate 50", "let it go, 50 a second"),
    )


def execute(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Do it."""
    do: _Do = arguments.do
    names = arguments.words if "words" in arguments else []
    if arguments.is_for_one and len(names) != 1:
        taken = "" if names or arguments.app is None else f"; {arguments.app!r} is taken for APP"
        msg = f"name one dead letter, not {len(names)}{taken}; dlq list shows their ids"
        raise CommandError(msg, Exit.USAGE)
    return with_target(arguments, terminal, lambda target: do(target, names, arguments, terminal))


# --- arguments ------------------------------------------------------------------------------------------


def _add_list(parser: Parser) -> None:
    add_target(parser)
    add_filters(parser, redriven=True)
    parser.add_argument("--limit", metavar="N", type=whole_number, help="at most so many")
    parser.add_argument("--group-by", choices=("cause",), help="count the letters that have one cause instead")
    add_json(parser, "write one JSON object a line")
    parser.set_defaults(do=_list, is_for_one=False)
    add_examples(
        parser,
        ("necrostack dlq list shop.app", "those that wait, one a line"),
        ("necrostack dlq list shop.app --group-by cause", "how many letters each cause left"),
        ("necrostack dlq list shop.app --since 1h --where 'order.total>=100'", "those of some events"),
        ("necrostack dlq list shop.app --redriven --json", "those that went again, for a program"),
    )


def _add_one(parser: Parser, do: _Do) -> None:
    parser.usage = "%(prog)s [options] [APP] ID"
    parser.add_argument("words", nargs="*", metavar="[APP] ID", help="which dead letter, as dlq list names it")
    add_backend(parser)
    add_json(parser, "write one JSON object")
    parser.set_defaults(do=do, is_for_one=True, split=_app_and_ids)


def _add_many(parser: Parser, do: _Do) -> None:
    parser.usage = "%(prog)s [options] [APP] ID ...\n       %(prog)s [options] [APP] --all | --organ NAME | --type GLOB"
    parser.add_argument("words", nargs="*", metavar="[APP] ID ...", help="which dead letters, as dlq list names them")
    add_backend(parser)
    parser.add_argument("--all", action="store_true", help="all that wait")
    add_filters(parser)
    add_yes(parser)
    add_json(parser, "write what became of them as one JSON object; with --dry-run each letter, one a line")
    parser.set_defaults(do=do, is_for_one=False, split=_app_and_ids)


def _add_redrive(parser: Parser) -> None:
    _add_many(parser, _redrive)
    add_rate(parser)
    add_examples(
        parser,
        (f"necrostack dlq redrive shop.app {_ID}", "one letter"),
        ("necrostack dlq redrive shop.app --error ConnectionError --dry-run", "look first what would go"),
        ("necrostack dlq redrive shop.app --organ Billing --since 2h --rate 50", "many, 50 a second"),
        ("necrostack dlq redrive shop.app --all --yes --json", "all of them, from a script"),
    )


def _add_discard(parser: Parser) -> None:
    _add_many(parser, _discard)
    add_examples(
        parser,
        (f"necrostack dlq discard shop.app {_ID}", "one letter"),
        ("necrostack dlq discard shop.app --type 'TEST_*' --until 1w", "old ones of some types"),
    )


def _add_export(parser: Parser) -> None:
    add_target(parser)
    add_filters(parser, redriven=True)
    parser.add_argument("--output", metavar="FILE", help="where to write them; to stdout unless given")
    parser.add_argument(
        "--events", action="store_true", help="only their events, as emit --file and run --feed read them"
    )
    parser.set_defaults(do=_export, is_for_one=False)
    add_examples(
        parser,
        ("necrostack dlq export shop.app --output letters.ndjson", "all that wait, for dlq import"),
        ("necrostack dlq export shop.app --events --output events.ndjson", "their events, for emit --file"),
        ("necrostack dlq export shop.app --organ Billing | gzip > letters.gz", "some, packed"),
    )


def _add_import(parser: Parser) -> None:
    parser.usage = "%(prog)s [options] [APP] FILE"
    parser.description = (
        "Keep the dead letters that dlq export wrote to a file, as letters that wait. Nothing is delivered: redrive"
        " does that. A file with a line that is no dead letter is refused as a whole."
    )
    parser.add_argument("words", nargs="*", metavar="[APP] FILE", help="one letter a line, also .gz; - is stdin")
    add_backend(parser)
    add_yes(parser)
    add_json(parser, "write what became of them as one JSON object; with --dry-run each letter, one a line")
    parser.set_defaults(do=_import, is_for_one=False, split=_app_and_file)
    add_examples(
        parser,
        ("necrostack dlq import shop.app letters.ndjson --dry-run", "look first what would be kept"),
        ("necrostack dlq import --backend redis://localhost letters.ndjson", "on another server"),
    )


def _app_and_ids(arguments: argparse.Namespace) -> tuple[str | None, list[str]]:
    return told_apart(arguments.words)


def _app_and_file(arguments: argparse.Namespace) -> tuple[str | None, list[str]]:
    words: list[str] = arguments.words
    if len(words) not in (1, 2):
        msg = f"name one file that dlq export wrote, [APP] FILE, not {len(words)} words; see dlq import --help"
        raise CommandError(msg, Exit.USAGE)
    return (words[0] if len(words) == 2 else None), [words[-1]]


# --- look -----------------------------------------------------------------------------------------------


async def _list(target: Target, _: list[str], arguments: argparse.Namespace, terminal: Terminal) -> int:
    letters, asked = chosen(target.admin, arguments), {"as_json": arguments.json, "limit": arguments.limit}
    if arguments.group_by:
        total = await how_many(target.admin, arguments)
        count = await write_causes(letters, terminal, total=total, **asked)
    else:
        count = await write_letters(letters, terminal, **asked)
    if not count:
        terminal.note(none_chosen(arguments))
    return Exit.OK


async def _show(target: Target, names: list[str], arguments: argparse.Namespace, terminal: Terminal) -> int:
    letter = await letter_of(target.admin, names[0])
    if arguments.json:
        terminal.data(letter_facts(letter))
    else:
        show_letter(letter, terminal)
    return Exit.OK


async def _export(target: Target, _: list[str], arguments: argparse.Namespace, terminal: Terminal) -> int:
    letters, total = chosen(target.admin, arguments), await how_many(target.admin, arguments)
    if not await export(letters, terminal, arguments.output, total, events_only=arguments.events):
        terminal.note(none_chosen(arguments))
    return Exit.OK


# --- repair ---------------------------------------------------------------------------------------------


async def _redrive(target: Target, names: list[str], arguments: argparse.Namespace, terminal: Terminal) -> int:
    async def redrive(found: Sequence[Choice]) -> Outcome:
        return await redrive_all(target.admin, found, terminal, rate=arguments.rate, is_named=bool(names))

    return await _repair(redrive, target, names, arguments, terminal, "redriven")


async def _discard(target: Target, names: list[str], arguments: argparse.Namespace, terminal: Terminal) -> int:
    async def discard(found: Sequence[Choice]) -> Outcome:
        return await discard_all(target.admin, found, terminal, is_named=bool(names))

    return await _repair(discard, target, names, arguments, terminal, "discarded")


async def _repair(
    do: Callable[[Sequence[Choice]], Awaitable[Outcome]],
    target: Target,
    names: Sequence[str],
    arguments: argparse.Namespace,
    terminal: Terminal,
    done: str,
) -> int:
    letters = picked(target.admin, names, arguments)
    if arguments.dry_run:
        return await _show_what_would_be(done, letters, arguments, terminal)
    found = await choices(letters, terminal, None if names else await how_many(target.admin, arguments))
    if not found:
        terminal.note(none_chosen(arguments))
    elif not arguments.yes:
        confirm(terminal, f"{told(found)} to be {done}")
    return show_outcome(await do(found), done, terminal, as_json=arguments.json)


async def _show_what_would_be(
    done: str, letters: AsyncIterator[DeadLetter], arguments: argparse.Namespace, terminal: Terminal
) -> int:
    problems: list[str] = []

    async def noted() -> AsyncIterator[DeadLetter]:
        async for letter in letters:
            if done == "redriven" and (problem := problem_of(letter)):
                problems.append(problem)
            yield letter

    count = await write_letters(noted(), terminal, as_json=arguments.json) - len(problems)
    terminal.note(f"{counted(count, 'dead letter')} would be {done}; nothing was done")
    show_problems(problems, terminal)
    return Exit.OK


async def _import(target: Target, names: list[str], arguments: argparse.Namespace, terminal: Terminal) -> int:
    async with Importer(target, names[0], terminal) as importer:
        await importer.check()
        if arguments.dry_run:
            count = await write_letters(importer.letters(), terminal, as_json=arguments.json)
            terminal.note(f"{counted(count, 'dead letter')} would be imported; nothing was done")
            show_problems(importer.problems, terminal)
            return Exit.OK
        if importer.found and not arguments.yes:
            confirm(terminal, f"{told(importer.found)} to be imported")
        return show_outcome(await importer.restore(), "imported", terminal, as_json=arguments.json)


async def _edit(target: Target, names: list[str], arguments: argparse.Namespace, terminal: Terminal) -> int:
    return await edit_letter(target, names[0], terminal, as_json=arguments.json)
