"""An upstream that fails: always OpenAI's envelope and the right status, or an honest end of the stream; nothing leaks or hangs."""

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from mitmproxy.certs import CertStore

from tests.e2e.client import ask, error, events, post, said, wait_until_ended
from tests.e2e.conftest import options_for, write_account
from tests.fakes.control import Control
from tests.fakes.openai import FakeOpenAI
from tests.proxy import RunningProxy, running_proxy
from tests.rawserver import RawServer, raw_server, read_request

# As an SDK says that it repeats the request itself; then the proxy tries once more, and no more.
ONCE_MORE = {"x-stainless-retry-count": "1"}

BEFORE_THE_ANSWER: dict[str, tuple[dict[str, Any], int, str | None, str]] = {
    "reset before the head": ({"reset": "before_headers"}, 502, "upstream_error", "closed the connection without an answer"),
    "not HTTP": ({"garbage": True}, 502, "upstream_error", "did not answer in HTTP"),
    "a challenge": ({"html": 403}, 403, "upstream_blocked", "browser challenge"),
    "a challenge as 503": ({"html": 503}, 403, "upstream_blocked", "browser challenge"),
    "FastAPI's 400": ({"status": 400, "body": {"detail": "Store must be set to false"}}, 400, None, "Store must be set to false"),
    "a bare 500": ({"status": 500, "body": "oops"}, 500, "server_error", "answered 500 without saying why"),
    "a gateway's page": ({"status": 502, "body": "<html>bad gateway</html>"}, 502, "upstream_error", "a web page instead of JSON"),
    "a 429": (
        {"status": 429, "body": {"detail": "slow down"}, "headers": {"retry-after": "70"}},
        429,
        "rate_limit_exceeded",
        "slow",
    ),
    "a 404": ({"status": 404, "body": {"detail": "Not Found"}}, 404, None, "Not Found"),
    "a redirect": ({"redirect": "http://127.0.0.1:1/CANARY"}, 502, "upstream_error", "redirected to 127.0.0.1"),
    "an answer that is cut before its events": ({"status": 403, "body": {}}, 403, None, "without saying why"),
}


@pytest.mark.parametrize(("fault", "status", "code", "message"), BEFORE_THE_ANSWER.values(), ids=BEFORE_THE_ANSWER)
def test_a_refusal_is_an_openai_error(
    fault: dict[str, Any], status: int, code: str | None, message: str, proxy: RunningProxy, control: Control, account: Path
) -> None:
    control.fault("responses", fault, times=None)
    answer = post(proxy.url, headers=ONCE_MORE)
    assert answer.status_code == status, answer.text
    assert error(answer)["code"] == code and message in error(answer)["message"]
    assert answer.headers["x-request-id"]
    assert answer.headers.get("retry-after") == fault.get("headers", {}).get("retry-after")
    for secret in control.tokens():
        assert secret not in answer.text and secret not in str(answer.headers)
    assert "CANARY" not in answer.text
    control.clear_faults()
    write_account(account, control.login("somebody@else.example"))  # of whom nothing bad is known
    assert said(post(proxy.url)) == "You said: hello there", "and the next request is served"


BREAKS = {
    "reset after the head": {"reset": "after_headers"},
    "reset before the first word": {"cut_after_bytes": 700, "how": "rst"},
    "closed before the first word": {"cut_after_bytes": 700, "how": "fin"},
    "an end in good form, too early": {"clean_eof_after_events": 3},
    "reset in the words": {"cut_after_bytes": 6000, "how": "rst"},
    "closed in the words": {"cut_after_bytes": 6000, "how": "fin"},
    "an end in good form, in the words": {"clean_eof_after_events": 12},
}


@pytest.mark.parametrize("fault", BREAKS.values(), ids=BREAKS)
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_an_answer_that_breaks_off_never_looks_whole(
    stream: bool, fault: dict[str, Any], proxy: RunningProxy, control: Control
) -> None:
    """Before the first word it can still be a status; after it, the stream says so and ends."""
    control.fault("responses", fault, times=None)
    answer = post(proxy.url, ask("say 40 words", stream=stream), headers=ONCE_MORE)
    if answer.status_code == 200:
        assert stream and len(events(answer.content)) > 3
        assert [event["type"] for event in events(answer.content)][-2:] == ["error", "response.failed"]
        assert events(answer.content)[-2]["code"] == "upstream_stream_incomplete"
    else:
        assert answer.status_code == 502 and error(answer)["code"] in ("upstream_stream_incomplete", "upstream_error")
    control.clear_faults()
    assert said(post(proxy.url)) == "You said: hello there"


def test_a_client_that_leaves_takes_the_upstream_with_it(proxy: RunningProxy, control: Control) -> None:
    control.fault("responses", silence_after_events=12, seconds=20)
    with httpx.stream("POST", f"{proxy.url}/responses", json=ask("say 40 words"), trust_env=False) as answer:
        next(answer.iter_raw())
    assert wait_until_ended(control).ended == "client_left"


@pytest.fixture
def proxy_to(openai: FakeOpenAI, control: Control, tmp_path: Path) -> Iterator[Any]:
    """A signed-in proxy whose backend is at another address."""
    write_account(tmp_path / "auth.json", control.login())

    def start(backend_url: str) -> Any:
        options = options_for(openai, codex_accounts=str(tmp_path / "auth.json"))
        return running_proxy(tmp_path, options | {"codex_backend_url": backend_url})

    return start


def test_an_upstream_that_refuses_connections(proxy_to: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with proxy_to(f"http://127.0.0.1:{port}") as proxy:
        answer = post(proxy.url)
        assert answer.status_code == 502 and error(answer)["code"] == "upstream_error"
        assert post(proxy.url).status_code == 502, "and it does not stay broken or hang"


def test_an_upstream_that_does_not_exist(proxy_to: Any) -> None:
    with proxy_to("https://chatgpt.invalid/backend-api/codex") as proxy:
        answer = post(proxy.url)
        assert answer.status_code == 502 and "chatgpt.invalid" not in answer.headers.get("location", "")
        assert error(answer)["code"] == "upstream_error"


def plain_http(server: RawServer, connection: socket.socket, number: int) -> None:
    server.received.append(connection.recv(65536))
    connection.sendall(b"HTTP/1.1 400 this port speaks HTTP\r\ncontent-length: 0\r\n\r\n")


def test_tls_to_a_port_that_does_not_speak_it(proxy_to: Any, control: Control) -> None:
    with raw_server(plain_http) as server, proxy_to(f"https://127.0.0.1:{server.port}") as proxy:
        answer = post(proxy.url)
    assert answer.status_code == 502 and error(answer)["code"] == "upstream_error"
    assert control.current().access_token.encode() not in b"".join(server.received)


def test_a_certificate_that_nobody_trusts(proxy_to: Any, control: Control, tmp_path: Path) -> None:
    """The bearer must not reach a server that cannot prove its name."""
    CertStore.from_store(tmp_path, "untrusted", 2048)  # mitmproxy's own, made for this test: nobody has heard of it

    def tls(server: RawServer, connection: socket.socket, number: int) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "untrusted-ca.pem")
        server.received.append(read_request(context.wrap_socket(connection, server_side=True)))

    with raw_server(tls) as server, proxy_to(f"https://127.0.0.1:{server.port}") as proxy:
        answer = post(proxy.url)
    assert answer.status_code == 502 and "certificate" in error(answer)["message"].lower()
    assert not any(server.received)
