"""Answers of our own, and JSON instead of HTML where mitmproxy refuses something by itself."""

import uuid
from collections.abc import Mapping

from mitmproxy import http
from mitmproxy.net.http import http1

from addons.engine.course import Cause
from addons.wire.errors import OpenAIError


def error_response(error: OpenAIError) -> http.Response:
    """The answer for a refusal of our own: the envelope."""
    return json_response(error.status, error.body(), error.headers)


def json_response(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> http.Response:
    """An answer of our own, with a request id as OpenAI's answers have."""
    head = {"content-type": "application/json", "x-request-id": f"req_{uuid.uuid4().hex}", **(headers or {})}
    return http.Response.make(status, body, head)


# `retry-after`: a proxy that is started anew listens after about two seconds.
PROXY_STOPPED = OpenAIError(
    503,
    "the proxy was stopped before the end",
    code="proxy_stopped",
    type="server_error",
    headers={"retry-after": "2"},
)

# What the client is told of an upstream that gave no answer. Its own words are not quoted: they may be anything.
NO_ANSWER: Mapping[Cause, tuple[int, str, str]] = {
    "refused": (502, "upstream_error", "refuses connections"),
    "unreachable": (502, "upstream_error", "could not be reached"),
    "tls": (502, "upstream_error", "could not be reached: its certificate or its TLS is not accepted"),
    "stale": (502, "upstream_error", "closed the connection without an answer"),
    "reset_before_answer": (502, "upstream_error", "closed the connection without an answer"),
    "not_http": (502, "upstream_error", "did not answer in HTTP"),
    "cut_off": (502, "upstream_error", "broke off in the middle of its answer"),
    "first_byte_timeout": (504, "upstream_timeout", "did not begin to answer in time (option codex_first_byte_timeout)"),
    "first_byte": (504, "upstream_timeout", "did not begin to answer in time (option codex_first_byte_timeout)"),
    "idle": (504, "upstream_timeout", "fell silent in the middle of the answer (option codex_idle_timeout)"),
    "total": (504, "upstream_timeout", "did not finish the answer in time (option codex_total_timeout)"),
}


def no_answer(upstream: str, cause: Cause, detail: str = "") -> OpenAIError:
    if cause == "shutdown":
        return PROXY_STOPPED
    status, code, what = NO_ANSWER[cause]
    return OpenAIError(status, f"{upstream} {what}" + (f": {detail}" if detail else ""), code=code, type="server_error")


def malformed(status: int, message: str = "") -> bytes:
    """In place of mitmproxy's HTML page."""
    # mitmproxy's message for a malformed request quotes the line, which may be the one with the client's key.
    if status == 400:
        message = "the request is not valid HTTP"
    elif status == 431:
        message = "the head of the request is larger than any client needs"
    elif status == 413:
        message = "the request body is over the limit of this proxy (option body_size_limit)"
    else:
        message = f"the upstream could not be reached or did not answer in HTTP: {message}"
    response = error_response(OpenAIError(status, message))
    response.headers["connection"] = "close"
    return http1.assemble_response(response)
