"""A client below HTTP: what arrives, in which pieces, and how the connection ends."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson


@dataclass
class RawClient:
    socket: socket.socket

    def send(self, method: str, path: str, headers: dict[str, str], body: Any = None) -> None:
        data = b"" if body is None else orjson.dumps(body)
        lines = [f"{method} {path} HTTP/1.1", "Host: fake", f"Content-Length: {len(data)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.socket.sendall("\r\n".join([*lines, "Content-Type: application/json", "", ""]).encode() + data)

    def read_to_end(self) -> tuple[bytes, str]:
        """All that arrives, and whether it ended with "fin" or "rst"."""
        received = b""
        try:
            while data := self.socket.recv(65536):
                received += data
        except ConnectionResetError:
            return received, "rst"
        return received, "fin"


@contextmanager
def raw_client(url: str) -> Iterator[RawClient]:
    address = urlsplit(url)
    assert address.hostname is not None
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        yield RawClient(connection)


def chunks_of(received: bytes) -> tuple[list[bytes], bool]:
    """The chunks of a chunked body (RFC 9112 7.1), and whether the last one, of no length, came."""
    _, _, rest = received.partition(b"\r\n\r\n")
    chunks: list[bytes] = []
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        if int(size, 16) == 0:
            return chunks, True
        chunks.append(rest[: int(size, 16)])
        rest = rest[int(size, 16) + 2 :]
    return chunks, False
