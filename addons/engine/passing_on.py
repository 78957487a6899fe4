"""How the layers of a connection pass on to each other what they say, in less time: two methods of `HttpLayer`."""

from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.layers.http import DropStream, GetHttpConnection, HttpLayer, HttpStream, RegisterHttpConnection, SendHttp
from mitmproxy.proxy.layers.http._base import ReceiveHttp
from mitmproxy.proxy.layers.http._events import RequestHeaders

from addons.engine.course import let_go
from addons.engine.originals import original


def handle_event(self: HttpLayer, event: events.Event) -> layer.CommandGenerator[None]:
    """As mitmproxy does, which asks of data last. What comes of a connection that nobody has begun yet is left to it."""
    if isinstance(event, events.DataReceived) and (begun := self.connections.get(event.connection)):
        yield from event_to_child(self, begun, event)
    else:
        yield from original[HttpLayer, "_handle_event"](self, event)


def event_to_child(self: HttpLayer, child: layer.Layer | HttpStream, event: events.Event) -> layer.CommandGenerator[None]:
    """As mitmproxy does, which asks of each command up to nine times whether it is something else. Frequent ones come first."""
    is_over = False
    for command in child.handle_event(event):
        if isinstance(command, SendHttp):
            yield from event_to_child(self, self.connections[command.connection], command.event)
        elif isinstance(command, ReceiveHttp):
            if isinstance(command.event, RequestHeaders):
                yield from self.make_stream(command.event.stream_id)
            if stream := self.streams.get(command.event.stream_id):  # else it is over, and what still comes of it is dropped
                yield from event_to_child(self, stream, command.event)
        elif isinstance(command, commands.SendData):
            yield command
        elif isinstance(command, DropStream):
            self.streams.pop(command.stream_id, None)
            is_over = True
        elif isinstance(command, RegisterHttpConnection):
            yield from self.register_connection(command)
        else:
            yield from _with_an_answer(self, child, command)
    if is_over and isinstance(child, HttpStream) and not child._paused:
        let_go(child)


def _with_an_answer(self: HttpLayer, child: layer.Layer | HttpStream, command: commands.Command) -> layer.CommandGenerator[None]:
    """Commands that may be followed by an event for who gave them."""
    if command.blocking or isinstance(command, commands.RequestWakeup):
        self.command_sources[command] = child
    if isinstance(command, GetHttpConnection):
        yield from self.get_connection(command)
        return
    if isinstance(command, commands.OpenConnection):
        self.connections[command.connection] = child
    yield command
