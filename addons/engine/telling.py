"""What the client is told, and when: an answer whose head waits, its body, an end before upstream's. Those functions that have the
name of a method of `HttpStream` take its place.
"""

import time
from collections.abc import Generator
from typing import Any

from mitmproxy.proxy import commands, layer
from mitmproxy.proxy.layers.http import HttpStream, SendHttp
from mitmproxy.proxy.layers.http._events import (
    ErrorCode,
    RequestProtocolError,
    ResponseData,
    ResponseEndOfMessage,
    ResponseProtocolError,
)

from addons.engine.course import Course, course_of
from addons.engine.originals import original
from addons.engine.timers import set_timer

Commands = layer.CommandGenerator[None]


def start_response_stream(self: HttpStream) -> Commands:
    course = course_of(self.flow)
    if course.held:
        self.server_state = self.state_stream_response_body
        course.knows_the_end = True
        yield from set_timer(self, course)
    else:
        yield from send_head(self, course)


def send_head(self: HttpStream, course: Course) -> Commands:
    course.held = False
    course.told = time.monotonic()
    yield from original[HttpStream, "start_response_stream"](self)
    yield from set_timer(self, course)


def state_stream_response_body(self: HttpStream, event: Any) -> Commands:
    course = course_of(self.flow)
    if course.instead:  # upstream has said all that counts; this is its end, or what comes before it
        if isinstance(event, ResponseEndOfMessage):
            yield from _answer_instead(self, course)
        return
    now = time.monotonic()
    if isinstance(event, ResponseData):
        course.heard = now
        said = _what_the_stages_say(self, event.data)
        if said and not course.instead:
            if course.held:
                yield from send_head(self, course)
            course.told = now
            yield SendHttp(ResponseData(self.stream_id, said), self.context.client)
    else:
        yield from _end_of_the_body(self, course, event, now)
    if course.instead and (isinstance(event, ResponseEndOfMessage) or not course.end_in):
        if not isinstance(event, ResponseEndOfMessage):
            yield from stop_upstream(self)
        yield from _answer_instead(self, course)
    elif isinstance(event, ResponseEndOfMessage):
        if course.last_words:
            yield from conclude(self, course)
    elif course.pause:
        course.paused_until, course.pause = time.monotonic() + course.pause, None
        yield from set_timer(self, course)
    else:
        yield from conclude(self, course)


def _what_the_stages_say(self: HttpStream, data: bytes) -> bytes:
    """As one. For each chunk mitmproxy would go through its layers again."""
    assert self.flow.response
    stream = self.flow.response.stream
    said = stream(data) if callable(stream) else data
    told = said if isinstance(said, bytes) else b"".join(said)
    if self.context.options.store_streamed_bodies:
        self.response_body_buf += told
    return told


def _end_of_the_body(self: HttpStream, course: Course, event: Any, now: float) -> Commands:
    steps: Generator[Any, Any, None] = original[HttpStream, "state_stream_response_body"](self, event)
    told: list[bytes] = []  # as one, however many events it is
    for command in steps:
        is_body = is_of_the_body(command)
        # Said by the stages, which have just run: what they returned still goes out before last words.
        if course.instead or (course.last_words and not is_body):
            steps.close()
            break
        if course.held:
            yield from send_head(self, course)
        course.told = now
        if is_body:
            told.append(command.event.data)
            continue
        yield from _say(self, told)
        yield command
    yield from _say(self, told)


def _say(self: HttpStream, chunks: list[bytes]) -> Commands:
    if chunks:
        yield SendHttp(ResponseData(self.stream_id, b"".join(chunks)), self.context.client)
        chunks.clear()


def _answer_instead(self: HttpStream, course: Course) -> Commands:
    course.held, self.flow.response, course.instead = False, course.instead, None
    yield from self.send_response()


def is_of_the_body(command: commands.Command) -> bool:
    return isinstance(command, SendHttp) and isinstance(command.event, ResponseData)


def conclude(self: HttpStream, course: Course) -> Commands:
    """If the stages have said that this is the end."""
    if course.last_words:
        yield from end_with(self, course, course.last_words(), CUT_OFF)
    elif course.end_in:
        course.end_at, course.end_in = time.monotonic() + course.end_in, None
        yield from set_timer(self, course)
    elif course.end_in is not None:
        yield from end_here(self)


# What `flow.error` says of an answer that an addon has broken off.
CUT_OFF = "cut off on purpose"


def end_with(self: HttpStream, course: Course, last_words: list[bytes] | None, why: str) -> Commands:
    course.last_words = None
    if last_words is None:
        yield from break_off(self, why)
        yield from stop_upstream(self)
    else:
        yield from tell(self, course, last_words)
        yield from end_here(self)


def break_off(self: HttpStream, why: str) -> Commands:
    """KILL is the one code that never makes mitmproxy write an answer before it closes."""
    yield from original[HttpStream, "handle_protocol_error"](self, ResponseProtocolError(self.stream_id, why, ErrorCode.KILL))


def end_here(self: HttpStream) -> Commands:
    """The client's body ends in good form, or it gets all of it only now."""
    course = course_of(self.flow)
    yield from stop_upstream(self)
    if course.instead:
        yield from _answer_instead(self, course)
    else:
        yield from self.send_response(already_streamed=True)


def stop_upstream(self: HttpStream) -> Commands:
    course = course_of(self.flow)
    self.server_state = self.state_done
    course.stopped = True
    has_ended = any(isinstance(event, ResponseEndOfMessage) for event in course.backlog)
    course.backlog.clear()
    if not has_ended:
        yield from hang_up_on_upstream(self)


def hang_up_on_upstream(self: HttpStream) -> Commands:
    """Its connection is closed, and not heard of again (connection.py)."""
    yield SendHttp(RequestProtocolError(self.stream_id, "not needed any more", ErrorCode.CANCEL), self.context.server)


def tell(self: HttpStream, course: Course, chunks: list[bytes]) -> Commands:
    course.told = time.monotonic()
    for chunk in chunks:
        yield SendHttp(ResponseData(self.stream_id, chunk), self.context.client)
