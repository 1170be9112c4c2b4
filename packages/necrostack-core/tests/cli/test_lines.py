"""From bytes to lines: nothing is lost, nothing is made up, whatever the bytes and however they come."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from necrostack.cli.lines import FeedBroken, Line, LineSplitter, Source


def split(pieces: Sequence[bytes], max_size: int, *, keep_long: bool = False) -> list[Line]:
    splitter = LineSplitter(max_size, keep_long=keep_long)
    lines = [line for piece in pieces for line in splitter.split(piece)]
    return [*lines, *splitter.finish()]


def whole(line: Line) -> bytes:
    if line.whole is None:
        return line.data
    with line.whole as file:
        return file.read()


def real_lines(data: bytes) -> list[bytes]:
    return [line for line in data.replace(b"\n", b"\n\0").split(b"\0") if line]


@given(st.lists(st.binary(max_size=12).map(lambda data: data.replace(b"\0", b"\n")), max_size=20), st.integers(1, 30))
def test_the_lines_are_those_of_the_bytes_however_they_are_cut(pieces: list[bytes], max_size: int) -> None:
    lines = split(pieces, max_size, keep_long=True)

    assert [line.number for line in lines] == list(range(1, len(lines) + 1))
    assert [line.is_too_long for line in lines] == [len(line) > max_size for line in real_lines(b"".join(pieces))]
    assert [whole(line) for line in lines] == real_lines(b"".join(pieces))


@given(st.lists(st.binary(max_size=12).map(lambda data: data.replace(b"\0", b"\n")), max_size=20), st.integers(1, 30))
def test_without_keeping_long_lines_each_is_told_once_and_the_others_are_the_same(
    pieces: list[bytes], max_size: int
) -> None:
    lines = split(pieces, max_size)

    real = dict(enumerate(real_lines(b"".join(pieces)), start=1))
    assert [line.number for line in lines] == [*real]
    for line in lines:
        assert line.is_too_long == (len(real[line.number]) > max_size)
        assert len(line.data) <= max_size
        assert line.is_too_long or line.data == real[line.number]


def test_a_line_that_never_ends_is_told_as_soon_as_it_is_too_long() -> None:
    splitter = LineSplitter(10)

    told = [line.number for _ in range(5) for line in splitter.split(b"xxxx")]

    assert told == [1]


@given(st.lists(st.binary(max_size=12).map(lambda data: data.replace(b"\0", b"\n")), max_size=20), st.integers(1, 30))
def test_of_lines_that_are_too_long_to_be_put_aside_only_the_beginning_is_given(
    pieces: list[bytes], max_size: int
) -> None:
    splitter = LineSplitter(max_size, keep_long=True, max_kept=2 * max_size)
    lines = [line for piece in pieces for line in splitter.split(piece)] + [*splitter.finish()]

    real = dict(enumerate(real_lines(b"".join(pieces)), start=1))
    assert [line.number for line in lines] == [*real]
    for line in lines:
        line_as_it_is = real[line.number]
        assert line.is_too_long == (len(line_as_it_is) > max_size)
        if len(line_as_it_is) <= 2 * max_size:
            assert whole(line) == line_as_it_is
        else:
            assert line.whole is None
            assert line_as_it_is.startswith(line.data)


def read(source: Source) -> bytes:
    return b"".join(source.chunks())


@given(st.lists(st.binary(max_size=200_000), max_size=3))
def test_gzip_of_any_bytes_and_any_number_of_members_is_unpacked(
    tmp_path_factory: pytest.TempPathFactory, members: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("feed") / "feed"
    path.write_bytes(b"".join(map(gzip.compress, members)) + (b"\0" * 7 if members else b""))

    assert read(Source(str(path))) == b"".join(members)


@given(st.data())
def test_gzip_that_was_cut_off_is_told_and_what_came_before_is_true(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    text = b"".join(b"%d\n" % number for number in range(20_000))
    packed = gzip.compress(text)
    cut = data.draw(st.integers(2, len(packed) - 1))
    path = tmp_path_factory.mktemp("feed") / "feed.gz"
    path.write_bytes(packed[:cut])
    got: list[bytes] = []

    with pytest.raises(FeedBroken, match="ends too early"):
        got.extend(Source(str(path)).chunks())

    assert text.startswith(b"".join(got))


def test_gzip_that_is_damaged_is_told(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(b"line\n" * 1000))
    packed[-6] ^= 1  # in the checksum
    path = tmp_path / "feed.gz"
    path.write_bytes(packed)

    with pytest.raises(FeedBroken, match="damaged"):
        read(Source(str(path)))


def test_fifty_megabytes_packed_into_fifty_kilobytes_come_in_small_pieces(tmp_path: Path) -> None:
    path = tmp_path / "feed.gz"
    path.write_bytes(gzip.compress(b"\0" * 50_000_000))

    sizes = [len(chunk) for chunk in Source(str(path)).chunks()]

    assert sum(sizes) == 50_000_000
    assert max(sizes) <= 65_536


def test_a_source_knows_how_much_of_it_was_read(tmp_path: Path) -> None:
    path = tmp_path / "feed"
    path.write_bytes(b"x" * 100_000)
    source = Source(str(path))

    positions = [source.position, *(source.position for _ in source.chunks())]

    assert positions == [0, 65_536, 100_000]
    assert source.size == 100_000


def test_an_empty_file_has_no_bytes(tmp_path: Path) -> None:
    path = tmp_path / "feed"
    path.touch()

    assert read(Source(str(path))) == b""


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    path = tmp_path / "feed"
    path.touch()
    source = Source(str(path))
    path.unlink()

    with pytest.raises(FeedBroken, match="cannot be read: No such file"):
        read(source)
