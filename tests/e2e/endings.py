"""How an answer ended, as a client sees that reads it strictly: whole, refused with a status, or failed within its stream."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx

Dialect = Literal["chat", "responses"]
PATHS: Mapping[Dialect, str] = {"chat": "chat/completions", "responses": "responses"}

# A client that waits for longer than any test does takes the answer for one that hangs.
PATIENCE = 30.0


@dataclass(frozen=True)
class Ending:
    """`how` is `strange` for an answer that no client could make sense of, and `code` then says why."""

    how: Literal["whole", "refused", "failed", "strange"]
    status: int
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, compare=False)


class Strange(Exception):
    """This is not how an answer may look."""


async def ask_for(
    client: httpx.AsyncClient, url: str, dialect: Dialect, stream: bool, text: str, headers: Mapping[str, str] | None = None
) -> Ending:
    """Asks, and reads the answer to its end. The fake repeats what it is told, so it is known what is whole."""
    asked = {"messages": [{"role": "user", "content": text}]} if dialect == "chat" else {"input": text}
    body = {"model": "gpt-5.5", "stream": stream} | asked
    try:
        answer = await client.post(f"{url}/{PATHS[dialect]}", json=body, headers=headers, timeout=PATIENCE)
    except httpx.TimeoutException:
        return Ending("strange", 0, f"it hangs, {PATIENCE:g} s without a byte")
    except httpx.HTTPError as e:
        return Ending("strange", 0, f"the connection broke: {e}")
    try:
        return ending_of(answer, dialect, stream, f"You said: {text}")
    except (Strange, ValueError, LookupError) as e:
        return Ending("strange", answer.status_code, f"{type(e).__name__}: {e}: {answer.text[-500:]}", answer.headers)


def ending_of(answer: httpx.Response, dialect: Dialect, stream: bool, whole: str) -> Ending:
    """Raises Strange, or what comes of reading something else than JSON."""
    if answer.status_code != 200:
        error = answer.json()["error"]
        _must(error.keys() >= {"message", "type", "param", "code"}, "an error that is not in OpenAI's envelope")
        return Ending("refused", answer.status_code, error["code"] or error["type"], answer.headers)
    kind = answer.headers["content-type"].partition(";")[0]
    _must(kind == ("text/event-stream" if stream else "application/json"), f"an answer of the type {kind}")
    if stream:
        failure, text = _STREAMS[dialect](answer.text)
    else:
        failure, text = None, _DOCUMENTS[dialect](answer.json())
    _must(text == whole if failure is None else whole.startswith(text), f"not what was said: {text}")
    return Ending("whole" if failure is None else "failed", 200, failure, answer.headers)


def _chat(document: dict[str, Any]) -> str:
    _must(document["choices"][0]["finish_reason"] == "stop", "a chat without its end")
    return str(document["choices"][0]["message"]["content"])


def _responses(document: dict[str, Any]) -> str:
    _must(document["status"] == "completed", "a response that is not completed")
    return str(document["output"][0]["content"][0]["text"])


def _chat_stream(stream: str) -> tuple[str | None, str]:
    """An error or a finish reason, one of them and once, right before the only `[DONE]`."""
    told = _data_of(stream)
    _must(told.count("[DONE]") == 1 and told[-1] == "[DONE]", "not one [DONE] at the end")
    chunks = [json.loads(data) for data in told[:-1]]
    ends = [c for c in chunks if "error" in c or any(choice["finish_reason"] for choice in c["choices"])]
    _must(len(ends) == 1 and chunks[-1] is ends[0], "not one end, and at the end")
    text = "".join(choice["delta"].get("content") or "" for c in chunks if "choices" in c for choice in c["choices"])
    return (_code(ends[0]["error"]) if "error" in ends[0] else None), text


def _responses_stream(stream: str) -> tuple[str | None, str]:
    """`response.completed`, or `error` and `response.failed`, and nothing behind them but the only `[DONE]`."""
    told = _data_of(stream)
    _must(told.count("[DONE]") == 1 and told[-1] == "[DONE]", "not one [DONE] at the end")
    events = [json.loads(data) for data in told[:-1]]
    kinds = [event["type"] for event in events]
    ends = [kind for kind in kinds if kind in ("error", "response.failed", "response.incomplete", "response.completed")]
    _must(ends in (["response.completed"], ["error", "response.failed"]) and kinds[-len(ends) :] == ends, f"ends {ends}")
    _must(kinds.count("response.created") == 1 and kinds[0] == "response.created", "not one begin")
    _must([event["sequence_number"] for event in events] == list(range(len(events))), "numbers with a gap")
    text = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    return (_code(events[-2]["error"]) if "error" in kinds else None), text


_DOCUMENTS = {"chat": _chat, "responses": _responses}
_STREAMS = {"chat": _chat_stream, "responses": _responses_stream}


def _data_of(stream: str) -> list[str]:
    """What stands behind each `data:`; every frame must be whole, comments are passed over."""
    _must(stream.endswith("\n\n"), "a frame that is cut short")
    lines = [line for line in stream.split("\n") if line and not line.startswith((":", "event: "))]
    _must(all(line.startswith("data: ") for line in lines), "a line that is none of an event's")
    return [line[6:] for line in lines]


def _code(error: dict[str, Any]) -> str:
    return str(error["code"] or error["type"])


def _must(fact: bool, otherwise: str) -> None:
    if not fact:
        raise Strange(otherwise)
