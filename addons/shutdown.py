"""How the proxy ends when it is asked to (SIGTERM, Ctrl-C): no request is lost, and none is waited for without end.

    at once            nobody else can connect, so the port is free for another process; connections on which nothing happens are
                       closed, and every answer is the last on its connection
    for `grace`        requests go on: streams, those that wait for a slot or a token, and those that come on a connection which
                       is still open. To refuse these would lose what their clients had sent before they could know
    then, or if asked  what is left is told: a stream by the error event of its dialect, a request without an answer by a 503
    a second time

Tokens need nothing of this: `CodexAccounts.done` waits for a refresh that is under way, however the proxy comes to its end.
"""

import asyncio
import logging
import time
from asyncio import WriteTransport
from collections.abc import Sequence

from mitmproxy import ctx, http
from mitmproxy.proxy.server import ConnectionHandler
from mitmproxy.utils import asyncio_utils
from mitmproxy.websocket import WebSocketMessage

from addons import engine, guard
from addons.guard import Refused, guarded, is_open
from addons.health import CodexHealth
from addons.policy import CodexPolicy
from addons.wire.errors import json_object

logger = logging.getLogger(__name__)

# Seconds. A client that uses its connection all the time may have sent the next request already: that is answered, and told that
# it was the last one. On a connection that was silent for longer a request is hardly ever on its way just now.
BETWEEN_REQUESTS = 0.5
# For last words to leave this process, and once more for what is left then.
LAST_WORDS = 2.0
# Between two looks at what is left.
LOOK = 0.05

# With these upstream ends an answer on a WebSocket, which then waits for the next question.
ENDS_OF_AN_ANSWER = ("response.completed", "response.failed", "response.incomplete", "error")


class CodexShutdown:
    """After the gate: a stranger who comes too late learns nothing by it."""

    def __init__(self, policy: CodexPolicy, health: CodexHealth) -> None:
        self.policy = policy
        self.health = health
        self.ending: asyncio.Task[None] | None = None
        self.at_once = asyncio.Event()
        self.is_over = False
        """Nothing is waited for any more."""
        self.clients: set[WriteTransport] = set()
        """Of connections that are closed, too: the end of an answer may still be here, waiting for its client to read."""

    def running(self) -> None:
        engine.ask_before_shutdown(self._on_asked)

    def done(self) -> None:
        """mitmproxy ends, or has only read its script again."""
        engine.ask_before_shutdown(None)

    @guarded
    def requestheaders(self, flow: http.HTTPFlow) -> None:
        if self.is_over and is_open(flow):
            raise Refused(engine.PROXY_STOPPED)

    def _on_asked(self) -> None:
        if self.ending:
            self.at_once.set()
        else:
            self.ending = asyncio_utils.create_task(self._end(), name="codex shutdown", keep_ref=True)

    async def _end(self) -> None:
        self.health.draining = "the proxy is shutting down"
        engine.close_after_answers()
        try:
            await ctx.master.addons.get("proxyserver").servers.update([])
            await asyncio.sleep(LOOK)  # who was let in just before is among the connections then
            await self._let_finish(self.policy.current().shutdown.grace)
        finally:
            engine.shut_down(ctx.master)

    async def _let_finish(self, grace: float) -> None:
        if left := under_way():
            logger.info(
                "shutting down: %s under way, for up to %g s; a second Ctrl-C or SIGTERM ends the wait", requests(left), grace
            )
        if await self.are_all_gone_within(grace, unless=self.at_once):
            return
        self.is_over = True
        if left := under_way():
            logger.warning("shutting down: %s not complete, and ended here", requests(left))
        guard.end_waiting()
        for handler in connected():
            await engine.end_exchanges(handler)
        if not await self.are_all_gone_within(LAST_WORDS):
            for handler in connected():
                engine.hang_up(handler, handler.client)
            await self.are_all_gone_within(LAST_WORDS)

    async def are_all_gone_within(self, seconds: float, unless: asyncio.Event | None = None) -> bool:
        deadline = time.monotonic() + seconds
        while self._is_somebody_there():
            if time.monotonic() >= deadline or (unless and unless.is_set()):
                return False
            await asyncio.sleep(LOOK)
        return True

    def _is_somebody_there(self) -> bool:
        there = connected()
        for handler in there:
            if client := engine.transport_of(handler):
                self.clients.add(client)
            close_if_idle(handler)
        return bool(there) or any(client.get_write_buffer_size() for client in self.clients)


def connected() -> list[ConnectionHandler]:
    return list(ctx.master.addons.get("proxyserver").connections.values())


def close_if_idle(handler: ConnectionHandler) -> None:
    flows = engine.exchanges(handler)
    for flow in flows:
        if is_resting(flow):
            engine.hang_up(handler, flow.server_conn)  # mitmproxy then closes the client's side as the protocol wants it
    is_silent = engine.head_begun(handler.client) is None and engine.idle_for(handler) > BETWEEN_REQUESTS
    if not flows and is_silent:
        engine.hang_up(handler, handler.client)


def under_way() -> int:
    return sum(not is_resting(flow) for handler in connected() for flow in engine.exchanges(handler))


def is_resting(flow: http.HTTPFlow) -> bool:
    return flow.websocket is not None and not is_answering(flow.websocket.messages)


def is_answering(messages: Sequence[WebSocketMessage]) -> bool:
    """A question was asked on this WebSocket, and its answer is not over. Other messages say nothing about that."""
    for message in reversed(messages):
        kind = json_object(message.content).get("type")
        if not isinstance(kind, str):
            continue
        if message.from_client and kind == "response.create":
            return True
        if not message.from_client and (kind in ENDS_OF_AN_ANSWER or kind.startswith("response.")):
            return kind not in ENDS_OF_AN_ANSWER
    return False


def requests(count: int) -> str:
    return "1 request is" if count == 1 else f"{count} requests are"
