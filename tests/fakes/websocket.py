"""The Codex backend's WebSocket: the handshake, then messages in and the events of their answers out, each one text frame.

A connection remembers the responses that were made on it. `previous_response_id` builds upon one of those, so that a turn sends
what is new and no more; a response of another connection is not known here.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage
from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import CloseReason
from wsproto.handshake import server_extensions_handshake
from wsproto.utilities import generate_accept_token

from .errors import refuse, refuse_detail
from .events import Event
from .http import Headers, Request, Response, Upgrade, Wire

# The CLI's feature of that name; the date is the dialect's version.
BETA = "responses_websockets=2026-02-06"

type Item = dict[str, Any]
type Answer = Callable[[str], AsyncIterator[Event]]


def is_upgrade(request: Request) -> bool:
    return (request.header("upgrade") or "").lower() == "websocket"


def accept(request: Request, headers: Headers, answer: Answer) -> Upgrade:
    """RFC 6455 4.2. Every text message is given to `answer`. Raises Refused for a handshake that is not one of the CLI's."""
    key = request.header("sec-websocket-key")
    if not key or request.header("sec-websocket-version") != "13":
        refuse_detail("Invalid WebSocket handshake")
    if BETA not in (request.header("openai-beta") or ""):
        refuse_detail(f"OpenAI-Beta: {BETA} is required")
    deflate = PerMessageDeflate()
    offers = [offer.strip() for offer in (request.header("sec-websocket-extensions") or "").split(",")]
    agreed = server_extensions_handshake(offers, [deflate])
    head = [
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-accept", generate_accept_token(key.encode()).decode()),
        *([("sec-websocket-extensions", agreed.decode())] if agreed else []),
        *headers,
    ]

    async def talk(wire: Wire) -> None:
        await _talk(Connection(ConnectionType.SERVER, [deflate] if agreed else []), wire, answer)

    return Upgrade(101, head, talk=talk)


async def _talk(connection: Connection, wire: Wire, answer: Answer) -> None:
    heard = ""
    while data := await wire.receive():
        connection.receive_data(data)
        for event in connection.events():
            if isinstance(event, TextMessage):
                heard += event.data
                if event.message_finished:
                    async for said in answer(heard):
                        await wire.send_raw(connection.send(TextMessage(data=orjson.dumps(said).decode())))
                    heard = ""
            elif isinstance(event, Ping):
                await wire.send_raw(connection.send(event.response()))
            elif isinstance(event, BytesMessage):
                await wire.send_raw(connection.send(CloseConnection(CloseReason.UNSUPPORTED_DATA, "text frames only")))
                return
            elif isinstance(event, CloseConnection):
                await wire.send_raw(connection.send(event.response()))
                return


def error_event(response: Response) -> Event:
    """A refusal as it is told on a connection that goes on."""
    assert isinstance(response.body, bytes)
    document = orjson.loads(response.body)
    error = document.get("error") or {"type": "invalid_request_error", "code": None, "message": document["detail"], "param": None}
    return {"type": "error", "status": response.status, "error": error, "headers": dict(response.headers)}


@dataclass
class Past:
    """What was said on one connection, by the id of each response: all of the input that led to it, and its output."""

    items: dict[str, list[Item]] = field(default_factory=dict)

    def before(self, previous: str | None) -> list[Item]:
        """Raises Refused for a response that was not made here."""
        if previous is None:
            return []
        if previous not in self.items:
            refuse(400, "previous_response_not_found", f"Previous response with id '{previous}' not found.", "previous_response_id")
        return self.items[previous]

    def listen(self, items: list[Item], events: Iterator[Event]) -> Iterator[Event]:
        """The same events, kept in mind."""
        said = list(items)
        for event in events:
            if event["type"] == "response.output_item.done":
                said.append(event["item"])
            elif event["type"] == "response.completed":
                self.items[event["response"]["id"]] = said
            yield event
