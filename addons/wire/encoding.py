"""Request bodies that arrive compressed: decoded here with a bound, because a kilobyte of zstd can stand for a terabyte.

The Codex CLI sends zstd (level 3) to a base URL that it takes for OpenAI's own; other clients may send gzip, deflate or br.
"""

import io
import zlib
from collections.abc import Callable

import brotli
import zstandard


class Undecodable(ValueError):
    """The body is not what its content-encoding says, or uses one that is not known."""


class TooLarge(ValueError):
    """Decoded, the body would pass the limit."""


def decode(encoding: str, body: bytes, limit: int) -> bytes:
    """The body without its content-encoding. Codings are undone last first, as RFC 9110 8.4 lists them in the order applied.

    Raises Undecodable or TooLarge; never holds more than `limit` decoded bytes and one block.
    """
    for coding in reversed([part.strip().lower() for part in encoding.split(",") if part.strip()]):
        if coding not in _DECODERS:
            raise Undecodable(f"unknown content-encoding: {coding[:40]}")
        try:
            body = _DECODERS[coding](body, limit)
        except (zlib.error, zstandard.ZstdError, brotli.error) as e:
            raise Undecodable(f"the body is not valid {coding}") from e
    return body


def _identity(body: bytes, limit: int) -> bytes:
    return body


def _zlib(body: bytes, limit: int) -> bytes:
    # 32 + MAX_WBITS: zlib finds out whether the header is gzip's or its own.
    inflater = zlib.decompressobj(32 + zlib.MAX_WBITS)
    decoded = inflater.decompress(body, limit + 1)
    if len(decoded) > limit:
        raise TooLarge
    if not inflater.eof:
        raise Undecodable("the compressed body ends too early")
    return decoded


def _zstd(body: bytes, limit: int) -> bytes:
    decoded = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(body), read_across_frames=True).read(limit + 1)
    if len(decoded) > limit:
        raise TooLarge
    # A reader gives what a cut frame holds without a word; only the one-shot object knows whether the frame ended. Its output
    # has no bound of its own, so it runs second, over what is now known to be small enough.
    while body:
        frame = zstandard.ZstdDecompressor().decompressobj()
        frame.decompress(body)
        if not frame.eof:
            raise Undecodable("the compressed body ends too early")
        body = frame.unused_data
    return decoded


def _brotli(body: bytes, limit: int) -> bytes:
    decompressor = brotli.Decompressor()
    decoded: bytes = decompressor.process(body, output_buffer_limit=limit + 1)
    while len(decoded) <= limit and not decompressor.is_finished():
        more = decompressor.process(b"", output_buffer_limit=limit + 1)
        if not more:
            raise Undecodable("the compressed body ends too early")
        decoded += more
    if len(decoded) > limit:
        raise TooLarge
    return decoded


_DECODERS: dict[str, Callable[[bytes, int], bytes]] = {
    "identity": _identity,
    "gzip": _zlib,
    "x-gzip": _zlib,
    "deflate": _zlib,
    "zstd": _zstd,
    "br": _brotli,
}
