"""`codex_websocket=relay`: the Codex CLI's WebSocket through the real proxy, and a handshake like the CLI's where it is refused."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.codex.cli import CodexCli, by_way_of, outside, skip_without_codex, way
from tests.e2e.conftest import options_for, write_account
from tests.fakes.control import Control
from tests.fakes.openai import FakeOpenAI
from tests.fakes.websocket import BETA
from tests.fakes_test.bodies import plain
from tests.proxy import RunningProxy, running_proxy
from tests.wsclient import UpgradeRefused, websocket

ASK = 'call exec_command {"cmd": "echo by-the-tool"}'
# What tells the CLI's handshake from others.
HANDSHAKE = {"originator": "codex_exec", "openai-beta": BETA, "authorization": "Bearer CANARY-client-key"}


@pytest.fixture(scope="module")
def shared_proxy(openai: FakeOpenAI, home: Path) -> Iterator[RunningProxy]:
    """Takes the place of the one that refuses."""
    with running_proxy(home, options_for(openai, codex_websocket="relay")) as proxy:
        yield proxy


@pytest.fixture
def codex(tmp_path: Path) -> Iterator[CodexCli]:
    skip_without_codex()
    with outside() as world:
        yield CodexCli(tmp_path / "cli", by_way_of(world))
        assert world.received == []


def sign_in(cli: CodexCli, proxy: RunningProxy, control: Control) -> None:
    cli.home.mkdir()
    cli.configure(way(3, proxy, cli.home).config)
    cli.sign_in(control.login("cli@example.com"))


def answered(url: str, headers: dict[str, str] = HANDSHAKE) -> int:
    """The status with which a handshake is answered."""
    try:
        with websocket(f"{url}/responses", headers):
            return 101
    except UpgradeRefused as refused:
        return refused.status


def routes(control: Control) -> set[str | None]:
    return {seen.route for seen in control.seen("backend")}


class TestTheCli:
    @pytest.mark.slow
    def test_a_turn_with_a_tool_call_and_no_secret_anywhere(
        self, openai: FakeOpenAI, control: Control, codex: CodexCli, tmp_path: Path
    ) -> None:
        account = write_account(tmp_path / "store/auth.json", control.login())
        kept = {"save_stream_file": str(tmp_path / "kept.flows"), "hardump": str(tmp_path / "kept.har")}
        options = options_for(openai, codex_websocket="relay", codex_accounts=str(account))
        with running_proxy(tmp_path, options | kept, arguments=["-p", "0", "-v", "--flow-detail", "4"]) as proxy:
            sign_in(codex, proxy, control)
            turn = codex.exec(ASK)
            proxy.stop()
        assert (turn.ran, turn.complaints) == (["by-the-tool\n"], []) and "by-the-tool" in turn.said
        assert "responses" not in routes(control)
        warm, asked, told = [seen.json for seen in control.seen("backend", "message")]
        assert warm["generate"] is False and "generate" not in asked
        assert told["previous_response_id"] and [item["type"] for item in told["input"]] == ["function_call_output"]
        handshake = control.seen("backend", "websocket")[0]
        assert handshake.header("authorization") == f"Bearer {control.current('user@example.com').access_token}"
        shown = proxy.log() + "".join((tmp_path / name).read_text(errors="replace") for name in ("kept.flows", "kept.har"))
        assert "by-the-tool" in shown and "[put on the wire by codex-mitm: account store]" in shown
        assert [token for token in control.tokens() if token in shown] == []

    def test_goes_on_over_post_at_once_when_the_backend_refuses(
        self, proxy: RunningProxy, control: Control, codex: CodexCli
    ) -> None:
        control.fault("websocket", status=403, body={"detail": "not for this account"}, times=None)
        sign_in(codex, proxy, control)
        turn = codex.exec(ASK)
        assert (turn.ran, turn.complaints) == (["by-the-tool\n"], [])
        assert len(control.seen("backend", "websocket")) == 1 and len(control.seen("backend", "responses")) == 2


class TestAHandshake:
    def test_is_relayed_with_the_bearer_of_the_account(self, proxy: RunningProxy, control: Control) -> None:
        with websocket(f"{proxy.url}/responses", HANDSHAKE) as talk:
            events = talk.answer({"type": "response.create", **plain("hello there")})
        assert events[-1]["type"] == "response.completed"
        assert "CANARY" not in str(control.seen())

    def test_is_repeated_with_a_new_token(self, proxy: RunningProxy, control: Control) -> None:
        control.revoke("access")
        assert answered(proxy.url) == 101
        assert control.counts().refreshes == 1

    @pytest.mark.parametrize(
        "fault", [{"html": 403}, {"status": 404, "body": {"detail": "Not Found"}}], ids=["challenge", "unknown"]
    )
    def test_that_the_backend_refuses_is_refused_in_words_that_the_cli_knows(
        self, fault: dict[str, Any], proxy: RunningProxy, control: Control
    ) -> None:
        control.fault("websocket", fault, times=None)
        assert answered(proxy.url) == 426
        assert len(control.seen("backend", "websocket")) == 1

    def test_of_somebody_else_is_refused(self, proxy: RunningProxy, control: Control) -> None:
        assert answered(proxy.url, {"openai-beta": BETA}) == 426
        assert answered(f"{proxy.url}/realtime") == 426
        assert control.seen("backend") == []

    def test_with_an_api_keys_account_is_refused(self, proxy: RunningProxy, account: Path, control: Control) -> None:
        write_account(account, {"auth_mode": "apikey", "OPENAI_API_KEY": control.api_key()})
        assert answered(proxy.url) == 426
        assert control.seen() == []

    def test_on_a_sign_in_that_is_dead_is_refused(self, proxy: RunningProxy, control: Control) -> None:
        """A 401 would make the CLI renew a token of its own, seven times."""
        control.revoke("all")
        assert answered(proxy.url) == 426
