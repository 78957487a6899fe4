"""Request bodies over `body_size_limit`: kept in memory up to it, and answered politely."""

from collections.abc import Generator
from typing import Any

from mitmproxy import flow as mitmproxy_flow
from mitmproxy import http
from mitmproxy.proxy.layers.http import HttpStream, SendHttp
from mitmproxy.proxy.layers.http._events import ErrorCode, ResponseProtocolError
from mitmproxy.proxy.layers.http._hooks import HttpErrorHook
from mitmproxy.utils import human

from addons.engine.on_flow import OnFlow

# A body over the limit is read on and thrown away up to this many times the limit, because a client that is still sending does
# not look at the answer and would see a broken connection instead of the 413. Beyond that it is cut off.
HOPELESS_BODY = 4

_discarded: OnFlow[int] = OnFlow("discarded")
_passed_over: OnFlow[int] = OnFlow("passed_over")


def body_was_too_large(flow: http.HTTPFlow) -> bool:
    """True in the `request` hook of a request whose body passed `body_size_limit`; its content is empty then."""
    return _discarded.get(flow) is not None


def check_body_size(self: HttpStream, request: bool) -> Generator[Any, Any, bool]:
    if not request:  # an answer is not measured: it streams, or is a refusal of a few hundred bytes
        return False
    limit = human.parse_size(self.context.options.body_size_limit)
    if self.flow.response:  # refused at its head: nothing of its body is kept
        seen = _passed_over[self.flow] = (_passed_over.get(self.flow) or 0) + len(self.request_body_buf)
        self.request_body_buf.clear()
        return limit is not None and seen > limit and (yield from _cut_off(self))
    if limit is None:
        return False
    seen = (_discarded.get(self.flow) or 0) + len(self.request_body_buf)
    if seen > limit * HOPELESS_BODY:
        return (yield from _cut_off(self))
    if seen > limit:
        _discarded[self.flow] = seen
        self.request_body_buf.clear()
    return False


def _cut_off(self: HttpStream) -> Generator[Any, Any, bool]:
    """What mitmproxy does at once with a body over the limit: answer, and close while the client is still sending."""
    self.flow.error = mitmproxy_flow.Error("the request body goes on far beyond body_size_limit")
    yield HttpErrorHook(self.flow)
    refusal = ResponseProtocolError(self.stream_id, self.flow.error.msg, ErrorCode.REQUEST_TOO_LARGE)
    yield SendHttp(refusal, self.context.client)
    self.client_state = self.state_errored
    self.flow.live = False
    return True
