"""One call as the attributes of a span, by OpenTelemetry's semantic conventions for generative AI (`gen_ai.*`). Pure.

https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/. What they have no name for is below `codex_mitm.`. There is
nothing of what was said in it, and no message of an error, which can quote what was said.
"""

from collections.abc import Mapping
from typing import NamedTuple

from addons.telemetry.labels import endpoint_of
from addons.traffic.exchange import Attempt, Exchange
from addons.traffic.secrets import redacted_text
from addons.upstreams import bare_path
from addons.wire.usage import Usage

Value = str | int | float | bool

# The well-known values of gen_ai.operation.name. Responses are a chat to them.
OPERATIONS = {
    "/chat/completions": "chat",
    "/responses": "chat",
    "/responses/compact": "chat",
    "/completions": "text_completion",
    "/embeddings": "embeddings",
}
PROVIDER = "openai"

MAX_TEXT = 200
# OTLP's integers have 64 bits, and upstream can write any number.
MOST = 1 << 40


class Server(NamedTuple):
    host: str
    port: int


def span_name(call: Exchange) -> str:
    """`chat gpt-6-luna`; for what is no question to a model `GET /v1/files/*`."""
    operation = OPERATIONS.get(bare_path(call.endpoint))
    if not operation:
        return f"{call.method} {endpoint_of(call.endpoint)}"
    return f"{operation} {text(call.model_used or call.model_asked)}".rstrip()


def attributes_of(call: Exchange, server: Server | None) -> dict[str, Value]:
    """`server` is None if the call was not sent upstream."""
    told: dict[str, Value | None] = {
        "gen_ai.operation.name": OPERATIONS.get(bare_path(call.endpoint)),
        "gen_ai.provider.name": PROVIDER,
        "gen_ai.request.model": call.model_asked,
        "gen_ai.request.stream": call.stream,
        "gen_ai.response.model": call.model_used,
        "gen_ai.response.time_to_first_chunk": call.first_token,
        "http.request.method": call.method,
        "http.response.status_code": call.status,
        "error.type": error_type(call),
        "codex_mitm.request.id": call.id,
        "codex_mitm.endpoint": endpoint_of(call.endpoint),
        "codex_mitm.outcome": call.outcome,
        "codex_mitm.account": call.account,
        "codex_mitm.key": call.client.label,
        "codex_mitm.upstream": call.upstream,
        "codex_mitm.attempts": len(call.attempts),
        "codex_mitm.queued_seconds": call.queued,
    }
    return known(told | of_usage(call.tokens) | of_server(server))


def attributes_of_attempt(attempt: Attempt, server: Server | None) -> dict[str, Value]:
    failed = attempt.status is None or attempt.status >= 400
    told: dict[str, Value | None] = {
        "http.response.status_code": attempt.status,
        "error.type": (attempt.failure or str(attempt.status or "")) if failed else None,
        "codex_mitm.account": attempt.account,
        "codex_mitm.waited_seconds": attempt.waited or None,
    }
    return known(told | of_server(server))


def of_usage(tokens: Usage | None) -> dict[str, Value | None]:
    if tokens is None:
        return {}
    return {
        "gen_ai.usage.input_tokens": tokens.input_tokens,
        "gen_ai.usage.output_tokens": tokens.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": tokens.cached_tokens,
        "gen_ai.usage.reasoning.output_tokens": tokens.reasoning_tokens,
    }


def of_server(server: Server | None) -> dict[str, Value | None]:
    return {"server.address": server.host, "server.port": server.port} if server else {}


def error_type(call: Exchange) -> str | None:
    """A code of OpenAI's or ours, one of few; None if nothing failed, as when a client leaves."""
    if not call.failed:
        return None
    return (call.error.code or call.error.type if call.error else "") or call.outcome


def known(told: Mapping[str, Value | None]) -> dict[str, Value]:
    """Without what nobody knows, and each value as it can be sent."""
    found: dict[str, Value] = {}
    for name, value in told.items():
        if isinstance(value, str):
            value = text(value)
        elif type(value) is int:
            value = max(-MOST, min(value, MOST))
        if value is not None and value != "":
            found[name] = value
    return found


def text(value: str) -> str:
    """Some of it is what clients write, as a model's name: half a surrogate pair cannot be sent, and a key is not to be."""
    if len(value) < 20 and value.isascii():
        return value  # shorter than any secret
    return redacted_text(value.encode("utf-8", "replace").decode())[:MAX_TEXT]
