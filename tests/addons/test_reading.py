"""What is read of a peer while somebody else does not read: no more than fits into the machine, and nothing is lost of it."""

import hashlib
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from tests.proxy import ROOT, running_proxy
from tests.rawserver import Behaviour, RawServer, raw_server, read_request

SCRIPT = f"""
import sys; sys.path.insert(0, {str(ROOT)!r})
from addons import engine
engine.install()

class Streams:
    def requestheaders(self, flow):
        flow.request.stream = True

    def responseheaders(self, flow):
        flow.response.stream = True

addons = [Streams()]
"""

PIECE = bytes(range(256)) * 1024
PIECES = 256
ALL = PIECES * len(PIECE)
# What fits into the sockets on both sides of the proxy is some 10 MB each; in the proxy itself, less than one.
AT_MOST = ALL // 2
DEADLINE = 30.0


class Sent:
    """How many bytes a peer has got rid of so far."""

    def __init__(self) -> None:
        self.size = 0

    def all_to(self, connection: socket.socket) -> None:
        for number in range(PIECES):
            connection.sendall(bytes([number]) + PIECE[1:])
            self.size += len(PIECE)

    def stands_still(self) -> int:
        """Its size, when it has not grown for a while."""
        deadline, before, since = time.monotonic() + DEADLINE, -1, time.monotonic()
        while time.monotonic() - since < 1.0:
            assert time.monotonic() < deadline, f"{self.size} bytes were sent, and it goes on"
            if self.size != before:
                before, since = self.size, time.monotonic()
            time.sleep(0.05)
        return self.size


def expected() -> str:
    told = hashlib.sha256()
    for number in range(PIECES):
        told.update(bytes([number]) + PIECE[1:])
    return told.hexdigest()


def read_all(connection: socket.socket) -> str:
    told, size = hashlib.sha256(), 0
    while size < ALL:
        more = connection.recv(1 << 18)
        assert more, f"the connection ended after {size} bytes"
        told.update(more)
        size += len(more)
    return told.hexdigest()


@contextmanager
def client_before(behave: Behaviour, home: Path) -> Iterator[socket.socket]:
    script = home / "streams.py"
    script.write_text(SCRIPT)
    with (
        raw_server(behave) as upstream,
        running_proxy(home, arguments=("-p", "0", "--mode", f"reverse:{upstream.url}"), scripts=[script]) as proxy,
        socket.create_connection(("127.0.0.1", proxy.port), DEADLINE) as client,
    ):
        yield client


def read_head(connection: socket.socket) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += connection.recv(1)
    return head


@pytest.mark.slow
def test_an_upstream_is_read_as_fast_as_the_client_reads(tmp_path: Path) -> None:
    sent = Sent()

    def talk(server: RawServer, connection: socket.socket, number: int) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % ALL)
        sent.all_to(connection)
        connection.recv(1)

    with client_before(talk, tmp_path) as client:
        client.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert 0 < sent.stands_still() < AT_MOST
        read_head(client)
        assert read_all(client) == expected()


@pytest.mark.slow
def test_a_client_is_read_as_fast_as_upstream_reads(tmp_path: Path) -> None:
    sent, read, (here, there) = Sent(), list[str](), socket.socketpair()

    def take(server: RawServer, connection: socket.socket, number: int) -> None:
        read_head(connection)
        there.recv(1)
        read.append(read_all(connection))
        connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    with client_before(take, tmp_path) as client, here, there:
        client.sendall(b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % ALL)
        Thread(target=sent.all_to, args=[client], daemon=True).start()
        assert 0 < sent.stands_still() < AT_MOST
        here.sendall(b"!")
        assert client.recv(1000).startswith(b"HTTP/1.1 204 ")
        assert read == [expected()]
