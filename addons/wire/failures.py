"""How an answer of upstream's fails, as one `OpenAIError`: its status if the client has none yet, its body if there is a stream.

error              bare, flat or nested, some with a status of their own (the WebSocket's shape), some only `{"detail": ...}`
response.failed    the error is in the response
no terminal event  upstream was cut off, which must never look like an answer that is complete
no event at all    what came is not readable
"""

from collections.abc import Mapping
from typing import Any

import orjson

from addons.wire import delays
from addons.wire.errors import MAX_MESSAGE, OpenAIError, kind_of

# The status under which api.openai.com refuses with that code before a stream begins. The SDKs choose their exception, and
# whether to try again, by status alone.
STATUS_BY_CODE = {
    "rate_limit_exceeded": 429,
    "slow_down": 429,
    "usage_limit_reached": 429,
    "usage_not_included": 429,
    "insufficient_quota": 429,
    "credit_balance_exhausted": 429,
    "organization_spend_limit_exceeded": 429,
    "project_spend_limit_exceeded": 429,
    "invalid_prompt": 400,
    "context_length_exceeded": 400,
    "content_filter": 400,
    "model_not_found": 400,
    "previous_response_not_found": 400,
    "unsupported_parameter": 400,
    "unsupported_value": 400,
    "bio_policy": 403,
    "cyber_policy": 403,
    "misalignment_policy_violation": 403,
    "server_error": 500,
    "server_is_overloaded": 503,
}
STATUS_BY_PREFIX = {"image_": 400, "invalid_": 400, "": 502}

# Nothing but time or money helps: the SDKs would ask twice more within seconds.
FINAL = {
    "usage_limit_reached",
    "usage_not_included",
    "insufficient_quota",
    "credit_balance_exhausted",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
}

CUT_OFF = OpenAIError(
    502, "upstream's stream ended before the answer was complete", code="upstream_stream_incomplete", type="server_error"
)


def unreadable(why: str) -> OpenAIError:
    return OpenAIError(502, f"upstream sent {why}"[:MAX_MESSAGE], code="upstream_error", type="server_error")


def of_error_event(event: Mapping[str, Any]) -> OpenAIError:
    inner = event.get("error")
    told: Mapping[str, Any] = inner if isinstance(inner, dict) else {**event, "type": None}
    status = next((s for s in (event.get("status"), event.get("status_code")) if type(s) is int and 400 <= s <= 599), None)
    return _failure(told, status, fallback=inner if isinstance(inner, str) else event.get("detail"))


def of_response(response: Mapping[str, Any]) -> OpenAIError:
    told = response.get("error")
    return _failure(told if isinstance(told, dict) else {}, None, fallback=None)


def in_event(error: OpenAIError) -> dict[str, Any]:
    """The envelope's inner object, for a frame of a stream."""
    inner: dict[str, Any] = orjson.loads(error.body())["error"]
    return inner


def _failure(told: Mapping[str, Any], status: int | None, fallback: Any) -> OpenAIError:
    kind, code = _text(told, "type"), _text(told, "code")
    if code is None and kind in STATUS_BY_CODE:  # with the backend's 429 the type is what tells them apart
        code = kind
    status = status or _status_of(code or "")
    message = _text(told, "message") or (fallback if isinstance(fallback, str) else None)
    return OpenAIError(
        status,
        (message or "upstream failed without saying why")[:MAX_MESSAGE],
        code=code or "upstream_error",
        type=kind or kind_of(status)[0],
        param=_text(told, "param"),
        headers=_retry_headers(told, code, message or ""),
    )


def _status_of(code: str) -> int:
    return STATUS_BY_CODE.get(code) or next(s for prefix, s in STATUS_BY_PREFIX.items() if code.startswith(prefix))


def _retry_headers(told: Mapping[str, Any], code: str | None, message: str) -> dict[str, str]:
    headers: dict[str, str] = {}
    if code in FINAL:
        headers["x-should-retry"] = "false"
    seconds = told.get("resets_in_seconds")
    if type(seconds) is int and seconds >= 0:
        headers["retry-after"] = str(seconds)
    elif (wait := delays.in_message(message)) is not None:
        headers["retry-after-ms"] = f"{wait * 1000:.0f}"
    return headers


def _text(told: Mapping[str, Any], name: str) -> str | None:
    value = told.get(name)
    return value if isinstance(value, str) and value else None
