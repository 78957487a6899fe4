"""That a stretch of what is read is found again in the bytes."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from addons.traffic.readings import Reading, as_it_stands, spelled, unescaped, wholly_unescaped

TEXTS = st.text(st.sampled_from('ab-/"\\nü\n\té中 '), max_size=30)


def bytes_at(data: bytes, reading: Reading, start: int, end: int) -> bytes:
    return b"".join(data[a:b] for a, b in reading.places(start, end))


@settings(deadline=None)
@given(TEXTS, st.integers(0, 30), st.integers(0, 30))
def test_what_json_escapes(text: str, start: int, length: int) -> None:
    # A backslash of the text's own stands before a letter that it does not belong to, and is read in the wrong way.
    text = text.replace("\\", "")
    data = json.dumps(text).encode()
    reading = wholly_unescaped(as_it_stands(data)) or as_it_stands(data)
    assert reading.text == f'"{text}"'.encode()
    part = text[start : start + length]
    if part:
        at = len(text[:start].encode()) + 1
        found = bytes_at(data, reading, at, at + len(part.encode()))
        assert json.loads(b'"' + found + b'"') == part


@settings(deadline=None)
@given(st.lists(TEXTS, min_size=2, max_size=8), st.data())
def test_what_is_spelled(pieces: list[str], data: st.DataObject) -> None:
    stream = b"\n\n".join(b"data: " + json.dumps({"delta": piece, "type": "x"}).encode() for piece in pieces)
    [reading] = spelled(stream)
    assert reading.text == b"".join(json.dumps(piece)[1:-1].encode() for piece in pieces)
    start = data.draw(st.integers(0, len(reading.text)))
    end = data.draw(st.integers(start, len(reading.text)))
    assert bytes_at(stream, reading, start, end) == reading.text[start:end]


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_whatever_the_bytes_are(data: bytes) -> None:
    for reading in filter(None, (unescaped(data), wholly_unescaped(as_it_stands(data)), *spelled(data))):
        for at in range(len(reading.text)):
            for start, end in reading.places(at, at + 1):
                assert 0 <= start < end <= len(data)


def test_what_there_is_nothing_else_to_read_in() -> None:
    assert unescaped(b"caf\\u00e9 \\n") is None and list(spelled(b'{"delta": "one piece"}')) == []
