"""How the layers of a connection pass on to each other what they say.

mitmproxy's are generators in generators: what the innermost one yields is handed up through all of them, six steps for the bytes of
a head. Where nothing lies above HTTP's layer that wants to see it (`turns.py`), it is done where it is said. The order is the same.
"""

from collections.abc import Callable
from typing import Any

from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.layers.http import (
    DropStream,
    GetHttpConnection,
    HttpClient,
    HttpLayer,
    HttpStream,
    RegisterHttpConnection,
    SendHttp,
)
from mitmproxy.proxy.layers.http._base import ReceiveHttp
from mitmproxy.proxy.layers.http._events import RequestHeaders

from addons.engine.course import let_go

Generated = layer.CommandGenerator[None]

# On an HttpLayer: its `Exchanges`.
DRIVEN = "_codex_exchanges"


class Exchanges:
    """All that goes on in one HttpLayer."""

    __slots__ = ("http", "obey", "send")

    def __init__(
        self, http: HttpLayer, obey: Callable[[commands.Command], None], send: Callable[[commands.SendData], None]
    ) -> None:
        """`obey` does what a layer asks of the connection; `send` is that part of it which is asked for most."""
        self.http, self.obey, self.send = http, obey, send

    def take(self, event: events.Event) -> None:
        """What comes of a connection that nobody has begun yet, and what is rare, is left to mitmproxy."""
        if isinstance(event, events.DataReceived) and (begun := self.http.connections.get(event.connection)):
            self.tell(begun, event)
        elif isinstance(event, events.CommandCompleted):
            self.tell(self.http.command_sources.pop(event.command), event)
        else:
            for command in self.http._handle_event(event):
                self.obey(command)

    def tell(self, child: layer.Layer, event: events.Event) -> None:
        """What `Layer.handle_event` does: while a layer waits for one answer, all else waits for it."""
        if isinstance(child, HttpClient) and not child._paused and hasattr(child, "child_layer"):
            child = child.child_layer  # from then on it only passes on
        waits = child._paused
        if not waits:
            is_over = self._run(child, child._handle_event(event), None)
        elif isinstance(event, events.CommandCompleted) and event.command is waits.command:
            child._paused = None
            is_over = self._run(child, waits.generator, event.reply)
            while child._paused_event_queue and not child._paused:
                is_over |= self._run(child, child._handle_event(child._paused_event_queue.popleft()), None)
        else:
            child._paused_event_queue.append(event)
            return
        if is_over and isinstance(child, HttpStream) and not child._paused:
            let_go(child)

    def _run(self, child: layer.Layer, steps: Generated, reply: Any) -> bool:
        """To its end, or to where it waits. Whether it has said that its exchange is over."""
        is_over = False
        while True:
            try:
                command = steps.send(reply)
            except StopIteration:
                return is_over
            reply = None
            if isinstance(command, commands.SendData):
                self.send(command)
            elif isinstance(command, SendHttp):
                self.tell(self.http.connections[command.connection], command.event)
            elif isinstance(command, ReceiveHttp):
                self._receive(command)
            elif isinstance(command, DropStream):
                self.http.streams.pop(command.stream_id, None)
                is_over = True
            elif command.blocking is True:
                command.blocking = child
                child._paused = layer.Paused(command, steps)
                self._with_an_answer(child, command)
                return is_over
            else:
                self._with_an_answer(child, command)

    def _receive(self, command: ReceiveHttp) -> None:
        if isinstance(command.event, RequestHeaders):
            for each in self.http.make_stream(command.event.stream_id):
                self.obey(each)
        if stream := self.http.streams.get(command.event.stream_id):  # else it is over, and what still comes of it is dropped
            self.tell(stream, command.event)

    def _with_an_answer(self, child: layer.Layer, command: commands.Command) -> None:
        for each in _with_an_answer(self.http, child, command):
            self.obey(each)


def event_to_child(self: HttpLayer, child: layer.Layer | HttpStream, event: events.Event) -> Generated:
    """As mitmproxy does, which asks of each command up to nine times whether it is something else. Frequent ones come first."""
    if driven := vars(self).get(DRIVEN):
        driven.tell(child, event)
        return
    is_over = False
    for command in child.handle_event(event):
        if isinstance(command, SendHttp):
            yield from event_to_child(self, self.connections[command.connection], command.event)
        elif isinstance(command, ReceiveHttp):
            if isinstance(command.event, RequestHeaders):
                yield from self.make_stream(command.event.stream_id)
            if stream := self.streams.get(command.event.stream_id):
                yield from event_to_child(self, stream, command.event)
        elif isinstance(command, DropStream):
            self.streams.pop(command.stream_id, None)
            is_over = True
        else:
            yield from _with_an_answer(self, child, command)
    if is_over and isinstance(child, HttpStream) and not child._paused:
        let_go(child)


def _with_an_answer(self: HttpLayer, child: layer.Layer | HttpStream, command: commands.Command) -> Generated:
    """Commands that may be followed by an event for who gave them."""
    if command.blocking or isinstance(command, commands.RequestWakeup):
        self.command_sources[command] = child
    if isinstance(command, GetHttpConnection):
        yield from self.get_connection(command)
        return
    if isinstance(command, RegisterHttpConnection):
        yield from self.register_connection(command)
        return
    if isinstance(command, commands.OpenConnection):
        self.connections[command.connection] = child
    yield command
