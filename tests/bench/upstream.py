"""A Codex backend that costs little: the bytes of its answers are there before anybody asks. Runs in a process of its own.

It looks for a word in the request's body, which passes through every proxy because a user said it (`asking` in load.py):

    bench-short         an answer of 8 words, at once
    bench-long          200 words, at once
    bench-paced-20      200 words, one each 20 ms; the text of each is the time at which it was sent
    bench-idle          half of 200 words, and then nothing for as long as the client stays

Everything that is no POST gets the list of models; a WebSocket is refused.
"""

import asyncio
import random
import re
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import orjson

from tests.fakes.catalog import MODELS
from tests.fakes.events import Event, frame
from tests.fakes.speech import Message
from tests.proxy import ROOT
from tests.wire.upstream import answer

SHORT, LONG = 8, 200
# Of the far one, in seconds: from Europe to the next big data centre, or across a continent.
ROUND_TRIP = 0.05
WORD = re.compile(rb"bench-([a-z]+)(?:-(\d+))?")
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.I)

# A time as the text of a delta: nanoseconds of the clock that all processes of a machine share, always as many digits.
STAMP = re.compile(rb"t(\d{18})")
BLANK = b"t" + b"_" * 18

SSE_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
NO_WEBSOCKET = b"HTTP/1.1 426 Upgrade Required\r\ncontent-length: 0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def stamp(now: int) -> bytes:
    return b"t%018d" % now


@dataclass(frozen=True)
class Answers:
    short: bytes
    long: bytes
    events: tuple[bytes, ...]
    """Chunks of the one that is paced, with a blank where the time goes."""
    first_delta: int
    models: bytes

    @classmethod
    def made(cls) -> "Answers":
        paced = answer(Message(" ".join([BLANK.decode()] * LONG)))
        kinds = [event["type"] for event in paced]
        models = orjson.dumps({"models": [model.info(n) for n, model in enumerate(MODELS)]})
        return cls(
            short=_at_once(answer(Message(" ".join(f"word{n}" for n in range(SHORT))))),
            long=_at_once(answer(Message(" ".join(f"word{n}" for n in range(LONG))))),
            events=tuple(chunk(frame(event)) for event in paced),
            first_delta=kinds.index("response.output_text.delta"),
            models=b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(models), models),
        )


def _at_once(events: list[Event]) -> bytes:
    return SSE_HEAD + b"".join(chunk(frame(event)) for event in events) + LAST_CHUNK


class Backend(asyncio.Protocol):
    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.received = bytearray()
        self.awaited = 0
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        while len(self.received) >= self.awaited:
            end = self.received.find(b"\r\n\r\n")
            if end < 0:
                return
            length = LENGTH.search(self.received, 0, end + 2)
            self.awaited = end + 4 + (int(length[1]) if length else 0)
            if len(self.received) < self.awaited:
                return
            request = bytes(self.received[: self.awaited])
            del self.received[: self.awaited]
            self.awaited = 0
            self.answer(request, end)

    def answer(self, request: bytes, end: int) -> None:
        if not request.startswith(b"POST"):
            upgrades = b"\r\nupgrade:" in request[:end].lower()
            self.transport.write(NO_WEBSOCKET if upgrades else self.answers.models)
            return
        found = WORD.search(request, max(request.rfind(b"bench-"), 0))
        match found and found[1]:
            case b"long":
                self.transport.write(self.answers.long)
            case b"paced" | b"idle" as word:
                asyncio.get_running_loop().call_soon(self.begin, int((found and found[2]) or 2) / 1000, word == b"idle")
            case _:
                self.transport.write(self.answers.short)

    def begin(self, pace: float, is_idle: bool) -> None:
        """All up to the first word at once. The others come at times of their own, so that streams do not beat in step."""
        first, now = self.answers.first_delta, time.monotonic_ns()
        events = self.answers.events[: first + LONG // 2] if is_idle else self.answers.events
        self.transport.write(SSE_HEAD + b"".join(events[: first + 1]).replace(BLANK, stamp(now)))
        self.say(events, first + 1, asyncio.get_running_loop().time() + random.random() * pace, pace)

    def say(self, events: tuple[bytes, ...], at: int, began: float, pace: float) -> None:
        first = self.answers.first_delta
        if at < first + LONG:
            if at < len(events) and not self.transport.is_closing():
                self.transport.write(events[at].replace(BLANK, stamp(time.monotonic_ns())))
                when = began + (at - first) * pace
                asyncio.get_running_loop().call_at(when, self.say, events, at + 1, began, pace)
        else:
            self.transport.write(b"".join(events[at:]) + LAST_CHUNK)


class Road(asyncio.Protocol):
    """A way to the backend that takes its time: half of `round_trip` each way, and a whole one before a connection stands.

    On loopback the connection stands at once, so what is said first waits for as long as the handshake would have taken.
    """

    def __init__(self, port: int, round_trip: float) -> None:
        self.port = port
        self.round_trip = round_trip
        self.waiting: list[bytes] = []
        self.other: asyncio.Transport | None = None
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.open_from = asyncio.get_running_loop().time() + self.round_trip
        self.connecting = asyncio.get_running_loop().create_task(self.connect(), name="bench road")

    async def connect(self) -> None:
        loop = asyncio.get_running_loop()
        self.other, _ = await loop.create_connection(lambda: _WayBack(self), "127.0.0.1", self.port)
        for data in self.waiting:
            self.other.write(data)

    def data_received(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        loop.call_at(max(loop.time(), self.open_from) + self.round_trip / 2, self.arrive, data)

    def arrive(self, data: bytes) -> None:
        if self.other:
            self.other.write(data)
        else:
            self.waiting.append(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other:
            self.other.close()


class _WayBack(asyncio.Protocol):
    def __init__(self, road: Road) -> None:
        self.road = road

    def data_received(self, data: bytes) -> None:
        asyncio.get_running_loop().call_later(self.road.round_trip / 2, self.road.transport.write, data)

    def connection_lost(self, exc: Exception | None) -> None:
        asyncio.get_running_loop().call_later(self.road.round_trip / 2, self.road.transport.close)


@dataclass(frozen=True)
class Upstream:
    port: int
    far_port: int = 0
    """The same over TLS, at a distance."""


async def serve(certificate: Path | None, round_trip: float) -> None:
    loop = asyncio.get_running_loop()
    backend = partial(Backend, Answers.made())
    server = await loop.create_server(backend, "127.0.0.1", 0, backlog=4096)
    port, far_port = server.sockets[0].getsockname()[1], 0
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        secure = await loop.create_server(backend, "127.0.0.1", 0, ssl=context)
        behind = secure.sockets[0].getsockname()[1]
        far = await loop.create_server(lambda: Road(behind, round_trip), "127.0.0.1", 0)
        far_port = far.sockets[0].getsockname()[1]
    print(port, far_port, flush=True)
    await server.serve_forever()


@contextmanager
def running_upstream(certificate: Path | None = None, round_trip: float = ROUND_TRIP) -> Iterator[Upstream]:
    """`certificate`: a PEM file with the key of the server in it, where the far one is wanted too."""
    command = [sys.executable, "-m", "tests.bench.upstream", str(round_trip), *([str(certificate)] if certificate else [])]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield Upstream(*map(int, process.stdout.readline().split()))
        finally:
            process.terminate()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):  # it is in the process group of the bench, and ends with it
        asyncio.run(serve(Path(sys.argv[2]) if sys.argv[2:] else None, float(sys.argv[1])))
