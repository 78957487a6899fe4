import logging

import pytest

from addons.guard import FAULT
from addons.streams import StreamChain, in_band


def feed(chain: StreamChain, chunks: list[bytes]) -> list[bytes]:
    return [out for chunk in [*chunks, b""] for out in chain(chunk)]


def pieces(whole: bytes) -> dict[str, list[bytes]]:
    return {"whole": [whole], "in bytes": [whole[i : i + 1] for i in range(len(whole))], "empty": []}


class Lines:
    """A stage that holds back what is not a whole line."""

    def __init__(self) -> None:
        self.rest = b""

    def __call__(self, data: bytes) -> list[bytes]:
        if not data:
            return [self.rest] if self.rest else []
        *lines, self.rest = (self.rest + data).split(b"\n")
        return [line + b"\n" for line in lines]


class Count:
    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, data: bytes) -> list[bytes]:
        if not data:
            return [b"%d" % self.seen]
        self.seen += 1
        return [data]


TEXT = b"one\ntwo\n\nthree"


# What was said because of one chunk goes out as one.
TOLD = {"whole": [b"one\ntwo\n\n", b"three4"], "in bytes": [b"one\n", b"two\n", b"\n", b"three4"]}


@pytest.mark.parametrize("name", TOLD)
def test_stages_run_in_order_and_the_end_flushes_one_into_the_next(name: str) -> None:
    chain = StreamChain()
    chain.stages += [Lines(), Count()]
    assert feed(chain, pieces(TEXT)[name]) == TOLD[name]


@pytest.mark.parametrize("name", ["whole", "in bytes", "empty"])
def test_without_a_stage_bytes_pass(name: str) -> None:
    assert b"".join(feed(StreamChain(), pieces(TEXT)[name])) == b"".join(pieces(TEXT)[name])


def test_no_empty_chunk_ever_comes_out() -> None:
    # mitmproxy would write it as the chunk that ends the client's body.
    chain = StreamChain()
    chain.stages += [lambda data: [b"", data, b""], lambda data: [data[:-1]] if data else [b""]]
    assert feed(chain, [b"a", b"bc"]) == [b"b"]


@pytest.mark.parametrize("at", [b"bad", b""], ids=["in the middle", "at the end"])
def test_a_stage_that_breaks_is_told_to_the_client_once(at: bytes, caplog: pytest.LogCaptureFixture) -> None:
    def stage(data: bytes) -> list[bytes]:
        if data == at:
            raise RuntimeError("bug")
        return [data]

    chain = StreamChain()
    chain.stages.append(stage)
    with caplog.at_level(logging.ERROR):
        assert feed(chain, [b"good", b"bad", b"good"])[-1] == b"\n\n" + in_band(FAULT, "responses")
    assert feed(chain, [b"more"]) == []
    assert [r.message for r in caplog.records] == ["a stage of the answer's stream failed; the client is told in the stream"]
