"""How mitmproxy comes to its end: who is asked first, what is still under way, and how an exchange is ended before its time.

`Master.shutdown` is what signals, commands and the console of mitmproxy call. By itself it leaves everything where it is: the
event loop stops, and connections are cut off in the middle of a word.
"""

import time
from asyncio import WriteTransport
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from mitmproxy import connection, http
from mitmproxy.master import Master
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.layer import Layer
from mitmproxy.proxy.layers.http import HttpLayer, HttpStream
from mitmproxy.proxy.server import ConnectionHandler

from addons.engine.course import course_of
from addons.engine.originals import original


@dataclass(slots=True)
class _Ending:
    """Of this process; there is one."""

    ask: Callable[[], None] | None = None
    answers_are_last: bool = False


_ending = _Ending()


def ask_before_shutdown(ask: Callable[[], None] | None) -> None:
    """It is called in the event loop whenever mitmproxy is asked to end, which then waits for `shut_down`. None: nobody is."""
    _ending.ask = ask


def shutdown(self: Master) -> None:
    """Called from any thread."""
    self.event_loop.call_soon_threadsafe(_ending.ask or partial(shut_down, self))


def shut_down(master: Master) -> None:
    original[Master, "shutdown"](master)


def close_after_answers() -> None:
    """Each answer whose head is still to be sent is the last on its connection, and says so."""
    _ending.answers_are_last = True


def as_last(response: http.Response, request: http.Request | None) -> http.Response:
    """As it is to be sent. A connection that becomes something else (a WebSocket, a tunnel) goes on."""
    is_tunnel = request is not None and request.method == "CONNECT"
    if not _ending.answers_are_last or is_tunnel or response.status_code == 101:
        return response
    last = response.copy()
    last.headers["connection"] = "close"
    return last


def exchanges(handler: ConnectionHandler) -> list[http.HTTPFlow]:
    """The requests of a connection that are not answered to the end, in tunnels too; a WebSocket is one until it is closed."""
    return [stream.flow for stream in _streams(handler.layer.context.layers) if _is_open(stream)]


def idle_for(handler: ConnectionHandler) -> float:
    """Seconds in which nothing has happened on a connection."""
    return time.time() - handler.timeout_watchdog.last_activity


def transport_of(handler: ConnectionHandler) -> WriteTransport | None:
    """Of the client, if it is still there."""
    io = handler.transports.get(handler.client)
    return getattr(io.writer, "transport", None) if io else None


def hang_up(handler: ConnectionHandler, peer: connection.Connection) -> None:
    """On the client, or on the server of a WebSocket. What was written to it before still goes out."""
    io = handler.transports.get(peer)
    if io and io.handler:
        handler.close_connection(peer)


async def end_exchanges(handler: ConnectionHandler) -> None:
    """As if the time of each were up: with the last words of its dialect, or with a refusal where it has no answer yet. One that
    a hook is busy with ends when that hook does, and one that its client has not sent to the end is left alone."""
    for stream in list(_streams(handler.layer.context.layers)):
        if not _is_open(stream):
            continue
        course_of(stream.flow).ending = True
        if stream.flow.websocket:
            hang_up(handler, stream.flow.server_conn)
        else:
            await _wake(handler, stream)
            for server in _being_connected(stream):
                hang_up(handler, server)


def was_ended(flow: http.HTTPFlow) -> bool:
    """It was under way when the proxy would wait no longer."""
    return course_of(flow).ending


def _streams(layers: Iterable[Layer]) -> Iterator[HttpStream]:
    """mitmproxy's layers lie on each other; below an exchange that is a tunnel (CONNECT) there are more."""
    for found in layers:
        if isinstance(found, HttpLayer):
            for stream in found.streams.values():
                yield stream
                inside = stream.context.layers
                yield from _streams(inside[inside.index(stream) + 1 :])


def _is_open(stream: HttpStream) -> bool:
    is_tunnel = stream.child_layer is not None
    return hasattr(stream, "flow") and stream.flow.live and (not is_tunnel or stream.flow.websocket is not None)


async def _wake(handler: ConnectionHandler, stream: HttpStream) -> None:
    """Its timer runs out now, see `clock.agenda`. Each layer must know to which of those above it the event goes."""
    timer = commands.RequestWakeup(0)
    for below, above in pairwise(stream.context.layers):
        if isinstance(below, HttpLayer):
            below.command_sources[timer] = above
    await handler.server_event(events.Wakeup(timer))


def _being_connected(stream: HttpStream) -> list[connection.Connection]:
    parent = stream.context.layers[stream.context.layers.index(stream) - 1]
    assert isinstance(parent, HttpLayer)
    return [server for server, waiting in parent.waiting_for_establishment.items() if waiting]
