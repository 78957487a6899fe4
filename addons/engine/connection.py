"""What mitmproxy's HTTP/1 connections do besides. Each function here takes the place of one of their methods."""

from typing import Any

from mitmproxy.proxy import commands, layer
from mitmproxy.proxy.layers.http import _http1
from mitmproxy.proxy.layers.http._events import RequestHeaders, RequestProtocolError, ResponseHeaders

from addons.engine.originals import original
from addons.engine.secret_headers import as_sent

Commands = layer.CommandGenerator[None]


def send_upstream(self: _http1.Http1Client, event: Any) -> Commands:
    """A request goes out with its secret headers. A connection that is hung up on says no more: what it would still tell (that it
    is closed, what was left in its buffer) has the number of an exchange that may be on its next attempt by then.
    """
    if isinstance(event, RequestHeaders):
        event = RequestHeaders(event.stream_id, as_sent(event.request), event.end_stream)
    yield from original(_http1.Http1Client, "send")(self, event)
    if isinstance(event, RequestProtocolError):
        self.state = self.done


def send_to_client(self: _http1.Http1Server, event: Any) -> Commands:
    if isinstance(event, ResponseHeaders):
        event = ResponseHeaders(event.stream_id, as_sent(event.response), event.end_stream)
    yield from original(_http1.Http1Server, "send")(self, event)


def read_request_headers(self: _http1.Http1Server, event: Any) -> Commands:
    for command in original(_http1.Http1Server, "read_headers")(self, event):
        if isinstance(command, commands.Log):  # quotes what the client sent, its credential included
            command = commands.Log("a client sent a request head that is cut short or malformed", command.level)
        yield command
