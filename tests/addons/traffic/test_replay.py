"""A recorded request sent again to a server, and a recorded answer given again to a client."""

import json
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from addons.traffic.exchange import Bodies, Body, Chunk
from addons.traffic.headers import Headers
from tests.addons.traffic.calls import ANSWER, ASKED, WAIT, call, record, refused, with_bodies
from tests.addons.traffic.program import Program, Running
from tests.rawserver import RawServer, raw_server, read_request, response


@pytest.fixture
def full(program: Program) -> Program:
    record(program.path, with_bodies(1), call(2))
    return program


# -- to a proxy


@contextmanager
def proxy(*pieces: bytes, status: int = 200) -> Iterator[tuple[RawServer, list[bytes]]]:
    asked: list[bytes] = []

    def answer(server: RawServer, connection: socket.socket, number: int) -> None:
        asked.append(read_request(connection))
        head = response(status, b"", "content-type: text/event-stream", "transfer-encoding: chunked")
        connection.sendall(head.replace(b"content-length: 0\r\n", b""))
        for piece in pieces:
            connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
        connection.sendall(b"0\r\n\r\n")

    with raw_server(answer) as server:
        yield server, asked


def sent(asked: list[bytes]) -> tuple[bytes, Any]:
    head, _, body = asked[0].partition(b"\r\n\r\n")
    return head.lower(), json.loads(body)


def test_the_request_goes_out_as_it_was_and_the_answer_is_printed(full: Program) -> None:
    with proxy(b"data: one\n\n", b"data: two\n\n") as (server, asked):
        ran = full.run("replay", "00000001", "--to", server.url)
    assert (ran.code, ran.out) == (0, "data: one\n\ndata: two\n\n")
    assert ran.err == "200 Whatever, text/event-stream\n"
    head, body = sent(asked)
    assert head.startswith(b"post /v1/chat/completions http/1.1") and body == ASKED
    assert b"authorization: bearer placeholder" in head and b"x-codex-account" not in head


def test_another_model_account_and_base_url(full: Program) -> None:
    with proxy(b"x") as (server, asked):
        assert full.run("replay", "00000001", "--to", f"{server.url}/v1/", "--model", "gpt-6.1-sol", "--account", "bob").code == 0
    head, body = sent(asked)
    assert head.startswith(b"post /v1/chat/completions ") and b"x-codex-account: bob" in head
    assert body == ASKED | {"model": "gpt-6.1-sol"}


def test_a_refusal_is_told_by_the_exit_code(full: Program) -> None:
    with proxy(b'{"error": {}}', status=429) as (server, _):
        ran = full.run("replay", "00000001", "--to", server.url)
    assert (ran.code, ran.out) == (1, '{"error": {}}')


def test_it_says_that_secrets_are_missing(program: Program) -> None:
    record(program.path, call(1, bodies=Bodies(Body.whole(b'{"key": "sk-proj-SENTINEL456def789jkl012"}'))))
    with proxy(b"x") as (server, asked):
        ran = program.run("replay", "last", "--to", server.url)
    assert "parts of this request were redacted" in ran.err and sent(asked)[1] == {"key": "[redacted key]"}


def test_nobody_is_there(full: Program) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    ran = full.run("replay", "00000001", "--to", f"http://127.0.0.1:{port}")
    assert ran.code == 1 and f"no answer from http://127.0.0.1:{port}: " in ran.err and "`make run`, or --to URL" in ran.err


@pytest.mark.parametrize("to", ["127.0.0.1:9090", "ftp://x", "http://", "http://127.0.0.1:port"])
def test_an_address_that_is_none(full: Program, to: str) -> None:
    ran = full.run("replay", "00000001", "--to", to)
    assert ran.code == 1 and ran.err == f"codex-mitm: --to: not an http(s) URL: {to}\n"


@pytest.mark.parametrize("offline", [[], ["--offline"]])
def test_what_needs_bodies_says_so(full: Program, offline: list[str]) -> None:
    ran = full.run("replay", "00000002", *offline)
    assert ran.code == 1 and "was not recorded\ncodex-mitm: hint: bodies are recorded with `--set codex_traffic_bodies" in ran.err


@pytest.mark.parametrize("offline", [[], ["--offline"]])
def test_half_a_body_is_no_body(program: Program, offline: list[str]) -> None:
    long = Body.whole(b"x" * 1000)
    record(program.path, call(1, bodies=Bodies(long, client_answer=long)), body_limit=100)
    ran = program.run("replay", "last", *offline)
    assert ran.code == 1 and "was too long to be recorded whole, 900 bytes are missing" in ran.err


# -- to a client


@contextmanager
def offline(program: Program, *more: str) -> Iterator[tuple[Running, str]]:
    with program.start("replay", "last", "--offline", *more) as running:
        yield running, running.lines(1)[0]


def test_a_client_gets_the_recorded_answer(program: Program) -> None:
    record(program.path, with_bodies(1))
    with offline(program) as (running, url):
        with httpx.stream("POST", f"{url}/chat/completions", json=ASKED, timeout=WAIT, trust_env=False) as answer:
            pieces = list(answer.iter_raw())
        assert answer.status_code == 200 and answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert pieces == [data for _, data in ANSWER], "as it came, in its pieces"
        assert running.process.wait(WAIT) == 0, "and that was it"


def test_what_came_an_hour_later_then_comes_an_hour_later_now(program: Program) -> None:
    record(program.path, call(1, bodies=Bodies(client_answer=Body((Chunk(0.0, b"first"), Chunk(3600.0, b"second"))))))
    with offline(program) as (_, url):
        with httpx.stream("POST", url, json={}, timeout=httpx.Timeout(WAIT, read=1.0), trust_env=False) as answer:
            pieces = answer.iter_raw()
            assert next(pieces) == b"first"
            with pytest.raises(httpx.ReadTimeout):
                next(pieces)
    with offline(program, "--speed", "100000") as (_, url):
        assert httpx.post(url, json={}, timeout=WAIT, trust_env=False).content == b"firstsecond"


def test_a_refusal_keeps_its_status_and_what_steers_retries(program: Program) -> None:
    body = b'{"error": {"code": "usage_limit_reached"}}'
    headers = Headers([("content-type", "application/json"), ("retry-after", "30"), ("x-should-retry", "false")])
    record(program.path, refused(1, bodies=Bodies(client_answer=Body.whole(body, 0.2)), answer_headers=headers))
    with offline(program, "--speed", "0") as (_, url):
        answer = httpx.post(f"{url}/responses", json={}, timeout=WAIT, trust_env=False)
    assert (answer.status_code, answer.content) == (429, body)
    assert (answer.headers["retry-after"], answer.headers["x-should-retry"]) == ("30", "false")


def test_a_look_around_does_not_use_it_up(program: Program) -> None:
    record(program.path, with_bodies(1))
    with offline(program, "--speed", "0") as (running, url):
        for _ in range(2):
            assert httpx.get(f"{url}/models", timeout=WAIT, trust_env=False).status_code == 404
        with socket.create_connection(("127.0.0.1", int(httpx.URL(url).port or 0))):
            pass  # connects, and says nothing
        assert httpx.post(f"{url}/chat/completions", json=ASKED, timeout=WAIT, trust_env=False).status_code == 200
        assert running.process.wait(WAIT) == 0


def test_an_answer_that_the_client_left_ends_as_open_as_it_was(program: Program) -> None:
    record(program.path, with_bodies(1, outcome="client_left"))
    with offline(program, "--speed", "0") as (_, url):
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.post(f"{url}/chat/completions", json=ASKED, timeout=WAIT, trust_env=False)


def test_a_client_that_leaves_is_no_fault(program: Program) -> None:
    chunks = tuple(Chunk(n * 0.05, b"x" * 65536) for n in range(100))
    record(program.path, call(1, bodies=Bodies(client_answer=Body(chunks))), body_limit=1 << 23)
    with offline(program) as (running, url):
        with httpx.stream("POST", url, json={}, timeout=WAIT, trust_env=False):
            pass
        assert running.process.wait(WAIT) == 0
        assert running.err.read_text().endswith("the client left\n")


def test_a_client_that_sends_its_request_in_chunks(program: Program) -> None:
    record(program.path, with_bodies(1))
    with offline(program, "--speed", "0") as (_, url):
        answer = httpx.post(f"{url}/responses", content=iter([b"{", b"x" * 100_000, b"}"]), timeout=WAIT, trust_env=False)
    assert answer.content == b"".join(data for _, data in ANSWER)


def test_ctrl_c_ends_it_quietly(program: Program) -> None:
    record(program.path, with_bodies(1))
    with offline(program) as (running, _):
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(WAIT) == 130 and running.err.read_text() == ""
