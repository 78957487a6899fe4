"""Clients that cost little: HTTP/1.1 over raw sockets, all of them in one loop of one thread, each with one request at a time.

wrk would cost less still, but knows nothing of the words in a stream. What this one costs is in the figures for `direct`.
"""

import re
import select
import selectors
import socket
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from tests.bench.upstream import BLANK, STAMP

PATH = "/v1/chat/completions"
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.I)
# Nothing that is measured is silent for as long as that.
PATIENCE = 60.0


def asking(word: str, stream: bool, *, turns: int = 1, size: int = 0, tools: int = 0) -> bytes:
    """`size`: bytes of what was said before, in so many turns."""
    each = size // turns
    text = ("a word and another one, " * (each // 24 + 1))[:each] or "hello"
    said = [{"role": "user" if n % 2 == 0 else "assistant", "content": text} for n in range(turns)]
    body: dict[str, Any] = {"model": "gpt-5.5", "stream": stream, "messages": [*said, {"role": "user", "content": f"bench-{word}"}]}
    if tools:
        body["tools"] = [tool(n) for n in range(tools)]
    return orjson.dumps(body)


def tool(number: int) -> dict[str, Any]:
    names = ("path", "text", "line", "count", "encoding")
    properties = {name: {"type": "string", "description": f"the {name} that the tool shall take, as a string"} for name in names}
    parameters = {"type": "object", "properties": properties, "required": [*names], "additionalProperties": False}
    does = "Does what tools do: it reads, changes or counts something, and says what became of it. " * 3
    return {"type": "function", "function": {"name": f"tool_{number}", "description": does, "parameters": parameters}}


class Refused(Exception):
    """Something answered otherwise than with a 200 and all of it."""


@dataclass
class Load:
    """What a number of clients saw; all times in seconds."""

    began: float
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    first_words: list[float] = field(default_factory=list)
    """From the request to the first word of an answer that carries times."""
    delays: list[float] = field(default_factory=list)
    """Of each word of such an answer: from its sending to its coming."""

    @property
    def rate(self) -> float:
        return len(self.latencies) / self.seconds


class Caller:
    """One client, with one answer after the other."""

    def __init__(
        self, port: int, body: bytes, path: str = PATH, headers: Sequence[str] = (), tls: ssl.SSLContext | None = None
    ) -> None:
        self.port = port
        self.tls = tls
        self.socket: socket.socket | None = None
        self.head_lines = [
            f"POST {path} HTTP/1.1",
            f"host: 127.0.0.1:{port}",
            *([] if any(line.startswith("authorization:") for line in headers) else ["authorization: Bearer placeholder"]),
            *headers,
            "user-agent: OpenAI/Python 3.52.0",
            "content-type: application/json",
        ]
        self.says(body)

    def says(self, body: bytes) -> None:
        """What it asks from now on."""
        self.request = "\r\n".join([*self.head_lines, f"content-length: {len(body)}", "", ""]).encode() + body

    def connected(self) -> socket.socket:
        if self.socket is None:
            self.socket = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls:
                self.socket = self.tls.wrap_socket(self.socket, server_hostname="127.0.0.1")
        return self.socket

    def was_left(self) -> bool:
        """Servers close what has been idle for some seconds, as it is while others have their turns."""
        if self.socket is None or self.tls:
            return False
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        if self.socket:
            self.socket.close()
            self.socket = None

    def ask(self) -> None:
        self.received = 0
        self.head = b""
        self.missing: int | None = None
        self.tail = b""
        self.cut = b""
        self.is_first = True
        if self.was_left():
            self.close()
        self.asked = time.monotonic_ns()
        self.connected().sendall(self.request)

    def receive(self, load: Load) -> bool:
        """Whether the answer has ended."""
        data = self.connected().recv(1 << 18)
        self._note_times(data, load)
        if not data:
            is_whole = bool(self.head) and self.missing is None and b"chunked" not in self.head
            self.close()
            if not is_whole:
                raise Refused(f"the connection was closed in an answer: {self.head[:500]!r}")
        elif not self.head:
            self.tail += data
            head, found, rest = self.tail.partition(b"\r\n\r\n")
            if not found:
                return False
            if not head.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200")):
                raise Refused(f"{(head + found + rest)[:1500]!r}")
            self.head, self.tail = head.lower(), rest[-5:]
            length = LENGTH.search(head + b"\r\n")
            self.missing = int(length[1]) - len(rest) if length else None
        else:
            self.tail = (self.tail + data)[-5:]
            self.missing = None if self.missing is None else self.missing - len(data)
        ended = not data or self.missing == 0 or (self.missing is None and b"chunked" in self.head and self.tail == b"0\r\n\r\n")
        if ended:
            load.latencies.append((time.monotonic_ns() - self.asked) / 1e9)
            if b"connection: close" in self.head:
                self.close()
        return ended

    def _note_times(self, data: bytes, load: Load) -> None:
        now, text, end = time.monotonic_ns(), self.cut + data, 0
        for found in STAMP.finditer(text):
            load.delays.append((now - int(found[1])) / 1e9)
            end = found.end()
        if end and self.is_first:
            self.is_first = False
            load.first_words.append((now - self.asked) / 1e9)
        self.cut = text[max(end, len(text) - len(BLANK) + 1) :]

    def has_more(self) -> bool:
        """TLS may have read more than it has handed on, and then the socket tells of nothing."""
        return isinstance(self.socket, ssl.SSLSocket) and self.socket.pending() > 0


def called(callers: Sequence[Caller], seconds: float = 0.0, calls: int = 0, *, is_fresh: bool = False) -> Load:
    """All callers at once, each of them one call after the other: for so long, or so many in all. `is_fresh`: always anew."""
    began = time.monotonic()
    load, left = Load(began), calls or 1 << 60
    with selectors.DefaultSelector() as selector:

        def begin(caller: Caller) -> None:
            nonlocal left
            left -= 1
            caller.ask()
            selector.register(caller.connected(), selectors.EVENT_READ, caller)

        try:
            for caller in callers[:left]:
                begin(caller)
            while selector.get_map():
                ready = selector.select(PATIENCE)
                if not ready:
                    raise Refused(f"no answer for {PATIENCE:.0f} s")
                for key, _ in ready:
                    caller = key.data
                    ended = caller.receive(load)
                    while not ended and caller.has_more():
                        ended = caller.receive(load)
                    if not ended:
                        continue
                    selector.unregister(key.fileobj)
                    if is_fresh:
                        caller.close()
                    if left > 0 and (calls or time.monotonic() - began < seconds):
                        begin(caller)
        except (Refused, OSError):
            for caller in callers:
                caller.close()
            raise
    load.seconds = time.monotonic() - began
    return load
