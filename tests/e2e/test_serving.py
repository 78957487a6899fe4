"""The entry as users start it: mitmdump and mitmweb from a foreign folder, signed in or not, with right and wrong options."""

import signal
import socket
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest

from tests.e2e.client import error, post, said
from tests.e2e.conftest import options_for, write_account
from tests.fakes.control import Control
from tests.fakes.openai import FakeOpenAI
from tests.proxy import ProxyDied, failing_start, running_proxy
from tests.rawserver import raw_server

SENTENCE = "not signed in: run `make login`"


@pytest.mark.parametrize("program", ["mitmdump", "mitmweb"])
def test_serves_and_ends(program: str, openai: FakeOpenAI, control: Control, tmp_path: Path) -> None:
    write_account(tmp_path / ".codex-mitm/accounts/default/auth.json", control.login())
    quiet = ("-p", "0", "--set", "web_open_browser=false", "--set", "web_port=0") if program == "mitmweb" else ("-p", "0")
    with running_proxy(tmp_path, options_for(openai), program=program, arguments=quiet) as proxy:
        assert said(post(proxy.url)) == "You said: hello there"
        proxy.wait_for_log("account default (chatgpt)")
        assert proxy.stop(signal.SIGINT) == 0
    assert "Traceback" not in proxy.log() and "error" not in proxy.log().lower()


def test_by_itself_it_listens_on_loopback_9090(tmp_path: Path) -> None:
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", 9090)) == 0:
            pytest.skip("port 9090 is taken by another program")
    # mitmproxy's own default port is taken by somebody: that must not matter.
    with ExitStack() as stack:
        with suppress(OSError):
            stack.enter_context(socket.create_server(("", 8080)))
        proxy = stack.enter_context(running_proxy(tmp_path, arguments=()))
        assert proxy.port == 9090
        assert "8080" not in proxy.log()
        assert "reverse proxy to https://api.openai.com listening at 127.0.0.1:9090" in proxy.log().lower()


def test_port_and_host_are_honoured(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.2", 0)) as probe:
        port = probe.getsockname()[1]
    with running_proxy(tmp_path, arguments=("--listen-host", "127.0.0.2", "-p", str(port))) as proxy:
        assert f"listening at 127.0.0.2:{port}" in proxy.log()
        assert httpx.post(f"http://127.0.0.2:{port}/v1/responses", json={}, trust_env=False).status_code == 401


def test_not_signed_in_it_starts_and_says_how_and_a_sign_in_needs_no_restart(
    openai: FakeOpenAI, control: Control, tmp_path: Path
) -> None:
    with running_proxy(tmp_path, options_for(openai)) as proxy:
        proxy.wait_for_log(SENTENCE)
        refused = post(proxy.url)
        assert refused.status_code == 401
        assert SENTENCE in error(refused)["message"] and error(refused)["code"] == "login_required"
        write_account(tmp_path / ".codex-mitm/accounts/default/auth.json", control.login())
        assert said(post(proxy.url)) == "You said: hello there"


def test_the_codex_clis_own_login_is_used_as_it_is(openai: FakeOpenAI, control: Control, tmp_path: Path) -> None:
    file = write_account(tmp_path / ".codex/auth.json", control.login())
    before = file.read_bytes()
    with running_proxy(tmp_path, options_for(openai)) as proxy:
        assert said(post(proxy.url)) == "You said: hello there"
        proxy.wait_for_log("account codex-cli (chatgpt)")
    assert file.read_bytes() == before


def test_a_corrupt_account_is_named(openai: FakeOpenAI, control: Control, tmp_path: Path) -> None:
    """In the log where another one serves, and to the client where none does."""
    broken = tmp_path / "a" / "auth.json"
    broken.parent.mkdir()
    broken.write_text('{"tokens": ')
    whole = write_account(tmp_path / "b/auth.json", control.login())
    with running_proxy(tmp_path, options_for(openai, codex_accounts=f"{broken}\n{whole}")) as proxy:
        proxy.wait_for_log(str(broken))
        assert said(post(proxy.url)) == "You said: hello there"
        whole.unlink()
        refused = post(proxy.url)
        assert refused.status_code == 503 and refused.headers["x-should-retry"] == "false"
        assert str(broken) in error(refused)["message"] and error(refused)["code"] == "account_unusable"


WRONG = {
    "an upstream that does not exist": ({"codex_upstream": "azure"}, "codex_upstream"),
    "a bearer over plain http": ({"codex_backend_url": "http://chatgpt.com/x"}, "codex_backend_url: must be https"),
    "an issuer over plain http": ({"codex_issuer_url": "http://auth.openai.com"}, "codex_issuer_url"),
    "streamed requests": ({"stream_large_bodies": "1m"}, "stream_large_bodies"),
    "every byte in the log": ({"proxy_debug": "true"}, "proxy_debug"),
}


@pytest.mark.parametrize(("options", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_option_ends_the_start_with_its_name(options: dict[str, str], message: str, tmp_path: Path) -> None:
    assert message in failing_start(tmp_path, options)


def test_a_proxy_url_that_cannot_be_used_is_refused_without_its_password(tmp_path: Path) -> None:
    env = {"HTTPS_PROXY": "http://user:CANARY@proxy:3128"}
    log = failing_start(tmp_path, env=env)
    assert "not of the form http://host:port" in log and "CANARY" not in log


def test_a_port_that_is_taken_ends_the_start(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as occupier:
        port = str(occupier.getsockname()[1])
        log = failing_start(tmp_path, arguments=("-p", port))
    assert f"failed to listen on 127.0.0.1:{port}" in log


def test_a_misspelt_option_is_said(tmp_path: Path) -> None:
    with running_proxy(tmp_path, {"codex_upstraem": "codex"}) as proxy:
        proxy.wait_for_log("unknown option codex_upstraem: did you mean codex_upstream?")


def test_an_upstream_behind_an_http_proxy_is_reached_through_it(openai: FakeOpenAI, control: Control, tmp_path: Path) -> None:
    """The environment's proxy serves sign-in and traffic alike; it sees a CONNECT, and loopback hosts never go there."""
    seen: list[bytes] = []

    def connect_proxy(server: object, connection: socket.socket, number: int) -> None:
        seen.append(connection.recv(65536))
        connection.sendall(b"HTTP/1.1 503 no way through\r\ncontent-length: 0\r\n\r\n")

    write_account(tmp_path / "auth.json", control.login())
    with raw_server(connect_proxy) as connect:
        options = {"codex_accounts": str(tmp_path / "auth.json"), "codex_backend_url": "https://chatgpt.invalid/backend-api/codex"}
        with running_proxy(tmp_path, options, env={"HTTPS_PROXY": connect.url}) as proxy:
            assert post(proxy.url).status_code == 502
    assert seen and seen[0].startswith(b"CONNECT chatgpt.invalid:443")


def test_options_are_listed_by_mitmproxy_itself(tmp_path: Path) -> None:
    with pytest.raises(ProxyDied) as died, running_proxy(tmp_path, arguments=("--options",)):
        pass
    listed = str(died.value)
    assert all(name in listed for name in ("codex_upstream", "codex_accounts", "https://chatgpt.com/backend-api/codex"))
