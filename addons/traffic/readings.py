"""Other ways to read recorded bytes, and where each stretch of what is read stands in them. Pure.

    unescaped    JSON can write any character as an escape, and JSON within JSON can do it again
    spelled      a model says a word in pieces, each in an event of its own; what it said is the pieces put together

What is found in a reading is cut out of the bytes where it stands, which may be in several places.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from typing import NamedTuple


class Stretch(NamedTuple):
    """From `at` on in the text stands what is at `start` to `end` in the bytes: as it is there, or an escape for something else."""

    at: int
    start: int
    end: int


class Reading:
    """`stretches` are asked for when there is something to cut out, which is hardly ever."""

    def __init__(self, text: bytes, stretches: Callable[[], Iterator[Stretch]], of: "Reading | None" = None) -> None:
        self.text = text
        self._ask = stretches
        self._of = of

    @cached_property
    def _stretches(self) -> list[Stretch]:
        return list(self._ask())

    def places(self, start: int, end: int) -> list[tuple[int, int]]:
        """Where a part of the text stands in the bytes. An escape is cut out whole."""
        places = self._places(start, end)
        return [place for begin, behind in places for place in self._of.places(begin, behind)] if self._of else places

    def _places(self, start: int, end: int) -> list[tuple[int, int]]:
        stretches = self._stretches
        first = bisect_right(stretches, start, key=lambda stretch: stretch.at) - 1
        places: list[tuple[int, int]] = []
        for number in range(first, len(stretches)):
            at, begin, behind = stretches[number]
            if at >= end:
                break
            length = (stretches[number + 1].at if number + 1 < len(stretches) else len(self.text)) - at
            if length == behind - begin:  # as it is; an escape is always longer than what it stands for
                begin, behind = begin + max(start - at, 0), behind - max(at + length - end, 0)
            if places and places[-1][1] == begin:
                begin = places.pop()[0]
            if begin < behind:
                places.append((begin, behind))
        return places


def as_it_stands(data: bytes) -> Reading:
    return Reading(data, lambda: iter((Stretch(0, 0, len(data)),)))


# Printable ASCII as JSON may escape it, and once more for each level of JSON within JSON.
_ESCAPES = re.compile(rb"\\(?:u00[2-7]|/)")
_ESCAPE = re.compile(rb"\\{1,8}(?:u00([2-7][0-9A-Fa-f])|/)")

# All that JSON escapes, but the backslash itself: before an `n` it could be either.
_ANY_ESCAPE = re.compile(rb'\\{1,8}(?:u([0-9A-Fa-f]{4})|(["/bfnrt]))')
_LETTERS = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}


def unescaped(data: bytes) -> Reading | None:
    """Without the escapes that could hide a secret, which is of printable ASCII. None if there are none."""
    return _read(data, _ESCAPE, _printable) if _ESCAPES.search(data) else None


def wholly_unescaped(reading: Reading) -> Reading | None:
    """As a person would read it: `B\\u00fccher` are Bücher."""
    return _read(reading.text, _ANY_ESCAPE, _any, reading) if b"\\" in reading.text else None


def _read(
    data: bytes, escape: re.Pattern[bytes], meaning: Callable[[re.Match[bytes]], bytes], of: Reading | None = None
) -> Reading:
    def stretches() -> Iterator[Stretch]:
        at = done = 0
        for found in escape.finditer(data):
            yield Stretch(at, done, found.start())
            at += found.start() - done
            yield Stretch(at, found.start(), found.end())
            at += len(meaning(found))
            done = found.end()
        yield Stretch(at, done, len(data))

    return Reading(escape.sub(meaning, data), stretches, of)


def _printable(escape: re.Match[bytes]) -> bytes:
    return bytes((int(escape[1], 16),)) if escape[1] else b"/"


def _any(escape: re.Match[bytes]) -> bytes:
    if escape[2]:
        return _LETTERS.get(escape[2], escape[2])
    return chr(int(escape[1], 16)).encode("utf-8", "replace")  # half a surrogate pair is `?`


# What a stream's dialect calls its pieces: Responses have `"delta":"..."`, a chat has `"delta":{"content":"..."}`.
_SPELLS = re.compile(rb'"delta": ?(["{])')
_PIECES = {
    names: [re.compile(rb'"%b": ?"((?:[^"\\]++|\\.)*+)"' % name) for name in pieces]
    for names, pieces in {b'"': (b"delta",), b"{": (b"content", b"reasoning_content", b"refusal", b"arguments")}.items()
}


def spelled(data: bytes) -> Iterator[Reading]:
    """What was said in the pieces of a stream, still as JSON writes it. In the order in which they came: of two answers that are
    said at the same time, piece by piece in turn, it reads what nobody said."""
    found = _SPELLS.search(data)
    for piece in _PIECES[found[1]] if found else ():
        pieces = piece.findall(data)
        if len(pieces) > 1:
            yield Reading(b"".join(pieces), partial(_pieces, data, piece))


def _pieces(data: bytes, piece: re.Pattern[bytes]) -> Iterator[Stretch]:
    at = 0
    for found in piece.finditer(data):
        yield Stretch(at, *found.span(1))
        at += found.end(1) - found.start(1)
