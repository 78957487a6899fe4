"""What the end of the proxy waits for, an answer on a WebSocket or a client that reads slowly, and what not: a hook that waits."""

import asyncio
import json
from pathlib import Path

import pytest
from mitmproxy import http
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.test import taddons, tflow
from mitmproxy.websocket import WebSocketMessage
from wsproto.frame_protocol import Opcode

from addons.accounts import CodexAccounts
from addons.guard import end_waiting, guarded
from addons.health import CodexHealth
from addons.policy import AccountRules, CodexPolicy
from addons.shutdown import CodexShutdown, is_answering
from auth.outbound import Outbound

CLIENT, UPSTREAM = True, False
QUESTION = (CLIENT, "response.create")
DELTA = (UPSTREAM, "response.output_text.delta")

TALKS = {
    "nothing yet": ([], False),
    "a question": ([QUESTION], True),
    "a part of an answer": ([QUESTION, DELTA], True),
    "an answer": ([QUESTION, DELTA, (UPSTREAM, "response.completed")], False),
    "one that failed": ([QUESTION, DELTA, (UPSTREAM, "response.failed")], False),
    "one that was cut short": ([QUESTION, DELTA, (UPSTREAM, "response.incomplete")], False),
    "a refusal": ([QUESTION, (UPSTREAM, "error")], False),
    "the next question": ([QUESTION, (UPSTREAM, "response.completed"), QUESTION], True),
    "a receipt for the answer": ([QUESTION, (UPSTREAM, "response.completed"), (CLIENT, "response.processed")], False),
    "news beside the answer": ([QUESTION, DELTA, (UPSTREAM, "codex.rate_limits")], True),
    "news behind the answer": ([QUESTION, (UPSTREAM, "response.completed"), (UPSTREAM, "codex.rate_limits")], False),
}


@pytest.mark.parametrize(("talk", "answering"), TALKS.values(), ids=TALKS)
def test_whether_an_answer_is_under_way(talk: list[tuple[bool, str]], answering: bool) -> None:
    said = [WebSocketMessage(Opcode.TEXT, who, json.dumps({"type": kind}).encode()) for who, kind in talk]
    assert is_answering(said) is answering


@pytest.mark.parametrize("content", [b"", b"\xff\x00", b"[]", b'{"type": 5}'])
def test_what_is_no_event_is_no_answer(content: bytes) -> None:
    assert not is_answering([WebSocketMessage(Opcode.BINARY, CLIENT, content)])


class Waits:
    @guarded
    async def request(self, flow: http.HTTPFlow) -> None:
        await asyncio.sleep(60)


async def test_a_request_whose_hook_waits_is_refused() -> None:
    flow = tflow.tflow()
    waiting = asyncio.get_running_loop().create_task(Waits().request(flow))
    await asyncio.sleep(0)
    end_waiting()
    await waiting
    assert flow.response and flow.response.status_code == 503 and b'"proxy_stopped"' in (flow.response.content or b"")


async def test_the_addons_after_it_have_their_turn_and_may_wait() -> None:
    flow = tflow.tflow()

    async def hooks_of_two() -> None:
        await Waits().request(flow)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await asyncio.sleep(60)

    waiting = asyncio.get_running_loop().create_task(hooks_of_two())
    await asyncio.sleep(0)
    end_waiting()
    await waiting
    assert flow.response and not waiting.cancelling()


async def test_a_hook_that_somebody_else_cancels_stays_cancelled() -> None:
    flow = tflow.tflow()
    waiting = asyncio.get_running_loop().create_task(Waits().request(flow))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert flow.response is None


async def test_what_is_written_is_waited_for_until_its_client_has_read_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is closed already, and mitmproxy knows nothing of it any more."""
    monkeypatch.setenv("CODEX_MITM_HOME", str(tmp_path))
    shutdown = CodexShutdown(CodexPolicy(), CodexHealth(CodexAccounts(Outbound.from_env({}), AccountRules)))
    large = 16 << 20  # more than the machine takes off a process that writes to a client that does not read

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        shutdown.clients.add(writer.transport)
        writer.write(bytes(large))
        writer.close()
        begun.set()

    begun = asyncio.Event()
    with taddons.context(Proxyserver()):
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        await begun.wait()
        assert not await shutdown.are_all_gone_within(0.2)
        assert len(await reader.read(-1)) == large
        assert await shutdown.are_all_gone_within(20)
        writer.close()
        server.close()
