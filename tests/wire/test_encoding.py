import gzip
import zlib
from collections.abc import Callable

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from addons.wire.encoding import TooLarge, Undecodable, decode

BODY = b'{"model":"gpt-5.5","input":"' + b"hello " * 3000 + b'"}'


def zstd_stream(data: bytes) -> bytes:
    """As a streaming encoder writes it, the Codex CLI's for one: the frame does not tell its length."""
    encoder = zstandard.ZstdCompressor(level=3).compressobj()
    return encoder.compress(data) + encoder.flush()


ENCODERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "br": ("br", brotli.compress),
    "zstd": ("zstd", zstandard.ZstdCompressor().compress),
    "zstd without its length": ("zstd", zstd_stream),
    "zstd in two frames": ("zstd", lambda data: zstd_stream(data[:100]) + zstd_stream(data[100:])),
    "identity": ("identity", bytes),
    "upper case": ("GZIP", gzip.compress),
    "two codings": ("gzip, zstd", lambda data: zstd_stream(gzip.compress(data))),
}


@pytest.mark.parametrize(("name", "encode"), ENCODERS.values(), ids=ENCODERS)
class TestEveryCoding:
    def test_gives_the_body_back(self, name: str, encode: Callable[[bytes], bytes]) -> None:
        assert decode(name, encode(BODY), len(BODY)) == BODY

    def test_stops_at_the_limit(self, name: str, encode: Callable[[bytes], bytes]) -> None:
        if name == "identity":  # nothing is decoded, nothing grows
            assert decode(name, BODY, 0) == BODY
        else:
            with pytest.raises(TooLarge):
                decode(name, encode(BODY), len(BODY) - 1)

    def test_a_body_that_is_cut_short_never_passes_for_another(self, name: str, encode: Callable[[bytes], bytes]) -> None:
        whole = encode(BODY)
        for cut in range(1, len(whole), max(1, len(whole) // 200)):
            try:
                assert BODY.startswith(decode(name, whole[:cut], len(BODY)))
            except Undecodable:
                continue
            assert name in ("identity", "zstd")  # at the seam of two frames the first one is whole


@given(st.sampled_from(["gzip", "deflate", "br", "zstd", "gzip, br", "x"]), st.binary(max_size=200))
def test_rubbish_is_refused_and_nothing_else_is_raised(name: str, body: bytes) -> None:
    try:
        assert len(decode(name, body, 100)) <= 100
    except (Undecodable, TooLarge):
        pass


@pytest.mark.parametrize("name", ["gzip", "br", "zstd"])
def test_a_bomb_costs_no_more_than_the_limit(name: str) -> None:
    bomb = ENCODERS[name][1](bytes(20_000_000))
    with pytest.raises(TooLarge):
        decode(name, bomb, 1000)


def test_an_unknown_coding_is_named() -> None:
    with pytest.raises(Undecodable, match="unknown content-encoding: lzma"):
        decode("lzma", b"x", 10)
