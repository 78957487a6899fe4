"""A body in chunks is the same body, whether h11 reads all of it or only what is left to it: in one piece, in bytes, in pieces."""

from typing import Any

import pytest
from h11 import Data, EndOfMessage, RemoteProtocolError
from h11._readers import ChunkedReader
from h11._receivebuffer import ReceiveBuffer
from h11._util import LocalProtocolError
from hypothesis import given
from hypothesis import strategies as st

from addons.engine.chunks import whole_chunks

ENOUGH = 1 << 14


def read(pieces: list[bytes], *, by_h11_alone: bool, enough: int = ENOUGH) -> tuple[bytes, str, bytes]:
    """What it carried, how it ended, what was left behind it."""
    reader, received, body, end = ChunkedReader(), ReceiveBuffer(), b"", "open"
    for piece in pieces:
        received += piece
        try:
            while end == "open":
                if not by_h11_alone:
                    body += b"".join(whole_chunks(reader, received, enough))
                event: Any = reader(received)
                if isinstance(event, Data):
                    body += event.data
                elif isinstance(event, EndOfMessage):
                    end = "ended"
                else:
                    break
        except (LocalProtocolError, RemoteProtocolError):
            end = "refused"
    return body, end, bytes(received) if end == "ended" else b""


def in_chunks(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)


chunks = st.lists(st.binary(min_size=1, max_size=40) | st.sampled_from([b"\r\n", b"0\r\n\r\n", b"5\r\nhello\r\n"]), max_size=8)
ends = st.sampled_from(
    [b"0\r\n\r\n", b"0\r\nx: y\r\n\r\n", b"0\r\n\r\nNEXT", b"", b"5\r\nhel", b"5", b"5\r\nhelloXX", b"zz\r\n\r\n"]
)
odd = st.sampled_from(
    [b"", b"3;ext=1\r\nabc\r\n", b"+3\r\nabc\r\n", b"0x3\r\nabc\r\n", b"1_0\r\nabc\r\n", b"00003\r\nabc\r\n", b" 3\r\nabc\r\n"]
)


@given(chunks, odd, chunks, ends, st.lists(st.integers(0, 400), max_size=6), st.sampled_from([1, 30, ENOUGH]))
def test_it_is_the_same_body(
    before: list[bytes], strange: bytes, behind: list[bytes], end: bytes, cuts: list[int], enough: int
) -> None:
    body = in_chunks(*before) + strange + in_chunks(*behind) + end
    at = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    for pieces in ([body], [body[n : n + 1] for n in range(len(body))], [body[a:b] for a, b in zip(at, at[1:], strict=False)]):
        assert read(pieces, by_h11_alone=False, enough=enough) == read(pieces, by_h11_alone=True)


@pytest.mark.parametrize(("enough", "taken"), [(1, [3, 3, 3]), (4, [6, 3]), (6, [6, 3]), (7, [9])])
def test_the_begin_of_a_burst_does_not_wait_for_its_end(enough: int, taken: list[int]) -> None:
    reader, received = ChunkedReader(), ReceiveBuffer()
    received += in_chunks(b"one", b"two", b"six") + b"0\r\n\r\n"
    assert [len(data) for data in whole_chunks(reader, received, enough)] == taken
    assert bytes(received) == b"0\r\n\r\n"
