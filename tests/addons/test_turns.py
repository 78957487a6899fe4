"""A connection's events are worked off at once where nothing has to wait, in order where something has, and written together."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from mitmproxy import http
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.connection import ConnectionState
from mitmproxy.proxy import events
from mitmproxy.proxy.layers.http import HttpLayer, HTTPMode
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.proxy.server import SimpleConnectionHandler
from mitmproxy.test import taddons
from mitmproxy.utils.asyncio_utils import create_task, set_eager_task_factory

from addons import engine
from addons.engine.reading import AtOnce
from addons.engine.turns import TOGETHER_AT_MOST, work_of

engine.install()

Hook = Callable[[Any], Awaitable[None] | None]
REQUEST = b"GET http://example.com/ HTTP/1.1\r\nhost: example.com\r\n\r\n"


class Handler(SimpleConnectionHandler):
    """mitmproxy's, without a proxy around it. Its hooks may wait."""

    async def handle_hook(self, hook: Any) -> None:
        waiting = self.hook_handlers.get(hook.name, lambda *_: None)(*hook.args())
        if waiting is not None:
            await waiting


type Connect = Callable[..., Awaitable[Client]]


@dataclass
class Client:
    handler: Handler
    here: socket.socket

    def read(self) -> bytes:
        """What has been written so far."""
        try:
            return self.here.recv(1 << 20)
        except BlockingIOError:
            return b""

    async def says(self, data: bytes) -> None:
        await self.handler.server_event(events.DataReceived(self.handler.client, data))


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """A packet socket: it keeps apart what is written apart."""
    sockets: list[Any] = []

    async def make(**hooks: Hook) -> Client:
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        here.setblocking(False)
        there.setblocking(False)
        loop, reader = asyncio.get_running_loop(), asyncio.StreamReader()
        transport = Writes(there)
        sockets.extend((here, there))
        writer = asyncio.StreamWriter(transport, asyncio.StreamReaderProtocol(reader), reader, loop)
        handler = Handler(reader, writer, tctx.options, ProxyMode.parse("regular"), hooks)
        handler.layer = HttpLayer(handler.layer.context, HTTPMode.regular)
        await handler.server_event(events.Start())
        return Client(handler, here)

    with taddons.context(Proxyserver()) as tctx, set_eager_task_factory():
        yield make
    for each in sockets:
        each.close()


class Writes(asyncio.Transport):
    """Each write is a packet."""

    def __init__(self, there: socket.socket) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.there = there

    def write(self, data: Any) -> None:
        self.there.send(data)

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0


def answers(body: bytes = b"hello") -> Hook:
    def request(flow: http.HTTPFlow) -> None:
        flow.response = http.Response.make(200, body)

    return request


async def test_hooks_that_do_not_wait_need_no_turn_of_the_event_loop(connect: Connect) -> None:
    seen: list[str] = []
    names = ("requestheaders", "responseheaders", "response")
    client = await connect(request=answers(), **{name: lambda flow, name=name: seen.append(name) for name in names})
    turns = 0

    def turn() -> None:
        nonlocal turns
        turns += 1

    asyncio.get_running_loop().call_soon(turn)
    await client.says(REQUEST)
    assert client.read().endswith(b"\r\n\r\nhello")
    assert seen == ["requestheaders", "responseheaders", "response"] and turns == 0


async def test_a_hook_that_waits_holds_up_what_comes_behind_it(connect: Connect) -> None:
    gate, paths = asyncio.Event(), list[str]()

    async def requestheaders(flow: http.HTTPFlow) -> None:
        paths.append(flow.request.path)
        if flow.request.path == "/first":
            await gate.wait()

    client = await connect(requestheaders=requestheaders, request=answers())
    await client.says(REQUEST.replace(b"/ ", b"/first "))
    await client.says(REQUEST.replace(b"/ ", b"/second "))
    assert client.read() == b"" and paths == ["/first"]
    gate.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert client.read().count(b"\r\n\r\nhello") == 2 and paths == ["/first", "/second"]


async def test_what_was_said_goes_out_before_somebody_waits(connect: Connect) -> None:
    gate = asyncio.Event()

    async def requestheaders(flow: http.HTTPFlow) -> None:
        if flow.request.path == "/second":
            await gate.wait()

    client = await connect(requestheaders=requestheaders, request=answers())
    await client.says(REQUEST.replace(b"/ ", b"/first ") + REQUEST.replace(b"/ ", b"/second "))
    assert client.read().count(b"\r\n\r\nhello") == 1
    gate.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert client.read().count(b"\r\n\r\nhello") == 1


async def test_what_was_said_goes_out_before_a_connection_is_closed(connect: Connect) -> None:
    client = await connect(request=answers())
    reading = create_task(asyncio.sleep(60), name="reading", keep_ref=True)
    client.handler.transports[client.handler.client].handler = reading
    await client.says(REQUEST.replace(b"host:", b"connection: close\r\nhost:"))
    assert client.read().endswith(b"\r\n\r\nhello")
    with pytest.raises(asyncio.CancelledError):
        await reading


async def test_head_and_body_are_one_packet(connect: Connect) -> None:
    client = await connect(request=answers(b"hello"))
    await client.says(REQUEST)
    packet = client.read()
    assert packet.startswith(b"HTTP/1.1 200 ") and packet.endswith(b"\r\n\r\nhello")
    assert client.read() == b""


async def test_what_is_large_is_not_copied_for_it(connect: Connect) -> None:
    client = await connect(request=answers(b"x" * TOGETHER_AT_MOST))
    await client.says(REQUEST)
    head, body = client.read(), client.read()
    assert head.endswith(b"\r\n\r\n") and body == b"x" * TOGETHER_AT_MOST


async def test_nobody_waits_for_layers_that_have_crashed(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    client = await connect(request=answers())
    reading = create_task(asyncio.sleep(60), name="reading", keep_ref=True)
    client.handler.transports[client.handler.client].handler = reading

    def crash(event: events.Event) -> Any:
        raise RuntimeError("a bug")

    assert isinstance(client.handler.layer, HttpLayer)
    client.handler.layer.connections[client.handler.client]._handle_event = crash  # type: ignore[method-assign]
    await client.says(REQUEST)
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert client.handler.client.state is ConnectionState.CLOSED
    assert "mitmproxy has crashed!" in caplog.text and "a bug" in caplog.text
    await client.says(REQUEST)  # what is still on its way


async def test_a_task_of_a_hook_that_waits_can_be_told_from_others(connect: Connect) -> None:
    gate = asyncio.Event()

    async def request(flow: http.HTTPFlow) -> None:
        await gate.wait()

    client = await connect(request=request)
    await client.says(REQUEST)
    assert [task for task in asyncio.all_tasks() if task.get_name().startswith("handle_hook(request)")]
    gate.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("handle_hook")]


async def test_what_comes_while_a_connection_is_being_closed_is_not_worked_off(connect: Connect) -> None:
    seen: list[str] = []
    client = await connect(requestheaders=lambda flow: seen.append(flow.request.path), request=answers())
    io = client.handler.transports[client.handler.client]
    assert isinstance(io.reader, asyncio.StreamReader)
    packets = AtOnce(asyncio.StreamReaderProtocol(io.reader), io.reader, work_of(client.handler), client.handler.client)
    waiting = asyncio.get_running_loop().create_task(io.reader.read(1))
    await asyncio.sleep(0)
    packets.data_received(REQUEST)
    assert seen == ["/"], "at once, as long as somebody waits for it"
    waiting.cancel()
    packets.data_received(REQUEST)
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert seen == ["/"]
