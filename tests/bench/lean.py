"""What a call costs inside mitmproxy: `python -m tests.bench.lean [ROUNDS [CASE [ENTRY ...]]]`, on Linux.

Processor time of the proxy for each call, and how much later an answer comes than without it; beside mitmdump with nothing but a
three-line addon that lets answers stream. CASE is a part of the names of what is measured (`memory` and `cold` are the last two).
ENTRY is another `addons/codex_auth.py` than this one's; several are measured beside each other. All take turns before one upstream
that does nothing but talk, so that they see the same machine; what counts is the ratio.
"""

import asyncio
import multiprocessing
import os
import re
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import orjson

from tests.e2e.conftest import options_for, write_account
from tests.fakes.catalog import MODELS
from tests.fakes.events import frame
from tests.fakes.openai import FakeOpenAI
from tests.fakes.speech import Message
from tests.proxy import ENTRY, RunningProxy, running_proxy
from tests.wire.upstream import answer

DELTAS = 200
# Seconds between two events of a stream that is paced: each is then a packet of its own.
PACE = 0.002

BARE = """
class Bare:
    def responseheaders(self, flow):
        flow.response.stream = True

addons = [Bare()]
"""


# --- an upstream that costs little ------------------------------------------------------------------------------------


def head_of(body: bytes, kind: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n" % (kind, len(body))


def chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


SSE_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
JSON = orjson.dumps({"id": "chatcmpl-1", "object": "chat.completion", "choices": [{"message": {"content": "hello " * 20}}]})


class Upstream(asyncio.Protocol):
    """Looks for a word in the request: `short`, `long` (200 deltas at once), `paced` (one by one), `idle` (it stops half way)."""

    def __init__(self, events: Mapping[bytes, list[bytes]], models: bytes) -> None:
        self.events = events
        self.models = models
        self.buffer = b""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.I)
        if not found or (length and len(body) < int(length[1])):
            return
        request, self.buffer = self.buffer, b""
        if request.startswith(b"GET"):
            self.transport.write(head_of(self.models, b"application/json") + self.models)
        elif b"a-json" in request[-400:]:
            self.transport.write(head_of(JSON, b"application/json") + JSON)
        else:
            word = next(word for word in (b"short", b"long", b"paced", b"idle") if word in request[-400:])
            events = self.events[word]
            if word in (b"short", b"long"):
                self.transport.write(SSE_HEAD + b"".join(map(chunked, events)) + b"0\r\n\r\n")
            else:
                self.transport.write(SSE_HEAD)
                self.say(events, 0)

    def say(self, events: list[bytes], at: int) -> None:
        if at < len(events):
            self.transport.write(chunked(events[at]))
            asyncio.get_running_loop().call_later(PACE, self.say, events, at + 1)
        elif events is not self.events[b"idle"]:
            self.transport.write(b"0\r\n\r\n")


def serve(port: "Connection") -> None:
    few = [frame(event) for event in answer(Message("hello there you"))]
    many = [frame(event) for event in answer(Message(" ".join(f"word{n}" for n in range(DELTAS))))]
    events = {b"short": few, b"long": many, b"paced": many, b"idle": many[: DELTAS // 2]}
    models = orjson.dumps({"models": [model.info(n) for n, model in enumerate(MODELS)]})

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(lambda: Upstream(events, models), "127.0.0.1", 0)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


@contextmanager
def upstream() -> Iterator[int]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(there,), daemon=True)
    process.start()
    try:
        yield here.recv()
    finally:
        process.terminate()


# --- a client that costs little ---------------------------------------------------------------------------------------


class Client:
    def __init__(self, port: int, path: str) -> None:
        self.port = port
        self.path = path
        self.socket: socket.socket | None = None

    def connect(self) -> socket.socket:
        if self.socket is None:
            self.socket = socket.create_connection(("127.0.0.1", self.port))
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self.socket

    def close(self) -> None:
        if self.socket:
            self.socket.close()
        self.socket = None

    def ask(self, body: bytes) -> socket.socket:
        connected = self.connect()
        head = f"POST {self.path} HTTP/1.1\r\nhost: 127.0.0.1:{self.port}\r\nauthorization: Bearer placeholder\r\n"
        head += f"user-agent: OpenAI/Python 3.52.0\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        connected.sendall(head.encode() + body)
        return connected

    def call(self, body: bytes) -> bytes:
        connected, received = self.ask(body), b""
        while not ended(received):
            data = connected.recv(1 << 16)
            assert data, received[-500:]
            received += data
        assert received.startswith(b"HTTP/1.1 200"), received[:1000]
        return received


def ended(received: bytes) -> bool:
    head, found, body = received.partition(b"\r\n\r\n")
    if not found:
        return False
    length = re.search(rb"content-length: (\d+)", head, re.I)
    return len(body) >= int(length[1]) if length else body.endswith(b"0\r\n\r\n")


# --- what is measured -------------------------------------------------------------------------------------------------


def asking(word: str, stream: bool, turns: int = 1, size: int = 20) -> bytes:
    said = [{"role": "user" if n % 2 == 0 else "assistant", "content": ("a word " * (size // 7 + 1))[:size]} for n in range(turns)]
    said.append({"role": "user", "content": word})
    return orjson.dumps({"model": "gpt-5.5", "stream": stream, "messages": said})


@dataclass(frozen=True)
class Case:
    name: str
    body: bytes
    calls: int
    """In one round."""
    fresh: bool = False
    """A connection for each."""
    per: int = 1
    account: str = "chatgpt"


CASES = (
    Case("small, not streamed", asking("short", False), 150),
    Case("small, passed on (API key)", asking("a-json", False), 150, account="key"),
    Case("small, a connection each", asking("short", False), 100, fresh=True),
    Case("small, passed on, a connection each", asking("a-json", False), 100, fresh=True, account="key"),
    Case("chat stream, 200 events at once", asking("long", True), 40),
    Case("chat stream, 200 events one by one", asking("paced", True), 3),
    Case("1 MB in 40 messages", asking("short", False, 40, (1 << 20) // 40), 8),
    Case("1 MB in 4000 messages", asking("short", False, 4000, (1 << 20) // 4000), 8),
)


def spent(pid: int) -> float:
    """Seconds of processor time so far, of all threads that are there; proc(5), schedstat."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def resident(pid: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


@dataclass
class Proxy:
    name: str
    pids: Mapping[str, int]
    clients: Mapping[str, Client]
    """By the account's kind."""

    def round(self, case: Case) -> tuple[float, float]:
        """Seconds of processor time for a call, and the median of what one took."""
        client, took = self.clients[case.account], []
        client.call(case.body)
        before = spent(self.pids[case.account])
        for _ in range(case.calls):
            if case.fresh:
                client.close()
            began = time.perf_counter()
            client.call(case.body)
            took.append(time.perf_counter() - began)
        return (spent(self.pids[case.account]) - before) / case.calls, statistics.median(took)


def options(port: int) -> dict[str, str]:
    url = f"http://127.0.0.1:{port}"
    return {"codex_backend_url": f"{url}/backend-api/codex", "codex_platform_url": url}


@contextmanager
def started(openai: FakeOpenAI, folder: Path, port: int, entries: Sequence[Path]) -> Iterator[list[Proxy]]:
    with ExitStack() as stack:
        proxies = []
        bare = stack.enter_context(bare_proxy(folder / "bare", port))
        client = Client(bare.port, "/v1/chat/completions")
        proxies.append(
            Proxy("bare", dict.fromkeys(("chatgpt", "key"), bare.process.pid), dict.fromkeys(("chatgpt", "key"), client))
        )
        for n, entry in enumerate(entries):
            pids, clients = {}, {}
            for kind in ("chatgpt", "key"):
                proxy = stack.enter_context(signed_in(openai, folder / f"{n}-{kind}", port, entry, kind))
                pids[kind], clients[kind] = proxy.process.pid, Client(proxy.port, "/v1/chat/completions")
            proxies.append(Proxy(entry.parts[-3], pids, clients))
        yield proxies


@contextmanager
def bare_proxy(home: Path, port: int) -> Iterator[RunningProxy]:
    home.mkdir(exist_ok=True)
    script = home / "bare.py"
    script.write_text(BARE)
    with running_proxy(home, arguments=["-p", "0", "--mode", f"reverse:http://127.0.0.1:{port}"], scripts=[script]) as proxy:
        yield proxy


@contextmanager
def signed_in(openai: FakeOpenAI, home: Path, port: int, entry: Path, kind: str = "chatgpt") -> Iterator[RunningProxy]:
    document = openai.control.login() if kind == "chatgpt" else {"auth_mode": "apikey", "OPENAI_API_KEY": "sk-bench"}
    write_account(home / ".codex-mitm/accounts/default/auth.json", document)
    with running_proxy(home, options_for(openai, **options(port)), scripts=[entry]) as proxy:
        yield proxy


def cold_start(proxy: RunningProxy) -> float:
    """Seconds of processor time from nothing to the end of the first answer."""
    Client(proxy.port, "/v1/chat/completions").call(asking("short", False))
    return spent(proxy.process.pid)


def cold_starts(openai: FakeOpenAI, folder: Path, port: int, entries: Sequence[Path], rounds: int) -> list[list[float]]:
    """The first one in each home makes a CA, and is not counted."""
    found: list[list[float]] = [[] for _ in range(len(entries) + 1)]
    home = folder / "bare"
    for n in range(rounds + 1):
        with bare_proxy(home, port) as proxy:
            times = [cold_start(proxy)]
        for entry in entries:
            with signed_in(openai, folder / f"cold-{entry.parts[-3]}", port, entry) as proxy:
                times.append(cold_start(proxy))
        for so_far, time_taken in zip(found, times, strict=True):
            so_far += [time_taken] if n else []
    return found


STREAMS = 50


def memory_of_a_stream(proxy: Proxy) -> float:
    """Bytes, of one that has said half of its answer and is silent now."""
    pid, model = proxy.pids["chatgpt"], proxy.clients["chatgpt"]
    model.call(asking("long", True))
    before, open_ones = resident(pid), [Client(model.port, model.path) for _ in range(STREAMS)]
    for client in open_ones:
        client.ask(asking("idle", True))
    time.sleep(2 + DELTAS / 2 * PACE * 4)
    after = resident(pid)
    for client in open_ones:
        client.close()
    return (after - before) / len(open_ones)


def main(rounds: int, only: str, entries: Sequence[Path]) -> None:
    with FakeOpenAI() as openai, upstream() as port, tempfile.TemporaryDirectory() as folder:
        with started(openai, Path(folder), port, entries) as proxies:
            direct = Client(port, "/v1/chat/completions")
            names = [proxy.name for proxy in proxies]
            print(f"{'processor time of a call, ms; ratio to bare':44}" + "".join(f"{name:>18}" for name in names), flush=True)
            for case in [case for case in CASES if only in case.name]:
                cpu: dict[int, list[float]] = {n: [] for n in range(len(proxies))}
                later: dict[int, list[float]] = {n: [] for n in range(len(proxies))}
                for _ in range(rounds):
                    direct.close()
                    base = Proxy("", {case.account: os.getpid()}, {case.account: direct}).round(case)[1]
                    for n, proxy in enumerate(proxies):
                        found, took = proxy.round(case)
                        cpu[n].append(found * 1e3)
                        later[n].append((took - base) * 1e3)
                line = f"{case.name:44}"
                for n in cpu:
                    ratio = statistics.median(here / bare for here, bare in zip(cpu[n], cpu[0], strict=True))
                    line += f"{statistics.median(cpu[n]):11.2f} {ratio:5.2f}x"
                print(line, flush=True)
                print(f"{'    added to its time, ms':44}" + "".join(f"{statistics.median(later[n]):11.2f}       " for n in later))
            if only in "memory":
                print(
                    f"{'memory of a stream, KB':44}"
                    + "".join(f"{memory_of_a_stream(each) / 1000:11.0f}       " for each in proxies)
                )
        if only in "cold":
            line = f"{'to the first answer, s':44}"
            starts = cold_starts(openai, Path(folder), port, entries, rounds)
            for times in starts:
                ratio = statistics.median(here / bare for here, bare in zip(times, starts[0], strict=True))
                line += f"{statistics.median(times):11.2f} {ratio:5.2f}x"
            print(line)


if __name__ == "__main__":
    rounds, only, *others = [*sys.argv[1:], *["7", ""][len(sys.argv) - 1 :]]
    main(int(rounds), only, [*map(Path, others)] or [ENTRY])
