"""A body as the database keeps it: one line of JSON that says where the chunks begin and what is missing, then all bytes; as zstd.

Redacted before it is cut, or a secret that lies across the cut would leave its halves.
"""

import json
from itertools import pairwise

import zstandard

from addons.traffic.exchange import Body, Chunk
from addons.traffic.secrets import Patterns, redacted_body
from addons.traffic.tee import capped

# The library's own default: 3 MiB of JSON with code in it in 6 ms, to a ninth of its size.
LEVEL = 3

# Nothing larger is ever written: two caps' worth, should the cap be raised.
MAX_UNPACKED = 1 << 28


class BrokenBody(ValueError):
    """It is not what was written."""


def pack(body: Body, limit: int, patterns: Patterns = ()) -> bytes:
    kept = capped(redacted_body(body, patterns), limit)
    # Times in whole milliseconds; lengths, so that the parts can be told apart.
    told = {"chunks": [[round(c.at * 1000), len(c.data)] for c in kept.chunks], "left_out": kept.left_out, "gap": kept.gap}
    return zstandard.compress(json.dumps(told, separators=(",", ":")).encode() + b"\n" + kept.data, LEVEL)


def unpack(packed: bytes) -> Body:
    """Raises BrokenBody."""
    try:
        told, _, data = zstandard.decompress(packed, max_output_size=MAX_UNPACKED).partition(b"\n")
        fields = json.loads(told)
        ends = [0]
        for _, length in fields["chunks"]:
            ends.append(ends[-1] + length)
        cuts = zip(fields["chunks"], pairwise(ends), strict=True)
        return Body(tuple(Chunk(at / 1000, data[a:b]) for (at, _), (a, b) in cuts), fields["left_out"], fields["gap"])
    except (zstandard.ZstdError, ValueError, KeyError, TypeError) as e:
        raise BrokenBody(f"a recorded body cannot be read: {e}") from e
