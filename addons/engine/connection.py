"""What mitmproxy's HTTP/1 connections do besides. Each function here takes the place of one of their methods."""

import time
from typing import Any
from weakref import WeakKeyDictionary

from h11._readers import ChunkedReader
from mitmproxy import connection
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.layers.http import _http1
from mitmproxy.proxy.layers.http._base import ReceiveHttp
from mitmproxy.proxy.layers.http._events import RequestHeaders, RequestProtocolError, ResponseData, ResponseHeaders

from addons.engine.chunks import whole_chunks
from addons.engine.ending import as_last
from addons.engine.originals import original
from addons.engine.refusals import malformed
from addons.engine.secret_headers import as_sent

Commands = layer.CommandGenerator[None]

# Bytes. Ten times what clients send; nginx takes 32 KiB, h11 16. mitmproxy itself has no limit.
MAX_HEAD = 1 << 16

_head_begun: WeakKeyDictionary[connection.Connection, float] = WeakKeyDictionary()


def head_begun(client: connection.Client) -> float | None:
    """Since when, by `time.monotonic`, this client has been sending a request head that is not whole yet; None if it is not."""
    return _head_begun.get(client)


def send_upstream(self: _http1.Http1Client, event: Any) -> Commands:
    """A request goes out with its secret headers. A connection that is hung up on says no more: what it would still tell (that it
    is closed, what was left in its buffer) has the number of an exchange that may be on its next attempt by then.
    """
    if isinstance(event, RequestHeaders):
        event = RequestHeaders(event.stream_id, as_sent(event.request), event.end_stream)
    yield from original[_http1.Http1Client, "send"](self, event)
    if isinstance(event, RequestProtocolError):
        self.state = self.done


def send_to_client(self: _http1.Http1Server, event: Any) -> Commands:
    if isinstance(event, ResponseData) and self.request and self.request.method.upper() == "HEAD":
        return  # RFC 9110, 9.3.2: no content. The client would take it for the begin of its next answer
    if isinstance(event, ResponseHeaders):
        event = ResponseHeaders(event.stream_id, as_last(as_sent(event.response), self.request), event.end_stream)
    yield from original[_http1.Http1Server, "send"](self, event)


# Bytes. The begin of a burst is not to wait for its end.
AT_ONCE = 1 << 14


def read_body(self: _http1.Http1Connection, event: Any) -> Commands:
    """What has come in one packet is one piece of data. mitmproxy makes one of each HTTP chunk, and what is done for each goes
    through a dozen layers."""
    if isinstance(event, events.DataReceived) and isinstance(self.body_reader, ChunkedReader):
        assert self.stream_id is not None
        for data in whole_chunks(self.body_reader, self.buf, AT_ONCE):
            yield ReceiveHttp(self.ReceiveData(self.stream_id, data))
        if not len(self.buf):
            return
    yield from original[_http1.Http1Connection, "read_body"](self, event)


def read_request_headers(self: _http1.Http1Server, event: Any) -> Commands:
    for command in original[_http1.Http1Server, "read_headers"](self, event):
        if isinstance(command, commands.Log):  # quotes what the client sent, its credential included
            command = commands.Log("a client sent a request head that is cut short or malformed", command.level)
        yield command
    if self.state != self.read_headers or not self.buf:
        _head_begun.pop(self.conn, None)
    elif len(self.buf) > MAX_HEAD:
        yield commands.SendData(self.conn, malformed(431))
        yield commands.CloseConnection(self.conn)
        self.state = self.done
    else:
        _head_begun.setdefault(self.conn, time.monotonic())
