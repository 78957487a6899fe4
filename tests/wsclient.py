"""A WebSocket client for tests: one text frame a message, JSON in both directions."""

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Event, RejectConnection, Request, TextMessage
from wsproto.extensions import PerMessageDeflate

TIMEOUT = 20.0


class UpgradeRefused(Exception):
    """The server answered, and not with 101."""

    def __init__(self, status: int, headers: dict[str, str]) -> None:
        super().__init__(status)
        self.status = status
        self.headers = headers


@dataclass
class WebSocket:
    socket: socket.socket
    connection: WSConnection

    def send(self, message: Any) -> None:
        self._send(TextMessage(data=json.dumps(message)))

    def send_bytes(self, data: bytes) -> None:
        self._send(BytesMessage(data=data))

    def receive(self) -> dict[str, Any]:
        """The next message. Raises ConnectionError when there is none any more."""
        text = ""
        while True:
            event = self.event()
            if isinstance(event, CloseConnection):
                raise ConnectionError(f"closed with {event.code}")
            if isinstance(event, TextMessage):
                text += event.data
                if event.message_finished:
                    message: dict[str, Any] = json.loads(text)
                    return message

    def answer(self, message: Any) -> list[dict[str, Any]]:
        """What is said to a message, up to the event that ends an answer."""
        self.send(message)
        events = [self.receive()]
        while events[-1]["type"] not in ("response.completed", "error"):
            events.append(self.receive())
        return events

    def event(self) -> Event:
        while not (event := next(self.connection.events(), None)):
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionError("the server hung up")
            self.connection.receive_data(data)
        return event

    def _send(self, event: Event) -> None:
        self.socket.sendall(self.connection.send(event))


@contextmanager
def websocket(url: str, headers: Mapping[str, str]) -> Iterator[WebSocket]:
    """Raises UpgradeRefused."""
    to = urlsplit(url)
    assert to.hostname and to.port
    with socket.create_connection((to.hostname, to.port), TIMEOUT) as opened:
        talk = WebSocket(opened, WSConnection(ConnectionType.CLIENT))
        extra = [(name.encode(), value.encode()) for name, value in headers.items()]
        talk._send(Request(host=to.netloc, target=to.path, extensions=[PerMessageDeflate()], extra_headers=extra))
        answer = talk.event()
        if isinstance(answer, RejectConnection):
            raise UpgradeRefused(answer.status_code, {name.decode().lower(): value.decode() for name, value in answer.headers})
        assert isinstance(answer, AcceptConnection)
        yield talk
        talk._send(CloseConnection(1000))
