"""The Chat Completions dialect: what a request must look like, the completion, and its chunks."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

import orjson

from .errors import refuse
from .items import texts
from .shapes import (
    each_object,
    expect_members,
    expect_one_of,
    expect_strict_schema,
    refuse_missing,
    refuse_type,
    require,
    require_name,
)
from .speech import Call, Message, Prompt, Utterance, pieces, token_counts

type Body = Mapping[str, Any]

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
PARTS = ("text", "image_url", "input_audio", "file", "refusal")
FORMATS = ("text", "json_object", "json_schema")
TOOLS = ("function", "custom")

UNANSWERED = (
    "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. "
    "The following tool_call_ids did not have response messages: {}"
)
# The spelling is OpenAI's.
NOT_CALLED = "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'."
NO_JSON = "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."


def check_chat(body: Body) -> None:
    if not body.get("messages"):
        refuse_missing("messages")
    for at, message in each_object(body["messages"], "messages"):
        _check_message(message, at)
    _check_pairs(body["messages"])
    expect_members(body, {"tools": list, "stream_options": dict, "response_format": dict})
    for at, tool in each_object(body.get("tools") or [], "tools"):
        expect_one_of(tool.get("type"), TOOLS, f"{at}.type")
        definition = require(tool, tool["type"], dict, at)
        name = require_name(definition, f"{at}.{tool['type']}")
        if definition.get("strict"):
            expect_strict_schema(definition.get("parameters"), f"function '{name}'", f"{at}.{tool['type']}.parameters")
    _check_format(body.get("response_format") or {"type": "text"}, body)


def completion(body: Body, prompt: Prompt, said: Sequence[Utterance]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None, "annotations": []}
    calls = [u for u in said if isinstance(u, Call)]
    for utterance in said:
        if isinstance(utterance, Message):
            message["refusal" if utterance.refusal else "content"] = utterance.text
    if calls:
        message["tool_calls"] = [_call(call, call.arguments) for call in calls]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish_reason(said)}
    return {**_envelope(body, "chat.completion"), "choices": [choice], "usage": _usage(prompt, said)}


def chunks(body: Body, prompt: Prompt, said: Sequence[Utterance]) -> Iterator[dict[str, Any]]:
    """With `include_usage`, every chunk has a `usage`: null, but for the one that comes last and has no choice."""
    envelope = _envelope(body, "chat.completion.chunk")
    include_usage = (body.get("stream_options") or {}).get("include_usage") is True
    if include_usage:
        envelope["usage"] = None
    for delta in _deltas(said):
        yield {**envelope, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}]}
    last = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": _finish_reason(said)}
    yield {**envelope, "choices": [last]}
    if include_usage:
        yield {**envelope, "choices": [], "usage": _usage(prompt, said)}


async def stream(chunks: Iterator[dict[str, Any]], delta_delay: float = 0.0) -> AsyncIterator[bytes]:
    for chunk in chunks:
        await asyncio.sleep(delta_delay)
        yield b"data: %s\n\n" % orjson.dumps(chunk)
    yield b"data: [DONE]\n\n"


def _deltas(said: Sequence[Utterance]) -> Iterator[dict[str, Any]]:
    message = next((u for u in said if isinstance(u, Message)), None)
    if message is None:
        yield {"role": "assistant", "content": None}
    elif message.refusal:
        yield {"role": "assistant", "content": None, "refusal": ""}
        yield from ({"refusal": piece} for piece in pieces(message.text))
    else:
        yield {"role": "assistant", "content": "", "refusal": None}
        yield from ({"content": piece} for piece in pieces(message.text))
    for index, call in enumerate(u for u in said if isinstance(u, Call)):
        yield {"tool_calls": [{"index": index, **_call(call, "")}]}
        for piece in pieces(call.arguments):
            yield {"tool_calls": [{"index": index, call.kind: {_argument_key(call): piece}}]}


def _call(call: Call, arguments: str) -> dict[str, Any]:
    value = {"name": call.name, _argument_key(call): arguments}
    return {"id": f"call_{secrets.token_hex(12)}", "type": call.kind, call.kind: value}


def _argument_key(call: Call) -> str:
    return "input" if call.kind == "custom" else "arguments"


def _finish_reason(said: Sequence[Utterance]) -> str:
    return "tool_calls" if any(isinstance(u, Call) for u in said) else "stop"


def _envelope(body: Body, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{secrets.token_hex(14)}",
        "object": kind,
        "created": int(time.time()),
        "model": body["model"],
        "service_tier": "default",
        "system_fingerprint": None,
    }


def _usage(prompt: Prompt, said: Sequence[Utterance]) -> dict[str, Any]:
    counts = token_counts(prompt, said)
    return {
        "prompt_tokens": counts.heard,
        "completion_tokens": counts.said,
        "total_tokens": counts.heard + counts.said,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": counts.reasoned,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _check_message(message: dict[str, Any], at: str) -> None:
    expect_one_of(message.get("role"), ROLES, f"{at}.role")
    if message["role"] == "tool":
        require(message, "tool_call_id", str, at)
    content = message.get("content")
    if content is None and not message.get("tool_calls") and not message.get("function_call"):
        refuse_type(content, "a string", f"{at}.content")
    if content is not None and not isinstance(content, str):
        for here, part in each_object(content, f"{at}.content"):
            expect_one_of(part.get("type"), PARTS, f"{here}.type")
            if part["type"] == "text":
                require(part, "text", str, here)
    for here, call in each_object(message.get("tool_calls") or [], f"{at}.tool_calls"):
        require(call, "id", str, here)


def _check_pairs(messages: Sequence[Mapping[str, Any]]) -> None:
    """Calls are answered at once, all of them, and nothing else is an answer."""
    waiting: list[str] = []
    for index, message in enumerate([*messages, {"role": "end"}]):
        if message["role"] != "tool":
            if waiting:
                refuse(400, None, UNANSWERED.format(", ".join(waiting)), f"messages.[{index}].role")
            waiting = [call["id"] for call in message.get("tool_calls") or ()]
        elif message["tool_call_id"] in waiting:
            waiting.remove(message["tool_call_id"])
        else:
            refuse(400, None, NOT_CALLED, f"messages.[{index}].role")


def _check_format(format_: Mapping[str, Any], body: Body) -> None:
    expect_one_of(format_.get("type"), FORMATS, "response_format.type")
    if format_["type"] == "json_schema":
        definition = require(format_, "json_schema", dict, "response_format")
        name = require_name(definition, "response_format.json_schema")
        if definition.get("strict"):
            expect_strict_schema(definition.get("schema"), f"response_format '{name}'", "response_format")
    elif format_["type"] == "json_object":
        if not any("json" in text.lower() for message in body["messages"] for text in texts(message)):
            refuse(400, None, NO_JSON, "messages")
