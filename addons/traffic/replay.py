"""`replay`: the recorded request again, to a proxy that runs; or, offline, the recorded answer again, to a client."""

import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import urlsplit

from addons.traffic.errors import NotRecorded, TrafficError
from addons.traffic.exchange import Body, Exchange
from addons.traffic.recorded import SENT_AGAIN, need
from addons.traffic.text import Page, printable_lines, say

PROXY = "http://127.0.0.1:9090"
# The longest silence that the proxy itself lets pass is 300 seconds.
TIMEOUT = 330.0
# The proxy sends the call with this account, if it knows it.
ACCOUNT_HEADER = "x-codex-account"


def send_again(exchange: Exchange, to: str, model: str | None, account: str | None, page: Page) -> int:
    """Prints the answer as it streams; returns its status. Raises NotRecorded, TrafficError if nobody answers."""
    body = need(exchange, "client_request", whole=True).data if exchange.method not in ("GET", "HEAD") else b""
    if b"[redacted " in body:
        say("codex-mitm: parts of this request were redacted when it was recorded, and go out so")
    headers = {name: value for name, value in exchange.client_headers.kept if name in SENT_AGAIN}
    # A Codex CLI speaks for itself to the backend, and goes on doing so.
    agent = exchange.client_headers.get("user-agent") if "originator" in headers else "codex-mitm replay"
    headers |= {"authorization": "Bearer placeholder", "user-agent": agent}
    if account:
        headers[ACCOUNT_HEADER] = account
    connection, base = _connection(to)
    path = exchange.endpoint if not base else base + exchange.endpoint.removeprefix("/v1")
    try:
        connection.request(exchange.method, path, _with_model(body, model) if model else body, headers)
        answer = connection.getresponse()
        say(f"{answer.status} {answer.reason}, {answer.headers.get('content-type', 'no content-type')}")
        while piece := answer.read1(65536):
            page.write(printable_lines(piece.decode("utf-8", "replace")))
            page.flush()
    except (OSError, http.client.HTTPException) as e:
        what = str(e) or type(e).__name__
        raise TrafficError(f"no answer from {to}: {what}", "is the proxy running there? `make run`, or --to URL") from e
    finally:
        connection.close()
    return answer.status


def _connection(to: str) -> tuple[http.client.HTTPConnection, str]:
    try:
        parts = urlsplit(to)
        kind = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}[parts.scheme]
        if not parts.hostname:
            raise ValueError("no host")
        return kind(parts.hostname, parts.port, timeout=TIMEOUT), parts.path.rstrip("/")
    except (ValueError, KeyError) as e:
        raise TrafficError(f"--to: not an http(s) URL: {to}") from e


def _with_model(body: bytes, model: str) -> bytes:
    try:
        parsed = json.loads(body)
    except ValueError as e:
        raise NotRecorded("the recorded request is no JSON, its model cannot be changed") from e
    if not isinstance(parsed, dict):
        raise NotRecorded("the recorded request is no JSON object, it has no model")
    return json.dumps({**parsed, "model": model}).encode()


# -- offline


def answer_once(exchange: Exchange, speed: float, announce: Callable[[str], None]) -> None:
    """Listens on loopback, answers one POST as the client was answered then, byte by byte and at the same moments, and ends."""
    recorded = need(exchange, "client_answer", whole=True)
    with OneAnswer(exchange, recorded, speed) as server:
        announce(f"http://127.0.0.1:{server.server_port}/v1")
        while not server.answered:
            server.handle_request()


class OneAnswer(HTTPServer):
    def __init__(self, exchange: Exchange, body: Body, speed: float) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.exchange, self.body, self.speed = exchange, body, speed
        self.answered = False

    def pieces(self) -> Iterator[bytes]:
        began = time.monotonic()
        for at, data in self.body.chunks:
            wait = at / self.speed - (time.monotonic() - began) if self.speed else 0.0
            if wait > 0:
                time.sleep(wait)
            if data:
                yield data


class _Handler(BaseHTTPRequestHandler):
    server: OneAnswer
    protocol_version = "HTTP/1.1"
    timeout = 30  # of a client that connects and says nothing

    def do_POST(self) -> None:
        self.close_connection = True
        self._read_request()
        self.server.answered = True
        try:
            self._answer(self.server.exchange)
        except ConnectionError:
            say("the client left")

    def _read_request(self) -> None:
        """What is left unread would make the kernel reset the connection, and take the answer with it."""
        self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            while length := int(self.rfile.readline(100).partition(b";")[0] or b"0", 16):
                self.rfile.read(length + 2)
            self.rfile.readline(100)

    def _answer(self, exchange: Exchange) -> None:
        self.send_response(exchange.status or 200)
        self.send_header("content-type", exchange.answer_headers.get("content-type") or "application/json")
        for name, value in exchange.answer_headers.kept:
            if name.startswith(("retry-after", "x-should-retry", "x-request-id", "x-codex-", "x-ratelimit-")):
                self.send_header(name, value)
        self.send_header("transfer-encoding", "chunked")
        self.send_header("connection", "close")
        self.end_headers()
        # Nagle's algorithm would put together what came apart.
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for data in self.server.pieces():
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        if exchange.outcome != "client_left":  # then nobody knows how it would have ended: the connection just closes
            self.wfile.write(b"0\r\n\r\n")

    def do_GET(self) -> None:
        self.close_connection = True
        body = b'{"error": {"message": "codex-mitm replays one recorded POST here", "type": "invalid_request_error", "code": null}}'
        self.send_response(404)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        say(f"{self.command or 'something'} {getattr(self, 'path', '')}: {format % args}")
