"""A request that is sent again, beside all that a client may do meanwhile: leave, ask for more, send in pieces, sign in anew."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.client import ask, error, post, said
from tests.e2e.conftest import options_for, write_account
from tests.fakes.control import Control
from tests.fakes.openai import FakeOpenAI
from tests.proxy import RunningProxy, running_proxy

UNAVAILABLE = {"status": 503, "body": {"detail": "unavailable"}}
BAD_GATEWAY = {"status": 502, "body": "<html>bad gateway</html>"}


def request(text: str, path: str = "/v1/responses", method: str = "POST") -> bytes:
    body = json.dumps({"model": "gpt-5.5", "input": text}).encode()
    return head(path, method, f"content-length: {len(body)}") + body


def head(path: str, method: str, *headers: str) -> bytes:
    return (
        "\r\n".join([f"{method} {path} HTTP/1.1", "host: 127.0.0.1", "content-type: application/json", *headers]).encode()
        + b"\r\n\r\n"
    )


@contextmanager
def connection_to(proxy: RunningProxy) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=20) as connection:
        yield connection


def answers(connection: socket.socket, methods: list[str]) -> list[tuple[int, bytes]]:
    """Status and body of so many answers, read as RFC 9112 has it: to HEAD there is no body, whatever the length says."""
    found, data = [], b""
    for method in methods:
        while b"\r\n\r\n" not in data:
            data += _more(connection)
        lines, _, data = data.partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in lines.split(b"\r\n")[1:])
        length = 0 if method == "HEAD" else int(fields[b"content-length"])
        while len(data) < length:
            data += _more(connection)
        found.append((int(lines.split(b" ")[1]), data[:length]))
        data = data[length:]
    assert data == b"", "more than was asked for"
    return found


def _more(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    assert data, "the connection ended before the answer"
    return data


def statuses(control: Control, route: str = "responses") -> list[int | None]:
    return [seen.status for seen in control.seen("backend", route)]


def in_flight(proxy: RunningProxy) -> int:
    told = httpx.get(f"{proxy.origin}/codex/usage", trust_env=False, timeout=20).json()["accounts"]
    return sum(account["in_flight"] for account in told)


def test_a_single_account_with_one_502_serves_the_same_request(proxy: RunningProxy, control: Control) -> None:
    control.fault("responses", BAD_GATEWAY)
    assert said(post(proxy.url)) == "You said: hello there"
    assert statuses(control) == [502, 200]


def test_a_single_account_that_has_failed_serves_the_next_request(proxy: RunningProxy, control: Control) -> None:
    control.fault("responses", BAD_GATEWAY, times=2)
    assert post(proxy.url, headers={"x-stainless-retry-count": "1"}).status_code == 502
    assert said(post(proxy.url)) == "You said: hello there"
    assert statuses(control) == [502, 502, 200], "the next request is not kept waiting, nor refused unasked"


@pytest.mark.slow
def test_a_client_that_leaves_before_the_second_attempt_is_not_asked_for_again(proxy: RunningProxy, control: Control) -> None:
    control.fault("responses", status=429, body={"detail": "slow down"}, headers={"retry-after": "2"})
    with connection_to(proxy) as connection:
        connection.sendall(request("leaving"))
        deadline = time.monotonic() + 10
        while statuses(control) != [429]:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    while in_flight(proxy):
        assert time.monotonic() < deadline, "the account is still lent"
        time.sleep(0.1)
    assert said(post(proxy.url)) == "You said: hello there"
    assert statuses(control) == [429, 200]


def test_requests_that_do_not_wait_for_each_others_answers_get_them_in_order(proxy: RunningProxy, control: Control) -> None:
    control.fault("responses", UNAVAILABLE)
    with connection_to(proxy) as connection:
        connection.sendall(b"".join(request(text) for text in ("one", "two", "three")))
        found = answers(connection, ["POST"] * 3)
    texts = [json.loads(body)["output"][0]["content"][0]["text"] for _, body in found]
    assert texts == [f"You said: {text}" for text in ("one", "two", "three")]
    assert statuses(control) == [503, 200, 200, 200]


def test_a_request_in_chunks_is_sent_again_whole(proxy: RunningProxy, control: Control) -> None:
    control.fault("responses", UNAVAILABLE)
    body = json.dumps({"model": "gpt-5.5", "input": "in pieces"}).encode()
    with connection_to(proxy) as connection:
        connection.sendall(head("/v1/responses", "POST", "transfer-encoding: chunked"))
        for piece in (body[:7], body[7:]):
            connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        connection.sendall(b"0\r\n\r\n")
        ((status, answer),) = answers(connection, ["POST"])
    assert status == 200 and b"You said: in pieces" in answer
    assert [seen.sha256 for seen in control.seen("backend", "responses")][0] == control.seen("backend", "responses")[1].sha256


def test_an_answer_to_head_has_no_body_that_the_next_one_could_be_taken_for(proxy: RunningProxy) -> None:
    with connection_to(proxy) as connection:
        connection.sendall(head("/v1/models", "HEAD") + head("/v1/models/gpt-5.5", "GET"))
        found = answers(connection, ["HEAD", "GET"])
    assert found[0] == (405, b"") and json.loads(found[1][1])["id"] == "gpt-5.5"


def test_requests_on_one_connection_do_not_feel_what_befell_those_before(proxy: RunningProxy, control: Control) -> None:
    faults: list[dict[str, Any]] = [
        {"reset": "before_headers"},
        {"garbage": True},
        {"reset": "after_headers"},
        {"cut_after_events": 2, "how": "rst"},
        {"cut_after_events": 8, "how": "fin"},
        {"clean_eof_after_events": 8},
        {"lose_answer": True},
    ]
    with httpx.Client(trust_env=False, timeout=30) as client:
        for fault in faults:
            control.fault("responses", fault)
            for text in ("with a fault", "without"):
                answer = client.post(f"{proxy.url}/responses", json={"model": "gpt-5.5", "input": text})
                assert f"You said: {text}" in answer.text, fault
    assert len(control.seen("backend", "responses")) == 3 * len(faults)


def test_a_token_that_is_refused_at_the_last_attempt_is_not_said_to_be_renewed(proxy: RunningProxy, control: Control) -> None:
    """An SDK that repeats has two attempts: the first meets trouble, the second the token's end. The next request renews it."""
    post(proxy.url)
    control.revoke("access")
    control.fault("responses", UNAVAILABLE)
    answer = post(proxy.url, headers={"x-stainless-retry-count": "1"})
    assert (answer.status_code, error(answer)["code"]) == (503, "auth_unavailable")
    assert "x-should-retry" not in answer.headers, "it helps to ask again"
    assert said(post(proxy.url, headers={"x-stainless-retry-count": "2"})) == "You said: hello there"
    assert statuses(control) == [200, 503, 401, 401, 200] and control.counts().refreshes == 1


def test_a_request_that_is_not_to_be_made_twice_is_made_with_a_new_token(proxy: RunningProxy, control: Control) -> None:
    """Whoever refuses the token has not looked at the request."""
    body = {key: value for key, value in ask().items() if key not in ("stream", "store")}
    control.revoke("access")
    answer = httpx.post(
        f"{proxy.url}/responses/compact", json=body, headers={"originator": "codex_exec"}, trust_env=False, timeout=30
    )
    assert answer.status_code == 200, answer.text
    assert statuses(control, "compact") == [401, 200]
    control.fault("compact", UNAVAILABLE)
    answer = httpx.post(
        f"{proxy.url}/responses/compact", json=body, headers={"originator": "codex_exec"}, trust_env=False, timeout=30
    )
    assert answer.status_code == 503 and statuses(control, "compact") == [401, 200, 503]


def test_another_api_key_does_not_rest_for_the_one_before(openai: FakeOpenAI, control: Control, tmp_path: Path) -> None:
    file = tmp_path / ".codex-mitm/accounts/default/auth.json"

    def use_key_of(email: str) -> None:
        write_account(file, {"auth_mode": "apikey", "OPENAI_API_KEY": control.api_key(email=email)})

    def status() -> int:
        body = {"model": "gpt-5.5", "messages": [{"role": "user", "content": "hello"}]}
        return httpx.post(f"{proxy.url}/chat/completions", json=body, trust_env=False, timeout=30).status_code

    control.fault("chat", status=429, body={"error": {"message": "slow down"}}, headers={"retry-after": "200"})
    use_key_of("first@example.com")
    with running_proxy(tmp_path, options_for(openai)) as proxy:
        assert [status(), status()] == [429, 429] and len(control.seen("platform", "chat")) == 1
        use_key_of("second@example.com")
        assert status() == 200
