"""mitmweb as a user has it with `make web`: what its list, its view and its commands say of calls, and how many it keeps."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from addons.view import MAX_FLOWS
from tests.e2e.client import ask, post, said
from tests.e2e.conftest import options_for, write_account
from tests.fakes.control import Control
from tests.fakes.openai import FakeOpenAI
from tests.proxy import RunningProxy, free_port, running_proxy

PASSWORD = "of-the-test"
# mitmweb compares the two, and takes any value from who knows the password.
TOKEN = "0123456789abcdef" * 2
KEY = "sk-" + "CANARY0client0key0of0this0test1234"
MANY = 800


@dataclass
class Mitmweb:
    proxy: RunningProxy
    http: httpx.Client
    har: Path

    def flows(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.http.get("/flows").raise_for_status().json()
        return found

    def text(self, flow: dict[str, Any], message: str) -> tuple[str, str]:
        """With the name of the view that was chosen."""
        shown = self.http.get(f"/flows/{flow['id']}/{message}/content/auto.json").raise_for_status().json()
        return shown["view_name"], shown["text"]

    def command(self, name: str, *arguments: str) -> dict[str, str]:
        answered: dict[str, str] = self.http.post(f"/commands/{name}", json={"arguments": arguments}).raise_for_status().json()
        return answered


@pytest.fixture(scope="module")
def running(openai: FakeOpenAI, home: Path) -> Iterator[Mitmweb]:
    port, har = free_port(), home / "kept.har"
    arguments = ["-p", "0", "--no-web-open-browser", "--web-port", str(port), "--set", f"web_password={PASSWORD}"]
    options = options_for(openai, codex_traffic_bodies="true", hardump=str(har))
    headers = {"authorization": f"Bearer {PASSWORD}", "x-xsrftoken": TOKEN, "cookie": f"_mitmproxy_xsrf={TOKEN}"}
    with running_proxy(home, options, program="mitmweb", arguments=arguments) as proxy:
        proxy.wait_for_log("Web server listening at ")
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, trust_env=False, timeout=30) as http:
            yield Mitmweb(proxy, http, har)


@pytest.fixture
def web(running: Mitmweb, control: Control, account: Path) -> Mitmweb:
    write_account(account, control.login())
    return running


def test_a_stream_can_be_read_there(web: Mitmweb, control: Control) -> None:
    control.settings(delta_delay=0.02)
    body = {"model": "gpt-4.1-nano", "temperature": 0.3, "stream": True, "messages": [{"role": "user", "content": "one two"}]}
    pieces = []
    with httpx.stream("POST", f"{web.proxy.url}/chat/completions", json=body, trust_env=False, timeout=30) as answer:
        pieces += answer.iter_raw()
    assert len(pieces) > 3, "it must stream all the same"
    assert b"".join(pieces).count(b"[DONE]") == 1, "and is sent once"
    flow = web.flows()[-1]
    view, text = web.text(flow, "response")
    assert view == "Codex" and "── answer\nYou said: one two\n" in text
    assert "chat.completion.chunk" in text.partition("── events")[2] and "s –" in text
    view, text = web.text(flow, "request")
    assert view == "Codex" and "── changed by codex-mitm\nmapped model: " in text and "── user\none two" in text
    raw = web.http.get(f"/flows/{flow['id']}/response/content.data").content
    assert raw == b"".join(pieces)


def test_what_the_list_tells_at_a_glance(web: Mitmweb, control: Control) -> None:
    said(post(web.proxy.url))
    control.fault("responses", {"status": 400, "body": {"detail": "Instructions are not valid"}})
    assert post(web.proxy.url).status_code == 400
    good, bad = web.flows()[-2:]
    assert good["comment"].startswith("gpt-5.5 · ") and good["comment"].endswith(" · default") and "first token" in good["comment"]
    assert "Instructions are not valid" in bad["comment"]
    assert (good["marked"], bad["marked"]) == ("", "🔴")
    assert "comment" in web.http.get("/options").json()["web_columns"]["value"]


def test_commands_answer(web: Mitmweb) -> None:
    call = post(web.proxy.url).headers["x-request-id"]
    assert "account default: serving" in web.command("codex.status")["value"]
    assert "calls failed" in web.command("codex.usage")["value"]
    for wanted in (call, call[:12], "last"):
        assert "The answer is complete, status 200." in web.command("codex.explain", wanted)["value"]
    assert "no call is recorded" in web.command("codex.explain", "nope")["error"]


def test_no_secret_is_in_anything_that_it_shows(web: Mitmweb, control: Control) -> None:
    post(web.proxy.url, headers={"authorization": f"Bearer {KEY}", "x-api-key": KEY})
    control.revoke("access")
    said(post(web.proxy.url, headers={"authorization": f"Bearer {KEY}"}))
    shown = [json.dumps(web.flows()), *web.command("codex.status").values(), *web.command("codex.explain").values()]
    shown += [text for flow in web.flows() for message in ("request", "response") for text in web.text(flow, message)]
    secrets = [*control.tokens(), KEY]
    assert len(secrets) > 3 and [secret for secret in secrets for text in shown if secret in text] == []


@pytest.mark.slow
async def test_the_oldest_calls_leave_and_the_latest_stay(web: Mitmweb) -> None:
    limits = httpx.Limits(max_connections=16)
    async with httpx.AsyncClient(trust_env=False, timeout=60, limits=limits) as client:
        turn = asyncio.Semaphore(16)

        async def call(number: int) -> int:
            async with turn:
                return (await client.post(f"{web.proxy.url}/responses", json=ask(f"number {number}"))).status_code

        assert set(await asyncio.gather(*map(call, range(MANY)))) == {200}
    said(post(web.proxy.url, ask("the latest")))
    flows = web.flows()
    assert MAX_FLOWS <= len(flows) <= MAX_FLOWS + 16, "those that are alive are not counted"
    assert "the latest" in web.text(flows[-1], "response")[1]
    assert "You said: number" in web.text(flows[0], "response")[1]


@pytest.mark.slow
def test_what_mitmproxy_saves_has_the_stream(openai: FakeOpenAI, control: Control, tmp_path: Path) -> None:
    account = write_account(tmp_path / "store/auth.json", control.login())
    har, flows = tmp_path / "kept.har", tmp_path / "kept.flows"
    options = options_for(openai, codex_accounts=str(account), hardump=str(har), save_stream_file=str(flows))
    arguments = ["-p", "0", "--no-web-open-browser", "--web-port", str(free_port())]
    with running_proxy(tmp_path, options, program="mitmweb", arguments=arguments) as proxy:
        answer = post(proxy.url, ask("for the file"))
    [entry] = json.loads(har.read_text())["log"]["entries"]
    assert entry["response"]["content"]["text"].count("You said: for the file") == answer.text.count("You said: for the file") > 0
    assert b"You said: for the file" in flows.read_bytes() and b"gpt-5.5 \xc2\xb7 " in flows.read_bytes()
