"""A body as the database keeps it: one line of JSON that says where the chunks begin and what is missing, then all bytes; as zstd.

Redacted before it is cut, or a secret that lies across the cut would leave its halves.
"""

import json
import threading
from array import array

import orjson
import zstandard

from addons.traffic.exchange import Body
from addons.traffic.secrets import Search, redacted_body
from addons.traffic.tee import capped

# The library's own default: 3 MiB of JSON with code in it in 6 ms, to a ninth of its size.
LEVEL = 3

# Nothing larger is ever written: two caps' worth, should the cap be raised.
MAX_UNPACKED = 1 << 28


class _Compressor(threading.local):
    """To make one takes longer than to pack a short body with it. It is for one thread at a time, and lets others run meanwhile."""

    def __init__(self) -> None:
        self.compress = zstandard.ZstdCompressor(LEVEL).compress


_compressor = _Compressor()


class BrokenBody(ValueError):
    """It is not what was written."""


def pack(body: Body, limit: int, search: Search | None = None) -> bytes:
    kept = capped(redacted_body(body, search), limit)
    # Times in whole milliseconds; lengths, so that the parts can be told apart.
    moments = [round(at * 1000) for at in kept.moments]
    told = {"chunks": list(zip(moments, kept.lengths, strict=True)), "left_out": kept.left_out, "gap": kept.gap}
    return _compressor.compress(orjson.dumps(told) + b"\n" + kept.data)


def unpack(packed: bytes) -> Body:
    """Raises BrokenBody."""
    try:
        told, _, data = zstandard.decompress(packed, max_output_size=MAX_UNPACKED).partition(b"\n")
        fields = json.loads(told)
        moments = array("d", [at / 1000 for at, _ in fields["chunks"]])
        lengths = array("Q", [length for _, length in fields["chunks"]])
        if sum(lengths) != len(data):
            raise BrokenBody("its length is not what it should be")
        return Body.of(data, moments, lengths, fields["left_out"], fields["gap"])
    except (zstandard.ZstdError, ValueError, KeyError, TypeError, OverflowError) as e:
        raise BrokenBody(f"a recorded body cannot be read: {e}") from e
