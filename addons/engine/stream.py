"""What `HttpStream`, mitmproxy's layer for one exchange, does besides. Each function here takes the place of one of its methods.

How a request goes out (mitmproxy/proxy/layers/http): the layer is made of generators that yield commands. It buffers the
request, yields the `request` hook, asks for a connection, and yields `SendHttp(RequestHeaders(...))`, which `Http1Client.send`
turns into bytes. The answer comes back as events; `send_response` yields the `response` hook and then hands the answer on.

An attempt that fails before the client has been told anything ends in the `response` hook, whatever failed: upstream's own
refusal, one that a stage has read in the stream (`answer_instead`), or one that is made here because there is no answer at all.
So there is one place in which to decide about another attempt (`resend`).
"""

import time
from collections.abc import Generator
from typing import Any
from weakref import WeakSet

from mitmproxy import connection, ctx
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.layers.http import GetHttpConnection, HttpStream, SendHttp
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
from mitmproxy.proxy.layers.http._hooks import HttpResponseHeadersHook, HttpResponseHook

from addons.engine.clock import due
from addons.engine.course import Cause, Course, Lapse, course_of
from addons.engine.originals import original
from addons.engine.refusals import error_response, no_answer
from addons.engine.telling import (
    CUT_OFF,
    break_off,
    conclude,
    end_here,
    end_with,
    hang_up_on_upstream,
    is_of_the_body,
    send_head,
    state_stream_response_body,
    stop_upstream,
    tell,
)
from addons.engine.timers import http_layer, set_timer, timers_of
from addons.wire.verdict import Broken

Commands = layer.CommandGenerator[None]

# Upstream connections that have carried a request.
_used: WeakSet[connection.Server] = WeakSet()

# What may still come from an upstream that was stopped: data on its way, and its end, which looks like an answer that broke off.
OF_UPSTREAM = (ResponseData, ResponseTrailers, ResponseEndOfMessage, ResponseProtocolError)


# --- attempts ---------------------------------------------------------------------------------------------------------


def make_server_connection(self: HttpStream) -> layer.CommandGenerator[bool]:
    """Every attempt begins here, the first and the next ones."""
    course = course_of(self.flow)
    course.begin_attempt(time.monotonic())
    if course.watch:
        yield from set_timer(self, course)
        yield from _watch_connecting(self, course)
    found: bool = yield from original[HttpStream, "make_server_connection"](self)
    if found:
        course.reused = self.flow.server_conn in _used
        _used.add(self.flow.server_conn)
    return found


def send_response(self: HttpStream, already_streamed: bool = False) -> Commands:
    steps: Generator[Any, Any, None] = original[HttpStream, "send_response"](self, already_streamed)
    course, reply = course_of(self.flow), None
    while True:
        try:
            command = steps.send(reply)
        except StopIteration:
            return
        reply = yield command
        if isinstance(command, HttpResponseHook) and course.resend:
            course.resend = False
            steps.close()
            return (yield from _send_again(self))
        if course.last_words and is_of_the_body(command):  # said in the hook, of an answer that did not stream
            steps.close()
            return (yield from break_off(self, CUT_OFF))


def _send_again(self: HttpStream) -> Commands:
    if (yield from self.check_killed(True)):  # the client has left meanwhile
        return
    # What is left of the attempt before: none of its connection's events may be taken for one of the next.
    stale = [event for event in self._paused_event_queue if isinstance(event, OF_UPSTREAM)]
    for event in stale:
        self._paused_event_queue.remove(event)
    self.response_body_buf.clear()
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


def handle_protocol_error(self: HttpStream, event: RequestProtocolError | ResponseProtocolError) -> Commands:
    course = course_of(self.flow)
    if not isinstance(event, ResponseProtocolError) or not course.watch or not _awaits_an_answer(self):
        yield from original[HttpStream, "handle_protocol_error"](self, event)
    elif event.code is not ErrorCode.CONNECT_FAILED:
        begun = self.server_state == self.state_consume_response_body
        yield from stop_upstream(self)
        yield from _answer_for_upstream(self, "cut_off" if begun else _how_it_broke(event.message, course.reused))
    elif course.ending:
        yield from _answer_for_upstream(self, "shutdown")
    elif time.monotonic() >= course.asked + course.watch.limits.first_byte:
        yield from _answer_for_upstream(self, "first_byte")  # ended by `Connecting`, below
    else:
        yield from _answer_for_upstream(self, _why_not_connected(event.message), event.message)


# What mitmproxy says of a connection, in lower case, and what that means. Python's words for a port where nobody listens end the
# list of addresses that were tried ("Multiple exceptions: [Errno 111] Connect call failed ...").
NOT_CONNECTED: dict[str, Broken] = {"certificate": "tls", "tls": "tls", "connect call failed": "refused", "refused": "refused"}
NOT_HTTP = ("cannot parse", "unexpected server response", "protocol error")


def _why_not_connected(message: str) -> Broken:
    return next((cause for mark, cause in NOT_CONNECTED.items() if mark in message.lower()), "unreachable")


def _how_it_broke(message: str, reused: bool) -> Broken:
    if any(mark in message.lower() for mark in NOT_HTTP):
        return "not_http"
    return "stale" if reused else "reset_before_answer"


def _awaits_an_answer(self: HttpStream) -> bool:
    """The client's request is whole, it still listens, and has been told nothing."""
    awaiting = (self.state_wait_for_response_headers, self.state_consume_response_body)
    return self.client_state == self.state_done and self.server_state in awaiting and self.flow.error is None


def _answer_for_upstream(self: HttpStream, cause: Cause, detail: str = "") -> Commands:
    course = course_of(self.flow)
    _forget_failed_connections(self)
    course.failure = cause
    course.held = False
    self.flow.response = error_response(no_answer(self.flow.request.host, cause, detail))
    self.flow.response.timestamp_start = time.time()
    self.server_state = self.state_done
    course.stopped = True
    yield HttpResponseHeadersHook(self.flow)
    if (yield from self.check_killed(True)):
        return
    yield from self.send_response()


def _forget_failed_connections(self: HttpStream) -> None:
    """mitmproxy keeps a connection that could not be made, and would hand out its error for as long as the client stays."""
    connections = http_layer(self).connections
    for failed in [found for found in connections if isinstance(found, connection.Server) and found.error]:
        del connections[failed]


# --- events, and the time in which there are none ---------------------------------------------------------------------


def handle_event(self: HttpStream, event: Any) -> Commands:
    if isinstance(event, events.Wakeup):
        yield from _on_timer(self, event)
    elif isinstance(event, OF_UPSTREAM):
        course = course_of(self.flow)
        if isinstance(event, ResponseData) and _nothing_comes_between(self, course):
            yield from state_stream_response_body(self, event)
            return
        if course.split and isinstance(event, ResponseData):
            course.backlog.extend(ResponseData(self.stream_id, piece) for piece in course.split(event.data) if piece)
        else:
            course.backlog.append(event)
        yield from _hear_upstream(self, course)
    else:
        yield from original[HttpStream, "_handle_event"](self, event)


def _nothing_comes_between(self: HttpStream, course: Course) -> bool:
    """So it is with nearly all words of nearly all answers."""
    waits = course.backlog or course.split or course.paused_until is not None or course.stopped
    return not waits and self.server_state == self.state_stream_response_body


def _hear_upstream(self: HttpStream, course: Course) -> Commands:
    """What it has said, in order, as far as it may be looked at now."""
    while course.backlog and course.paused_until is None and not course.stopped:
        event = course.backlog.popleft()
        if isinstance(event, ResponseProtocolError) and _breaks_off(self, course):
            yield from hang_up_on_upstream(self)
            event = ResponseEndOfMessage(self.stream_id)
        yield from original[HttpStream, "_handle_event"](self, event)
    if course.stopped:
        course.backlog.clear()


def _breaks_off(self: HttpStream, course: Course) -> bool:
    return course.knows_the_end and self.server_state == self.state_stream_response_body


def _on_timer(self: HttpStream, event: Any) -> Commands:
    """Of whichever exchange the timer was; the one that is under way now is meant."""
    parent = http_layer(self)
    timers_of(parent).pop(event.command, None)
    present = next((stream for stream in parent.streams.values() if _is_under_way(stream)), None)
    if present is None:
        return
    course = course_of(present.flow)
    if present is self:
        yield from _see_to(self, course)
        if not _is_under_way(self):
            return
    yield from set_timer(present, course)


def _is_under_way(self: HttpStream) -> bool:
    """Asked for upstream, and not over yet."""
    if not hasattr(self, "flow") or self.client_state == self.state_errored:
        return False
    over = (self.state_uninitialized, self.state_done, self.state_errored)
    return course_of(self.flow).asked > 0 and self.server_state not in over


def _see_to(self: HttpStream, course: Course) -> Commands:
    what = due(course, time.monotonic())
    if what == "end":
        yield from end_here(self)
    elif what == "release":
        release = course.release
        yield from send_head(self, course)
        yield from tell(self, course, release() if release else [])
    elif what == "resume":
        # As if upstream had just spoken: the silence was not its own.
        course.paused_until, course.heard = None, time.monotonic()
        yield from conclude(self, course)
        yield from _hear_upstream(self, course)
    elif what == "alive":
        assert course.watch
        yield from tell(self, course, course.watch.say_alive())
    elif what is not None:
        yield from _give_up(self, course, what)


def _give_up(self: HttpStream, course: Course, lapse: Lapse) -> Commands:
    if lapse == "idle" and _client_is_behind(self):
        course.heard = time.monotonic()  # nothing is read of upstream until the client has what it is owed
        return
    if course.told is None:
        yield from stop_upstream(self)
        yield from _answer_for_upstream(self, lapse)
        return
    last_words = course.watch.give_up(lapse) if course.watch else None
    yield from end_with(self, course, last_words, f"the upstream's time is up ({lapse})")


def _client_is_behind(self: HttpStream) -> bool:
    """What was written to it is still on this machine: the silence is the client's, who reads slowly, and not upstream's."""
    for handler in ctx.master.addons.get("proxyserver").connections.values():
        if handler.client is self.context.client and (io := handler.transports.get(handler.client)):
            transport = getattr(io.writer, "transport", None)
            return bool(transport and transport.get_write_buffer_size())
    return False


class Connecting(layer.Layer):
    """Ends an attempt to connect that takes too long; the exchange itself is asleep until the connection is there or has failed."""

    def __init__(self, stream: HttpStream) -> None:
        super().__init__(stream.context.fork())
        self.stream = stream
        self.asked = course_of(stream.flow).asked

    def _handle_event(self, event: events.Event) -> Commands:
        waited_for = self.stream._paused.command if self.stream._paused else None
        if not isinstance(waited_for, GetHttpConnection) or course_of(self.stream.flow).asked != self.asked:
            return
        for server, waiting in http_layer(self.stream).waiting_for_establishment.items():
            if waited_for in waiting:
                yield commands.CloseConnection(server)


def _watch_connecting(self: HttpStream, course: Course) -> Commands:
    assert course.watch
    parent = http_layer(self)
    if any(isinstance(found, connection.Server) and found.connected for found in parent.connections):
        return  # there is one to be used again
    timer = commands.RequestWakeup(course.watch.limits.first_byte)
    yield timer
    parent.command_sources[timer] = Connecting(self)
