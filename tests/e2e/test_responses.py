"""What goes up and what comes back, on a ChatGPT login and on an API key."""

import gzip
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import brotli
import httpx
import pytest
import zstandard

from tests.e2e.client import CLIENT_KEY, ask, error, events, post, said
from tests.e2e.conftest import options_for, write_account
from tests.fakes.control import Control, Seen
from tests.fakes.openai import FakeOpenAI
from tests.proxy import RunningProxy, running_proxy


def only(control: Control, route: str = "responses") -> Seen:
    (seen,) = control.seen("backend", route)
    return seen


def test_an_answer_streams_through_byte_for_byte(proxy: RunningProxy, control: Control) -> None:
    control.settings(delta_delay=0.05)
    with httpx.stream("POST", f"{proxy.url}/responses", json=ask("one two three four"), trust_env=False) as answer:
        pieces = list(answer.iter_raw())
    assert len(pieces) > 4, "the answer was held back"
    assert "".join(e["delta"] for e in events(b"".join(pieces)) if e["type"] == "response.output_text.delta").endswith("three four")
    direct = httpx.Headers(answer.headers)
    assert direct["content-type"].startswith("text/event-stream") and "x-codex-primary-used-percent" in direct
    assert "set-cookie" not in direct and "openai-organization" not in direct


SPLITS = {"whole": None, "in bytes": {"split": "bytes"}, "in sevens": {"split": 7}}


@pytest.mark.parametrize("split", SPLITS.values(), ids=SPLITS)
def test_however_upstream_writes_it_the_bytes_are_the_same(
    split: dict[str, object] | None, proxy: RunningProxy, control: Control
) -> None:
    if split:
        control.fault("responses", split)
    assert said(post(proxy.url, ask("a few words"))) == "You said: a few words"


def test_the_client_s_credential_stays_here_and_the_account_s_goes_up(proxy: RunningProxy, control: Control) -> None:
    theirs = {
        name: "CANARY" for name in ("x-api-key", "cookie", "openai-organization", "x-forwarded-for", "x-title", "x-stainless-os")
    }
    said(post(proxy.url, headers=theirs | {"chatgpt-account-id": "CANARY", "user-agent": "OpenAI/Python 3.3"}))
    seen = only(control)
    assert seen.header("authorization") == f"Bearer {control.current().access_token}"
    assert "CANARY" not in json.dumps(seen.headers) and CLIENT_KEY not in json.dumps(seen.headers)
    assert (seen.header("originator"), seen.header("accept-encoding")) == ("codex_mitm", "identity")
    assert str(seen.header("user-agent")).startswith("codex_mitm/")
    assert [name for name, _ in seen.headers].count("authorization") == 1


def test_a_codex_cli_speaks_for_itself(proxy: RunningProxy, control: Control) -> None:
    own = {
        "originator": "codex_exec",
        "user-agent": "codex_exec/0.169.0 (Debian 12.0.0; x86_64) xterm",
        "version": "0.169.0",
        "session-id": "s",
        "x-codex-turn-metadata": "{}",
    }
    said(post(proxy.url, headers=own))
    seen = only(control)
    assert {name: seen.header(name) for name in own} == own


@pytest.mark.parametrize("path", ["/v1/responses", "/responses", "/v1/responses/"])
def test_with_and_without_v1(path: str, proxy: RunningProxy) -> None:
    assert said(httpx.post(proxy.origin + path, json=ask(), trust_env=False)) == "You said: hello there"


ENCODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "br": brotli.compress,
    "zstd": zstandard.ZstdCompressor(level=3).compress,
}


@pytest.mark.parametrize("name", ENCODINGS)
def test_an_encoded_body_arrives_plain(name: str, proxy: RunningProxy, control: Control) -> None:
    body = json.dumps(ask()).encode()
    said(post(proxy.url, content=ENCODINGS[name](body), headers={"content-encoding": name, "content-type": "application/json"}))
    seen = only(control)
    assert seen.header("content-encoding") is None and seen.json["input"] == ask()["input"]


ZSTD_BOMB = zstandard.ZstdCompressor().compress(bytes(200_000_000))

BAD_BODIES: dict[str, tuple[bytes, dict[str, str], int, str]] = {
    "empty": (b"", {}, 400, "not valid JSON"),
    "not JSON": (b"{model:", {}, 400, "not valid JSON"),
    "not UTF-8": (b'{"model":"\xff"}', {}, 400, "not valid JSON"),
    "an array": (b"[]", {}, 400, "a JSON array, not an object"),
    "a string": (b'"x"', {}, 400, "a JSON string, not an object"),
    "null": (b"null", {}, 400, "a JSON null, not an object"),
    "a form": (b"a=b", {"content-type": "application/x-www-form-urlencoded"}, 400, "not valid JSON"),
    "nested without end": (b'{"a":' + b"[" * 100_000, {}, 400, "not valid JSON"),
    "not gzip": (b"{}", {"content-encoding": "gzip"}, 400, "cannot be decoded"),
    "gzip cut short": (gzip.compress(b'{"a":1}' * 99)[:-9], {"content-encoding": "gzip"}, 400, "cannot be decoded"),
    "not zstd": (b"{}", {"content-encoding": "zstd"}, 400, "cannot be decoded"),
    "not br": (b"\x00{}", {"content-encoding": "br"}, 400, "cannot be decoded"),
    "an unknown encoding": (b"{}", {"content-encoding": "lzma"}, 400, "unknown content-encoding: lzma"),
    "a zstd bomb": (ZSTD_BOMB, {"content-encoding": "zstd"}, 413, "decoded, the request body is over"),
    "over the limit": (b"x" * (65 << 20), {}, 413, "over 64m"),
}


@pytest.mark.parametrize(("body", "headers", "status", "message"), BAD_BODIES.values(), ids=BAD_BODIES)
def test_a_bad_body_is_refused_here(
    body: bytes, headers: dict[str, str], status: int, message: str, proxy: RunningProxy, control: Control
) -> None:
    answer = post(proxy.url, content=body, headers=headers)
    assert answer.status_code == status and message in error(answer)["message"]
    assert control.seen("backend") == []


def test_fifty_megabytes_are_served(proxy: RunningProxy, control: Control) -> None:
    long, short = ask("x" * (50 << 20))["input"], ask()["input"]
    assert said(post(proxy.url, ask(input=long + short))) == "You said: hello there"
    assert only(control).size > 50 << 20


def test_a_body_that_is_cut_in_the_middle_goes_nowhere(proxy: RunningProxy, control: Control) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port)) as connection:
        connection.sendall(b"POST /v1/responses HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{")
    assert said(post(proxy.url)) == "You said: hello there"
    assert len(control.seen("backend", "responses")) == 1


REQUESTS = {
    "unknown path": ("POST", "/v1/nothing", {}, 404, "Invalid URL (POST /v1/nothing)"),
    "the root": ("POST", "/", {}, 404, "Invalid URL (POST /)"),
    "wrong method": ("PUT", "/v1/responses", {}, 405, "Not allowed to PUT"),
    "not on this login": ("POST", "/v1/embeddings", {}, 404, "an account with an API key serves it"),
    "a websocket": ("GET", "/v1/responses", {"Upgrade": "websocket"}, 426, "WebSocket"),
    "an absolute path upwards": ("GET", "/v1/../backend-api/wham/usage", {}, 404, "Invalid URL"),
}


@pytest.mark.parametrize(("method", "path", "headers", "status", "message"), REQUESTS.values(), ids=REQUESTS)
def test_what_is_not_served_is_said(
    method: str, path: str, headers: dict[str, str], status: int, message: str, proxy: RunningProxy, control: Control
) -> None:
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: localhost",
        "Connection: close",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    answer = raw_exchange(proxy.port, "\r\n".join([*lines, "", ""]).encode())  # an HTTP client would tidy the path
    assert answer.startswith(b"HTTP/1.1 %d " % status) and message.encode() in answer
    assert control.seen("backend") == []


def raw_exchange(port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        answer = b""
        while more := connection.recv(65536):
            answer += more
    return answer


def test_an_absolute_target_is_served_as_what_it_asks_of_us(proxy: RunningProxy, control: Control) -> None:
    """As clients write it that were told to use us as their HTTP proxy; the host in it must be ours."""
    body = json.dumps(ask()).encode()
    head = (
        b"POST http://localhost:9090/v1/responses HTTP/1.1\r\nHost: localhost:9090\r\nConnection: close\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    )
    assert raw_exchange(proxy.port, head + body).startswith(b"HTTP/1.1 200")
    seen = only(control)
    assert seen.target == "/backend-api/codex/responses" and "localhost" not in json.dumps(seen.headers)


def test_a_password_in_the_target_is_refused(proxy: RunningProxy, control: Control) -> None:
    # RFC 9110 4.2.4 forbids it.
    answer = raw_exchange(proxy.port, b"GET http://user:CANARY@x/v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400") and b'"error"' in answer
    assert b"CANARY" not in answer and "CANARY" not in proxy.log()


@pytest.mark.parametrize("credential", ["", "Bearer", "Basic dXNlcjpwYXNz", "Bearer sk-anything", "nonsense"])
def test_any_kind_of_client_credential_will_do(credential: str, proxy: RunningProxy) -> None:
    assert said(post(proxy.url, headers={"authorization": credential})) == "You said: hello there"


@pytest.fixture(scope="module")
def platform_proxy(openai: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningProxy, Path]]:
    home = tmp_path_factory.mktemp("platform")
    with running_proxy(home, options_for(openai)) as proxy:
        yield proxy, home / ".codex-mitm/accounts/default/auth.json"


class TestWithAnApiKey:
    """The platform serves all paths, and nothing is changed but the key."""

    @pytest.fixture
    def proxy(self, platform_proxy: tuple[RunningProxy, Path], control: Control) -> RunningProxy:
        write_account(platform_proxy[1], {"auth_mode": "apikey", "OPENAI_API_KEY": control.api_key()})
        return platform_proxy[0]

    def test_chat(self, proxy: RunningProxy, control: Control) -> None:
        body = {"model": "gpt-5.5", "messages": [{"role": "user", "content": "hello"}]}
        answer = httpx.post(f"{proxy.url}/chat/completions", json=body, headers={"authorization": CLIENT_KEY}, trust_env=False)
        assert answer.json()["choices"][0]["message"]["content"] == "You said: hello"
        (seen,) = control.seen("platform")
        assert seen.header("authorization") == f"Bearer {control.tokens('api_key')[0]}" and seen.json == body
        assert control.seen("backend") == []

    def test_an_upload_arrives_as_it_was_sent(self, proxy: RunningProxy) -> None:
        content = bytes(range(256)) * 4000
        answer = httpx.post(f"{proxy.url}/files", files={"file": ("a.bin", content)}, data={"purpose": "batch"}, trust_env=False)
        assert answer.status_code == 200 and answer.json()["bytes"] == len(content)

    def test_a_key_that_is_refused_is_not_the_clients_fault(
        self, platform_proxy: tuple[RunningProxy, Path], control: Control
    ) -> None:
        proxy, file = platform_proxy
        write_account(file, {"auth_mode": "apikey", "OPENAI_API_KEY": "sk-test-CANARY"})
        answer = httpx.get(f"{proxy.url}/models", trust_env=False)
        assert answer.status_code == 502 and error(answer)["code"] == "upstream_auth_error" and "CANARY" not in answer.text
        assert len(control.seen("platform")) == 1


def test_a_chatgpt_login_forced_onto_the_platform_gets_cause_and_remedy(
    openai: FakeOpenAI, control: Control, tmp_path: Path
) -> None:
    write_account(tmp_path / "auth.json", control.login())
    options = options_for(openai, codex_accounts=str(tmp_path / "auth.json"), codex_upstream="platform")
    with running_proxy(tmp_path, options) as proxy:
        answer = post(proxy.url)
    assert answer.status_code == 403 and error(answer)["code"] == "missing_scope"
    message = error(answer)["message"]
    assert "api.responses.write" in message and "codex_upstream" in message and "--api-key-stdin" in message
    assert control.counts().refreshes == 0, "a refresh never widens a scope"


def test_an_api_key_forced_onto_the_backend_is_refused_here(openai: FakeOpenAI, control: Control, tmp_path: Path) -> None:
    write_account(tmp_path / "auth.json", {"auth_mode": "apikey", "OPENAI_API_KEY": "sk-test-CANARY"})
    options = options_for(openai, codex_accounts=str(tmp_path / "auth.json"), codex_upstream="codex")
    with running_proxy(tmp_path, options) as proxy:
        answer = post(proxy.url)
    assert answer.status_code == 400 and error(answer)["code"] == "wrong_account_kind"
    assert control.seen("backend") == []
