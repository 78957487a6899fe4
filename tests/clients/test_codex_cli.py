"""The official Codex CLI, set up in the four ways of docs/codex-cli.md, against the real proxy before the fake OpenAI."""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.clients.codex.cli import CodexCli, Turn, by_way_of, outside, skip_without_codex, wanted_out, way
from tests.clients.codex.tls import tls_before
from tests.e2e.conftest import options_for, write_account
from tests.fakes.control import Control, Seen
from tests.fakes.openai import FakeOpenAI
from tests.proxy import ENTRY, RunningProxy, running_proxy
from tests.rawserver import RawServer

# How each kind of model calls a shell: code models write a script, the others name a tool.
CALLS = {
    "gpt-6.1-sol": 'call exec const done = await tools.exec_command({cmd: "echo by-the-tool"}); text(done.output)',
    "gpt-5.5": 'call exec_command {"cmd": "echo by-the-tool"}',
}
SCRIPTS = Path(__file__).parent / "codex"


@pytest.fixture(autouse=True)
def installed() -> None:
    skip_without_codex()


@pytest.fixture
def world() -> Iterator[RawServer]:
    with outside() as server:
        yield server


@pytest.fixture
def cli(tmp_path: Path, world: RawServer) -> CodexCli:
    return CodexCli(tmp_path, by_way_of(world))


def set_up(cli: CodexCli, number: int, proxy: RunningProxy) -> CodexCli:
    """The same CLI, as that page says."""
    found = way(number, proxy, cli.home)
    cli.configure(found.config)
    return CodexCli(cli.home, {**cli.environ, **found.environ})


def assert_it_worked(turn: Turn) -> None:
    """A tool was called, its result was understood, and nobody was told of any trouble."""
    assert "by-the-tool" in turn.said and turn.said.startswith("Tool said: "), turn
    assert turn.ran == ["by-the-tool\n"]
    assert turn.complaints == []


def paths(seen: list[Seen]) -> list[tuple[str, str | None]]:
    return [(request.method, request.route) for request in seen]


def token_of(control: Control, email: str) -> str:
    return control.current(email).access_token


class TestAProviderOfItsOwn:
    @pytest.mark.parametrize("model", CALLS)
    def test_sends_its_questions_and_nothing_else(
        self, model: str, cli: CodexCli, proxy: RunningProxy, control: Control, world: RawServer
    ) -> None:
        assert_it_worked(set_up(cli, 1, proxy).exec(CALLS[model], "-m", model))
        assert paths(control.seen()) == [("POST", "responses")] * 2
        assert {seen.header("authorization") for seen in control.seen()} == {f"Bearer {token_of(control, 'user@example.com')}"}
        assert wanted_out(world) == set()


class TestAnotherBaseUrl:
    def test_with_a_key(self, cli: CodexCli, proxy: RunningProxy, control: Control, world: RawServer) -> None:
        assert_it_worked(set_up(cli, 2, proxy).exec(CALLS["gpt-6.1-sol"]))
        assert paths(control.seen()) == [("POST", "responses")] * 2
        proxy.wait_for_log(" · GET /v1/responses · websocket_not_supported: ")
        assert wanted_out(world) == set()

    def test_signed_in_with_chatgpt(
        self, openai: FakeOpenAI, control: Control, cli: CodexCli, world: RawServer, tmp_path: Path
    ) -> None:
        """It compresses its questions then. It asks chatgpt.com about its own account too, and goes on without an answer."""
        account = write_account(tmp_path / "store/auth.json", control.login())
        options = options_for(openai, codex_accounts=str(account))
        with running_proxy(tmp_path, options, scripts=[SCRIPTS / "arrivals.py", ENTRY]) as proxy:
            cli.configure(way(2, proxy, cli.home).config)
            cli.sign_in(control.login("cli@example.com"))
            assert_it_worked(cli.exec(CALLS["gpt-5.5"]))
            assert "POST arrives as zstd" in proxy.log() and "POST arrives as identity" not in proxy.log()
        seen = control.seen("backend")
        assert {request.route for request in seen} == {"models", "responses"}
        assert {request.header("authorization") for request in seen} == {f"Bearer {token_of(control, 'user@example.com')}"}
        assert {request.header("content-encoding") for request in seen} == {None}
        assert wanted_out(world) == {"chatgpt.com:443"}


class TestAnotherBaseUrlForEverything:
    @pytest.fixture
    def cli(self, cli: CodexCli, proxy: RunningProxy, control: Control) -> CodexCli:
        cli = set_up(cli, 3, proxy)
        cli.sign_in(control.login("cli@example.com"))
        return cli

    def test_nothing_goes_past_the_proxy(self, cli: CodexCli, control: Control, world: RawServer) -> None:
        assert_it_worked(cli.exec(CALLS["gpt-5.5"]))
        assert {"accounts_check", "user_settings", "models", "responses"} == {seen.route for seen in control.seen("backend")}
        assert {seen.header("authorization") for seen in control.seen()} == {f"Bearer {token_of(control, 'user@example.com')}"}
        assert wanted_out(world) == set()

    def test_a_revoked_token_is_renewed_before_the_cli_hears_of_it(self, cli: CodexCli, control: Control) -> None:
        control.revoke("access", "user@example.com")
        assert_it_worked(cli.exec(CALLS["gpt-5.5"]))
        assert control.counts().refreshes == 1

    def test_its_status_shows_the_plan_that_is_spent(self, cli: CodexCli, control: Control) -> None:
        control.quota("user@example.com", primary=42, secondary=7)
        control.quota("cli@example.com", primary=99, secondary=99)
        who, limits = cli.read_account("account/read", "account/rateLimits/read")
        windows = [limits["rateLimits"][name]["usedPercent"] for name in ("primary", "secondary")]
        assert windows == [42, 7] and limits["rateLimitResetCredits"] == {"availableCount": 0, "credits": []}
        assert who["account"]["email"] == "cli@example.com"
        assert who["workspaceRouting"]["backendOrigin"] == "https://chatgpt.com"

    def test_an_account_with_a_key_is_no_obstacle(
        self, cli: CodexCli, proxy: RunningProxy, account: Path, control: Control, world: RawServer
    ) -> None:
        write_account(account, {"auth_mode": "apikey", "OPENAI_API_KEY": control.api_key()})
        assert_it_worked(cli.exec(CALLS["gpt-5.5"], "-m", "gpt-5.5"))
        assert {seen.route for seen in control.seen()} == {"platform_responses"}
        assert wanted_out(world) == set()


@pytest.mark.slow
class TestHttpsProxy:
    def test_shows_everything_but_the_secrets_and_changes_nothing(
        self, openai: FakeOpenAI, control: Control, cli: CodexCli, world: RawServer, tmp_path: Path
    ) -> None:
        plain = {"chatgpt.com": port_of(openai.backend_url), "auth.openai.com": port_of(openai.issuer_url)}
        own = control.login("cli@example.com", lifetime=60)  # so that it is renewed at once, by the CLI itself
        own["tokens"]["oauth_provenance"]["issuer"] = "https://auth.openai.com"
        everything = {
            "save_stream_file": str(tmp_path / "kept.flows"),
            "hardump": str(tmp_path / "kept.har"),
            "store_streamed_bodies": "true",
        }
        with tls_before(plain, tmp_path / "ca") as front:
            with running_proxy(
                tmp_path,
                {"codex_mode": "forward", "ssl_verify_upstream_trusted_ca": str(front.ca_file), **everything},
                arguments=["-p", "0", "-v", "--flow-detail", "4"],
                scripts=[ENTRY, SCRIPTS / "hosts.py"],
                env={"HOSTS": json.dumps(front.ports)},
            ) as proxy:
                cli = set_up(cli, 4, proxy)
                cli.sign_in(own)
                assert_it_worked(cli.exec(CALLS["gpt-5.5"]))
                proxy.stop()
        seen = control.seen("backend")
        assert {"websocket", "message", "accounts_check", "models"} <= {request.route for request in seen}
        account_id = own["tokens"]["account_id"]
        assert {request.header("chatgpt-account-id") for request in seen if request.method == "GET"} == {account_id}
        assert control.counts().refreshes == 1 and token_of(control, "cli@example.com") in str(seen)
        assert any("__cf_bm=" in (request.header("cookie") or "") for request in seen), "the CLI got the cookie and sent it"
        assert wanted_out(world) == set()
        shown = proxy.log() + (tmp_path / "kept.har").read_text() + (tmp_path / "kept.flows").read_text(errors="replace")
        assert "https://auth.openai.com/oauth/token" in shown and "by-the-tool" in shown and "[passed on by codex-mitm]" in shown
        assert [secret for secret in [*control.tokens(), "__cf_bm="] if secret in shown] == []


def port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port
    return port
