"""How a connection's events are worked off, and how what they send goes out.

mitmproxy runs every hook as a task, which then waits for the lock that its own event holds, for a turn of the event loop each time.
A hook that has nothing to wait for is over at once, so what comes after it can come at once. And each piece of data is a system
call of its own, a head, its body and its end, every chunk of a burst: together they are one.
"""

import asyncio
import logging
from asyncio import StreamWriter
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from mitmproxy import flow, http
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.layers.http import HttpLayer
from mitmproxy.proxy.layers.modes import ReverseProxy
from mitmproxy.proxy.layers.tls import ServerTLSLayer
from mitmproxy.proxy.mode_servers import ProxyConnectionHandler
from mitmproxy.proxy.server import ConnectionHandler, ConnectionIO
from mitmproxy.proxy.tunnel import TunnelState
from mitmproxy.utils.asyncio_utils import create_task, set_task_debug_info

from addons.engine.dispatch import tell_addons
from addons.engine.originals import original
from addons.engine.passing_on import DRIVEN, Exchanges

# Bytes. What is sent together is copied for it.
TOGETHER_AT_MOST = 1 << 14

# Hooks that wait: the event loop itself does not hold its tasks.
_hooks: set[asyncio.Task[None]] = set()

# On a handler: its `Work`.
_WORK = "_codex_work"


@dataclass(slots=True)
class Work:
    """What is to be done on a connection, and what that sends, which goes out before anything waits."""

    handler: ConnectionHandler
    queue: deque[events.Event] = field(default_factory=deque)
    """Events that came while another one was worked off."""
    is_busy: bool = False
    exchanges: Exchanges | None = None
    """Where events go, when that is known for good."""
    writer: StreamWriter | Any = None
    unsent: list[bytes] = field(default_factory=list)
    size: int = 0

    def take(self, event: events.Event) -> None:
        """Never waits. An event that comes while another one is worked off (the end of a hook, as a rule) is the next."""
        if self.is_busy:
            self.queue.append(event)
            return
        self.is_busy = True
        try:
            self._work_off(event)
            while self.queue:
                self._work_off(self.queue.popleft())
            self.flush()
        finally:
            self.is_busy = False

    def _work_off(self, event: events.Event) -> None:
        self.handler.timeout_watchdog.register_activity()
        try:
            if exchanges := self.exchanges or self._find_exchanges():
                exchanges.take(event)
            else:
                for command in self.handler.layer.handle_event(event):
                    self.obey(command)
        except Exception:  # noqa: BLE001 - as mitmproxy does, and it is told
            self.handler.log("mitmproxy has crashed!", logging.ERROR, exc_info=True)
            self.flush()
            # Nobody knows what its layers still do, so nobody shall wait for them.
            if (io := self.handler.transports.get(self.handler.client)) and io.handler:
                self.handler.close_connection(self.handler.client)

    def _find_exchanges(self) -> Exchanges | None:
        """Where above HTTP's layer are those which only pass on once they have begun, eight steps each way."""
        if found := _behind_those_that_pass_on(self.handler.layer):
            self.exchanges = vars(found)[DRIVEN] = Exchanges(found, self.obey, self.send)
        return self.exchanges

    def obey(self, command: commands.Command) -> None:
        """As mitmproxy does, with what comes most often first."""
        handler = self.handler
        if isinstance(command, commands.SendData):
            self.send(command)
        elif isinstance(command, commands.StartHook):
            self.start(command)
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
            self.flush()
            if command.connection in handler.transports:
                half_close = isinstance(command, commands.CloseTcpConnection) and command.half_close
                handler.close_connection(command.connection, half_close)
        elif not isinstance(command, commands.ConnectionCommand) or command.connection in handler.transports:
            raise RuntimeError(f"Unexpected command: {command}")

    def send(self, command: commands.SendData) -> None:
        io = self.handler.transports.get(command.connection)
        if io is None or not (writer := io.writer):
            return
        if self.unsent and (writer is not self.writer or self.size + len(command.data) > TOGETHER_AT_MOST):
            self.flush()
        self.writer, self.size = writer, self.size + len(command.data)
        self.unsent.append(command.data)

    def flush(self) -> None:
        if self.unsent:
            data = b"".join(self.unsent) if len(self.unsent) > 1 else self.unsent[0]
            self.unsent, self.size = [], 0
            if not self.writer.is_closing():
                self.writer.write(data)

    def start(self, hook: commands.StartHook) -> None:
        """Most are over at once; only a task that lives on is given a name, and is looked after."""
        task = asyncio.Task(self.handler.hook_task(hook), loop=asyncio.get_running_loop(), eager_start=True)
        if not task.done():
            set_task_debug_info(task, name=f"handle_hook({hook.name})", client=self.handler.client.peername)
            _hooks.add(task)
            task.add_done_callback(_hooks.discard)


async def server_event(self: ConnectionHandler, event: events.Event) -> None:
    work_of(self).take(event)


def work_of(handler: ConnectionHandler) -> Work:
    work: Work | None = vars(handler).get(_WORK)
    if work is None:
        work = vars(handler)[_WORK] = Work(handler)
    return work


def _behind_those_that_pass_on(found: layer.Layer | None) -> HttpLayer | None:
    """None where one of them is asked, is busy, or has to do with the client's TLS. The TLS toward a server that lies below HTTP is
    for a connection that is opened with the client's; `serve.py` has none of those (`connection_strategy`)."""
    while found and not found._paused and not found.debug:
        if isinstance(found, HttpLayer):
            return found
        if isinstance(found, layer.NextLayer):
            found = found.layer
        elif isinstance(found, ReverseProxy) or (isinstance(found, ServerTLSLayer) and found.tunnel_state is TunnelState.INACTIVE):
            found = getattr(found, "child_layer", None)  # a ReverseProxy has it from its first event on
        else:
            break
    return None


async def handle_hook(self: ProxyConnectionHandler, hook: commands.StartHook) -> None:
    """While a hook is at work, a connection on which nothing happens is not idle."""
    watchdog = self.timeout_watchdog
    watchdog.can_timeout.clear()
    watchdog.blocker += 1
    try:
        arguments = hook.args()
        await tell_addons(self.master.addons, hook.name, arguments)
        (data,) = arguments
        if type(data) is http.HTTPFlow or isinstance(data, flow.Flow):
            await data.wait_for_resume()
    finally:
        watchdog.blocker -= 1
        if watchdog.blocker == 0:
            watchdog.register_activity()
            watchdog.can_timeout.set()


async def drain_writers(self: ConnectionHandler) -> None:
    """Wait for whoever does not read what was written, before more is read. Mostly there is nobody."""
    if is_behind(self):
        await original[ConnectionHandler, "drain_writers"](self)


def is_behind(handler: ConnectionHandler) -> bool:
    """Something that was written has not left this machine yet."""
    for io in handler.transports.values():
        transport = getattr(io.writer, "transport", None)
        if io.writer and (transport is None or transport.get_write_buffer_size()):
            return True
    return False
