"""A body in HTTP chunks, all that are whole at once. h11, which mitmproxy has for that, goes thirty steps for each chunk, and an
answer that streams has one for each word.
"""

import re

from h11._readers import ChunkedReader
from h11._receivebuffer import ReceiveBuffer

# What h11's reader remembers between two calls; all of it is empty where a chunk begins.
READER = {"_bytes_in_chunk", "_bytes_to_discard", "_reading_trailer"}

# RFC 9112, 7.1, without an extension, and no more digits than any chunk has. What looks otherwise is left to h11.
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})\r\n")


def whole_chunks(reader: ChunkedReader, received: ReceiveBuffer, enough: int) -> list[bytes]:
    """What they carry, taken out of what was received, in pieces: each ends with the chunk with which it is `enough`. None if the
    next chunk is not there to its end, is the last one, or was begun before."""
    if reader._bytes_in_chunk or reader._bytes_to_discard or reader._reading_trailer:
        return []
    data, at, size, pieces, chunks = bytes(received), 0, 0, list[bytes](), list[bytes]()
    while head := _SIZE.match(data, at):
        begin = head.end()
        end = begin + int(head[1], 16)
        if end == begin or data[end : end + 2] != b"\r\n":
            break
        chunks.append(data[begin:end])
        at, size = end + 2, size + end - begin
        if size >= enough:
            pieces.append(b"".join(chunks))
            chunks, size = [], 0
    if at:
        received.maybe_extract_at_most(at)
    if chunks:
        pieces.append(b"".join(chunks))
    return pieces
