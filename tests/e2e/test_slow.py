"""Clients that do not come to the end of a request, in the real proxy, with times that are a test's."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.e2e.client import ask, post, said
from tests.e2e.conftest import options_for
from tests.fakes.control import Control
from tests.fakes.openai import FakeOpenAI
from tests.proxy import ENTRY, RunningProxy, running_proxy

HURRY, INSIDE = (Path(__file__).with_name(name) for name in ("hurry.py", "inside.py"))
HEAD = b"POST /v1/responses HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
BODY = json.dumps(ask()).encode()
# Far more than is waited for in the good case: a test that comes to that has failed.
DEADLINE = 30.0


@pytest.fixture(scope="module")
def shared_proxy(openai: FakeOpenAI, home: Path) -> Iterator[RunningProxy]:
    with running_proxy(home, options_for(openai), scripts=(HURRY, INSIDE, ENTRY)) as proxy:
        yield proxy


def drip(port: int, at_once: bytes, slowly: bytes) -> bytes:
    """What the proxy says to somebody who sends a byte now and then, until it hangs up."""
    deadline, heard = time.monotonic() + DEADLINE, b""
    with socket.create_connection(("127.0.0.1", port), timeout=0.1) as connection, suppress(ConnectionError):
        connection.sendall(at_once)
        while time.monotonic() < deadline:
            connection.sendall(slowly[:1])
            slowly = slowly[1:] or slowly
            with suppress(TimeoutError):
                more = connection.recv(65536)
                heard += more
                if not more:
                    return heard
    assert time.monotonic() < deadline, "nobody hung up"
    return heard


SLOW = {
    "a head": (HEAD[:20], b"x"),
    "a head after its first line": (HEAD, b"X-More: x\r\n" * 1000),
    "a body": (HEAD + b"Content-Length: 100000\r\n\r\n", b"x"),
    "a body in chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 1000),
    "the body of a request that is refused": (HEAD.replace(b"localhost", b"evil") + b"Content-Length: 100000\r\n\r\n", b"x"),
    "a second head": (b"GET /codex/usage HTTP/1.1\r\nHost: localhost\r\n\r\nGET /", b"x"),
}


@pytest.mark.parametrize(("at_once", "slowly"), SLOW.values(), ids=SLOW)
def test_whoever_never_comes_to_an_end_is_cut_off(at_once: bytes, slowly: bytes, proxy: RunningProxy, control: Control) -> None:
    heard = drip(proxy.port, at_once, slowly)
    assert heard == b"" or heard.startswith(b"HTTP/1.1 200 ")
    proxy.wait_for_log("a client took too long to send its request")
    assert control.seen("backend", "responses") == []
    assert said(post(proxy.url)) == "You said: hello there"


def test_a_head_without_end_is_refused_before_it_fills_the_memory(proxy: RunningProxy) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=DEADLINE) as connection:
        with suppress(ConnectionError):
            for _ in range(100):
                connection.sendall(b"X-More: " + b"x" * 1000 + b"\r\n" if _ else HEAD)
        answer = b""
        with suppress(ConnectionError):
            answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 431 ") or answer == b"", "a client that goes on sending may see its connection broken"


def test_a_connection_may_be_idle_between_two_requests(proxy: RunningProxy) -> None:
    with httpx.Client(trust_env=False) as client:
        ports = set()
        for _ in range(2):
            answer = client.get(f"{proxy.origin}/codex/usage")
            assert answer.status_code == 200
            ports.add(answer.extensions["network_stream"].get_extra_info("client_addr"))
            time.sleep(1.5)
    assert len(ports) == 1


def test_and_an_answer_may_take_its_time(proxy: RunningProxy, control: Control) -> None:
    control.fault("responses", delay=1.6, times=1)
    assert said(post(proxy.url)) == "You said: hello there"


def test_who_is_watched_is_forgotten_with_the_connection(proxy: RunningProxy, control: Control) -> None:
    control.fault("responses", delay=1.0, times=1)  # so long that it is looked at
    assert said(post(proxy.url)) == "You said: hello there"
    time.sleep(1.0)  # in which nobody is connected, and the last one that was must not be kept for that
    memory = httpx.get(f"{proxy.origin}/inside/memory", trust_env=False).json()
    assert (memory["connections"], memory["flows"]) == (1, 1), "those of who asks"
