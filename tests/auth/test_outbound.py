from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from auth.errors import BadSetting
from auth.outbound import Outbound, http_client, is_loopback

P = "http://proxy:3128"


@pytest.mark.parametrize(
    ("environ", "url", "proxy"),
    [
        pytest.param({}, "https://a.com", None, id="none"),
        pytest.param({"HTTPS_PROXY": P}, "https://a.com", P, id="https"),
        pytest.param({"HTTPS_PROXY": P}, "http://a.com", None, id="not-for-http"),
        pytest.param({"HTTP_PROXY": P}, "https://a.com", None, id="not-for-https"),
        pytest.param({"http_proxy": P}, "http://a.com", P, id="http"),
        pytest.param({"ALL_PROXY": P}, "https://a.com", P, id="all"),
        pytest.param({"ALL_PROXY": "http://x", "HTTPS_PROXY": P}, "https://a.com", P, id="the-special-one-wins"),
        pytest.param({"HTTPS_PROXY": "http://x", "https_proxy": P}, "https://a.com", P, id="lower-case-wins"),
        pytest.param({"HTTPS_PROXY": P, "https_proxy": ""}, "https://a.com", P, id="empty-is-unset"),
        pytest.param({"HTTPS_PROXY": "proxy:3128"}, "https://a.com", P, id="without-scheme"),
        pytest.param({"HTTPS_PROXY": P}, "https://localhost", None, id="localhost"),
        pytest.param({"HTTPS_PROXY": P}, "https://x.localhost:1", None, id="below-localhost"),
        pytest.param({"HTTPS_PROXY": P}, "https://127.8.9.1", None, id="127/8"),
        pytest.param({"HTTPS_PROXY": P}, "https://[::1]:8080/x", None, id="ipv6-loopback"),
        pytest.param({"HTTPS_PROXY": P}, "https://[::ffff:127.0.0.1]/", None, id="mapped-loopback"),
        pytest.param({"HTTPS_PROXY": P, "NO_PROXY": "*"}, "https://a.com", None, id="no-proxy-at-all"),
        pytest.param({"HTTPS_PROXY": P, "NO_PROXY": "a.com"}, "https://a.com", None, id="name"),
        pytest.param({"HTTPS_PROXY": P, "NO_PROXY": "a.com"}, "https://A.com.", None, id="case-and-root-dot"),
        pytest.param({"HTTPS_PROXY": P, "NO_PROXY": "a.com"}, "https://x.a.com", None, id="below-a-name"),
        pytest.param({"HTTPS_PROXY": P, "NO_PROXY": "a.com"}, "https://ba.com", P, id="not-a-suffix-of-letters"),
        pytest.param({"HTTPS_PROXY": P, "NO_PROXY": ".a.com"}, "https://x.a.com", None, id="leading-dot"),
        pytest.param({"HTTPS_PROXY": P, "NO_PROXY": "*.a.com"}, "https://x.a.com", None, id="star-dot"),
        pytest.param({"HTTPS_PROXY": P, "NO_PROXY": "x, y a.com"}, "https://a.com", None, id="commas-and-spaces"),
        pytest.param({"HTTPS_PROXY": P, "no_proxy": "a.com:8443"}, "https://a.com:8443", None, id="port"),
        pytest.param({"HTTPS_PROXY": P, "no_proxy": "a.com:443"}, "https://a.com", None, id="default-port"),
        pytest.param({"HTTPS_PROXY": P, "no_proxy": "a.com:8443"}, "https://a.com", P, id="other-port"),
        pytest.param({"HTTPS_PROXY": P, "NO_PROXY": "10.0.0.0/8"}, "https://10.1.2.3", None, id="network"),
        pytest.param({"HTTPS_PROXY": P, "NO_PROXY": "10.0.0.0/8"}, "https://11.1.2.3", P, id="other-network"),
        pytest.param({"HTTPS_PROXY": P, "NO_PROXY": "fe80::1"}, "https://[fe80::1]", None, id="ipv6"),
        pytest.param({"HTTPS_PROXY": P, "NO_PROXY": "[fe80::1]:443"}, "https://[fe80::1]", None, id="ipv6-port"),
    ],
)
def test_proxy_for(environ: dict[str, str], url: str, proxy: str | None) -> None:
    assert Outbound.from_env(environ).proxy_for(url) == proxy


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"SSL_CERT_FILE": "/s.pem"}, "/s.pem"),
        ({"SSL_CERT_FILE": "/s.pem", "CODEX_CA_CERTIFICATE": "/c.pem"}, "/c.pem"),
        ({"SSL_CERT_FILE": "/s.pem", "CODEX_CA_CERTIFICATE": ""}, "/s.pem"),
        ({"SSL_CERT_FILE": ""}, None),
    ],
)
def test_the_ca_file(environ: dict[str, str], expected: str | None) -> None:
    assert Outbound.from_env(environ).ca_file == expected


@pytest.mark.parametrize("value", ["socks5://user:SENTINEL@proxy:1080", "http://", "http://[", "http://proxy:99999"])
def test_a_proxy_that_cannot_be_used_is_named_without_its_password(value: str) -> None:
    with pytest.raises(BadSetting) as bad:
        Outbound.from_env({"HTTPS_PROXY": value})
    assert str(bad.value) == "HTTPS_PROXY cannot be used, only http:// and https:// proxies are supported"


def test_a_password_of_a_proxy_is_in_no_repr() -> None:
    assert "SENTINEL" not in repr(Outbound.from_env({"ALL_PROXY": "http://user:SENTINEL@proxy:3128"}))


@pytest.mark.parametrize(("host", "expected"), [("localhost", True), ("127.0.0.1", True), ("localhost.a.com", False), ("", False)])
def test_is_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize("name", ["missing.pem", "empty.pem"])
def test_a_ca_file_without_a_certificate(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty.pem").write_text("no certificate\n")
    with pytest.raises(BadSetting, match="holds no readable certificate"):
        http_client(Outbound(ca_file=str(tmp_path / name)), "ua")


class Echo(BaseHTTPRequestHandler):
    """Answers with the request line, as an HTTP proxy gets to see it; /moved redirects."""

    def do_GET(self) -> None:
        self.send_response(302 if self.path == "/moved" else 200)
        self.send_header("location", "/")
        self.end_headers()
        self.wfile.write(f"{self.path} {self.headers['user-agent']} {self.headers.get('accept-encoding')}".encode())

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def echo() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


async def test_the_client_takes_the_route_of_each_url(echo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # what httpx itself would read is not asked
    async with http_client(Outbound(http_proxy=echo), "codex_mitm/1") as client:
        direct = await client.get(f"{echo}/x")
        proxied = await client.get("http://issuer.example/y")
    assert direct.text == "/x codex_mitm/1 identity"
    assert proxied.text == "http://issuer.example/y codex_mitm/1 identity"


async def test_the_client_follows_no_redirect(echo: str) -> None:
    async with http_client(Outbound(), "codex_mitm/1") as client:
        assert (await client.get(f"{echo}/moved")).status_code == 302
