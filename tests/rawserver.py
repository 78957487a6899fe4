"""A loopback server that says exactly the bytes a test wants, when it wants: for upstreams that misbehave below HTTP."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class RawServer:
    port: int
    behave: "Behaviour"
    """May be changed while it runs; a connection keeps the one it came in under."""
    connections_made: int = 0
    received: list[bytes] = field(default_factory=list)
    """Request heads and bodies, in order, as they came."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


# (server, connection, number of the connection from 0) -> what the server does with it; it is closed afterwards.
Behaviour = Callable[[RawServer, socket.socket, int], None]


@contextmanager
def raw_server(behave: Behaviour) -> Iterator[RawServer]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = RawServer(listener.getsockname()[1], behave)
    connections: list[socket.socket] = []

    def serve_one(connection: socket.socket, number: int) -> None:
        with connection, suppress(OSError):  # the other side may be gone, which is its right
            server.behave(server, connection, number)

    def accept() -> None:
        number = 0
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connections.append(connection)
            threading.Thread(target=serve_one, args=(connection, number), daemon=True).start()
            number += 1
            server.connections_made += 1

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def read_request(connection: socket.socket) -> bytes:
    """One request with a content-length or none at all; b"" when the other side has closed."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            return data
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    wanted = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    while len(body) < wanted:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def response(status: int, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Whatever", f"content-length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
