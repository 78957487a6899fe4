"""HTTP/1.1 on a socket: h11 knows the grammar, asyncio moves the bytes, and nothing stands between the two.

A ready-made server hides what a fake has to decide: which bytes leave in one write, when a connection dies and how (FIN or
RST), and whether the client is still there while an answer is being produced. So:

* A request is read whole and handed to the application together with the `Wire` it came in on. The application sends.
* While it does, bytes that arrive are kept for the next request (pipelining), and the end of the stream means that the
  client has left: the application's task is cancelled on the spot. A client that half-closes and still expects an answer
  is legal and rare, and is treated as one that left.
* An application that raises has a bug. Its traceback is logged, kept in `Listener.crashes`, and the connection is dropped.
"""

import asyncio
import itertools
import json
import logging
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

import h11
import orjson
import zstandard

logger = logging.getLogger(__name__)

# What OpenAI's Files API takes in one file; every other body is far smaller.
MAX_BODY = 512 * 1024 * 1024
MAX_HEAD = 128 * 1024  # Cloudflare's limit for the headers of a request
READ_SIZE = 64 * 1024
# Long enough for a loopback peer to have read what was sent: a RST makes some kernels drop what is still unread.
BEFORE_RESET = 0.02
# struct linger: two ints on POSIX, two shorts on Windows. On, with no time to linger: close() sends RST.
LINGER_RESET = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)

type Headers = Sequence[tuple[str, str]]
type Body = bytes | AsyncIterator[bytes]


@dataclass(frozen=True)
class Request:
    """One request, read whole. Header names are in lower case, in the order they came."""

    origin: str
    connection: int
    method: str
    target: str
    headers: Headers
    body: bytes

    @cached_property
    def path(self) -> str:
        return urlsplit(self.target).path

    @cached_property
    def query(self) -> list[tuple[str, str]]:
        return parse_qsl(urlsplit(self.target).query, keep_blank_values=True)

    @cached_property
    def content(self) -> bytes:
        """The body with zstd, the one coding that the CLI uses, taken off. Raises zstandard.ZstdError."""
        if self.header("content-encoding") == "zstd":
            return zstandard.ZstdDecompressor().decompressobj().decompress(self.body)
        return self.body

    @cached_property
    def json(self) -> Any:
        """The parsed body, or None for one that is not JSON by its content-type or by its content."""
        if self.media_type != "application/json":
            return None
        try:
            return orjson.loads(self.content)
        except orjson.JSONDecodeError:
            return self._json_with_lone_surrogates
        except zstandard.ZstdError:
            return None

    @property
    def _json_with_lone_surrogates(self) -> Any:
        """FastAPI parses with the standard library, which takes them; orjson, used for its speed, does not."""
        try:
            return json.loads(self.content)
        except (ValueError, RecursionError):
            return None

    @cached_property
    def form(self) -> list[tuple[str, str]] | None:
        if self.media_type != "application/x-www-form-urlencoded":
            return None
        return parse_qsl(self.body.decode("latin-1"), keep_blank_values=True)

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)

    @property
    def media_type(self) -> str:
        return (self.header("content-type") or "").partition(";")[0].strip().lower()

    @property
    def bearer(self) -> str | None:
        scheme, _, token = (self.header("authorization") or "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else None


@dataclass(frozen=True)
class Response:
    """An answer. A body of bytes goes out with its length; an iterator's items go out as one chunk and one write each."""

    status: int
    headers: Headers = ()
    body: Body = b""


@dataclass(frozen=True, kw_only=True)
class Upgrade(Response):
    """A 101, and the conversation that follows it on the bare connection."""

    talk: "Callable[[Wire], Coroutine[Any, Any, None]]"


class Refused(Exception):
    """Raised anywhere below a handler to answer with `response` instead."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


def json_response(status: int, document: Any, headers: Headers = ()) -> Response:
    try:
        body = orjson.dumps(document)
    except TypeError:  # lone surrogates, in what was seen of a request
        body = json.dumps(document).encode()
    return Response(status, [("content-type", "application/json"), *headers], body)


def html_response(status: int, html: str, headers: Headers = ()) -> Response:
    return Response(status, [("content-type", "text/html; charset=utf-8"), *headers], html.encode())


class Wire:
    """The sending side of a connection: well-formed HTTP through h11, or any bytes at all, or a sudden end.

    After `switch` the receiving side too: what comes then is no HTTP.
    """

    def __init__(self, http: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._http = http
        self._reader = reader
        self._writer = writer

    async def send_head(self, response: Response) -> None:
        headers = list(response.headers)
        if isinstance(response.body, bytes) and response.status not in (204, 304):
            headers.append(("content-length", str(len(response.body))))
        reason = HTTPStatus(response.status).phrase if response.status in HTTPStatus else ""
        await self._send(h11.Response(status_code=response.status, headers=headers, reason=reason.encode()))

    async def send_continue(self) -> None:
        await self._send(h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue"))

    async def switch(self, response: Upgrade) -> None:
        headers = list(response.headers)
        await self._send(h11.InformationalResponse(status_code=101, headers=headers, reason=b"Switching Protocols"))

    async def receive(self) -> bytes:
        """Bytes that came after the switch; b"" at their end."""
        return await self._reader.read(READ_SIZE)

    async def send_data(self, data: bytes) -> None:
        await self._send(h11.Data(data=data))

    async def finish(self) -> None:
        await self._send(h11.EndOfMessage())

    async def send_raw(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def hang_up(self, how: Literal["fin", "rst"]) -> None:
        if how == "rst":
            await asyncio.sleep(BEFORE_RESET)
            self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
            self._writer.transport.abort()
        else:
            self._writer.close()

    async def _send(self, event: h11.Event) -> None:
        await self.send_raw(self._http.send(event) or b"")


type Application = Callable[[Request, Wire], Coroutine[Any, Any, None]]


class Listener:
    """One origin: accepts on loopback and gives every request to the application."""

    def __init__(self, origin: str, application: Application) -> None:
        self.origin = origin
        self.url = ""
        self.application = application
        self.crashes: list[BaseException] = []
        self._numbers = itertools.count(1)
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def open(self, port: int = 0) -> None:
        self._server = await asyncio.get_running_loop().create_server(self._accept, "127.0.0.1", port)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        if self._server is None:
            return
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        # abort() closes a socket on the loop's next turn; without one, the socket outlives the loop.
        await asyncio.sleep(0)

    def _accept(self) -> asyncio.Protocol:
        # By hand what start_server does, for a reader of our own, and for a task of our own: before 3.12.2 the one that
        # start_server makes reports its cancellation as an error.
        loop = asyncio.get_running_loop()
        reader = _Reader(loop=loop)

        def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connection = _Connection(self, next(self._numbers), reader, writer)
            task = loop.create_task(connection.serve(), name=f"{self.origin} connection {connection.number}")
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)

        return asyncio.StreamReaderProtocol(reader, connected, loop=loop)


class _Reader(asyncio.StreamReader):
    """Tells at once that the other side has ended, also while nobody reads."""

    ended = False
    on_end: Callable[[], object] | None = None

    def feed_eof(self) -> None:
        super().feed_eof()
        self._end()

    def set_exception(self, exc: Exception) -> None:
        super().set_exception(exc)
        self._end()

    def _end(self) -> None:
        self.ended = True
        if self.on_end is not None:
            self.on_end()


class _Connection:
    """One accepted socket: requests are read from it, one at a time, until one side has enough."""

    def __init__(self, listener: Listener, number: int, reader: _Reader, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self._listener = listener
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        self._wire = Wire(self._http, reader, writer)

    async def serve(self) -> None:
        try:
            while request := await self._read_request():
                await self._answer(request)
                if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                    break
                self._http.start_next_cycle()
        except h11.RemoteProtocolError as error:
            logger.warning("%s: malformed request: %s", self._listener.origin, error)
            if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                await self._wire.send_head(Response(error.error_status_hint))
        except ConnectionError:
            pass
        except asyncio.CancelledError:
            self._writer.transport.abort()
            raise
        finally:
            self._writer.close()

    async def _read_request(self) -> Request | None:
        head: h11.Request | None = None
        body = bytearray()
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                if self._http.they_are_waiting_for_100_continue:
                    await self._wire.send_continue()
                self._http.receive_data(await self._reader.read(READ_SIZE))
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > MAX_BODY:
                    raise h11.RemoteProtocolError("body too large", error_status_hint=413)
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                return Request(
                    origin=self._listener.origin,
                    connection=self.number,
                    method=head.method.decode(),
                    target=head.target.decode("latin-1"),
                    headers=tuple((name.decode(), value.decode("latin-1")) for name, value in head.headers),
                    body=bytes(body),
                )
            else:
                return None

    async def _answer(self, request: Request) -> None:
        name = f"{self._listener.origin} {request.method} {request.path}"
        answering = asyncio.get_running_loop().create_task(self._listener.application(request, self._wire), name=name)
        self._reader.on_end = answering.cancel
        # Its first step is taken even for a client that has left already: what was asked for is done, as on a real server.
        await asyncio.sleep(0)
        if self._reader.ended:
            answering.cancel()
        try:
            await asyncio.wait({answering})
        finally:
            answering.cancel()
        if answering.cancelled():
            raise ConnectionError("the client left")
        error = answering.exception()
        if error is not None and not isinstance(error, ConnectionError):
            logger.error("%s: the fake itself failed", name, exc_info=error)
            self._listener.crashes.append(error)
            raise ConnectionError("nothing to answer with")
