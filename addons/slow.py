"""Clients that never come to the end of a request are cut off: each holds a connection, and what it has sent so far.

mitmproxy closes connections on which nothing happens for ten minutes; a byte now and then keeps one open for ever. So a head and a
body have a time each in which they must be whole. Between two requests a connection may stay idle.
"""

import asyncio
import logging
import time
from collections.abc import Callable

from mitmproxy import connection, ctx, http
from mitmproxy.proxy.mode_specs import ReverseMode
from mitmproxy.utils import asyncio_utils

from addons import engine
from addons.guard import is_ours

logger = logging.getLogger(__name__)

# Seconds. A head fits into one packet or two; nginx and Apache wait 60 and 20 for it.
HEAD = 30.0
# The largest body (`body_size_limit`, 64 MiB) over two megabits a second.
BODY = 300.0
# Looks in the shorter of the two times: how late somebody is noticed.
LOOKS = 6


class CodexSlow:
    """After the gate: whoever was refused by it has as long for the body, which nobody waits for, as for a head."""

    def __init__(self, head: float = HEAD, body: float = BODY, clock: Callable[[], float] = time.monotonic) -> None:
        self.head = head
        self.body = body
        self.clock = clock
        self.due: dict[str, float] = {}
        """By client, when the body that it is sending has to be whole."""
        self.watching: asyncio.Task[None] | None = None

    def running(self) -> None:
        self.watching = asyncio_utils.create_task(self._watch(), name="codex slow clients", keep_ref=False)

    def done(self) -> None:
        if self.watching:
            self.watching.cancel()

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        if is_ours(flow):
            self.due[flow.client_conn.id] = self.clock() + (self.head if flow.response else self.body)

    def request(self, flow: http.HTTPFlow) -> None:
        self.due.pop(flow.client_conn.id, None)

    def error(self, flow: http.HTTPFlow) -> None:
        self.due.pop(flow.client_conn.id, None)

    def client_disconnected(self, client: connection.Client) -> None:
        """If another script has kept its request from us."""
        self.due.pop(client.id, None)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(min(self.head, self.body) / LOOKS)
            await self._cut_off_who_is_late()  # its names end with it: a connection is not held while this one sleeps

    async def _cut_off_who_is_late(self) -> None:
        for handler in list(ctx.master.addons.get("proxyserver").connections.values()):
            client: connection.Client = handler.client
            if isinstance(client.proxy_mode, ReverseMode) and self._is_late(client):
                logger.info("a client took too long to send its request, its connection is closed")
                await handler.on_timeout()

    def _is_late(self, client: connection.Client) -> bool:
        begun = engine.head_begun(client)
        return self.clock() > self.due.get(client.id, float("inf")) or (begun is not None and self.clock() > begun + self.head)
