"""Requests and answers as a person reads them, of both dialects; and that nothing, whatever it is, raises or has no end."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.wire import readable
from addons.wire.chat_stream import ChatStage
from addons.wire.fold import ChatFold, ResponsesFold
from addons.wire.plan import Answering
from addons.wire.readable_answer import answer_text
from addons.wire.readable_request import request_text
from addons.wire.responses_stream import ResponsesStage
from addons.wire.stage import Stage
from tests.fakes.speech import Call, Message, Reasoning
from tests.wire.test_request_garbage import nearly, thing
from tests.wire.upstream import answer, sse

WEATHER = {"name": "weather", "description": "Of a city.\nNow.", "parameters": {"properties": {"city": {}, "unit": {}}}}
PICTURE = {"type": "image_url", "image_url": {"url": "IMAGE"}}
CALL = {"id": "c1", "function": {"name": "weather", "arguments": '{"city": "Bern"}'}}
CHAT = {
    "model": "gpt-4.1",
    "stream": True,
    "temperature": 0.3,
    "messages": [
        {"role": "system", "content": "You are brief."},
        {"role": "user", "content": [{"type": "text", "text": "What is this?"}, PICTURE]},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "12 degrees"},
    ],
    "tools": [{"type": "function", "function": WEATHER}, {"type": "web_search"}],
}
CHAT_PAGE = """\
gpt-4.1 · chat · streamed

── changed by codex-mitm
dropped temperature: it is fixed

── system
You are brief.

── user
What is this?
[image_url: image/png;base64, 5000 characters]

── assistant
→ weather  c1
  {"city": "Bern"}

── tool c1
12 degrees

── 2 tools
weather(city, unit): Of a city. Now.
web_search()

── parameters
temperature: 0.3
"""
RESPONSES = {
    "model": "gpt-5.5",
    "instructions": "Be kind.",
    "reasoning": {"effort": "high"},
    "input": [
        {"type": "additional_tools", "role": "developer", "tools": [{"type": "function", "name": "weather"}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]},
        {"type": "reasoning", "summary": [], "encrypted_content": "x"},
        {"type": "function_call", "name": "weather", "call_id": "c1", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "rain"},
        {"type": "item_reference", "id": "msg_1"},
    ],
}
RESPONSES_PAGE = """\
gpt-5.5 · responses

── instructions
Be kind.

── 1 tool
weather()

── user
hello

── reasoning
[encrypted]

── assistant
→ weather  c1
  {}

── tool c1
rain

── item_reference
{"type":"item_reference","id":"msg_1"}

── parameters
reasoning: {"effort":"high"}
"""
SAID = (Reasoning("First I think."), Message("Let me look."), Call("weather", '{"city": "Bern"}'))


def written(body: Any) -> bytes:
    return json.dumps(body).replace("IMAGE", "data:image/png;base64," + "A" * 5000).encode()


@pytest.mark.parametrize(
    ("body", "edits", "page"),
    [(CHAT, ["dropped temperature: it is fixed"], CHAT_PAGE), (RESPONSES, [], RESPONSES_PAGE)],
    ids=["chat", "responses"],
)
def test_a_request(body: dict[str, Any], edits: list[str], page: str) -> None:
    assert request_text(written(body), edits) == page


def through(stage: Stage, data: bytes) -> bytes:
    return b"".join(stage(data))


ANSWERS: dict[str, Stage | None] = {
    "upstream's own": None,
    "responses, streamed": ResponsesStage(Answering("responses", True, "gpt-client"), "resp_1", 1),
    "responses, whole": ResponsesFold(Answering("responses", False, "gpt-client"), "resp_1", 1),
    "chat, streamed": ChatStage(Answering("chat", True, "gpt-client", include_usage=True), "chatcmpl-1", 1),
    "chat, whole": ChatFold(Answering("chat", False, "gpt-client"), "chatcmpl-1", 1),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_put_together_whatever_it_came_as(name: str) -> None:
    stage, data = ANSWERS[name], sse(answer(*SAID))
    page = answer_text([(None, through(stage, data) if stage else data)])
    for section in ("── reasoning\nFirst I think.\n", "── answer\nLet me look.\n", '\n{"city": "Bern"}\n'):
        assert page.count(section) == 1
    assert page.count("── call weather") == 1 and "── cost\n7 tokens in, " in page
    assert ("── events" in page) is ("whole" not in name)


def test_in_pieces_it_reads_the_same_with_the_moment_of_each_event() -> None:
    data = sse(answer(*SAID))
    cut = [(at / 1000, data[at : at + 7]) for at in range(0, len(data), 7)]
    whole, timed = answer_text([(None, data)]), answer_text(cut)
    assert timed.partition("── events")[0] == whole.partition("── events")[0]
    last = timed.rstrip().splitlines()[-1]
    assert last.split() == [f"{cut[-1][0]:.2f}s", "1", "response.completed"]


ERRORS = {
    "an envelope": b'{"error":{"message":"no","type":"t","code":"c"}}',
    "an event of Responses": b'event: error\ndata: {"type":"error","error":{"type":"t","code":"c","message":"no"}}\n\n',
    "a chunk of a chat": b'data: {"error":{"message":"no","type":"t","code":"c"}}\n\ndata: [DONE]\n\n',
    "a failed response": b'data: {"type":"response.failed","response":{"error":{"code":"c","message":"no","type":"t"}}}\n\n',
}


@pytest.mark.parametrize("body", ERRORS.values(), ids=ERRORS)
def test_an_error_stands_first(body: bytes) -> None:
    assert "── error\nt c: no\n" in answer_text([(None, body)])


def test_what_is_no_conversation_is_shown_as_it_is() -> None:
    for body in (b"<html>", b'{"data": []}', b"[1]", b"\xff\xfe", b""):
        assert request_text(body) == answer_text([(None, body)]) == body.decode("utf-8", "replace")


def test_no_page_is_without_end() -> None:
    long = "x" * 100_000
    body = {
        "model": long,
        "messages": [{"role": long, "content": long, "name": long} for _ in range(100)],
        "tools": [{"name": long}] * 100,
    }
    stream = sse(answer(Message(long * 10)))
    for page in (
        request_text(written(body)),
        answer_text([(None, stream)]),
        answer_text([(None, b"data: %d\n\n" % n) for n in range(5000)]),
    ):
        assert len(page) < readable.MAX_TEXT + 1000
    assert "80000 more characters" in request_text(written(body)) and "more characters" in answer_text([(None, stream)])
    deep = b'{"messages":' + b"[" * 900 + b"]" * 900 + b',"x":' + b"[" * 100 + b"]" * 100 + b"}"
    assert request_text(deep).startswith("no model")


@given(
    st.dictionaries(
        st.sampled_from(["input", "messages", "tools", "model", "instructions", "x"]), thing | nearly | st.lists(nearly)
    )
)
def test_no_request_raises(body: dict[str, Any]) -> None:
    assert request_text(json.dumps(body).encode()).encode()


EVENT_KINDS = st.sampled_from(
    "response.created response.output_item.added response.output_item.done response.output_text.delta response.output_text.done "
    "response.function_call_arguments.delta response.function_call_arguments.done response.completed response.failed error".split()
)
MEMBERS = st.sampled_from(
    "delta text arguments item response output_index content_index item_id choices message tool_calls index usage output error "
    "model id status finish_reason function name".split()
)
EVENTS = st.fixed_dictionaries({"type": EVENT_KINDS | st.none()}).flatmap(
    lambda first: st.dictionaries(MEMBERS, thing | nearly | st.lists(nearly)).map(lambda rest: {**rest, **first})
)


@given(st.lists(EVENTS, max_size=6), st.binary(max_size=30), st.integers(1, 50))
def test_no_answer_raises(events: list[dict[str, Any]], garbage: bytes, size: int) -> None:
    data = b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events) + garbage
    assert answer_text([(0.0, data[at : at + size]) for at in range(0, len(data), size)]).encode() or not data
    for event in events:
        assert answer_text([(None, json.dumps(event).encode())]).encode()


@given(st.binary(), st.binary())
def test_no_bytes_raise(first: bytes, second: bytes) -> None:
    assert request_text(first + second).encode() or not first + second
    assert answer_text([(None, first), (1.0, second)]).encode() or not first + second


def test_half_a_pair_of_surrogates_can_be_shown() -> None:
    page = request_text(b'{"model":"m","messages":[{"role":"user","content":"a\\ud83d"}]}')
    assert page.encode()
    assert orjson.dumps(answer_text([(None, b'data: {"choices":[{"delta":{"content":"\\ud83d"}}]}\n\n')]))
