import re
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.wire.sse import COMMENT, MAX_EVENT, Decoder, EventTooLarge, ServerEvent, encode
from tests.wire.clients import byte_by_byte
from tests.wire.upstream import two_pieces


def event(data: bytes, name: bytes = b"") -> ServerEvent:
    return ServerEvent(name, data)


def decoded(pieces: Iterable[bytes], decoder: Decoder | None = None) -> list[ServerEvent]:
    decoder = decoder or Decoder()
    return [event for piece in [*pieces, b""] for event in decoder.feed(piece)]


STREAMS: dict[str, tuple[bytes, Sequence[ServerEvent]]] = {
    "nothing": (b"", []),
    "an event": (b"event: a\ndata: {}\n\n", [event(b"{}", b"a")]),
    "two events": (b"data: 1\n\ndata: 2\n\n", [event(b"1"), event(b"2")]),
    "a name is for one event": (b"event: a\ndata: 1\n\ndata: 2\n\n", [event(b"1", b"a"), event(b"2")]),
    "the last name holds": (b"event: a\nevent: b\ndata: 1\n\n", [event(b"1", b"b")]),
    "no blank after the colon": (b"event:a\ndata:1\n\n", [event(b"1", b"a")]),
    "one blank after the colon goes": (b"data:  1\n\n", [event(b" 1")]),
    # line ends
    "CR LF": (b"event: a\r\ndata: 1\r\n\r\n", [event(b"1", b"a")]),
    "CR": (b"event: a\rdata: 1\r\rdata: 2\r\r", [event(b"1", b"a"), event(b"2")]),
    "all mixed": (b"data: 1\r\ndata: 2\rdata: 3\n\r\ndata: 4\r\n\n", [event(b"1\n2\n3"), event(b"4")]),
    "a CR at the very end": (b"data: 1\n\r", [event(b"1")]),
    "other line ends are none": ("data: a\u2028b\u0085c\x0bd\x1ce\n\n".encode(), [event("a\u2028b\u0085c\x0bd\x1ce".encode())]),
    # data
    "data of several lines": (b"data: 1\ndata\ndata: 3\n\n", [event(b"1\n\n3")]),
    "empty data": (b"data:\n\n", [event(b"")]),
    "a name and no data": (b"event: a\n\ndata: 1\n\n", [event(b"1")]),
    "blank lines": (b"\n\n\ndata: 1\n\n\n\n", [event(b"1")]),
    # what is passed over
    "comments are signs of life": (b": hi\n\n:\ndata: 1\n: in between\ndata: 2\n\n", [COMMENT, COMMENT, COMMENT, event(b"1\n2")]),
    "id and retry": (b"id: 7\nretry: 10\ndata: 1\n\n", [event(b"1")]),
    "unknown fields": (b"foo: bar\nfoo\ndatax: 0\n data: 0\ndata: 1\n\n", [event(b"1")]),
    "JSON instead of a stream": (b'{"data": 1}\n', []),
    # both ends
    "a BOM": (b"\xef\xbb\xbfdata: 1\n\n", [event(b"1")]),
    "a second BOM is data": (b"\xef\xbb\xbf\xef\xbb\xbfdata: 0\n\ndata: 1\n\n", [event(b"1")]),
    "no last blank line": (b"event: a\ndata: 1\n", [event(b"1", b"a")]),
    "no last line end": (b"event: a\ndata: 1", [event(b"1", b"a")]),
    "a last event without data": (b"data: 1\n\nevent: a\n", [event(b"1")]),
    "emoji": ("data: 👩‍👩‍👧\n\n".encode(), [event("👩‍👩‍👧".encode())]),
}


@pytest.mark.parametrize(("stream", "events"), STREAMS.values(), ids=STREAMS)
class TestHoweverItIsCut:
    def test_whole(self, stream: bytes, events: Sequence[ServerEvent]) -> None:
        assert decoded([stream] if stream else []) == [*events]

    def test_byte_by_byte(self, stream: bytes, events: Sequence[ServerEvent]) -> None:
        assert decoded(byte_by_byte(stream)) == [*events]

    def test_in_two_pieces(self, stream: bytes, events: Sequence[ServerEvent]) -> None:
        for pieces in two_pieces(stream):
            assert decoded(pieces) == [*events]


def as_the_spec_reads(stream: bytes) -> list[ServerEvent]:
    """The WHATWG's rules word by word, on the whole of the stream, and this decoder's two departures."""
    lines = re.split(rb"\r\n|\r|\n", stream.removeprefix(b"\xef\xbb\xbf"))
    events: list[ServerEvent] = []
    name, data = b"", b""
    for line in [*lines, b""]:
        if not line:
            if data:
                events.append(ServerEvent(name, data.removesuffix(b"\n")))
            name, data = b"", b""
        elif line.startswith(b":"):
            events.append(COMMENT)
        else:
            field, colon, value = line.partition(b":")
            value = value.removeprefix(b" ") if colon else b""
            if field == b"event":
                name = value
            elif field == b"data":
                data += value + b"\n"
    return events


FRAGMENTS = [b"data", b"event", b":", b" ", b"\n", b"\r", b"\r\n", b"x", b"id: 1", b"\xef\xbb\xbf", "\u2028".encode()]


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=30).map(b"".join), st.data())
def test_any_stream_in_any_pieces_reads_as_the_spec_says(stream: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert decoded(filter(None, pieces)) == as_the_spec_reads(stream)


@given(st.lists(st.tuples(st.binary(), st.binary()).map(lambda both: [part.translate(None, b"\r\n") for part in both])))
def test_what_is_encoded_is_decoded_again(events: list[list[bytes]]) -> None:
    events = [[data, name.strip()] for data, name in events if name != b":"]
    stream = b"".join(encode(data, name) for data, name in events)
    assert decoded([stream] if stream else []) == [ServerEvent(name, data) for data, name in events]


class TestTheLimit:
    STREAM = b"data: first\n\nevent: b\ndata: " + b"x" * 100 + b"\n\ndata: third\n\n"

    def events_until_it_breaks(self, pieces: Iterable[bytes], limit: int) -> list[ServerEvent]:
        decoder, events = Decoder(limit), []
        with pytest.raises(EventTooLarge, match=f"more than {limit} bytes"):
            for piece in [*pieces, b""]:
                events += decoder.feed(piece)
        with pytest.raises(EventTooLarge):
            decoder.feed(b"data: more\n\n")
        return events

    def test_events_before_it_are_handed_out_however_the_stream_is_cut(self) -> None:
        limit = len(b"event: b") + len(b"data: ") + 99
        for pieces in [[self.STREAM], byte_by_byte(self.STREAM), *two_pieces(self.STREAM)]:
            assert self.events_until_it_breaks(pieces, limit) == [event(b"first")]

    def test_an_event_of_just_that_size_passes(self) -> None:
        limit = len(b"event: b") + len(b"data: ") + 100
        for pieces in [[self.STREAM], byte_by_byte(self.STREAM)]:
            assert len(decoded(pieces, Decoder(limit))) == 3

    def test_a_line_that_never_ends(self) -> None:
        assert self.events_until_it_breaks([b"data: "] + [b"x" * 10] * 20, 100) == []

    def test_lines_that_never_end_an_event(self) -> None:
        assert self.events_until_it_breaks([b"data: x\n"] * 20, 100) == []

    def test_many_events_of_which_none_is_too_large(self) -> None:
        assert len(decoded([b"data: 0123456789\n\n: comment\n\n"] * 1000, Decoder(40))) == 2000

    def test_an_event_of_megabytes_in_small_pieces(self) -> None:
        stream = b"data: " + b"x" * 3_000_000 + b"\n\n"
        pieces = [stream[at : at + 11] for at in range(0, len(stream), 11)]
        assert [len(event.data) for event in decoded(pieces)] == [3_000_000]
        assert MAX_EVENT > 3_000_000
