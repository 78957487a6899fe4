"""Every way in, without a key, with a wrong one and with one that was taken back; and a policy that changes under fire.

One proxy for all of it. What is tried is bytes on a socket, as no client would send them.
"""

import ast
import base64
import contextlib
import itertools
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from aioquic.h3.connection import H3_ALPN
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection

from addons import probes, upstreams
from auth.keys import make
from tests.e2e.client import ask, error, post, said
from tests.e2e.conftest import options_for
from tests.e2e.keyed import BODY, LAPTOP, LENGTH, PHONE, UPGRADE, Policy, bearer, exchange, read_answer
from tests.fakes.control import Control
from tests.fakes.openai import FakeOpenAI
from tests.fakes.websocket import BETA
from tests.proxy import ROOT, RunningProxy, running_proxy
from tests.rawserver import read_request
from tests.wsclient import websocket

CLI = {"originator": "codex_exec", "openai-beta": BETA}
KEYED = f"x-api-key: {LAPTOP.key}\r\n\r\n".encode()


@pytest.fixture(scope="module")
def policy(home: Path) -> Policy:
    return Policy(home / "policy.yaml")


@pytest.fixture(scope="module")
def shared_proxy(openai: FakeOpenAI, home: Path, policy: Policy) -> Iterator[RunningProxy]:
    policy.write("laptop", "phone")
    options = options_for(openai, codex_policy=str(policy.file), codex_websocket="relay", codex_hosts="oauth-proxy")
    with running_proxy(home, options) as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def everybody(policy: Policy) -> None:
    """The keys as they were before a test changed them."""
    policy.write("laptop", "phone")


def asking(method: str, target: str, version: str = "HTTP/1.1", *headers: str) -> tuple[bytes, bytes]:
    """A request without its key and its end, and its body."""
    has_body = method in ("POST", "PUT", "PATCH")
    lines = [f"{method} {target} {version}", "Host: localhost", *headers]
    return "".join(f"{line}\r\n" for line in lines).encode() + (LENGTH if has_body else b""), BODY if has_body else b""


# --- every way --------------------------------------------------------------------------------------------------------

CHUNKED = b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n"

# What is sent before and behind the line with the key.
WAYS: dict[str, tuple[bytes, bytes]] = {
    # What this proxy answers by itself, and what it hands on.
    "responses": asking("POST", "/v1/responses"),
    "without /v1": asking("POST", "/responses"),
    "a slash at the end": asking("POST", "/v1/responses/"),
    "chat": asking("POST", "/v1/chat/completions"),
    "compact": asking("POST", "/v1/responses/compact"),
    "a response that was kept": asking("GET", "/v1/responses/resp_1"),
    "the end of one": asking("DELETE", "/v1/responses/resp_1"),
    "what it was asked": asking("GET", "/v1/responses/resp_1/input_items"),
    "its cancelling": asking("POST", "/v1/responses/resp_1/cancel"),
    "models": asking("GET", "/v1/models"),
    "one model": asking("GET", "/v1/models/gpt-5"),
    "files": asking("GET", "/v1/files"),
    "what is left of the plan": asking("GET", "/codex/usage"),
    "the calls": asking("GET", "/codex/calls"),
    "a sign-in": asking("POST", "/codex/sign-in", "HTTP/1.1", "x-codex-page: 1"),
    "how it goes": asking("GET", "/codex/sign-in/x"),
    "its end": asking("DELETE", "/codex/sign-in/x", "HTTP/1.1", "x-codex-page: 1"),
    "numbers": asking("GET", "/metrics"),
    "the CLI's usage": asking("GET", "/backend-api/wham/usage"),
    "the CLI's workspace": asking("GET", "/backend-api/wham/accounts/check"),
    "the CLI's settings": asking("GET", "/backend-api/wham/settings/user"),
    "the CLI's credits": asking("GET", "/backend-api/wham/rate-limit-reset-credits"),
    # Spelled otherwise.
    "dots": asking("GET", "/x/../v1/models"),
    "dots to another part": asking("GET", "/v1/../codex/usage"),
    "from the root upwards": asking("GET", "/../v1/models"),
    "a dot at the end": asking("POST", "/v1/responses."),
    "a dot for itself": asking("POST", "/v1/responses/."),
    "dots in percent": asking("GET", "/%2e%2e/codex/usage"),
    "double slashes": asking("POST", "//v1//responses"),
    "the page twice": asking("GET", "//"),
    "another case": asking("POST", "/V1/Responses"),
    "percent signs": asking("GET", "/%76%31/models"),
    "a slash in percent": asking("GET", "/codex%2fusage"),
    "a zero in percent": asking("GET", "/%00"),
    "a parameter": asking("POST", "/v1/responses;x"),
    "a fragment": asking("GET", "/#/v1/models"),
    "a health check, and more": asking("GET", "/healthz/../codex/usage"),
    "its parameter": asking("GET", "/healthz;/codex/usage"),
    "its neighbour": asking("GET", "/healthz/"),
    "its other case": asking("GET", "/Healthz"),
    "absolute form": asking("GET", "http://localhost/v1/models"),
    "with https": asking("GET", "https://localhost/v1/models"),
    "with a port": asking("GET", "http://127.0.0.1:1/v1/models"),
    "a key in the query": asking("GET", f"/v1/models?api_key={LAPTOP.key}&key={LAPTOP.key}"),
    # Asked otherwise.
    "HEAD": asking("HEAD", "/v1/models"),
    "OPTIONS": asking("OPTIONS", "/v1/responses"),
    "OPTIONS of everything": asking("OPTIONS", "*"),
    "POST to the page": asking("POST", "/"),
    "POST of a health check": asking("POST", "/healthz"),
    "DELETE of another": asking("DELETE", "/readyz"),
    "TRACE": asking("TRACE", "/v1/models"),
    "PUT": asking("PUT", "/v1/responses"),
    "PATCH": asking("PATCH", "/v1/responses"),
    "a method that nobody knows": asking("FETCH", "/v1/models"),
    "a method in another case": asking("get", "/v1/models"),
    "the method in a header": asking("GET", "/v1/responses", "HTTP/1.1", "X-HTTP-Method-Override: POST"),
    "the path in a header": asking("GET", "/v1/models", "HTTP/1.1", "X-Original-URL: /", "X-Rewrite-URL: /healthz"),
    "who asks in a header": asking("GET", "/v1/models", "HTTP/1.1", "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Host: localhost"),
    "HTTP/1.0": (b"GET /v1/models HTTP/1.0\r\n", b""),
    "HTTP/1.2": asking("GET", "/v1/models", "HTTP/1.2"),
    "HTTP/2.0 as a word": asking("GET", "/v1/models", "HTTP/2.0"),
    "an upgrade to HTTP/2": asking(
        "GET", "/v1/models", "HTTP/1.1", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"
    ),
    "a WebSocket": (b"GET /v1/responses HTTP/1.1\r\nHost: localhost\r\noriginator: codex_exec\r\n" + UPGRADE, b""),
    "bare line feeds": (b"GET /v1/models HTTP/1.1\nHost: localhost\n", b""),
    "chunks": (b"POST /v1/responses HTTP/1.1\r\nHost: localhost\r\n" + CHUNKED, b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)),
}


@pytest.mark.parametrize("name", ["authorization", "x-api-key", "api-key"])
def test_a_key_gets_in_wherever_clients_put_it(name: str, proxy: RunningProxy) -> None:
    for value in (LAPTOP.key, PHONE.key):
        headers = {"authorization": ""} | {name: f"Bearer {value}" if name == "authorization" else value}
        assert said(post(proxy.url, headers=headers)) == "You said: hello there"


def test_one_good_key_among_other_credentials_is_enough(proxy: RunningProxy) -> None:
    """A proxy in front may have put its own there."""
    assert said(post(proxy.url, headers={"authorization": "Basic YTpi", "x-api-key": LAPTOP.key})) == "You said: hello there"


REVOKED = make("revoked")
# With each of these every way is tried,
USUAL: dict[str, bytes] = {
    "none": b"",
    "a wrong one": b"Authorization: Bearer cmx-CANARY\r\n",
    "one that was taken back": f"Authorization: Bearer {REVOKED.key}\r\n".encode(),
}
# and with each of these one.
ODD: dict[str, bytes] = {
    "an empty one": b"Authorization: Bearer \r\n",
    "a hash": f"x-api-key: {LAPTOP.entry['hash']}\r\n".encode(),
    "its digits": f"x-api-key: {LAPTOP.entry['hash'].removeprefix('sha256:')}\r\n".encode(),
    "its label": b"x-api-key: laptop\r\n",
    "a cut one": f"x-api-key: {LAPTOP.key[:-1]}\r\n".encode(),
    "one in another case": f"x-api-key: {LAPTOP.key.swapcase()}\r\n".encode(),
    "two in one": f"x-api-key: {LAPTOP.key}\r\nx-api-key: {PHONE.key}\r\n".encode(),
    "one twice": f"Authorization: Bearer {LAPTOP.key}\r\n".encode() * 2,
    "two in a list": f"x-api-key: {LAPTOP.key}, {PHONE.key}\r\n".encode(),
    "with more behind it": f"Authorization: Bearer {LAPTOP.key} x\r\n".encode(),
    "on the next line": f"Authorization: Bearer\r\n {LAPTOP.key}\r\n".encode(),
    "folded into another header": f"x-a: b\r\n x-api-key: {LAPTOP.key}\r\n".encode(),
    "as a password": b"Authorization: Basic %s\r\n" % base64.b64encode(f"laptop:{LAPTOP.key}".encode()),
    "as a cookie": f"Cookie: x-api-key={LAPTOP.key}\r\n".encode(),
    "for another proxy": f"Proxy-Authorization: Bearer {LAPTOP.key}\r\n".encode(),
    "as a protocol": f"Sec-WebSocket-Protocol: openai-insecure-api-key.{LAPTOP.key}\r\n".encode(),
    "in another header": f"x-auth: {LAPTOP.key}\r\n".encode(),
}
CREDENTIALS = USUAL | ODD


def test_no_way_leads_in_without_a_key(policy: Policy, proxy: RunningProxy, control: Control) -> None:
    policy.write("laptop", keys=[LAPTOP.entry, PHONE.entry, REVOKED.entry])
    assert said(post(proxy.url, headers=bearer(REVOKED.key))) == "You said: hello there"
    policy.write("laptop", "phone")
    before, answers = len(control.seen()), []
    for way, (head, body) in WAYS.items():
        for which, credential in (CREDENTIALS if way in ("models", "responses") else USUAL).items():
            found = exchange(proxy.port, head + credential + b"\r\n" + (b"" if way == "HEAD" else body))
            assert [answer.status_code for answer in found] == [401], (way, which)
            answers.append((way, found[0]))
    for way, answer in answers:
        assert set(answer.headers) == {"content-type", "content-length", "x-request-id", "www-authenticate"}, way
        if way != "HEAD":
            assert error(answer) == {
                "message": "Incorrect API key provided. This proxy has keys of its own: ask whoever runs it",
                "type": "invalid_request_error",
                "param": None,
                "code": "invalid_api_key",
            }
    assert len(control.seen()) == before, "nobody upstream has heard of any of it"
    assert "CANARY" not in proxy.log() and LAPTOP.key[:-1] not in proxy.log()


def test_each_way_is_one_with_a_key(openai: FakeOpenAI, proxy: RunningProxy, control: Control) -> None:
    """Or the test above would show nothing. Upstream hears its own name, whatever the client called the proxy."""
    for way, (head, body) in WAYS.items():
        request = head.replace(b"localhost", b"oauth-proxy") + f"x-api-key: {LAPTOP.key}\r\n\r\n".encode()
        found = exchange(proxy.port, request + (b"" if way == "HEAD" else body))
        assert [answer.status_code for answer in found] not in ([], [401], [421]), way
    assert {seen.header("host") for seen in control.seen("backend")} == {urlsplit(openai.backend_url).netloc}


# Who answers without upstream. A new one is to be looked at with the question whether all of its paths are among the ways.
ANSWERS = {
    "cli_discovery.py",
    "continuity.py",
    "health.py",
    "local.py",
    "metrics.py",
    "page.py",
    "sign_in.py",
    "usage.py",
}
# These answer with refusals and faults only, wherever they are asked.
REFUSES = {"fault.py", "gate.py", "guard.py", "upstream_errors.py"}


def answering() -> dict[str, ast.Module]:
    trees = {file.name: ast.parse(file.read_text()) for file in ROOT.glob("addons/*.py")}
    return {name: tree for name, tree in trees.items() if any(map(sets_an_answer, ast.walk(tree)))}


def sets_an_answer(node: ast.AST) -> bool:
    return isinstance(node, ast.Assign) and any(ast.unparse(target) == "flow.response" for target in node.targets)


def test_every_path_that_is_answered_here_is_among_the_ways() -> None:
    """As far as a path is written down somewhere: in who answers, among what machines ask, in the table of what goes upstream."""
    found = answering()
    assert found.keys() == ANSWERS | REFUSES
    written = {
        node.value
        for name in ANSWERS
        for node in ast.walk(found[name])
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"/[a-z0-9_./-]+", node.value)
    }
    targets = [head.split(b" ", 2)[1].decode() for head, _ in WAYS.values()]
    paths = written | probes.PATHS | upstreams.CODEX_PATHS.keys()
    assert len(paths) > 12
    assert [path for path in sorted(paths) if not any(path in target for target in targets)] == []


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz"])
def test_what_is_for_everybody_says_nothing_of_anybody(path: str, proxy: RunningProxy, control: Control) -> None:
    said(post(proxy.url, headers=bearer(LAPTOP.key)))
    before, account = len(control.seen()), control.login()["tokens"]["account_id"]
    for which, credential in USUAL.items():
        for target in (path, f"{path}?x", f"http://localhost{path}"):
            (answer,) = exchange(proxy.port, asking("GET", target)[0] + credential + b"\r\n")
            assert answer.status_code == 200, (which, target)
            assert not any(told in answer.text for told in ("laptop", "@example", account))
    assert len(control.seen()) == before


# --- other protocols --------------------------------------------------------------------------------------------------


HTTP_2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\4" + bytes(5)


def trusting(*protocols: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(list(protocols))
    return context


def test_http_2_is_not_spoken(proxy: RunningProxy) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=20) as connection:
        connection.sendall(HTTP_2)
        assert rest_of(connection) == b""


def test_in_tls_it_is_the_same_door(proxy: RunningProxy, control: Control) -> None:
    """mitmproxy takes TLS on the same port."""
    head, _ = WAYS["models"]
    for offered, taken in ((("h2", "http/1.1"), "http/1.1"), (("h2",), None)):
        with (
            socket.create_connection(("127.0.0.1", proxy.port), timeout=20) as plain,
            trusting(*offered).wrap_socket(plain, server_hostname="localhost") as connection,
        ):
            assert connection.selected_alpn_protocol() == taken
            for end, status in ((b"\r\n", 401), (KEYED, 200), (b"\r\n", 401)):
                connection.sendall(head + end)
                answer = read_answer(connection)
                assert answer and answer.status_code == status
            connection.sendall(HTTP_2)
            assert rest_of(connection) == b""
    assert len(control.seen("backend", "responses")) == 0


def test_http_3_is_not_spoken(proxy: RunningProxy) -> None:
    """mitmproxy listens on UDP as well, and would be answering there after a fiftieth of this time."""
    client = QuicConnection(configuration=QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name="localhost"))
    client.connect(("127.0.0.1", proxy.port), now=0.0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.connect(("127.0.0.1", proxy.port))
        udp.settimeout(0.5)
        for datagram, _ in client.datagrams_to_send(now=0.0):
            udp.send(datagram)
        with pytest.raises((TimeoutError, ConnectionRefusedError)):
            udp.recv(65536)


def test_a_tunnel_leads_nowhere(proxy: RunningProxy, control: Control) -> None:
    for target in ("localhost:443", "chatgpt.com:443", f"127.0.0.1:{proxy.port}"):
        for end in (b"\r\n", KEYED):
            (answer,) = exchange(proxy.port, f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n".encode() + end)
            assert answer.status_code == 400
    assert control.seen() == []


# --- requests in each other -------------------------------------------------------------------------------------------


def test_each_request_on_a_connection_is_looked_at(proxy: RunningProxy) -> None:
    """Pipelined, so that the second is there before the first is answered."""
    head, _ = WAYS["models"]
    good, bad = head + f"x-api-key: {LAPTOP.key}\r\n\r\n".encode(), head + b"\r\n"
    for requests, statuses in (([good, bad, good], [200, 401, 200]), ([bad, good], [401, 200])):
        assert [answer.status_code for answer in exchange(proxy.port, b"".join(requests), len(requests))] == statuses


def test_a_head_is_answered_without_a_body_so_that_the_next_answer_is_read_right(proxy: RunningProxy) -> None:
    head, _ = WAYS["HEAD"]
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=20) as connection:
        connection.sendall(head + b"\r\n" + head.replace(b"HEAD", b"GET") + f"x-api-key: {LAPTOP.key}\r\n\r\n".encode())
        data = b""
        while data.count(b"HTTP/1.1 ") < 2 or b"\r\n\r\n{" not in data:
            data += connection.recv(65536)
    assert re.match(rb"HTTP/1\.1 401 [^\0]*?\r\n\r\nHTTP/1\.1 200 ", data), data[:500]


def test_a_body_that_comes_slowly_is_refused_like_any_other(proxy: RunningProxy, control: Control) -> None:
    head, body = WAYS["responses"]
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=20) as connection:
        for piece in (head + b"\r\n", *(body[at : at + 40] for at in range(0, len(body), 40))):
            connection.sendall(piece)
            time.sleep(0.01)
        answer = read_answer(connection)
    assert answer and answer.status_code == 401 and control.seen("backend") == []


HIDDEN = b"GET /codex/usage HTTP/1.1\r\nHost: localhost\r\n\r\n"
# A head that has its key, up to what says how long the body is.
POSTED = f"POST /v1/responses HTTP/1.1\r\nHost: localhost\r\nx-api-key: {LAPTOP.key}\r\n".encode()
ZERO = b"0\r\n\r\n"
# Of each of these two programs could think that the body ends in different places.
UNCLEAR: dict[str, bytes] = {
    "a length and chunks": b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n" % len(ZERO + HIDDEN) + ZERO + HIDDEN,
    "chunks and a length": b"Transfer-Encoding: chunked\r\nContent-Length: %d\r\n\r\n" % len(ZERO + HIDDEN) + ZERO + HIDDEN,
    "no length and chunks": b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n" + ZERO + HIDDEN,
    "two lengths": b"Content-Length: 0\r\nContent-Length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN,
    "one length twice": b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n" + HIDDEN,
    "a list of lengths": b"Content-Length: 0, 0\r\n\r\n" + HIDDEN,
    "a length with a sign": b"Content-Length: +0\r\n\r\n" + HIDDEN,
    "a length below nothing": b"Content-Length: -1\r\n\r\n" + HIDDEN,
    "a length in hex": b"Content-Length: 0x0\r\n\r\n" + HIDDEN,
    "chunks that are none": b"Transfer-Encoding: xchunked\r\n\r\n" + ZERO + HIDDEN,
    "chunks twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + ZERO + HIDDEN,
    "a list with chunks": b"Transfer-Encoding: chunked, identity\r\n\r\n" + ZERO + HIDDEN,
    "identity": b"Transfer-Encoding: identity\r\nContent-Length: 0\r\n\r\n" + HIDDEN,
    "a blank before the colon": b"Transfer-Encoding : chunked\r\n\r\n" + ZERO + HIDDEN,
    "a length that is folded": b"Content-Length:\r\n 0\r\nTransfer-Encoding:\r\n chunked\r\n\r\n" + ZERO + HIDDEN,
    "chunks without a size": b"Transfer-Encoding: chunked\r\n\r\n\r\n" + HIDDEN,
    "chunks below nothing": b"Transfer-Encoding: chunked\r\n\r\n-1\r\n" + HIDDEN,
}


@pytest.mark.parametrize("unclear", UNCLEAR.values(), ids=UNCLEAR)
def test_what_is_unclear_is_refused_and_nothing_after_it_is_read(unclear: bytes, proxy: RunningProxy, control: Control) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=20) as connection:
        connection.sendall(POSTED + unclear)
        answer = read_answer(connection)
        assert answer is None or (answer.status_code == 400 and error(answer))
        assert rest_of(connection) == b""
    assert control.seen() == []


def test_a_request_in_a_body_is_a_body(proxy: RunningProxy, control: Control) -> None:
    """With and without a good key, in either of the two."""
    head, _ = WAYS["models"]
    inner = head + KEYED
    for outer, status in ((b"\r\n", 401), (KEYED, 200)):
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=20) as connection:
            connection.sendall(head + b"Content-Length: %d\r\n" % len(inner) + outer + inner + HIDDEN)
            answers = [read_answer(connection) for _ in range(2)]
        assert [answer and answer.status_code for answer in answers] == [status, 401]


def rest_of(connection: socket.socket) -> bytes:
    """Until the other side closes, however it does that."""
    data = b""
    with contextlib.suppress(ConnectionError):
        while more := connection.recv(65536):
            data += more
    return data


# --- keys that are taken back -----------------------------------------------------------------------------------------


def test_a_connection_that_stays_open_gives_no_key_a_longer_life(policy: Policy, proxy: RunningProxy) -> None:
    head, _ = WAYS["the calls"]
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=20) as connection:
        for keys, status in (("laptop", "phone"), 200), (("phone",), 401), (("laptop",), 200), (("phone",), 401):
            policy.write(*keys)
            connection.sendall(head + KEYED)
            answer = read_answer(connection)
            assert answer and answer.status_code == status


@pytest.mark.parametrize("change", ["gone", "limited"])
def test_nor_does_a_websocket(change: str, policy: Policy, proxy: RunningProxy, control: Control) -> None:
    with (
        pytest.raises(ConnectionError),
        websocket(f"{proxy.url}/responses", CLI | bearer(LAPTOP.key)) as talk,
    ):
        for _ in range(2):
            assert talk.answer({"type": "response.create", **ask()})[-1]["type"] == "response.completed"
        policy.write(keys=[PHONE.entry, *([LAPTOP.entry | {"models": ["gpt-5"]}] if change == "limited" else [])])
        asked = control.counts()
        talk.answer({"type": "response.create", **ask("CANARY")})
    assert control.counts() == asked
    policy.write("laptop", "phone")
    assert said(post(proxy.url, headers=bearer(LAPTOP.key))) == "You said: hello there"


class Client:
    """Asks on one connection for as long as it may, and counts what it is told."""

    def __init__(self, port: int, credential: bytes) -> None:
        self.request = WAYS["a method that nobody knows"][0] + credential + b"\r\n"
        self.connection = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.statuses: list[int | None] = []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        with self.connection:
            while not self.over.is_set() and (not self.statuses or self.statuses[-1] is not None):
                self.connection.sendall(self.request)
                answer = read_request(self.connection)
                self.statuses.append(int(answer.split()[1]) if answer else None)
                time.sleep(0.002)  # or the proxy is busy with nothing else


def in_place(file: Path, content: bytes) -> None:
    """As most programs write: the file is empty for a moment."""
    with file.open("wb", buffering=0) as opened:
        time.sleep(0.005)
        opened.write(content)


def at_once(file: Path, content: bytes) -> None:
    new = file.with_suffix(".new")
    new.write_bytes(content)
    new.replace(file)


BROKEN: dict[str, bytes] = {
    "no YAML": b"keys: [",
    "a misspelt section": b"key: []",
    "a bomb": b"a: &a [x, x]\n" + b"".join(b"%c: &%c [%s]\n" % (c, c, b",".join([b"*%c" % (c - 1)] * 9)) for c in b"bcdefgh"),
    "a number without end": b"shutdown: {grace: 0x" + b"f" * 5000 + b"}",
    "a pattern without end": b"aliases: {/a{999999999999999}/: x}",
    "half of a character": b'aliases: {"\\ud800": 5}',
    "a nest": b"[" * 30,
}


def test_a_reload_under_fire_drops_nobody_and_lets_nobody_in(policy: Policy, proxy: RunningProxy, control: Control) -> None:
    """The good key is in every file that is any good. An empty file would be one without a key."""
    policy.write(keys=[make(f"key-{n}").entry for n in range(60)] + [LAPTOP.entry])
    long = policy.file.read_bytes()
    policy.write("laptop", "phone")
    files = [policy.file.read_bytes(), long, *BROKEN.values()]
    deadline = time.monotonic() + 10
    while httpx.get(f"{proxy.url}/models", headers=bearer(LAPTOP.key), trust_env=False, timeout=20).status_code == 401:
        assert time.monotonic() < deadline, "the file before it did not have the key"
    invited = [Client(proxy.port, f"x-api-key: {LAPTOP.key}\r\n".encode()) for _ in range(3)]
    strangers = [Client(proxy.port, credential) for credential in USUAL.values()]
    try:
        deadline = time.monotonic() + 30
        for n in itertools.count():
            (in_place if n % 3 else at_once)(policy.file, files[n % len(files)])
            time.sleep(0.01 * (n % 4))
            if n > 50 and min(len(client.statuses) for client in (*invited, *strangers)) > 20:
                break
            assert time.monotonic() < deadline
    finally:
        for client in (*invited, *strangers):
            client.over.set()
            client.thread.join(30)
    assert {status for client in invited for status in client.statuses} == {405}, "let in, with a method that nobody serves"
    assert {status for client in strangers for status in client.statuses} == {401}
    assert "/v1/models failed" not in proxy.log() and "Traceback" not in proxy.log()


def test_no_key_is_anywhere_afterwards(proxy: RunningProxy, home: Path) -> None:
    told = [proxy.log(), *(file.read_bytes().decode("latin-1") for file in (home / ".codex-mitm").rglob("*") if file.is_file())]
    secrets = (LAPTOP.key, LAPTOP.key[:-1], PHONE.key, REVOKED.key, "cmx-CANARY")
    assert [secret for secret in secrets if any(secret in place for place in told)] == []
