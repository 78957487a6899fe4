"""The end of the real proxy by real signals: what is under way ends well or is told that it does not, and nobody hangs."""

import asyncio
import errno
import json
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson
import pytest

from addons.traffic import queries
from addons.traffic.exchange import Exchange
from addons.traffic.recorded import load
from addons.traffic.schema import open_to_read
from tests.e2e.client import ask, said
from tests.e2e.conftest import options_for, write_account
from tests.e2e.endings import Dialect, Ending, ask_for
from tests.e2e.test_parallel import HANDSHAKE, INSIDE, Inside
from tests.fakes.control import Control
from tests.fakes.openai import FakeOpenAI
from tests.fakes_test.bodies import plain
from tests.proxy import ENTRY, WAITS, RunningProxy, running_proxy
from tests.wsclient import websocket

KEY = "CANARY-client-key"
BOB = "bob@example.com"

STOPPED = "proxy_stopped"
# How a request ends that is ended with the proxy: in the middle of its answer, and before it has one.
FAILED, REFUSED = Ending("failed", 200, STOPPED), Ending("refused", 503, STOPPED)


def options(openai: FakeOpenAI, home: Path, grace: float, **more: str) -> dict[str, str]:
    policy = home / "policy.yaml"
    policy.write_text(f"shutdown: {{grace: {grace}}}\n")
    return options_for(openai, codex_policy=str(policy), **more)


def sign_in(home: Path, control: Control, name: str = "default", **login: Any) -> Path:
    return write_account(home / f".codex-mitm/accounts/{name}/auth.json", control.login(**login))


async def until(holds: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def asked(control: Control, count: int) -> None:
    await until(lambda: len(control.seen("backend", "responses")) >= count)


async def is_over(proxy: RunningProxy) -> None:
    code = await asyncio.to_thread(proxy.process.wait, 30)
    assert (code, "Traceback" in proxy.log(), "crashed" in proxy.log()) == (0, False, False), proxy.log()
    assert KEY not in proxy.log()


def recorded(home: Path) -> list[Exchange]:
    with closing(open_to_read(home / ".codex-mitm/traffic.db")) as db:
        return [load(db, call.id) for call in queries.latest(db, 100)]


def connect(proxy: RunningProxy, first_words: bytes) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", proxy.port), 20)
    client.sendall(first_words)
    return client


def question(text: str, path: str = "/v1/responses", **headers: str) -> bytes:
    body = orjson.dumps(ask(text))
    own = {"host": "localhost", "authorization": f"Bearer {KEY}", "content-type": "application/json"}
    sent = own | headers | {"content-length": f"{len(body)}"}
    lines = [f"POST {path} HTTP/1.1", *(f"{name.replace('_', '-')}: {value}" for name, value in sent.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def answer_head(client: socket.socket) -> bytes:
    read = b""
    while not read.endswith(b"\r\n\r\n"):
        byte = client.recv(1)
        assert byte, read
        read += byte
    return read


def rest(client: socket.socket) -> bytes:
    """All that comes until the proxy closes."""
    client.settimeout(30)
    return b"".join(iter(lambda: client.recv(1 << 20), b""))


def is_free(port: int) -> bool:
    """For another process, which listens as the proxy does."""
    try:
        with socket.create_server(("127.0.0.1", port)):
            return True
    except OSError as e:
        assert e.errno == errno.EADDRINUSE
        return False


KINDS: list[tuple[Dialect, bool]] = [("chat", True), ("responses", True), ("chat", False), ("responses", False)]


class Clients:
    """Who asks through `endings`, and reads each answer strictly."""

    def __init__(self, proxy: RunningProxy, http: httpx.AsyncClient) -> None:
        self.proxy = proxy
        self.http = http
        self.asked: dict[str, asyncio.Task[Ending]] = {}

    def ask(self, name: str, text: str, kind: tuple[Dialect, bool], **headers: str) -> None:
        sent = {"authorization": f"Bearer {KEY}"} | {name.replace("_", "-"): value for name, value in headers.items()}
        running = ask_for(self.http, self.proxy.url, *kind, text, sent)
        self.asked[name] = asyncio.get_running_loop().create_task(running)

    async def ends(self) -> dict[str, Ending]:
        return {name: await task for name, task in self.asked.items()}


@asynccontextmanager
async def clients_of(proxy: RunningProxy) -> AsyncIterator[Clients]:
    async with httpx.AsyncClient(trust_env=False, limits=httpx.Limits(max_connections=100)) as http:
        yield Clients(proxy, http)


@pytest.mark.slow
async def test_within_the_grace_time_every_request_ends_well(openai: FakeOpenAI, control: Control, tmp_path: Path) -> None:
    sign_in(tmp_path, control)
    control.settings(delta_delay=0.1)
    long = " ".join(f"word{n}" for n in range(40))
    more = options(openai, tmp_path, grace=60, codex_max_parallel="22", codex_websocket="relay")
    async with AsyncExitStack() as stack:
        proxy = stack.enter_context(running_proxy(tmp_path, more, scripts=(INSIDE, ENTRY)))
        inside, clients = Inside(f"{proxy.origin}/inside"), await stack.enter_async_context(clients_of(proxy))
        resting = stack.enter_context(websocket(f"{proxy.url}/responses", HANDSHAKE))
        assert resting.answer({"type": "response.create", **plain("hello")})[-1]["type"] == "response.completed"
        talking = stack.enter_context(websocket(f"{proxy.url}/responses", HANDSHAKE))
        for n in range(20):
            clients.ask(f"under way {n}", long, KINDS[n % 4])
        await asyncio.to_thread(inside.wait_for, taken=22)
        clients.ask("in the queue", "hello", ("chat", False))
        idle = stack.enter_context(connect(proxy, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"))
        assert b"connection: close" not in answer_head(idle).lower()
        half = stack.enter_context(connect(proxy, question("half")[:40]))
        talking.send({"type": "response.create", **plain(long)})
        await asyncio.to_thread(inside.wait_for, taken=22, waiting=1)

        proxy.process.send_signal(signal.SIGTERM)
        await until(lambda: is_free(proxy.port))
        proxy.wait_for_log("22 requests are under way, for up to 60 s")
        half.sendall(question("half")[40:])
        assert b"alive" in await asyncio.to_thread(rest, idle), "nothing more than its answer, and the end"
        with pytest.raises(ConnectionError, match="closed"):
            await asyncio.to_thread(resting.receive)
        assert proxy.process.poll() is None
        assert await clients.ends() == dict.fromkeys(clients.asked, Ending("whole", 200))
        answer = await asyncio.to_thread(rest, half)
        assert (
            b"\r\nconnection: close\r\n" in answer.lower() and b"response.completed" in answer and answer.endswith(b"\r\n0\r\n\r\n")
        )
        with pytest.raises(ConnectionError, match="closed"):
            while (heard := await asyncio.to_thread(talking.receive))["type"] != "response.completed":
                pass
            talking.receive()
        assert heard["type"] == "response.completed"
        await is_over(proxy)
    calls = recorded(tmp_path)
    assert len(calls) == 24 and {call.outcome for call in calls} == {"complete"}


@pytest.mark.slow
async def test_when_the_grace_time_is_over_everybody_is_told(openai: FakeOpenAI, control: Control, tmp_path: Path) -> None:
    """Wherever a request is just then. A token that is being renewed comes to its place whatever signals come."""
    sign_in(tmp_path, control)
    sign_in(tmp_path, control, "carol")
    write_account(tmp_path / ".codex-mitm/accounts/carol/auth.json", {"auth_mode": "apikey", "OPENAI_API_KEY": control.api_key()})
    async with AsyncExitStack() as stack:
        port = stack.enter_context(nobody_answers())
        more = options(openai, tmp_path, grace=1, codex_max_parallel="7", codex_platform_url=f"http://127.0.0.1:{port}")
        proxy = stack.enter_context(running_proxy(tmp_path, more, scripts=(INSIDE, ENTRY)))
        inside, clients = Inside(f"{proxy.origin}/inside"), await stack.enter_async_context(clients_of(proxy))
        for n, kind in enumerate(KINDS):
            control.fault("responses", silence_after_events=12, seconds=60)
            clients.ask(f"in the middle {n}", "hello there", kind, x_codex_account="default")
            await asked(control, n + 1)
        control.fault("responses", delay=60)
        clients.ask("before an answer", "hello", ("chat", True), x_codex_account="default")
        await asked(control, 5)
        clients.ask("on the way upstream", "hello", ("responses", True), x_codex_account="carol")
        control.fault("token", delay=6)
        renewed = sign_in(tmp_path, control, "bob", email=BOB, lifetime=-3600, last_refresh_ago=7200)
        await until(lambda: control.seen("issuer", "token"))
        clients.ask("waits for a token", "hello", ("responses", False), x_codex_account="bob")
        await asyncio.to_thread(inside.wait_for, taken=7)
        clients.ask("in the queue", "hello", ("chat", True))
        half = stack.enter_context(connect(proxy, question("half")[:-10]))
        await asyncio.to_thread(inside.wait_for, taken=7, waiting=1)

        proxy.process.send_signal(signal.SIGTERM)
        ends = await clients.ends()
        assert rest(half) == b"", "what was never asked is not answered"
        assert control.seen("issuer", "token")[0].ended_at is None
        for again in (signal.SIGTERM, signal.SIGINT):
            proxy.process.send_signal(again)
        await is_over(proxy)
    begun = {"in the middle 0", "in the middle 1"}
    assert ends == {name: FAILED if name in begun else REFUSED for name in clients.asked}
    assert {end.headers.get("retry-after") for end in ends.values() if end.how == "refused"} == {"2"}
    assert json.loads(renewed.read_text())["tokens"]["refresh_token"] == control.current(BOB).refresh_token
    assert "9 requests are not complete" in proxy.log()
    assert not [token for token in control.tokens() if token in proxy.log()]
    calls = recorded(tmp_path)
    assert sorted(call.outcome for call in calls) == ["cut"] * 2 + ["failed"] * 5 + ["refused"] * 2
    assert {call.error and call.error.code for call in calls} == {STOPPED}


@contextmanager
def nobody_answers() -> Iterator[int]:
    """A port whose queue is full: the machine that listens there is too busy to say anything."""
    with socket.socket() as listener, ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@pytest.mark.slow
async def test_a_second_ctrl_c_ends_the_wait_and_a_reload_begins_none(openai: FakeOpenAI, control: Control, tmp_path: Path) -> None:
    sign_in(tmp_path, control)
    entry = tmp_path / "entry.py"
    entry.write_text(f"import runpy\naddons = runpy.run_path({str(ENTRY)!r})['addons']\n")
    quiet = ("-p", "0", "--set", "web_open_browser=false", "--set", "web_port=0")
    async with AsyncExitStack() as stack:
        more = options(openai, tmp_path, grace=3600)
        running = running_proxy(tmp_path, more, program="mitmweb", arguments=quiet, scripts=[entry])
        proxy = stack.enter_context(running)
        clients = await stack.enter_async_context(clients_of(proxy))
        os.utime(entry, (time.time() + 10,) * 2)
        await until(lambda: proxy.log().count("Loading script") == 2)
        control.fault("responses", silence_after_events=12, seconds=60)
        clients.ask("stream", "hello there", ("chat", True))
        await asked(control, 1)
        busy = [asyncio.get_running_loop().create_task(ask_on_and_on(proxy)) for _ in range(4)]
        await asked(control, 13)
        proxy.process.send_signal(signal.SIGINT)
        await asyncio.gather(*busy)
        proxy.wait_for_log(WAITS)
        assert proxy.process.poll() is None
        proxy.process.send_signal(signal.SIGINT)
        assert await clients.ends() == {"stream": FAILED}
        await is_over(proxy)
    assert [call.outcome for call in recorded(tmp_path) if call.outcome != "complete"] == ["cut"]


async def ask_on_and_on(proxy: RunningProxy) -> None:
    """On one connection and without a pause, until nobody lets this client in; no request may be lost before."""
    async with httpx.AsyncClient(trust_env=False) as http:
        while True:
            try:
                answer = await http.post(f"{proxy.url}/responses", json=ask(), timeout=30)
            except httpx.ConnectError:
                return
            said(answer)


@pytest.mark.slow
async def test_what_passes_a_plain_proxy_is_waited_for_too(openai: FakeOpenAI, control: Control, tmp_path: Path) -> None:
    """And is never added to: what does not come to its end is broken off."""
    tokens, backend = control.login()["tokens"], urlsplit(openai.backend_url)
    own = {
        "authorization": f"Bearer {tokens['access_token']}",
        "chatgpt_account_id": tokens["account_id"],
        "originator": "codex_exec",
    }
    tunnel = f"CONNECT {backend.netloc} HTTP/1.1\r\nHost: {backend.netloc}\r\n\r\n".encode()

    def through_a_tunnel(text: str) -> socket.socket:
        client = stack.enter_context(connect(proxy, tunnel))
        assert b" 200 " in answer_head(client)
        client.sendall(question(text, f"{backend.path}/responses", host=backend.netloc, **own))
        assert b" 200 " in answer_head(client)
        return client

    with ExitStack() as stack:
        more = options(openai, tmp_path, grace=3, codex_mode="forward", codex_issuer_url="http://localhost:1")
        proxy = stack.enter_context(running_proxy(tmp_path, more))
        control.fault("responses", silence_after_events=12, seconds=60)
        hangs = through_a_tunnel("hello there")
        control.settings(delta_delay=0.1)
        streams = through_a_tunnel("say 15 words")
        idle = stack.enter_context(connect(proxy, tunnel))
        assert b" 200 " in answer_head(idle)

        proxy.process.send_signal(signal.SIGTERM)
        assert rest(idle) == b""
        answer = rest(streams)
        assert b'"response.completed"' in answer and answer.endswith(b"\r\n0\r\n\r\n")
        broken_off = rest(hangs)
        assert broken_off.endswith(b"\n\n\r\n") and b"event: error" not in broken_off
        await is_over(proxy)
    assert tokens["access_token"] not in proxy.log()
    outcomes = {call.outcome: call for call in recorded(tmp_path) if call.dialect}
    assert outcomes.keys() == {"complete", "cut"} and outcomes["cut"].error and outcomes["cut"].error.code == STOPPED
