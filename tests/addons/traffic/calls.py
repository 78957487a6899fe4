"""Calls as the proxy's addon would hand them over, and a database filled with them."""

import json
from pathlib import Path
from typing import Any

from addons.traffic.exchange import Attempt, Bodies, Body, Chunk, Client, Exchange, Failure, QuotaWindow
from addons.traffic.headers import Headers
from addons.traffic.writer import Recorder
from addons.wire.plan import Edit
from addons.wire.usage import Usage

NOON = 1_763_726_400.0  # 2025-11-21 12:00 UTC
WAIT = 20.0

ASKED = {"model": "gpt-4.1-nano", "temperature": 0.3, "messages": [{"role": "user", "content": "Say hello."}]}
SENT = {"model": "gpt-6-luna", "input": [{"role": "user", "content": "Say hello."}], "store": False, "stream": True}

EVENTS = [
    (0.41, b'event: response.created\ndata: {"type":"response.created"}\n\nevent: response.output_text.delta\n'),
    (0.92, b'data: {"type":"response.output_text.delta","delta":"Hel"}\n\n'),
    (1.40, b'event: response.completed\ndata: {"type":"response.completed"}\n\n'),
]
ANSWER = [(0.95, b'data: {"choices":[{"delta":{"content":"Hel"}}]}\n\n'), (1.42, b"data: [DONE]\n\n")]


def call(number: int = 1, **changes: Any) -> Exchange:
    """A call that went well; `changes` are fields of Exchange."""
    fields: dict[str, Any] = {
        "id": f"req_{number:08x}{number * 7919:024x}",
        "started": NOON + number,
        "ended": 1.42,
        "endpoint": "/v1/chat/completions",
        "outcome": "complete",
        "client": Client("", "OpenAI/Python 3.52.0", "127.0.0.1"),
        "first_byte": 0.41,
        "first_token": 0.92,
        "longest_gap": 0.51,
        "dialect": "chat",
        "stream": True,
        "model_asked": "gpt-4.1-nano",
        "model_used": "gpt-6-luna",
        "account": "ada",
        "account_why": "the conversation is here",
        "upstream": "codex",
        "attempts": (Attempt("ada", 0.01, 200, outcome="answered"),),
        "edits": (
            Edit("mapped", "model", "policy.yaml: gpt-4.1-nano is @smallest"),
            Edit("dropped", "temperature", "the backend does not take it"),
        ),
        "status": 200,
        "tokens": Usage(812, 344, cached_tokens=640, reasoning_tokens=120, total_tokens=1156, model="gpt-6-luna"),
        "quota": (QuotaWindow(300, 38.0, NOON + 9000), QuotaWindow(10080, 12.0, NOON + 400_000)),
        "client_headers": Headers([("Content-Type", "application/json"), ("User-Agent", "OpenAI/Python 3.52.0")]),
        "upstream_headers": Headers([("content-type", "text/event-stream"), ("cf-ray", "8e"), ("x-new", "1")]),
        "answer_headers": Headers([("content-type", "text/event-stream; charset=utf-8"), ("x-request-id", f"req_{number}")]),
        "events": {"response.created": 1, "response.output_text.delta": 1, "response.completed": 1},
        "event_fields": frozenset({"response.created: response.id"}),
    }
    return Exchange(**(fields | changes))


def refused(number: int = 1, **changes: Any) -> Exchange:
    fields: dict[str, Any] = {
        "outcome": "refused",
        "status": 429,
        "first_token": None,
        "tokens": None,
        "error": Failure("usage_limit_reached", "usage_limit_reached", "The usage limit has been reached"),
    }
    return call(number, **(fields | changes))


def with_bodies(number: int = 1, **changes: Any) -> Exchange:
    bodies = Bodies(
        Body.whole(json.dumps(ASKED).encode()),
        Body.whole(json.dumps(SENT).encode(), 0.01),
        Body(tuple(Chunk(*chunk) for chunk in EVENTS)),
        Body(tuple(Chunk(*chunk) for chunk in ANSWER)),
    )
    return call(number, **({"bodies": bodies} | changes))


def record(path: Path, *exchanges: Exchange, **how: Any) -> Path:
    """Written and closed."""
    recorder = Recorder(path, clock=lambda: NOON + 60, **how)
    recorder.start()
    assert all([recorder.put(exchange) for exchange in exchanges])
    assert recorder.flush(WAIT)
    recorder.close(WAIT)
    return path
