"""Parallel slots in the real proxy: how many are under way, who is next, what gives a slot back, and that nothing is left over."""

import asyncio
import random
import socket
import struct
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from tests.e2e.client import ask, error, post, said, wait_until_ended
from tests.e2e.conftest import options_for, write_account
from tests.fakes.control import Control, Seen
from tests.fakes.openai import FakeOpenAI
from tests.fakes.websocket import BETA
from tests.fakes_test.bodies import plain
from tests.proxy import ENTRY, RunningProxy, running_proxy
from tests.wsclient import UpgradeRefused, websocket

INSIDE = Path(__file__).with_name("inside.py")
HANDSHAKE = {"originator": "codex_exec", "openai-beta": BETA, "authorization": "Bearer CANARY-client-key"}
# What a client of the openai SDK sends with its second retry: the proxy makes fewer of its own.
ONCE_MORE = {"x-stainless-retry-count": "2"}

# What the stream that fills the only slot is asked.
OCCUPIED = "say 40 words"

# SO_LINGER: on, with no time to linger. Closing then sends a RST, as when a machine has lost its connection.
RESET = struct.pack("ii", 1, 0)

DEFAULTS = {"codex_max_parallel": 1, "codex_queue_size": 100, "codex_queue_timeout": "30", "codex_websocket": "refuse"}


@dataclass
class Inside:
    """What inside.py, in the proxy, says and does."""

    url: str

    def look(self, where: str = "") -> dict[str, Any]:
        document: dict[str, Any] = httpx.get(self.url + where, trust_env=False, timeout=30).json()
        return document

    def change(self, **options: Any) -> httpx.Response:
        return httpx.post(self.url, json=options, trust_env=False)

    def wait_for(self, where: str = "", **counts: Any) -> None:
        deadline = time.monotonic() + 20
        while not counts.items() <= (seen := self.look(where)).items():
            assert time.monotonic() < deadline, f"{counts} did not come about: {seen}"
            time.sleep(0.02)


@pytest.fixture(scope="module")
def shared_proxy(openai: FakeOpenAI, home: Path) -> Iterator[RunningProxy]:
    with running_proxy(home, options_for(openai), scripts=(INSIDE, ENTRY)) as proxy:
        yield proxy


@pytest.fixture
def inside(proxy: RunningProxy) -> Inside:
    inside = Inside(f"{proxy.origin}/inside")
    assert inside.change(**DEFAULTS).status_code == 200
    inside.wait_for(taken=0, waiting=0)
    return inside


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(30) as pool:
        yield pool


@contextmanager
def occupied(proxy: RunningProxy, control: Control) -> Iterator[None]:
    """A stream that goes on until it is closed."""
    control.fault("responses", silence_after_events=12, seconds=60)
    with httpx.stream("POST", f"{proxy.url}/responses", json=ask(OCCUPIED), trust_env=False, timeout=30) as answer:
        words = answer.iter_raw()
        next(words)
        yield


def leaving(proxy: RunningProxy, text: str = "left") -> socket.socket:
    """A client that has asked, and leaves when the socket is closed."""
    client = socket.create_connection(("127.0.0.1", proxy.port), 20)
    client.sendall(request_of(text))
    return client


def request_of(text: str, key: str = "CANARY-client-key") -> bytes:
    body = orjson.dumps(ask(text))
    head = f"POST /v1/responses HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def text_of(seen: Seen) -> str:
    text: str = seen.json["input"][0]["content"][0]["text"]
    return text


def texts(control: Control) -> list[str]:
    """What the backend was asked, in that order."""
    return [text_of(seen) for seen in control.seen("backend", "responses")]


def most_at_once(seen: list[Seen]) -> int:
    """How many of these answers were under way together."""
    moments = sorted([(s.at, 1) for s in seen] + [(s.ended_at, -1) for s in seen if s.ended_at is not None])
    present = most = 0
    for _, change in moments:
        present += change
        most = max(most, present)
    return most


class Crowd:
    """Clients that ask one after the other, each when the one before waits."""

    def __init__(self, proxy: RunningProxy, inside: Inside, threads: ThreadPoolExecutor) -> None:
        self.proxy = proxy
        self.inside = inside
        self.threads = threads

    def queue(self, text: str, key: str = "a", **changes: Any) -> Future[httpx.Response]:
        waiting = self.inside.look()["waiting"]
        asked = self.threads.submit(post, self.proxy.url, ask(text, **changes), headers={"authorization": f"Bearer {key}"})
        self.inside.wait_for(waiting=waiting + 1)
        return asked


@pytest.fixture
def crowd(proxy: RunningProxy, inside: Inside, threads: ThreadPoolExecutor) -> Crowd:
    return Crowd(proxy, inside, threads)


class TestHowMany:
    def test_as_many_as_the_limit_and_not_one_more(
        self, proxy: RunningProxy, control: Control, inside: Inside, threads: ThreadPoolExecutor
    ) -> None:
        inside.change(codex_max_parallel=3)
        control.settings(delta_delay=0.01)
        asked = [threads.submit(post, proxy.url, ask(f"say {n + 10} words")) for n in range(20)]
        assert {len(said(each.result()).split()) for each in asked} == set(range(10, 30))
        assert most_at_once(control.seen("backend", "responses")) == 3
        inside.wait_for(taken=0, waiting=0)

    def test_who_waited_is_told_how_long(self, proxy: RunningProxy, control: Control, crowd: Crowd) -> None:
        assert "x-codex-queued" not in post(proxy.url).headers
        with occupied(proxy, control):
            streamed, whole, refused = crowd.queue("one"), crowd.queue("two", stream=False), crowd.queue("three")
            control.fault("responses", status=400, body={"detail": "no"}, after=2)
        for answer in (streamed.result(), whole.result(), refused.result()):
            assert float(answer.headers["x-codex-queued"]) > 0
        assert refused.result().status_code == 400

    def test_a_full_queue_is_a_429_that_names_the_options(
        self, proxy: RunningProxy, control: Control, inside: Inside, crowd: Crowd
    ) -> None:
        inside.change(codex_queue_size=1)
        with occupied(proxy, control):
            waiting = crowd.queue("waits")
            refused = post(proxy.url, ask("refused"), headers={"authorization": "Bearer a"})
            assert refused.status_code == 429 and int(refused.headers["retry-after"]) >= 1
            assert error(refused)["code"] == "queue_full" and error(refused)["type"] == "rate_limit_error"
            assert "codex_max_parallel" in error(refused)["message"] and "codex_queue_size" in error(refused)["message"]
        assert said(waiting.result()) == "You said: waits"
        assert texts(control) == [OCCUPIED, "waits"]

    def test_a_full_queue_makes_room_for_a_client_that_has_less_in_it(
        self, proxy: RunningProxy, control: Control, inside: Inside, crowd: Crowd
    ) -> None:
        inside.change(codex_queue_size=3)
        with occupied(proxy, control):
            greedy = [crowd.queue(f"greedy {n}", key="greedy") for n in range(3)]
            modest = crowd.threads.submit(post, proxy.url, ask("modest"), headers={"authorization": "Bearer modest"})
            refused = greedy.pop().result()
            assert refused.status_code == 429 and error(refused)["code"] == "queue_full"
        assert [said(each.result()) for each in (*greedy, modest)] == [
            "You said: greedy 0",
            "You said: greedy 1",
            "You said: modest",
        ]
        assert texts(control) == [OCCUPIED, "greedy 0", "modest", "greedy 1"]

    def test_who_waits_in_vain_gets_a_429_that_names_the_option(
        self, proxy: RunningProxy, control: Control, inside: Inside
    ) -> None:
        inside.change(codex_queue_timeout="0.2")
        with occupied(proxy, control):
            refused = post(proxy.url)
            assert refused.status_code == 429 and refused.headers["retry-after"] == "1"
            assert error(refused)["code"] == "queue_timeout" and "codex_queue_timeout" in error(refused)["message"]
            assert float(refused.headers["x-codex-queued"]) > 0
            assert inside.look() | {"connections": 0} == {"taken": 1, "waiting": 0, "connections": 0}
        inside.wait_for(taken=0)
        assert said(post(proxy.url)) == "You said: hello there"

    def test_look_ups_wait_for_nobody(self, proxy: RunningProxy, control: Control, inside: Inside) -> None:
        inside.change(codex_queue_size=0)
        with occupied(proxy, control):
            for path in ("/v1/models", "/codex/usage"):
                assert httpx.get(proxy.origin + path, trust_env=False).status_code == 200
            assert post(proxy.url).status_code == 429

    def test_more_slots_let_in_who_waits(self, proxy: RunningProxy, control: Control, inside: Inside, crowd: Crowd) -> None:
        with occupied(proxy, control):
            asked = [crowd.queue("one"), crowd.queue("two")]
            inside.change(codex_max_parallel=3)
            assert [said(each.result()) for each in asked] == ["You said: one", "You said: two"]

    @pytest.mark.parametrize(
        "wrong",
        [{"codex_max_parallel": 0}, {"codex_queue_size": -1}, {"codex_queue_timeout": "soon"}],
        ids=lambda wrong: str(wrong),
    )
    def test_numbers_that_make_no_sense_are_refused(self, wrong: dict[str, Any], proxy: RunningProxy, inside: Inside) -> None:
        refused = inside.change(**wrong)
        assert refused.status_code == 400 and refused.text.startswith(f"{next(iter(wrong))}: {next(iter(wrong.values()))} is ")
        assert said(post(proxy.url)) == "You said: hello there"


class TestWhoIsNext:
    def test_first_come_first_served_and_turns_between_clients(self, proxy: RunningProxy, control: Control, crowd: Crowd) -> None:
        with occupied(proxy, control):
            asked = [
                crowd.queue(f"{key} {n}", key) for key, n in [("a", 1), ("a", 2), ("a", 3), ("b", 1), ("a", 4), ("c", 1), ("b", 2)]
            ]
        for each in asked:
            said(each.result())
        assert texts(control)[1:] == ["a 1", "b 1", "c 1", "a 2", "b 2", "a 3", "a 4"]

    def test_who_leaves_is_out_of_the_queue_at_once(
        self, proxy: RunningProxy, control: Control, inside: Inside, crowd: Crowd
    ) -> None:
        with occupied(proxy, control):
            asked, left = [], []
            for n in range(9):
                if n % 3 == 1:
                    left.append(leaving(proxy))
                    inside.wait_for(waiting=n + 1)
                else:
                    asked.append(crowd.queue(f"stays {n}"))
            for client in left:
                client.close()
            inside.wait_for(taken=1, waiting=6)
            assert inside.look("/memory")["loans"] == 1, "no account is lent to who waits"
        assert [said(each.result()) for each in asked] == [f"You said: stays {n}" for n in (0, 2, 3, 5, 6, 8)]
        assert texts(control) == [OCCUPIED, *(f"stays {n}" for n in (0, 2, 3, 5, 6, 8))]
        assert "error establishing server connection" not in proxy.log(), "nor did anybody else hear of those who left"

    def test_a_request_that_is_sent_again_keeps_its_slot(self, proxy: RunningProxy, control: Control, crowd: Crowd) -> None:
        control.settings(delta_delay=0.03)
        with occupied(proxy, control):
            control.fault("responses", status=503, body={"detail": "overloaded"})
            asked = [crowd.queue("again"), crowd.queue("next")]
        assert [said(each.result()) for each in asked] == ["You said: again", "You said: next"]
        assert texts(control) == [OCCUPIED, "again", "again", "next"]
        assert most_at_once(control.seen("backend", "responses")) == 1


# How the backend ends it, and what the client sends.
ENDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "complete": ({}, {}),
    "not streamed": ({}, {"body": ask(stream=False)}),
    "refused upstream": ({"status": 400, "body": {"detail": "no"}}, {}),
    "no answer at all": ({"reset": "before_headers"}, {"headers": ONCE_MORE}),
    "an answer that breaks off": ({"cut_after_bytes": 6000, "how": "rst"}, {"body": ask("say 40 words")}),
    "refused by an addon that comes later": ({}, {"content": b"no JSON"}),
    "killed before its answer": ({}, {"headers": {"x-kill": "responseheaders"}}),
    "killed at its end": ({}, {"body": ask(stream=False), "headers": {"x-kill": "response"}}),
}


class TestWhatGivesASlotBack:
    @pytest.mark.parametrize(("fault", "sent"), ENDS.values(), ids=ENDS)
    def test_every_end(
        self, fault: dict[str, Any], sent: dict[str, Any], proxy: RunningProxy, control: Control, inside: Inside
    ) -> None:
        inside.change(codex_queue_size=0)
        if fault:
            control.fault("responses", fault, times=None)
        with suppress(httpx.RemoteProtocolError):
            assert post(proxy.url, **sent).status_code != 429
        inside.wait_for(taken=0)
        control.clear_faults()
        assert said(post(proxy.url)) == "You said: hello there"

    def test_a_client_that_leaves_in_the_middle(self, proxy: RunningProxy, control: Control, inside: Inside) -> None:
        with occupied(proxy, control):
            inside.wait_for(taken=1)
        inside.wait_for(taken=0)
        assert wait_until_ended(control).ended == "client_left"

    def test_a_client_that_leaves_before_upstream_was_asked(
        self, proxy: RunningProxy, control: Control, inside: Inside, account: Path
    ) -> None:
        write_account(account, control.login(lifetime=-3600, last_refresh_ago=7200))
        control.fault("token", delay=2)
        client = leaving(proxy)
        wait_for_refresh(control)
        inside.wait_for(taken=1)
        client.close()
        inside.wait_for(taken=0)
        assert control.seen("issuer", "token")[-1].ended_at is None, "its token is still being renewed"
        assert said(post(proxy.url)) == "You said: hello there"
        assert texts(control) == ["hello there"]

    def test_a_websocket_holds_its_slot_until_it_is_closed(self, proxy: RunningProxy, control: Control, inside: Inside) -> None:
        inside.change(codex_websocket="relay", codex_queue_size=0)
        with websocket(f"{proxy.url}/responses", HANDSHAKE) as talk:
            for _ in range(2):
                assert talk.answer({"type": "response.create", **plain("hello there")})[-1]["type"] == "response.completed"
                assert inside.look()["taken"] == 1
            assert post(proxy.url).status_code == 429
            with pytest.raises(UpgradeRefused), websocket(f"{proxy.url}/responses", HANDSHAKE):
                pass
        inside.wait_for(taken=0)
        assert said(post(proxy.url)) == "You said: hello there"

    def test_a_websocket_whose_client_is_gone(self, proxy: RunningProxy, control: Control, inside: Inside) -> None:
        inside.change(codex_websocket="relay")
        with suppress(OSError), websocket(f"{proxy.url}/responses", HANDSHAKE) as talk:
            inside.wait_for(taken=1)
            hang_up(talk.socket)
        inside.wait_for(taken=0)


def wait_for_refresh(control: Control, timeout: float = 20.0) -> None:
    deadline = time.monotonic() + timeout
    while not control.seen("issuer", "token"):
        assert time.monotonic() < deadline, "no token is being renewed"
        time.sleep(0.02)


def hang_up(client: socket.socket) -> None:
    """Without a word."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    client.close()


def test_a_flow_is_gone_when_it_is_over(proxy: RunningProxy, control: Control, inside: Inside) -> None:
    asyncio.run(crowd_of(proxy.port, 12, 12))
    at_rest(inside)


def test_it_goes_by_itself(proxy: RunningProxy, control: Control, inside: Inside) -> None:
    """A request of a megabyte is not kept until Python looks for garbage."""
    post(proxy.url, ask("the first one, for which the list of models is fetched"))
    inside.look("/memory")
    try:
        inside.look("/alive")
        asyncio.run(crowd_of(proxy.port, 12, 12))
        inside.wait_for("/alive", flows=1)
    finally:
        inside.look("/memory")


STREAMS, SLOTS, AT_A_TIME = 2000, 50, 250


@pytest.mark.slow
def test_two_thousand_streams_through_fifty_slots_leave_nothing_behind(
    proxy: RunningProxy, control: Control, inside: Inside
) -> None:
    """A third of their clients vanish: in the queue, in the middle of the answer, or before anybody has looked at them."""
    # Who has vanished is in the queue until that is noticed, and somebody else has come meanwhile.
    inside.change(codex_max_parallel=SLOTS, codex_queue_size=2 * AT_A_TIME)
    control.settings(delta_delay=0.01)
    asyncio.run(crowd_of(proxy.port, 100, AT_A_TIME))
    before = at_rest(inside)
    ends = asyncio.run(crowd_of(proxy.port, STREAMS, AT_A_TIME))
    assert ends == {"whole": STREAMS - STREAMS // 3, "left": STREAMS // 3}
    inside.wait_for("/memory", **before)
    most = most_at_once(control.seen("backend", "responses"))
    assert SLOTS // 2 < most <= SLOTS
    assert "Traceback" not in proxy.log()


def at_rest(inside: Inside) -> dict[str, Any]:
    """What is alive in the proxy when nobody is there but the one that asks, whose flow is the only one."""
    inside.wait_for("/memory", taken=0, waiting=0, connections=1, lines=0, futures=0, loans=0, flows=1)
    return inside.look("/memory")


async def crowd_of(port: int, clients: int, at_a_time: int) -> dict[str, int]:
    """Every third leaves. Seven keys share the queue."""
    chance, present = random.Random(clients), asyncio.Semaphore(at_a_time)

    async def one(number: int) -> str:
        async with present:
            if number % 3 != 2:
                return await stay(port, number)
            return await vanish(port, number, chance.uniform(0, 0.6), by_reset=chance.random() < 0.5)

    ends = await asyncio.gather(*(one(number) for number in range(clients)))
    return {end: ends.count(end) for end in sorted(set(ends), reverse=True)}


async def stay(port: int, number: int) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request_of("say 5 words", f"key-{number % 7}"))
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head + await reader.read(1000)
    answer = await reader.readuntil(b"\r\n0\r\n\r\n")
    writer.close()
    return "whole" if b"response.completed" in answer else "cut off"


async def vanish(port: int, number: int, after: float, by_reset: bool) -> str:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request_of("say 5 words", f"key-{number % 7}"))
    await asyncio.sleep(after)
    if by_reset:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        writer.transport.abort()
    else:
        writer.close()
    return "left"
