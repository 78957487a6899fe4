"""What is heard of an answer that passes by: moments, words, tokens and its end, whoever reads it and however it is cut up."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from addons.traffic.exchange import Outcome
from addons.traffic.passing import Passing
from addons.traffic.tee import Tee
from addons.traffic.untranslated import MAX_DOCUMENT, Document, EventStream, Untranslated
from tests.fakes.speech import Message
from tests.wire.upstream import answer, sse

HELLO = sse(answer(Message("Hello there, old friend.")))
CUT = HELLO[: HELLO.rindex(b"event: response.completed")]
FAILED = (
    b'data: {"type":"response.failed","response":'
    b'{"error":{"code":"c","message":"m"},"usage":{"input_tokens":3,"output_tokens":1}}}\n\n'
)
CHUNK = b'data: {"object":"chat.completion.chunk","model":"gpt-x","choices":[{"delta":{"content":"Hi"}}]}\n\n'
COST = b'data: {"object":"chat.completion.chunk","choices":[],"usage":{"prompt_tokens":8,"completion_tokens":2}}\n\n'
DOCUMENT = b'{"object":"chat.completion","model":"gpt-x","usage":{"prompt_tokens":8,"completion_tokens":2}}'
INCOMPLETE = b'{"object":"response","status":"incomplete","model":"gpt-x","usage":{"input_tokens":8,"output_tokens":2}}'

Told = tuple[type[Untranslated], bytes, Outcome | None, tuple[int, int] | None]
ENDS: dict[str, Told] = {
    "whole": (EventStream, HELLO, "complete", (7, 4)),
    "cut off": (EventStream, CUT, None, None),
    "failed": (EventStream, CUT + FAILED, "failed", (3, 1)),
    "an error": (EventStream, CUT + b'data: {"error":{"message":"m","code":"c"}}\n\n', "failed", None),
    "a chat": (EventStream, CHUNK + COST + b"data: [DONE]\n\n", "complete", (8, 2)),
    "a chat, cut off": (EventStream, CHUNK, None, None),
    "without its last blank line": (EventStream, HELLO.rstrip(), "complete", (7, 4)),
    "a document": (Document, DOCUMENT, "complete", (8, 2)),
    "one that is incomplete": (Document, INCOMPLETE, "incomplete", (8, 2)),
    "no JSON": (Document, b"\x89PNG", "complete", None),
    "a long one": (Document, DOCUMENT.ljust(MAX_DOCUMENT + 1), "complete", None),
}


def clock() -> Iterator[float]:
    at = 0.0
    while True:
        yield at
        at += 1.0


def heard(kind: type[Untranslated], data: bytes, size: int, **tees: Tee) -> tuple[Passing, Untranslated]:
    ticks = clock()
    passing = Passing(lambda: next(ticks), **tees)
    passing.reader = overheard = kind(passing.event)
    for at in range(0, len(data), size):
        passing.heard(data[at : at + size])
    overheard.end()
    return passing, overheard


@pytest.mark.parametrize("size", [1 << 30, 7], ids=["at once", "in pieces"])
@pytest.mark.parametrize(("kind", "data", "outcome", "tokens"), ENDS.values(), ids=ENDS)
def test_how_it_ended_and_what_it_cost(
    kind: type[Untranslated], data: bytes, outcome: Outcome | None, tokens: tuple[int, int] | None, size: int
) -> None:
    if len(data) > 100_000 and size == 7:
        size = 7000
    _, overheard = heard(kind, data, size)
    assert overheard.outcome == outcome
    assert (overheard.usage and (overheard.usage.input_tokens, overheard.usage.output_tokens)) == tokens
    assert (overheard.failure is None) is (outcome != "failed")


def test_moments_are_those_at_which_upstream_spoke() -> None:
    frames = [frame + b"\n\n" for frame in HELLO.split(b"\n\n") if frame]
    upstream = Tee()
    ticks = iter([1.0, 1.5, 2.0, 2.5, 7.5, *(8.0 + n for n in range(100))])
    passing = Passing(lambda: next(ticks), upstream=upstream)
    passing.reader = EventStream(passing.event)
    for frame in frames:
        passing.heard(frame)
    assert passing.longest_gap == 5.0
    first_delta = next(at for at, frame in enumerate(frames) if b"output_text.delta" in frame)
    assert passing.first_token == upstream.body().chunks[first_delta].at
    assert upstream.body().data == HELLO and upstream.body().chunks[0].at == 1.0
    assert passing.limits and passing.limits["plan_type"] == "plus"
    assert passing.names.counts["response.output_text.delta"] == 4


def test_answers_on_one_websocket_add_up() -> None:
    events: list[Any] = []
    overheard = EventStream(events.append)
    for _ in range(2):
        overheard.take(b'{"type":"response.completed","response":{"model":"m","usage":{"input_tokens":3,"output_tokens":2}}}')
    assert overheard.usage and (overheard.usage.input_tokens, overheard.usage.output_tokens) == (6, 4) and len(events) == 2


@settings(deadline=None)
@given(st.lists(st.binary(max_size=60) | st.sampled_from([HELLO[:400], CHUNK, FAILED, b"data: []\n\n", b'data: {"type":5}\n\n'])))
def test_no_bytes_raise(chunks: list[bytes]) -> None:
    for kind in (EventStream, Document):
        heard(kind, b"".join(chunks), 50)
