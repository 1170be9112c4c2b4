"""What came as data, written so that it shows and does nothing: no terminal moves, recolours or reorders anything."""

from __future__ import annotations

import json
import re


def printable(text: str) -> str:
    """Write what would move the cursor, change colours, reverse the text or cannot be written as escapes, on one line.

    >>> printable("a" + chr(27) + "[31m" + chr(10)) == "a" + chr(92) + "x1b[31m" + chr(92) + "n"
    True
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def printable_lines(text: str) -> str:
    """The same, where the text is of several lines."""
    return text if text.isprintable() else "\n".join(map(printable, text.split("\n")))


def json_text(value: object, indent: int | None = None) -> str:
    """Write a value as JSON: the same to whoever reads it, and printable.

    >>> json_text("é" + chr(155)) == '"é' + chr(92) + 'u009b"'
    True
    """
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    # Line ends are the indentation's: those of strings are escaped.
    return _ODD.sub(_escaped, text) if not text.isprintable() else text


_ODD = re.compile(r"[^ -~\n]")


def _escaped(found: re.Match[str]) -> str:
    return found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1]


def without_passwords(text: str) -> str:
    """Leave out of URLs who one is there: a URL may stand where something else belongs.

    >>> without_passwords("no module redis://me:secret@example:6379/0?sentinel_password=secret")
    'no module redis://…@example:6379/0?sentinel_password=…'
    """
    return _IN_QUERY.sub(r"\1…", re.sub(r"(?<=://)\S*@", "…@", text))


# To the end of the word: a password that was not quoted may hold what ends one elsewhere.
_IN_QUERY = re.compile(r"([?&][^\s=&]*(?:password|secret|token)[^\s=&]*=)\S*", re.IGNORECASE)
