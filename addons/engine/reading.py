"""What a peer sends comes to the layers in the turn of the event loop in which it is read.

asyncio's streams put it into a buffer and wake the task that waits for it, which takes it out a turn later: fifteen functions and
another look at all sockets for each packet, and a packet is a word of an answer.
"""

import asyncio
from typing import cast

from mitmproxy.connection import Connection
from mitmproxy.proxy import events
from mitmproxy.proxy.server import ConnectionHandler

from addons.engine.originals import original
from addons.engine.turns import Work, is_behind, work_of

# Of a StreamReader: what whoever waits for data waits for. None while nobody does.
WAITER = "_waiter"


async def handle_connection(self: ConnectionHandler, connection: Connection) -> None:
    """As mitmproxy does: it still sees the end of what is read, and everything while somebody is behind."""
    io = self.transports[connection]
    if isinstance(io.reader, asyncio.StreamReader) and isinstance(io.writer, asyncio.StreamWriter) and not io.writer.is_closing():
        transport = io.writer.transport
        stream = cast(asyncio.StreamReaderProtocol, transport.get_protocol())
        transport.set_protocol(AtOnce(stream, io.reader, work_of(self), connection))
    await original[ConnectionHandler, "handle_connection"](self, connection)


class AtOnce(asyncio.Protocol):
    """Before the protocol of a stream, which gets what cannot be worked off at once."""

    __slots__ = ("connection", "reader", "stream", "work")

    def __init__(
        self, stream: asyncio.StreamReaderProtocol, reader: asyncio.StreamReader, work: Work, connection: Connection
    ) -> None:
        self.stream, self.reader, self.work, self.connection = stream, reader, work, connection

    def data_received(self, data: bytes) -> None:
        waiter = vars(self.reader)[WAITER]
        # Nobody waits any more: what came before is still in the reader, somebody does not read, or the connection is being closed.
        if waiter is None or waiter.done() or is_behind(self.work.handler):
            self.stream.data_received(data)
        else:
            self.work.take(events.DataReceived(self.connection, data))

    def eof_received(self) -> bool | None:
        return self.stream.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self.stream.connection_lost(exc)

    def pause_writing(self) -> None:
        self.stream.pause_writing()

    def resume_writing(self) -> None:
        self.stream.resume_writing()
