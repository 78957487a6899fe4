"""The server below the fakes: connections that live on, requests in any form that HTTP allows, clients that leave."""

import time

import httpx
import pytest

from tests.fakes.openai import FakeOpenAI
from tests.fakes_test.bodies import plain
from tests.fakes_test.raw import raw_client

PATH = "/backend-api/codex/responses"


def test_a_connection_serves_many_requests(fake: FakeOpenAI, http: httpx.Client, ada: dict[str, str]) -> None:
    for _ in range(3):
        http.post(f"{fake.backend_url}/responses", json=plain(), headers=ada)
    assert {seen.connection for seen in fake.control.seen("backend")} == {1}


def test_pipelined_requests_are_answered_in_order(fake: FakeOpenAI, ada: dict[str, str]) -> None:
    with raw_client(fake.backend_url) as client:
        client.send("POST", PATH, ada, plain("first"))
        client.send("POST", PATH, ada | {"Connection": "close"}, plain("second"))
        received, _ = client.read_to_end()
    assert 0 < received.index(b"You said: first") < received.index(b"You said: second")


def test_a_request_may_come_byte_by_byte_and_chunked(fake: FakeOpenAI) -> None:
    request = (
        b"POST /api/accounts/deviceauth/usercode HTTP/1.1\r\nHost: fake\r\nContent-Type: application/json\r\n"
        b'Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"cli\r\n8\r\nent_id":\r\n'
        b'1e\r\n"app_EMoamEEZ73f0CkXaXp7hrann"\r\n1\r\n}\r\n0\r\n\r\n'
    )
    with raw_client(fake.issuer_url) as client:
        for byte in request:
            client.socket.sendall(bytes([byte]))
        received, _ = client.read_to_end()
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")


def test_100_continue_is_sent_to_who_waits_for_it(fake: FakeOpenAI, ada: dict[str, str]) -> None:
    with raw_client(fake.backend_url) as client:
        head = f"POST {PATH} HTTP/1.1\r\nHost: fake\r\nContent-Length: 2\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
        client.socket.sendall(head.encode())
        assert client.socket.recv(1000).startswith(b"HTTP/1.1 100 ")
        client.socket.sendall(b"{}")
        assert client.read_to_end()[0].startswith(b"HTTP/1.1 401 Unauthorized\r\n")


@pytest.mark.parametrize(
    "request_", [b"NONSENSE\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n"]
)
def test_what_is_not_http_is_400(fake: FakeOpenAI, request_: bytes) -> None:
    with raw_client(fake.backend_url) as client:
        client.socket.sendall(request_)
        received, end = client.read_to_end()
    assert received.startswith(b"HTTP/1.1 400 Bad Request\r\n") and end == "fin"


def test_head_has_no_body(fake: FakeOpenAI, http: httpx.Client) -> None:
    answer = http.head(f"{fake.platform_url}/v1/models")
    assert (answer.status_code, answer.content) == (405, b"")


def test_a_client_that_leaves_is_noticed_at_once(fake: FakeOpenAI, ada: dict[str, str]) -> None:
    fake.control.fault("responses", silence_after_events=2, seconds=60)
    with raw_client(fake.backend_url) as client:
        client.send("POST", PATH, ada, plain())
        client.socket.recv(1)
    deadline = time.monotonic() + 5
    while (seen := fake.control.seen("backend")[0]).ended is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert (seen.status, seen.ended) == (200, "client_left")
    assert seen.ended_at is not None and seen.ended_at - seen.at < 5
