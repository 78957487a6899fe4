"""What a client makes of a stream, strict about everything that some real client is strict about.

A reader takes the chunks as they leave a stage and asserts the form on the way; what it returns is what the user would get.
"""

from dataclasses import dataclass, field
from typing import Any

import orjson

from addons.wire.stage import Stage

KEEPALIVE = b": keepalive\n\n"
DONE = b"data: [DONE]\n\n"

# The Open Responses schema, and what openai-python's strict validation asks for.
RESPONSE_MEMBERS = set(
    "id object created_at completed_at status incomplete_details model previous_response_id instructions output error tools "
    "tool_choice truncation parallel_tool_calls text top_p presence_penalty frequency_penalty top_logprobs temperature reasoning "
    "usage max_output_tokens max_tool_calls store background service_tier metadata safety_identifier prompt_cache_key".split()
)
CHUNK_MEMBERS = {"id", "object", "created", "model", "service_tier", "system_fingerprint", "choices"}
# The member of a `done` event that holds the text, where it is not `text`.
WHOLES = {
    "response.refusal": "refusal",
    "response.function_call_arguments": "arguments",
    "response.custom_tool_call_input": "input",
}


def feed(stage: Stage, *pieces: bytes, end: bool = True) -> list[bytes]:
    return [chunk for piece in (*pieces, *([b""] if end else [])) for chunk in stage(piece)]


def byte_by_byte(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def events_of(chunks: list[bytes]) -> list[dict[str, Any]]:
    """The events of a Responses stream, each of them one chunk; the form only."""
    events: list[dict[str, Any]] = []
    assert chunks[-1] == DONE
    for chunk in chunks[:-1]:
        if chunk == KEEPALIVE:
            continue
        name, data, *rest = chunk.split(b"\n")
        assert rest == [b"", b""] and name.startswith(b"event: ") and data.startswith(b"data: ")
        event = orjson.loads(data[6:])
        assert event["type"].encode() == name[7:]
        assert event["sequence_number"] == len(events)
        events.append(event)
    return events


@dataclass
class ResponsesAnswer:
    events: list[dict[str, Any]]
    response: dict[str, Any]
    error: dict[str, Any] | None = None
    texts: dict[tuple[int, str, int], str] = field(default_factory=dict)

    @property
    def kinds(self) -> list[str]:
        return [event["type"] for event in self.events]

    @property
    def output(self) -> list[dict[str, Any]]:
        output: list[dict[str, Any]] = self.response["output"]
        return output


def read_responses(chunks: list[bytes], deltas_agree: bool = True) -> ResponsesAnswer:
    """`deltas_agree`: each text's `done` says the same as its deltas, as it must unless upstream contradicts itself."""
    events = events_of(chunks)
    assert events[0]["type"] == "response.created"
    assert events[-1]["type"] in ("response.completed", "response.incomplete", "response.failed")
    failed = events[-1]["type"] == "response.failed"
    answer = ResponsesAnswer(events, events[-1]["response"])
    open_items: dict[int, dict[str, Any]] = {}
    done_items: dict[int, dict[str, Any]] = {}
    done_texts: set[tuple[int, str, int]] = set()
    open_parts: set[tuple[Any, ...]] = set()
    latest: Any = None
    for position, event in enumerate(events):
        kind: str = event["type"]
        index: Any = event.get("output_index")
        if "response" in event:
            assert RESPONSE_MEMBERS <= event["response"].keys()
        if kind == "error":
            assert failed and position == len(events) - 2
            assert {"type", "code", "message", "param"} == event["error"].keys()
            assert all(event[member] == event["error"][member] for member in ("code", "message", "param"))
            answer.error = event["error"]
        elif kind in ("response.completed", "response.incomplete", "response.failed"):
            assert position == len(events) - 1
        elif kind == "response.output_item.added":
            assert index not in open_items and index not in done_items
            open_items[index], latest = event["item"], index
        elif kind == "response.output_item.done":
            assert event["item"]["id"] and event["item"]["type"] == open_items.pop(index)["type"]
            assert not {place for place in open_parts if place[0] == index}
            done_items[index] = event["item"]
            if "call" in event["item"]["type"]:
                assert index == latest
        elif kind.endswith("_part.added"):
            assert index in open_items
            open_parts.add((index, kind[:-6], event.get("summary_index", event.get("content_index"))))
        elif kind.endswith("_part.done"):
            open_parts.remove((index, kind[:-5], event.get("summary_index", event.get("content_index"))))
        elif kind.endswith((".delta", ".done")) and index is not None:
            stem, _, moment = kind.rpartition(".")
            place = (index, stem, event.get("summary_index", event.get("content_index", 0)))
            assert index in open_items and place not in done_texts
            if "call" in open_items[index]["type"]:
                assert index == latest
            if "output_text" in stem:
                assert "logprobs" in event
            if moment == "delta":
                assert event["delta"]
                answer.texts[place] = answer.texts.get(place, "") + event["delta"]
            else:
                assert not deltas_agree or event[WHOLES.get(stem, "text")] == answer.texts.get(place, "")
                done_texts.add(place)
    if not failed:
        assert not open_items and not open_parts
        assert answer.output == [item for _, item in sorted(done_items.items())]
    return answer


@dataclass
class ChatAnswer:
    chunks: list[dict[str, Any]]
    message: dict[str, Any]
    finish_reason: str | None = None
    usage: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


def read_chat(chunks: list[bytes], include_usage: bool = False, legacy: bool = False) -> ChatAnswer:
    assert chunks[-1] == DONE
    answer = ChatAnswer([], {"role": None, "content": None, "refusal": None, "annotations": []})
    calls: list[dict[str, Any]] = []
    frames = [chunk for chunk in chunks[:-1] if chunk != KEEPALIVE]
    for position, chunk in enumerate(frames):
        data, *rest = chunk.split(b"\n")
        assert rest == [b"", b""] and data.startswith(b"data: ")
        told = orjson.loads(data[6:])
        if "error" in told:
            assert position == len(frames) - 1 and answer.finish_reason is None
            assert told["error"].keys() == {"message", "type", "param", "code"}
            answer.error = told["error"]
            break
        answer.chunks.append(told)
        assert told.keys() == CHUNK_MEMBERS | ({"usage"} if include_usage else set())
        assert told["object"] == "chat.completion.chunk"
        if not told["choices"]:
            assert include_usage and position == len(frames) - 1 and answer.finish_reason
            answer.usage = told["usage"]
            break
        assert not include_usage or told["usage"] is None
        (choice,) = told["choices"]
        assert choice.keys() == {"index", "delta", "logprobs", "finish_reason"} and choice["index"] == 0
        assert answer.finish_reason is None, "said something after the finish reason"
        assert ("role" in choice["delta"]) == (position == 0)
        _merge(answer.message, calls, choice["delta"], legacy)
        answer.finish_reason = choice["finish_reason"]
    assert (answer.finish_reason is None) == (answer.error is not None)
    if calls:
        answer.message |= {"function_call": calls[0]["function"]} if legacy else {"tool_calls": calls}
    return answer


def _merge(message: dict[str, Any], calls: list[dict[str, Any]], delta: dict[str, Any], legacy: bool) -> None:
    for member, value in delta.items():
        if member == "tool_calls":
            assert not legacy
            for call in value:
                _merge_call(calls, dict(call))
        elif member == "function_call":
            assert legacy
            _merge_call(calls, {"index": 0, "function": value} | ({} if calls else {"type": "function"}))
        elif member == "annotations":
            message["annotations"] = message["annotations"] + value
        elif value is not None:
            assert value or member in ("content", "refusal"), "an empty delta"
            message[member] = (message.get(member) or "") + value


def _merge_call(calls: list[dict[str, Any]], call: dict[str, Any]) -> None:
    index = call.pop("index")
    assert index in (len(calls), len(calls) - 1), "a call of another index than the last or the next"
    if index == len(calls):
        kind = call["type"]
        assert call[kind]["name"] and not call[kind].get("arguments", call[kind].get("input"))
        calls.append({"id": call.get("id"), **call, kind: dict(call[kind])})
        return
    kind = calls[index]["type"]
    assert call.keys() == {kind} and len(call[kind]) == 1
    ((member, piece),) = call[kind].items()
    assert piece
    calls[index][kind][member] += piece
