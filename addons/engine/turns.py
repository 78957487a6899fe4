"""How a connection's events are worked off, and how what they send goes out.

mitmproxy runs every hook as a task, which then waits for the lock that its own event holds, for a turn of the event loop each time.
A hook that has nothing to wait for is over at once, so what comes after it can come at once. And each piece of data that an event
sends is a system call of its own, a head and its body, every chunk of a burst: together they are one.
"""

from collections import deque
from weakref import WeakKeyDictionary

from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.layers.http import HttpLayer
from mitmproxy.proxy.server import ConnectionHandler

from addons.engine.originals import original

# Bytes. What is sent together waits for what it is sent with: of a burst the begin is not to wait for the end.
TOGETHER_AT_MOST = 1 << 14

_waiting: WeakKeyDictionary[ConnectionHandler, deque[events.Event]] = WeakKeyDictionary()


async def server_event(self: ConnectionHandler, event: events.Event) -> None:
    """Never waits. An event that comes while another one is worked off (the end of a hook, as a rule) is the next."""
    waiting = _waiting.get(self)
    if waiting is None:
        waiting = _waiting[self] = deque()
    waiting.append(event)
    if self._server_event_lock.locked():
        return
    while waiting:
        await original(ConnectionHandler, "server_event")(self, waiting.popleft())


def handle_event(self: HttpLayer, event: events.Event) -> layer.CommandGenerator[None]:
    """With data for the same connection put together, if one piece comes right behind the other."""
    held: list[commands.SendData] = []
    size = 0
    for command in original(HttpLayer, "_handle_event")(self, event):
        if type(command) is not commands.SendData:
            yield from _together(held)
            yield command
            continue
        if held and (command.connection is not held[0].connection or size + len(command.data) > TOGETHER_AT_MOST):
            yield from _together(held)
        size = size + len(command.data) if held else len(command.data)
        held.append(command)
    yield from _together(held)


def _together(held: list[commands.SendData]) -> layer.CommandGenerator[None]:
    if len(held) > 1:
        yield commands.SendData(held[0].connection, b"".join(piece.data for piece in held))
    elif held:
        yield held[0]
    held.clear()
