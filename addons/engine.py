"""What this suite needs of mitmproxy's HTTP layers that no hook offers. The only file that knows their insides.

    resend(flow)                  the response hook asks for the request to go out once more; the second answer streams
    put_on_the_wire(flow, ...)    secret headers that reach the upstream's socket and never the flow
    hold_head(flow, ...)          an answer that streams keeps its head back until its first byte comes out of the stages
    answer_instead(flow, ...)     meanwhile: another answer takes its place, with its own status
    end_answer(flow, ...)         the client has what it asked for: end its body here, and stop upstream
    body_was_too_large(flow)      `body_size_limit`, kept in memory and answered politely
    (always)                      JSON instead of HTML for what mitmproxy refuses by itself, and no request bytes in its log

Written against mitmproxy 12.2, HTTP/1.1 on both sides (`serve.py` sets `http2` to false). `install()` compares every function
that it wraps with the signature it was written for and refuses a mitmproxy that looks different, rather than run beside it.

How a request goes out (mitmproxy/proxy/layers/http): `HttpStream` is a layer of generators that yield commands. It buffers the
request, yields the `request` hook, asks for a connection, and yields `SendHttp(RequestHeaders(...))`, which `Http1Client.send`
turns into bytes. The answer comes back as events; `send_response` yields the `response` hook and then hands the answer on.
"""

import inspect
import uuid
from collections.abc import Callable, Generator, Mapping
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from mitmproxy import flow as mitmproxy_flow
from mitmproxy import http
from mitmproxy.net.http import http1
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.layers.http import HttpStream, SendHttp, _http1
from mitmproxy.proxy.layers.http._events import (
    ErrorCode,
    RequestData,
    RequestEndOfMessage,
    RequestHeaders,
    RequestProtocolError,
    RequestTrailers,
    ResponseData,
    ResponseEndOfMessage,
    ResponseProtocolError,
    ResponseTrailers,
)
from mitmproxy.proxy.layers.http._hooks import HttpErrorHook, HttpResponseHook
from mitmproxy.utils import human

from addons.wire.errors import OpenAIError

# A body over the limit is read on and thrown away up to this many times the limit, because a client that is still sending does
# not look at the answer and would see a broken connection instead of the 413. Beyond that it is cut off.
HOPELESS_BODY = 4

# Seconds between the last event of an answer and the end of upstream's body. The same packet, as a rule; a client that reads to
# the end of the body would wait as long (nanobot hangs for as long as upstream lingers).
UPSTREAMS_END = 0.5

# Seconds. An upstream that refuses does it at once, and a client should know soon that somebody is there.
HELD_AT_MOST = 5.0

_resend: WeakSet[http.HTTPFlow] = WeakSet()
_wire_headers: WeakKeyDictionary[http.Request, Mapping[str, str]] = WeakKeyDictionary()
_head_held: WeakKeyDictionary[http.HTTPFlow, Callable[[], list[bytes]] | None] = WeakKeyDictionary()
_knows_the_end: WeakSet[http.HTTPFlow] = WeakSet()
_instead: WeakKeyDictionary[http.HTTPFlow, http.Response] = WeakKeyDictionary()
_ended: WeakKeyDictionary[http.HTTPFlow, float] = WeakKeyDictionary()
_lingering: WeakSet[http.HTTPFlow] = WeakSet()
_stopped: WeakSet[http.HTTPFlow] = WeakSet()
_discarded: WeakKeyDictionary[http.HTTPFlow, int] = WeakKeyDictionary()


class EngineMismatch(Exception):
    """This mitmproxy is not the one that the engine was written for. Install one within pyproject.toml's bounds."""


def resend(flow: http.HTTPFlow) -> None:
    """From a `response` hook: drop this answer and send the request again, to wherever the flow now points.

    The answer must have been buffered (no `flow.response.stream`), which refusals are. Headers for the wire are kept.
    """
    _resend.add(flow)


def is_resending(flow: http.HTTPFlow) -> bool:
    return flow in _resend


def put_on_the_wire(flow: http.HTTPFlow, headers: Mapping[str, str]) -> None:
    """Send these headers with the flow's request, in place of any of the same name, without writing them on the flow.

    Whatever looks at flows (mitmweb, save_stream_file, hardump, other scripts) thus has nothing to leak, at any moment.
    """
    _wire_headers[flow.request] = dict(headers)


def take_off_the_wire(flow: http.HTTPFlow) -> None:
    _wire_headers.pop(flow.request, None)


def hold_head(flow: http.HTTPFlow, release: Callable[[], list[bytes]] | None = None) -> None:
    """From `responseheaders`, for an answer that streams: its status is not yet sure, so the client is not told yet.

    After `HELD_AT_MOST` seconds it is told all the same, and gets what `release` returns; without `release` it waits as long as the
    stages do. The stages see an upstream that breaks off as one that ends: whether it was the end is theirs to know.
    """
    _head_held[flow] = release


def head_is_held(flow: http.HTTPFlow) -> bool:
    return flow in _head_held


def answer_instead(flow: http.HTTPFlow, response: http.Response) -> None:
    """From a stage, while the head is held: the client gets this, whole, and upstream is not read any further."""
    assert flow in _head_held, "the client has its answer's head already"
    _instead[flow] = response


def end_answer(flow: http.HTTPFlow, *, at_once: bool) -> None:
    """From a stage: what it returns now is the last the client gets, in a body that ends in good form.

    Not `at_once`, upstream has a moment to come to its own end, so that its connection can be used again.
    """
    _ended[flow] = 0.0 if at_once else UPSTREAMS_END


def body_was_too_large(flow: http.HTTPFlow) -> bool:
    """True in the `request` hook of a request whose body passed `body_size_limit`; its content is empty then."""
    return flow in _discarded


def error_response(error: OpenAIError) -> http.Response:
    """The answer for a refusal of our own: the envelope."""
    return json_response(error.status, error.body(), error.headers)


def json_response(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> http.Response:
    """An answer of our own, with a request id as OpenAI's answers have."""
    head = {"content-type": "application/json", "x-request-id": f"req_{uuid.uuid4().hex}", **(headers or {})}
    return http.Response.make(status, body, head)


# --- resend -----------------------------------------------------------------------------------------------------------


def _send_response(self: HttpStream, already_streamed: bool = False) -> layer.CommandGenerator[None]:
    steps: Generator[Any, Any, None] = _original[HttpStream, "send_response"](self, already_streamed)
    reply = None
    while True:
        try:
            command = steps.send(reply)
        except StopIteration:
            return
        reply = yield command
        if isinstance(command, HttpResponseHook) and self.flow in _resend:
            _resend.discard(self.flow)
            steps.close()
            return (yield from _send_again(self))


def _send_again(self: HttpStream) -> layer.CommandGenerator[None]:
    if (yield from self.check_killed(True)):  # the client has left meanwhile
        return
    self.flow.response = None
    self.server_state = self.state_wait_for_response_headers
    if not (yield from self.make_server_connection()):
        return
    request = self.flow.request
    content = request.raw_content
    yield SendHttp(RequestHeaders(self.stream_id, request, not (content or request.trailers)), self.context.server)
    if content:
        yield SendHttp(RequestData(self.stream_id, content), self.context.server)
    if request.trailers:
        yield SendHttp(RequestTrailers(self.stream_id, request.trailers), self.context.server)
    yield SendHttp(RequestEndOfMessage(self.stream_id), self.context.server)


# --- an answer whose head waits, and one that ends early ----------------------------------------------------------------


def _start_response_stream(self: HttpStream) -> layer.CommandGenerator[None]:
    if self.flow in _head_held:
        self.server_state = self.state_stream_response_body
        _knows_the_end.add(self.flow)
        if _head_held[self.flow]:
            yield commands.RequestWakeup(HELD_AT_MOST)
    else:
        yield from _original[HttpStream, "start_response_stream"](self)


def _stream_response_body(self: HttpStream, event: Any) -> layer.CommandGenerator[None]:
    steps: Generator[Any, Any, None] = _original[HttpStream, "state_stream_response_body"](self, event)
    for command in steps:
        if self.flow in _instead:  # said by the stage, which has just run
            steps.close()
            break
        if self.flow in _head_held:
            yield from _release_head(self)
        yield command
    if self.flow in _instead:
        _head_held.pop(self.flow, None)
        self.flow.response = _instead.pop(self.flow)
        yield from _stop_upstream(self, event)
        yield from self.send_response()
    elif (moment := _ended.pop(self.flow, None)) is not None and not isinstance(event, ResponseEndOfMessage):
        if moment:
            _lingering.add(self.flow)
            yield commands.RequestWakeup(moment)
        else:
            yield from _end_now(self, event)


# What may still come from an upstream that was stopped: data on its way, and its end, which looks like an answer that broke off.
_OF_UPSTREAM = (ResponseData, ResponseTrailers, ResponseEndOfMessage, ResponseProtocolError)


def _handle_event(self: HttpStream, event: Any) -> layer.CommandGenerator[None]:
    if isinstance(event, events.Wakeup):
        yield from _on_wakeup(self, event)
    elif isinstance(event, ResponseProtocolError) and _breaks_off(self):
        yield from self.server_state(ResponseEndOfMessage(self.stream_id))
    elif not (isinstance(event, _OF_UPSTREAM) and self.flow in _stopped):
        yield from _original[HttpStream, "_handle_event"](self, event)


def _breaks_off(self: HttpStream) -> bool:
    return self.server_state == self.state_stream_response_body and self.flow in _knows_the_end


def _on_wakeup(self: HttpStream, event: Any) -> layer.CommandGenerator[None]:
    if self.server_state != self.state_stream_response_body:
        return
    if self.flow in _lingering:
        yield from _end_now(self, event)
    elif release := _head_held.get(self.flow):
        yield from _release_head(self)
        for chunk in release():
            yield SendHttp(ResponseData(self.stream_id, chunk), self.context.client)


def _release_head(self: HttpStream) -> layer.CommandGenerator[None]:
    _head_held.pop(self.flow, None)
    yield from _original[HttpStream, "start_response_stream"](self)


def _end_now(self: HttpStream, event: Any) -> layer.CommandGenerator[None]:
    yield from _stop_upstream(self, event)
    yield from self.send_response(already_streamed=True)


def _stop_upstream(self: HttpStream, event: Any) -> layer.CommandGenerator[None]:
    if isinstance(event, ResponseEndOfMessage):
        return
    self.server_state = self.state_done
    _stopped.add(self.flow)
    yield SendHttp(RequestProtocolError(self.stream_id, "not needed any more", ErrorCode.CANCEL), self.context.server)


# --- secrets on the wire only -----------------------------------------------------------------------------------------


def _client_send(self: _http1.Http1Client, event: Any) -> layer.CommandGenerator[None]:
    if isinstance(event, RequestHeaders) and (secret := _wire_headers.get(event.request)):
        request = event.request.copy()
        for name, value in secret.items():
            request.headers[name] = value
        event = RequestHeaders(event.stream_id, request, event.end_stream)
    yield from _original[_http1.Http1Client, "send"](self, event)


# --- bodies over the limit --------------------------------------------------------------------------------------------


def _check_body_size(self: HttpStream, request: bool) -> layer.CommandGenerator[bool]:
    # An answer is not measured: it streams, or is a refusal of a few hundred bytes.
    limit = human.parse_size(self.context.options.body_size_limit)
    if not request or limit is None:
        return False
    seen = _discarded.get(self.flow, 0) + len(self.request_body_buf)
    if seen > limit * HOPELESS_BODY:
        return (yield from _cut_off(self))
    if seen > limit:
        _discarded[self.flow] = seen
        self.request_body_buf.clear()
    return False


def _cut_off(self: HttpStream) -> layer.CommandGenerator[bool]:
    """What mitmproxy does at once with a body over the limit: answer, and close while the client is still sending."""
    self.flow.error = mitmproxy_flow.Error("the request body goes on far beyond body_size_limit")
    yield HttpErrorHook(self.flow)
    refusal = ResponseProtocolError(self.stream_id, self.flow.error.msg, ErrorCode.REQUEST_TOO_LARGE)
    yield SendHttp(refusal, self.context.client)
    self.client_state = self.state_errored
    self.flow.live = False
    return True


# --- what mitmproxy says by itself ------------------------------------------------------------------------------------


def _make_error_response(status_code: int, message: str = "") -> bytes:
    # mitmproxy's message for a malformed request quotes the line, which may be the one with the client's key.
    if status_code == 400:
        message = "the request is not valid HTTP"
    elif status_code == 413:
        message = "the request body is over the limit of this proxy (option body_size_limit)"
    else:
        message = f"the upstream could not be reached or did not answer in HTTP: {message}"
    response = error_response(OpenAIError(status_code, message))
    response.headers["connection"] = "close"
    return http1.assemble_response(response)


def _read_request_headers(self: _http1.Http1Server, event: Any) -> layer.CommandGenerator[None]:
    for command in _original[_http1.Http1Server, "read_headers"](self, event):
        if isinstance(command, commands.Log):  # quotes what the client sent, its credential included
            command = commands.Log("a client sent a request head that is cut short or malformed", command.level)
        yield command


# --- installation -----------------------------------------------------------------------------------------------------

# (where, name) -> (the parameters it had when this was written, what takes its place)
_WRAPPED: dict[tuple[Any, str], tuple[tuple[str, ...], Callable[..., Any]]] = {
    (HttpStream, "send_response"): (("self", "already_streamed"), _send_response),
    (HttpStream, "check_body_size"): (("self", "request"), _check_body_size),
    (HttpStream, "_handle_event"): (("self", "event"), _handle_event),
    (HttpStream, "start_response_stream"): (("self",), _start_response_stream),
    (HttpStream, "state_stream_response_body"): (("self", "event"), _stream_response_body),
    (_http1.Http1Client, "send"): (("self", "event"), _client_send),
    (_http1.Http1Server, "read_headers"): (("self", "event"), _read_request_headers),
    (_http1, "make_error_response"): (("status_code", "message"), _make_error_response),
}
# Not wrapped, but called or yielded from here.
_CALLED: dict[tuple[Any, str], tuple[str, ...]] = {
    (HttpStream, "check_killed"): ("self", "emit_error_hook"),
    (HttpStream, "make_server_connection"): ("self",),
    (HttpStream, "state_wait_for_response_headers"): ("self", "event"),
}
_original: dict[tuple[Any, str], Callable[..., Any]] = {}


def install() -> None:
    """Wrap mitmproxy's functions, once in this process. Raises EngineMismatch before anything is touched."""
    if _original:
        return
    expected = {key: parameters for key, (parameters, _) in _WRAPPED.items()} | _CALLED
    for (owner, name), parameters in expected.items():
        found = getattr(owner, name, None)
        seen = tuple(inspect.signature(found).parameters) if callable(found) else None
        if seen != parameters:
            raise EngineMismatch(f"{owner.__name__}.{name} takes {seen}, not {parameters}: mitmproxy >=12.2,<13 is needed")
    for (owner, name), (_, replacement) in _WRAPPED.items():
        _original[owner, name] = getattr(owner, name)
        setattr(owner, name, replacement)
