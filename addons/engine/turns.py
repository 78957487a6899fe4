"""How a connection's events are worked off, and how what they send goes out.

mitmproxy runs every hook as a task, which then waits for the lock that its own event holds, for a turn of the event loop each time.
A hook that has nothing to wait for is over at once, so what comes after it can come at once. And each piece of data that an event
sends is a system call of its own, a head and its body, every chunk of a burst: together they are one.
"""

import asyncio
import logging
from collections import deque

from mitmproxy import flow
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.layers.http import HttpLayer
from mitmproxy.proxy.mode_servers import ProxyConnectionHandler
from mitmproxy.proxy.server import ConnectionHandler, ConnectionIO
from mitmproxy.utils.asyncio_utils import create_task, set_task_debug_info

from addons.engine.originals import original

# Bytes. What is sent together waits for what it is sent with: of a burst the begin is not to wait for the end.
TOGETHER_AT_MOST = 1 << 14

# On a handler: its events that are to be worked off, as long as that is being done.
_EVENTS = "_codex_events"


async def server_event(self: ConnectionHandler, event: events.Event) -> None:
    """Never waits. An event that comes while another one is worked off (the end of a hook, as a rule) is the next."""
    waiting: deque[events.Event] | None = vars(self).get(_EVENTS)
    if waiting is not None:
        waiting.append(event)
        return
    waiting = vars(self)[_EVENTS] = deque([event])
    try:
        while waiting:
            _work_off(self, waiting.popleft())
    finally:
        del vars(self)[_EVENTS]


def _work_off(handler: ConnectionHandler, event: events.Event) -> None:
    handler.timeout_watchdog.register_activity()
    try:
        for command in handler.layer.handle_event(event):
            _obey(handler, command)
    except Exception:  # noqa: BLE001 - as mitmproxy does, and it is told
        handler.log("mitmproxy has crashed!", logging.ERROR, exc_info=True)
        # Nobody knows what its layers still do, so nobody shall wait for them.
        if handler.client in handler.transports:
            handler.close_connection(handler.client)


def _obey(handler: ConnectionHandler, command: commands.Command) -> None:
    """As mitmproxy does, with what comes most often first."""
    if isinstance(command, commands.SendData):
        if (io := handler.transports.get(command.connection)) and io.writer and not io.writer.is_closing():
            io.writer.write(command.data)
    elif isinstance(command, commands.StartHook):
        _start(handler, command)
    elif isinstance(command, commands.Log):
        handler.log(command.message, command.level)
    elif isinstance(command, commands.RequestWakeup):
        name = f"wakeup timer ({command.delay:.1f}s)"
        timer = create_task(handler.wakeup(command), name=name, keep_ref=False, client=handler.client.peername)
        handler.wakeup_timer.add(timer)
    elif isinstance(command, commands.OpenConnection):
        assert command.connection not in handler.transports
        name = f"server connection handler {command.connection.address}"
        task = create_task(handler.open_connection(command), name=name, keep_ref=False, client=handler.client.peername)
        handler.transports[command.connection] = ConnectionIO(handler=task)
    elif isinstance(command, commands.CloseConnection):
        if command.connection in handler.transports:
            half_close = isinstance(command, commands.CloseTcpConnection) and command.half_close
            handler.close_connection(command.connection, half_close)
    elif not isinstance(command, commands.ConnectionCommand) or command.connection in handler.transports:
        raise RuntimeError(f"Unexpected command: {command}")


# Hooks that wait: the event loop itself does not hold its tasks.
_hooks: set[asyncio.Task[None]] = set()


def _start(handler: ConnectionHandler, hook: commands.StartHook) -> None:
    """Most are over at once; only a task that lives on is given a name, and is looked after."""
    task = asyncio.Task(handler.hook_task(hook), loop=asyncio.get_running_loop(), eager_start=True)
    if not task.done():
        set_task_debug_info(task, name=f"handle_hook({hook.name})", client=handler.client.peername)
        _hooks.add(task)
        task.add_done_callback(_hooks.discard)


async def handle_hook(self: ProxyConnectionHandler, hook: commands.StartHook) -> None:
    """While a hook is at work, a connection on which nothing happens is not idle."""
    watchdog = self.timeout_watchdog
    watchdog.can_timeout.clear()
    watchdog.blocker += 1
    try:
        (data,) = hook.args()
        await self.master.addons.handle_lifecycle(hook)
        if isinstance(data, flow.Flow):
            await data.wait_for_resume()
    finally:
        watchdog.blocker -= 1
        if watchdog.blocker == 0:
            watchdog.register_activity()
            watchdog.can_timeout.set()


async def drain_writers(self: ConnectionHandler) -> None:
    """Wait for whoever does not read what was written, before more is read. Mostly there is nobody."""
    for io in self.transports.values():
        transport = getattr(io.writer, "transport", None)
        if io.writer and (transport is None or transport.is_closing() or transport.get_write_buffer_size()):
            return await original[ConnectionHandler, "drain_writers"](self)


def handle_event(self: HttpLayer, event: events.Event) -> layer.CommandGenerator[None]:
    """With data for the same connection put together, if one piece comes right behind the other."""
    held: list[commands.SendData] = []
    size = 0
    for command in original[HttpLayer, "_handle_event"](self, event):
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
