"""Who gets in: the real proxy, with keys and without; its hosts and pages, the limits of a key, keys that come and go."""

import contextlib
import json
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from auth.keys import make
from tests.e2e.client import ask, error, events, post, said
from tests.e2e.conftest import options_for, write_account
from tests.e2e.keyed import BODY, FRUGAL, LAPTOP, LENGTH, NARROW, PAGE, SLOW, UPGRADE, Policy, bearer, exchange, read_answer
from tests.fakes.control import Control
from tests.fakes.openai import FakeOpenAI
from tests.fakes.websocket import BETA
from tests.proxy import ENTRY, RunningProxy, failing_start, running_proxy
from tests.rawserver import raw_server
from tests.wsclient import UpgradeRefused, websocket

INSIDE = Path(__file__).with_name("inside.py")
CLI = {"originator": "codex_exec", "openai-beta": BETA}


@pytest.fixture(scope="module")
def policy(home: Path) -> Policy:
    found = Policy(home / "policy.yaml")
    found.write("laptop", "phone", "slow", "frugal", "narrow")
    return found


@pytest.fixture(scope="module")
def shared_proxy(openai: FakeOpenAI, home: Path, policy: Policy) -> Iterator[RunningProxy]:
    options = options_for(openai, codex_policy=str(policy.file), codex_websocket="relay", codex_hosts="oauth-proxy")
    with running_proxy(home, options, scripts=(INSIDE, ENTRY)) as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def everybody(request: pytest.FixtureRequest) -> Iterator[None]:
    """The keys as they were, after a test that has changed them."""
    yield
    if "policy" in request.fixturenames:
        request.getfixturevalue("policy").write("laptop", "phone", "slow", "frugal", "narrow")


def wait_until(done: Callable[[], bool], what: str, timeout: float = 20.0) -> None:
    deadline = time.monotonic() + timeout
    while not done():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


# --- keys (in every way: test_ways_in.py) -----------------------------------------------------------------------------


def test_the_platform_hears_its_own_name_too(openai: FakeOpenAI, proxy: RunningProxy, control: Control, account: Path) -> None:
    write_account(account, {"auth_mode": "apikey", "OPENAI_API_KEY": control.api_key()})
    for method, path in (("GET", "/v1/models"), ("POST", "/v1/chat/completions"), ("GET", "/v1/files")):
        headers = bearer(LAPTOP.key) | {"host": "oauth-proxy", "origin": PAGE}
        httpx.request(method, f"{proxy.origin}{path}", headers=headers, trust_env=False)
    seen = control.seen("platform")
    assert len(seen) == 3 and {each.header("host") for each in seen} == {urlsplit(openai.platform_url).netloc}
    assert not any(told in value for told in ("oauth-proxy", LAPTOP.key, PAGE) for each in seen for _, value in each.headers)


@pytest.mark.slow
def test_and_hears_it_in_tls_from_a_client_that_speaks_tls(tmp_path: Path) -> None:
    """mitmproxy would pass the client's name for the proxy on, if the proxy is set up for the same upstream."""
    hellos: list[bytes] = []

    def listen(server: object, connection: socket.socket, number: int) -> None:
        hellos.append(connection.recv(65536))

    write_account(tmp_path / ".codex-mitm/accounts/default/auth.json", {"auth_mode": "apikey", "OPENAI_API_KEY": "sk-1"})
    with raw_server(listen) as upstream:
        url = f"https://localhost:{upstream.port}"
        options = {"codex_platform_url": url, "codex_hosts": "oauth-proxy"}
        with running_proxy(tmp_path, options, arguments=("--mode", f"reverse:{url}", "-p", "0")) as proxy:
            trusting = ssl.create_default_context()
            trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
            with (
                socket.create_connection(("127.0.0.1", proxy.port), timeout=20) as plain,
                trusting.wrap_socket(plain, server_hostname="oauth-proxy") as connection,
            ):
                connection.sendall(b"GET /v1/models HTTP/1.1\r\nHost: oauth-proxy\r\n\r\n")
                assert connection.recv(65536).startswith(b"HTTP/1.1 502 ")
    assert hellos and all(b"localhost" in hello and b"oauth-proxy" not in hello for hello in hellos)


def test_the_page_is_for_everybody_and_nothing_else(proxy: RunningProxy) -> None:
    """It holds nothing, and asks for the key itself."""
    assert httpx.get(f"{proxy.origin}/", trust_env=False).status_code != 401


def test_a_stranger_cannot_fill_the_memory(proxy: RunningProxy) -> None:
    """Nothing is kept of a body whose head was refused: it is read as far as the limit for bodies, and answered."""
    size = 30 << 20
    before = resident(proxy)
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=60) as connection:
        connection.sendall(b"POST /v1/responses HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size >> 20):
            connection.sendall(bytes(1 << 20))
        answer = read_answer(connection)
    assert answer and answer.status_code == 401
    assert resident(proxy) - before < size // 2


def resident(proxy: RunningProxy) -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{proxy.process.pid}/status").read_text())
    assert found
    return int(found[1]) << 10


def test_the_key_is_nowhere_afterwards(proxy: RunningProxy, home: Path) -> None:
    said(post(proxy.url, headers=bearer(LAPTOP.key)))
    post(proxy.url, headers=bearer("cmx-CANARY"))
    places = [proxy.log(), *(file.read_bytes().decode("latin-1") for file in (home / ".codex-mitm").rglob("*") if file.is_file())]
    assert not any(secret in place for place in places for secret in (LAPTOP.key, "cmx-CANARY"))


# --- a WebSocket ------------------------------------------------------------------------------------------------------


def test_a_websocket_needs_a_key_as_well_and_none_with_limits(proxy: RunningProxy) -> None:
    url = f"{proxy.origin}/v1/responses"
    for key, status in (("wrong", 401), (NARROW.key, 426), (FRUGAL.key, 426)):
        with pytest.raises(UpgradeRefused) as refused, websocket(url, CLI | bearer(key)):
            pass
        assert refused.value.status == status
    with websocket(url, CLI | bearer(LAPTOP.key)) as talk:
        assert talk.answer({"type": "response.create", **ask()})[-1]["type"] == "response.completed"


# --- Host and Origin --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:9090", "[::1]", "oauth-proxy:9090"])
def test_a_host_of_ours(host: str, openai: FakeOpenAI, proxy: RunningProxy, control: Control) -> None:
    head = f"POST /v1/responses HTTP/1.1\r\nHost: {host}\r\nx-api-key: {LAPTOP.key}\r\n".encode()
    (answer,) = exchange(proxy.port, head + LENGTH + b"\r\n" + BODY)
    assert answer.status_code == 200
    (seen,) = control.seen("backend", "responses")
    assert seen.header("host") == urlsplit(openai.backend_url).netloc, "upstream hears its own name"


STRANGERS = {
    "another name": b"GET /v1/models HTTP/1.1\r\nHost: evil.example\r\n",
    "ours as its part": b"GET /v1/models HTTP/1.1\r\nHost: localhost.evil.example\r\n",
    "upstream's": b"GET /v1/models HTTP/1.1\r\nHost: chatgpt.com\r\n",
    "the page": b"GET / HTTP/1.1\r\nHost: evil.example\r\n",
    "mitmproxy's own": b"GET / HTTP/1.1\r\nHost: mitm.it\r\n",
    "in an absolute target": b"GET http://evil.example/v1/models HTTP/1.1\r\nHost: localhost\r\n",
    "behind an absolute target": b"GET http://localhost/v1/models HTTP/1.1\r\nHost: evil.example\r\n",
    "with a user": b"GET http://localhost@evil.example/v1/models HTTP/1.1\r\nHost: localhost\r\n",
    "a WebSocket": b"GET /v1/responses HTTP/1.1\r\nHost: evil.example\r\noriginator: codex_exec\r\n" + UPGRADE,
    "HTTP/1.0": b"GET /v1/models HTTP/1.0\r\nHost: evil.example\r\n",
}


@pytest.mark.parametrize("head", STRANGERS.values(), ids=STRANGERS)
def test_a_host_of_somebody_else(head: bytes, proxy: RunningProxy, control: Control) -> None:
    (answer,) = exchange(proxy.port, head + f"x-api-key: {LAPTOP.key}\r\n\r\n".encode())
    if b"@" in head:
        assert answer.status_code in (400, 421)
    else:
        assert answer.status_code == 421 and error(answer)["code"] == "host_not_allowed"
        assert "codex_hosts" in error(answer)["message"]
    assert control.seen("backend") == []


@pytest.mark.parametrize("hosts", [b"", b"Host: localhost\r\nHost: localhost\r\n", b"Host: localhost\r\nHost: evil.example\r\n"])
def test_one_host_and_no_other_number(hosts: bytes, proxy: RunningProxy) -> None:
    (answer,) = exchange(proxy.port, b"GET /v1/models HTTP/1.1\r\n" + hosts + f"x-api-key: {LAPTOP.key}\r\n\r\n".encode())
    assert answer.status_code == 400 and error(answer)["code"] in ("invalid_host", None)


def test_codex_hosts_is_changed_while_it_runs_and_takes_no_nonsense(proxy: RunningProxy) -> None:
    def status(host: str) -> int:
        return httpx.get(f"{proxy.url}/models", headers=bearer(LAPTOP.key) | {"host": host}, trust_env=False).status_code

    assert change(proxy, codex_hosts=["oauth-proxy", "other"]).status_code == 200
    assert status("other") == 200
    refused = change(proxy, codex_hosts=["*"])
    assert refused.status_code == 400 and "codex_hosts: *" in refused.text
    assert change(proxy, codex_hosts=["oauth-proxy"]).status_code == 200
    assert status("other") == 421


def change(proxy: RunningProxy, **options: Any) -> httpx.Response:
    return httpx.post(f"{proxy.origin}/inside", json=options, headers=bearer(LAPTOP.key), trust_env=False)


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost:1", "https://chat.example.com.evil.example", ""]
)
@pytest.mark.parametrize("method", ["POST", "GET", "OPTIONS"])
def test_pages_that_nobody_has_allowed_get_nowhere(method: str, origin: str, proxy: RunningProxy, control: Control) -> None:
    headers = bearer(LAPTOP.key) | {"origin": origin, "access-control-request-method": "POST"}
    answer = httpx.request(method, f"{proxy.url}/models", headers=headers, trust_env=False)
    assert answer.status_code == 403 and error(answer)["code"] == "origin_not_allowed"
    assert not any(name.startswith("access-control-") for name in answer.headers)
    assert control.seen("backend") == []


@pytest.mark.parametrize(
    ("site", "mode", "path", "status"),
    [
        ("cross-site", "no-cors", "/v1/models", 403),
        ("cross-site", "navigate", "/v1/models", 403),
        ("same-site", "navigate", "/codex/usage", 403),
        ("cross-site", "no-cors", "/", 403),
        ("cross-site", "navigate", "/", 200),
        ("none", "navigate", "/v1/models", 200),
    ],
    ids=["a picture", "a frame", "a link", "a picture of the page", "a link to the page", "an address that was typed"],
)
def test_nor_do_their_pictures_and_links(site: str, mode: str, path: str, status: int, proxy: RunningProxy) -> None:
    asked = bearer(LAPTOP.key) | {"sec-fetch-site": site, "sec-fetch-mode": mode}
    assert httpx.get(f"{proxy.origin}{path}", headers=asked, trust_env=False).status_code == status


def test_a_listed_page_is_asked_for_and_may_read(proxy: RunningProxy, control: Control) -> None:
    wanted = {
        "origin": PAGE,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type,x-stainless-os",
    }
    allowed = httpx.options(f"{proxy.url}/responses", headers=wanted, trust_env=False)
    assert (allowed.status_code, allowed.content) == (204, b"")
    assert allowed.headers["access-control-allow-headers"] == wanted["access-control-request-headers"]
    assert "POST" in allowed.headers["access-control-allow-methods"]
    answer = post(proxy.url, headers=bearer(LAPTOP.key) | {"origin": PAGE})
    assert said(answer) == "You said: hello there"
    refused = post(proxy.url, headers=bearer("wrong") | {"origin": PAGE})
    assert refused.status_code == 401
    for found in (allowed, answer, refused):
        assert found.headers["access-control-allow-origin"] == PAGE and "origin" in found.headers["vary"]
        assert "access-control-allow-credentials" not in found.headers
    assert control.seen("backend", "responses")[0].header("origin") is None
    plain = post(proxy.url, headers=bearer(LAPTOP.key))
    assert not any(name.startswith("access-control-") for name in plain.headers), "nobody else is told"


def test_a_page_of_our_own_needs_no_leave(proxy: RunningProxy) -> None:
    headers = bearer(LAPTOP.key) | {"origin": proxy.origin, "sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"}
    answer = httpx.get(f"{proxy.url}/models", headers=headers, trust_env=False)
    assert answer.status_code == 200 and "access-control-allow-origin" not in answer.headers
    asked = {"origin": proxy.origin, "access-control-request-method": "POST"}
    assert httpx.options(f"{proxy.url}/models", headers=asked, trust_env=False).status_code == 401, "nor does it get any"


# --- limits -----------------------------------------------------------------------------------------------------------


def test_requests_per_minute(proxy: RunningProxy, control: Control) -> None:
    left = []
    for _ in range(3):
        answer = post(proxy.url, headers=bearer(SLOW.key))
        assert said(answer) == "You said: hello there" and answer.headers["x-ratelimit-limit-requests"] == "3"
        left.append(int(answer.headers["x-ratelimit-remaining-requests"]))
    assert left == [2, 1, 0]
    refused = post(proxy.url, headers=bearer(SLOW.key))
    assert refused.status_code == 429
    found = error(refused)
    assert (found["code"], found["type"]) == ("rate_limit_exceeded", "requests")
    assert "Limit 3, Used 3, Requested 1" in found["message"]
    assert 0 < int(refused.headers["retry-after"]) <= 60
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert len(control.seen("backend", "responses")) == 3
    other = post(proxy.url, headers=bearer(LAPTOP.key))
    assert said(other) == "You said: hello there" and "x-ratelimit-limit-requests" not in other.headers


def test_requests_at_the_same_time_are_counted_one_by_one(policy: Policy, proxy: RunningProxy) -> None:
    key = make("crowd")
    policy.write(keys=[key.entry | {"requests_per_minute": 20}])
    request = f"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nx-api-key: {key.key}\r\n\r\n".encode()
    with ThreadPoolExecutor(30) as threads:
        asked = [threads.submit(exchange, proxy.port, request) for _ in range(60)]
    statuses = [answer.status_code for each in asked for answer in each.result()]
    assert (statuses.count(200), statuses.count(429)) == (20, 40)


@pytest.mark.parametrize("headers", [{}, CLI], ids=["translated", "untranslated"])
def test_tokens_per_minute(headers: dict[str, str], policy: Policy, proxy: RunningProxy, control: Control) -> None:
    """Before the answer a request counts for its size, afterwards for what upstream says."""
    key = make("other")
    policy.write(keys=[key.entry | {"tokens_per_minute": 1_000_000}])
    first = post(proxy.url, headers=headers | bearer(key.key))
    usage = next(event for event in events(first.content) if event["type"] == "response.completed")["response"]["usage"]
    expected = -(-len(first.request.content) // 4)
    assert int(first.headers["x-ratelimit-remaining-tokens"]) == 1_000_000 - expected
    second = post(proxy.url, headers=headers | bearer(key.key))
    assert int(second.headers["x-ratelimit-remaining-tokens"]) == 1_000_000 - expected - usage["total_tokens"]
    policy.write(keys=[key.entry | {"tokens_per_minute": 2 * usage["total_tokens"]}])
    refused = post(proxy.url, headers=headers | bearer(key.key))
    assert refused.status_code == 429 and error(refused)["type"] == "tokens"
    assert 0 < int(refused.headers["retry-after"]) <= 61


def test_what_upstream_refuses_costs_no_tokens(proxy: RunningProxy, control: Control) -> None:
    control.fault("responses", status=400, times=1)
    first, second = (post(proxy.url, headers=bearer(FRUGAL.key)) for _ in range(2))
    assert (first.status_code, second.status_code) == (400, 200)
    assert first.headers["x-ratelimit-remaining-tokens"] == second.headers["x-ratelimit-remaining-tokens"]


@pytest.mark.parametrize("model", ["gpt-4.1", "gpt-4.1-nano-2025", None])
def test_a_model_that_is_not_for_this_key(model: str | None, proxy: RunningProxy, control: Control) -> None:
    body = ask(model=model) if model else {name: value for name, value in ask().items() if name != "model"}
    refused = post(proxy.url, body, headers=bearer(NARROW.key))
    found = error(refused)
    assert (refused.status_code, found["code"], found["param"]) == (404, "model_not_found", "model")
    assert "narrow" not in refused.text and control.seen("backend", "responses") == []


@pytest.mark.parametrize("model", ["gpt-4.1-nano", "gpt-5.5"])
def test_a_model_that_is(model: str, proxy: RunningProxy) -> None:
    assert said(post(proxy.url, ask(model=model), headers=bearer(NARROW.key))) == "You said: hello there"


def test_a_second_model_in_the_same_body_is_none(proxy: RunningProxy, control: Control) -> None:
    body = json.dumps(ask(model="gpt-5.5"))[:-1] + ', "model": "gpt-4.1"}'
    for headers in ({}, CLI):
        refused = post(proxy.url, content=body, headers=headers | bearer(NARROW.key) | {"content-type": "application/json"})
        assert refused.status_code == 404
    assert control.seen("backend", "responses") == []


# --- keys that come and go --------------------------------------------------------------------------------------------


def test_a_key_works_from_the_moment_it_is_added_until_it_is_gone(policy: Policy, proxy: RunningProxy) -> None:
    new = make("new")
    assert post(proxy.url, headers=bearer(new.key)).status_code == 401
    policy.write(keys=[LAPTOP.entry, new.entry])
    assert said(post(proxy.url, headers=bearer(new.key))) == "You said: hello there"
    policy.write("laptop")
    assert post(proxy.url, headers=bearer(new.key)).status_code == 401
    assert said(post(proxy.url, headers=bearer(LAPTOP.key))) == "You said: hello there"


LOST: dict[str, Callable[[Path], object]] = {
    "an empty list": lambda file: file.write_text("keys: []\n"),
    "no word of keys": lambda file: file.write_text("aliases: {}\n"),
    "an empty file": lambda file: file.write_text(""),
}


@pytest.mark.parametrize("lose", LOST.values(), ids=LOST)
def test_when_the_last_key_goes_nobody_gets_in(lose: Callable[[Path], object], policy: Policy, proxy: RunningProxy) -> None:
    lose(policy.file)
    if not policy.file.stat().st_size:  # for a second somebody could be writing it
        wait_until(lambda: post(proxy.url, headers=bearer(LAPTOP.key)).status_code == 401, "the file is believed")
    for headers in (bearer(LAPTOP.key), {"authorization": ""}):
        assert post(proxy.url, headers=headers).status_code == 401
    proxy.wait_for_log("there is no key, so nobody is let in")
    policy.write("laptop")
    assert said(post(proxy.url, headers=bearer(LAPTOP.key))) == "You said: hello there"


MISTAKES: dict[str, Callable[[Path], object]] = {
    "keys: without any": lambda file: file.write_text("aliases: {}\nkeys:\n"),
    "no YAML": lambda file: file.write_text("aliases: {}\nkeys: ["),
    "a key that is none": lambda file: file.write_text("aliases: {}\nkeys: [{label: a}]"),
    "no text": lambda file: file.write_bytes(b"aliases: {}\n\xff"),
    "gone": lambda file: file.unlink(),
}


@pytest.mark.parametrize("spoil", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_changes_nothing(spoil: Callable[[Path], object], policy: Policy, proxy: RunningProxy) -> None:
    spoil(policy.file)
    assert said(post(proxy.url, headers=bearer(LAPTOP.key))) == "You said: hello there"
    assert post(proxy.url, headers=bearer("wrong")).status_code == 401
    said_of_it = "the rules before it stay: line 2" if policy.file.exists() else "is not used, the rules before it stay"
    proxy.wait_for_log(said_of_it)


# --- without keys: this machine only ----------------------------------------------------------------------------------


ADDRESSES: dict[str, tuple[str, ...]] = {
    "every address": ("--listen-host", "0.0.0.0", "-p", "0"),
    "every address of IPv6": ("--listen-host", "::", "-p", "0"),
    "in the mode": ("--mode", "reverse:https://api.openai.com@0.0.0.0:0"),
    "a name": ("--listen-host", socket.gethostname(), "-p", "0"),
}


@pytest.mark.parametrize("arguments", ADDRESSES.values(), ids=ADDRESSES)
@pytest.mark.slow
def test_it_does_not_start_where_others_could_use_the_plan(arguments: tuple[str, ...], tmp_path: Path) -> None:
    log = failing_start(tmp_path, arguments=arguments)
    for way_out in ("PROXY_API_KEY", "127.0.0.1", "CODEX_MITM_OPEN=everybody-on-this-network-may-use-my-plan"):
        assert way_out in log


WRONG_STARTS: dict[str, tuple[dict[str, str], str]] = {
    "a key of blanks": ({"PROXY_API_KEY": " "}, "PROXY_API_KEY: it is set to nothing but blanks"),
    "another sentence": ({"CODEX_MITM_OPEN": "yes"}, "CODEX_MITM_OPEN: it means something only as everybody-on-this"),
}


@pytest.mark.parametrize(("env", "message"), WRONG_STARTS.values(), ids=WRONG_STARTS)
@pytest.mark.slow
def test_nor_with_a_setting_that_means_nothing(env: dict[str, str], message: str, tmp_path: Path) -> None:
    assert message in failing_start(tmp_path, env=env)


@pytest.mark.slow
def test_nor_with_a_policy_that_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("aliases: {}\nkeys:\n  - label: a\n")
    log = failing_start(tmp_path, {"codex_policy": str(tmp_path / "policy.yaml")})
    assert "policy.yaml: line 3: keys: number 1: hash" in log


@pytest.fixture
def signed_in(control: Control, tmp_path: Path) -> Path:
    write_account(tmp_path / ".codex-mitm/accounts/default/auth.json", control.login())
    return tmp_path


def address_of_this_machine() -> str:
    """One that is not loopback; no packet is sent for it."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])
    pytest.skip("needs an address beside loopback")


@pytest.mark.slow
def test_with_a_key_from_the_environment_it_starts_anywhere(openai: FakeOpenAI, signed_in: Path) -> None:
    key = "cmx-a-key-that-is-long-enough"
    arguments = ("--listen-host", "0.0.0.0", "-p", "0")
    with running_proxy(signed_in, options_for(openai), arguments=arguments, env={"PROXY_API_KEY": key}) as proxy:
        for host in ("127.0.0.1", address_of_this_machine()):
            url = f"http://{host}:{proxy.port}/v1"
            assert post(url).status_code == 401
            assert said(post(url, headers=bearer(key))) == "You said: hello there"
    assert key not in proxy.log()


@pytest.mark.slow
def test_with_the_sentence_it_is_open_and_says_so(openai: FakeOpenAI, signed_in: Path) -> None:
    env = {"CODEX_MITM_OPEN": "everybody-on-this-network-may-use-my-plan"}
    with running_proxy(signed_in, options_for(openai), arguments=("--listen-host", "0.0.0.0", "-p", "0"), env=env) as proxy:
        proxy.wait_for_log("whoever can reach 0.0.0.0 may use your plan")
        assert said(post(f"http://{address_of_this_machine()}:{proxy.port}/v1")) == "You said: hello there"


@pytest.mark.slow
def test_what_changes_while_it_runs_does_not_open_it(openai: FakeOpenAI, signed_in: Path) -> None:
    """Without keys on loopback any key will do; on no other address, and never again once there was a key."""
    policy = Policy(signed_in / "policy.yaml")
    policy.write()
    options = options_for(openai, codex_policy=str(policy.file))
    with running_proxy(signed_in, options, scripts=(INSIDE, ENTRY)) as proxy:
        assert said(post(proxy.url)) == "You said: hello there"
        refused = change(proxy, listen_host="0.0.0.0")
        assert refused.status_code == 400 and "Three ways out" in refused.text
        wait_until(lambda: answers(proxy, 200), "it listens on loopback again")
        policy.write("laptop")
        assert change(proxy, listen_host="0.0.0.0").status_code == 200
        wait_until(lambda: answers(proxy, 401), "it listens again, with a key")
        policy.write()
        assert post(proxy.url, headers=bearer(LAPTOP.key)).status_code == 401
        policy.write("laptop")
        assert change(proxy, listen_host="127.0.0.1").status_code == 200
        wait_until(lambda: answers(proxy, 401), "it listens on loopback, with a key")
        policy.write()
        assert post(proxy.url, headers=bearer(LAPTOP.key)).status_code == 401


def answers(proxy: RunningProxy, status: int) -> bool:
    try:
        return post(proxy.url).status_code == status
    except httpx.HTTPError:
        return False  # it is on its way from one address to the other
