"""Inputs of any size that are dear for their size: a beginning, a piece that is repeated, an end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Shape(NamedTuple):
    """An input of any size."""

    before: bytes
    piece: bytes
    after: bytes

    def of(self, size: int) -> bytes:
        """Return one of about so many bytes."""
        beside = len(self.before) + len(self.after)
        return self.before + self.piece * max(1, (size - beside) // len(self.piece)) + self.after


_EVENT = b'{"event_type":"A","payload":{"x":'
_LETTER = (
    b'{"id":"1-0","reason":"r","organ":null,"error_type":"","error":"","traceback":"","attempts":[%b],'
    b'"dead_at":"2026-03-01T12:00:00Z","redriven_at":null,"event":%b,"raw":null}\n'
)
_FIELDS = (
    b"v\n1\nid\n6f1c2b52-0a53-4c5c-9d0e-2b8a1f0f7d11\ntype\nA\ntime\n2026-03-01T12:00:00.000000Z\nlineage\n\nheaders\n"
)


def _letter(piece: bytes, *, attempts: bytes = b"", event: bytes = b"null") -> Shape:
    before, _, after = (_LETTER % (attempts, event)).partition(piece)
    return Shape(before, piece, after)


SHAPES: Mapping[str, Mapping[str, Shape]] = {
    "event": {
        "nested-lists": Shape(_EVENT + b"[", b"[" * 60 + b"]" * 60 + b",", b"0]}}"),
        "too-deep": Shape(_EVENT, b"[", b""),
        "empty-objects": Shape(_EVENT + b"[", b"{},", b"{}]}}"),
        "objects": Shape(_EVENT + b"[", b'{"":0},', b"0]}}"),
        "lists": Shape(_EVENT + b"[", b"[0],", b"0]}}"),
        "numbers": Shape(_EVENT + b"[", b"0,", b"0]}}"),
        "letters": Shape(_EVENT + b'"', b"a", b'"}}'),
        "escapes": Shape(_EVENT + b'"', b"\\u00e9", b'"}}'),
        "surrogates": Shape(_EVENT + b'"', b"\\ud83c\\udfe6", b'"}}'),
        "one-key-again-and-again": Shape(b'{"event_type":"A","payload":{', b'"a":0,', b'"a":0}}'),
        "event-type-again-and-again": Shape(b"{", b'"event_type":"A",', b'"payload":{}}'),
        "event-type-without-end": Shape(b'{"event_type":"', b"A", b'"}'),
        "blanks": Shape(b'{"event_type"', b" ", b':"A"}'),
        "one-number": Shape(_EVENT, b"9", b"}}"),
        "numbers-as-long-as-may-be": Shape(_EVENT + b"[", b"9" * 4300 + b",", b"0]}}"),
        "cut-off": Shape(_EVENT + b"[", b"{},", b""),
        "wrong-headers": Shape(b'{"event_type":"A","headers":{', b'"a":0,', b'"b":0}}'),
    },
    "fields": {
        "payload": Shape(_FIELDS + b'\npayload\n{"x":[', b"{},", b"0]}"),
        "headers": Shape(_FIELDS + b"{", b'"a":"",', b'"b":""}\npayload\n{}'),
        "lineage": Shape(_FIELDS.replace(b"lineage\n", b"lineage\n1 "), b" ", b"\n\npayload\n{}"),
        "many-fields": Shape(_FIELDS + b"\npayload\n{}\n", b"more\n1\n", b"delivery\n{}"),
        "attempts": Shape(
            _FIELDS + b'\npayload\n{}\ndelivery\n{"attempt":1,"origin":"retry","organs":null,"attempts":[',
            b'["2026-03-01T12:00:00+00:00","",1.5],',
            b'["2026-03-01T12:00:00+00:00","",null]]}',
        ),
        "deep-facts": Shape(_FIELDS + b"\npayload\n{}\ndelivery\n", b"[", b""),
    },
    "feed": {
        "one-line": Shape(b'{"event_type":"A","payload":{"x":"', b"a", b'"}}\n'),
        "no-end-of-line": Shape(b"", b"a", b""),
        "events": Shape(b"", b'{"event_type":"A"}\n', b""),
        "bad-lines": Shape(b"", b'{"event_type":"A"\n', b""),
        "empty-lines": Shape(b"", b"\n", b""),
        "packed": Shape(b"gzip:", b'{"event_type":"A"}\n', b""),
    },
    "letters": {
        "letters": Shape(b"", _LETTER % (b"", b'{"event_type":"A"}'), b""),
        "attempts": _letter(
            b'{"time":"2026-03-01T12:00:00Z","error":"","delay":null},',
            attempts=b'{"time":"2026-03-01T12:00:00Z","error":"","delay":null},' * 2
            + b'{"time":"2026-03-01T12:00:00Z","error":"","delay":null}',
        ),
        "wrong-attempts": _letter(b"0,", attempts=b"0,0"),
        "payload": _letter(b"{},", event=b'{"event_type":"A","payload":{"x":[{},0]}}'),
        "no-letters": Shape(b"", b'{"event_type":"A"}\n', b""),
        "empty-lines": Shape(b"", b"\n", b""),
    },
    "arguments": {
        "text": Shape(b'{"x":"', b"a", b'"}'),
        "objects": Shape(b'{"x":[', b"{},", b"0]}"),
        "no-text": Shape(b"", b"\xff", b""),
    },
    "configuration": {
        "redis": Shape(b'{"redis":{"app":"', b"a", b'"}}'),
        "lists": Shape(b'{"redis":{"app":[', b"[],", b"0]}}"),
    },
    "urls": {
        "hosts": Shape(b"redis+cluster://", b"a,", b"b"),
        "brackets": Shape(b"redis+cluster://", b"[::1],", b"b"),
        "query": Shape(b"redis://h/?", b"a=b&", b"app=x"),
        "quoted": Shape(b"redis://h/0?app=", b"%41", b""),
        "path": Shape(b"redis+unix://", b"/a", b""),
        "at": Shape(b"redis://", b"@", b"h"),
        "colons": Shape(b"redis://", b":", b"h"),
        "memory": Shape(b"memory://?", b"max_size=1&", b"history=1"),
    },
}
"""By target, and by name."""
