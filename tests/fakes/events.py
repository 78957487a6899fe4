"""The Responses dialect: output items, the response object, and the stream of events that tells the same story in order.

Fields and order follow OpenAI's OpenAPI document. Two things differ between the origins and are parameters: on the Codex
backend the `output` of the terminal event is empty, and events of its own kind (`codex.rate_limits`) come in between,
without a number.
"""

import asyncio
import itertools
import secrets
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import orjson

from .speech import Call, Message, Prompt, Reasoning, Utterance, pieces, token_counts

type Event = dict[str, Any]  # "type" and what belongs to it


def frame(event: Event) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (event["type"].encode(), orjson.dumps(event))


def item_of(said: Utterance) -> dict[str, Any]:
    """The finished output item."""
    match said:
        case Reasoning(summary):
            return {
                "id": _id("rs"),
                "type": "reasoning",
                "summary": [{"type": "summary_text", "text": summary}],
                "encrypted_content": f"gAAAAA{secrets.token_urlsafe(24)}",
            }
        case Message(text, refusal):
            part: dict[str, Any] = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
            if refusal:
                part = {"type": "refusal", "refusal": text}
            return {
                "id": _id("msg"),
                "type": "message",
                "status": "completed",
                "role": "assistant",
                "phase": "final_answer",
                "content": [part],
            }
        case Call(name, arguments, kind):
            is_custom = kind == "custom"
            return {
                "id": _id("ctc" if is_custom else "fc"),
                "type": "custom_tool_call" if is_custom else "function_call",
                "status": "completed",
                "call_id": f"call_{secrets.token_urlsafe(18)[:24]}",
                "name": name,
                "input" if is_custom else "arguments": arguments,
            }


def usage_of(prompt: Prompt, said: Sequence[Utterance]) -> dict[str, Any]:
    counts = token_counts(prompt, said)
    return {
        "input_tokens": counts.heard,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": counts.said,
        "output_tokens_details": {"reasoning_tokens": counts.reasoned},
        "total_tokens": counts.heard + counts.said,
    }


def response_object(body: dict[str, Any]) -> dict[str, Any]:
    """The response as it is at the start: in progress, with what the request asked for repeated."""
    reasoning = body.get("reasoning") or {}
    text = body.get("text") or {}
    return {
        "id": _id("resp"),
        "object": "response",
        "created_at": int(time.time()),
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "max_output_tokens": None,
        "max_tool_calls": None,
        "metadata": body.get("metadata") or {},
        "model": body["model"],
        "output": [],
        "parallel_tool_calls": body.get("parallel_tool_calls", True),
        "previous_response_id": None,
        "prompt_cache_key": body.get("prompt_cache_key"),
        "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
        "safety_identifier": None,
        "service_tier": body.get("service_tier") or "default",
        "store": bool(body.get("store", True)),
        "temperature": 1.0,
        "text": {"format": text.get("format") or {"type": "text"}, "verbosity": text.get("verbosity") or "medium"},
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": body.get("tools") or [],
        "top_logprobs": 0,
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": None,
        "user": None,
    }


def story(response: dict[str, Any], said: Sequence[Utterance], usage: dict[str, Any], fill: bool) -> Iterator[Event]:
    """All events of one answer, without their numbers. `fill`: the terminal event carries the output."""
    yield {"type": "response.created", "response": response}
    yield {"type": "response.in_progress", "response": response}
    items = [item_of(utterance) for utterance in said]
    for index, (utterance, item) in enumerate(zip(said, items, strict=True)):
        yield {"type": "response.output_item.added", "output_index": index, "item": _begun(item)}
        yield from _unfold(utterance, item, index)
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    yield {"type": "response.completed", "response": finished(response, items if fill else [], usage)}


def finished(response: dict[str, Any], output: list[dict[str, Any]], usage: dict[str, Any]) -> dict[str, Any]:
    return {**response, "status": "completed", "output": output, "usage": usage}


async def stream(events: Iterator[Event], delta_delay: float = 0.0, own: Sequence[Event] = ()) -> AsyncIterator[bytes]:
    """A story as SSE."""
    async for event in told(events, delta_delay, own):
        yield frame(event)


async def told(events: Iterator[Event], delta_delay: float = 0.0, own: Sequence[Event] = ()) -> AsyncIterator[Event]:
    """A story at its pace. Its events are numbered without a gap; `own` ones come unnumbered, before the first and before the last.

    An event of its own kind before `response.created` is what breaks the stream helpers of both official SDKs.
    """
    numbers = itertools.count()
    for event in own:
        yield event
    for event in events:
        if event["type"] == "response.completed":
            for other in own:
                yield other
        if delta_delay and event["type"].endswith(".delta"):
            await asyncio.sleep(delta_delay)
        yield {"type": event["type"], "sequence_number": next(numbers), **event}


def _unfold(said: Utterance, item: dict[str, Any], index: int) -> Iterator[Event]:
    at: dict[str, Any] = {"item_id": item["id"], "output_index": index}
    match said:
        case Reasoning(summary):
            at["summary_index"] = 0
            empty = {"type": "summary_text", "text": ""}
            yield {"type": "response.reasoning_summary_part.added", **at, "part": empty}
            for piece in pieces(summary):
                yield {"type": "response.reasoning_summary_text.delta", **at, "delta": piece}
            yield {"type": "response.reasoning_summary_text.done", **at, "text": summary}
            yield {"type": "response.reasoning_summary_part.done", **at, "part": item["summary"][0]}
        case Message(text, refusal):
            at["content_index"] = 0
            part = item["content"][0]
            kind, key = ("refusal", "refusal") if refusal else ("output_text", "text")
            extra: dict[str, Any] = {} if refusal else {"logprobs": []}
            yield {"type": "response.content_part.added", **at, "part": {**part, key: ""}}
            for piece in pieces(text):
                yield {"type": f"response.{kind}.delta", **at, "delta": piece, **extra}
            yield {"type": f"response.{kind}.done", **at, key: text, **extra}
            yield {"type": "response.content_part.done", **at, "part": part}
        case Call(_, arguments, kind):
            name, key = ("custom_tool_call_input", "input") if kind == "custom" else ("function_call_arguments", "arguments")
            for piece in pieces(arguments):
                yield {"type": f"response.{name}.delta", **at, "delta": piece}
            yield {"type": f"response.{name}.done", **at, key: arguments}


def _begun(item: dict[str, Any]) -> dict[str, Any]:
    """The item as it is announced: its values still empty."""
    empty = {"content": [], "summary": [], "arguments": "", "input": "", "status": "in_progress"}
    return {key: empty.get(key, value) for key, value in item.items() if key != "encrypted_content"}


def _id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(24)}"
