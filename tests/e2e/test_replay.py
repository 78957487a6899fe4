"""`codex-traffic replay` of calls that a real proxy has recorded: offline the same bytes, through the proxy the same treatment.

What it does with records of every other kind is in tests/addons/traffic/test_replay.py.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from addons.traffic.exchange import Exchange
from tests.addons.traffic.program import Program
from tests.e2e.client import post
from tests.e2e.conftest import options_for, write_account
from tests.e2e.test_record import latest, recorded
from tests.fakes.openai import FakeOpenAI
from tests.fakes_test.bodies import LITE_HEADER, lite
from tests.proxy import RunningProxy, running_proxy

# With something for each kind of edit that a chat request can meet, and an alias.
ASKED: dict[str, Any] = {
    "model": "gpt-4.1-nano",
    "temperature": 0.3,
    "max_tokens": 50,
    "messages": [{"role": "user", "content": "one two three"}],
}
ACCOUNTS = {"alice": "alice@example.com", "bob": "bob@example.com"}


@pytest.fixture(scope="module")
def recording(openai: FakeOpenAI, home: Path) -> Iterator[RunningProxy]:
    for name, email in ACCOUNTS.items():
        write_account(home / ".codex-mitm/accounts" / name / "auth.json", openai.control.login(email))
    with running_proxy(home, options_for(openai, codex_traffic_bodies="true")) as proxy:
        yield proxy


@pytest.fixture
def program(home: Path) -> Program:
    return Program(home)


def chat(proxy: RunningProxy, **changes: Any) -> httpx.Response:
    headers = {"x-codex-account": "alice", "user-agent": "pytest/1"}
    answer = httpx.post(f"{proxy.url}/chat/completions", json=ASKED | changes, headers=headers, timeout=30, trust_env=False)
    assert answer.status_code == 200, answer.text
    return answer


def replayed(program: Program, proxy: RunningProxy, call: Exchange, *how: str) -> Exchange:
    """The call as it was recorded when it was asked again."""
    ran = program.run("replay", call.id, "--to", proxy.origin, *how)
    assert ran.code == 0, ran.err
    again = latest(program.home, but=call.id)
    assert again.bodies.client_answer and again.bodies.client_answer.data.decode() == ran.out
    return again


def upstream(call: Exchange) -> dict[str, Any]:
    """What went to the backend, but for the key of the cache, which is another one for each client."""
    assert call.bodies.upstream_request
    body: dict[str, Any] = json.loads(call.bodies.upstream_request.data)
    return {name: value for name, value in body.items() if name != "prompt_cache_key"}


@pytest.mark.parametrize("stream", [True, False])
def test_offline_a_client_gets_the_bytes_that_it_got_then(
    stream: bool, recording: RunningProxy, home: Path, program: Program
) -> None:
    then = chat(recording, stream=stream)
    call = recorded(home, then)
    with program.start("replay", call.id, "--offline", "--speed", "0") as running:
        url = running.lines(1)[0]
        now = httpx.post(f"{url}/chat/completions", json=ASKED | {"stream": stream}, timeout=30, trust_env=False)
    assert (now.status_code, now.content) == (then.status_code, then.content)
    for name in ("content-type", "x-request-id", "x-codex-model", "x-codex-edits"):
        assert now.headers[name] == then.headers[name]


@pytest.mark.parametrize("stream", [True, False])
def test_through_the_proxy_it_meets_the_same_edits(stream: bool, recording: RunningProxy, home: Path, program: Program) -> None:
    call = recorded(home, chat(recording, stream=stream))
    again = replayed(program, recording, call)
    told = [(edit.verb, edit.what, edit.why) for edit in call.edits]
    assert {("mapped", "model"), ("dropped", "temperature"), ("emulated", "max_tokens")} <= {edit[:2] for edit in told}
    assert [(edit.verb, edit.what, edit.why) for edit in again.edits] == told and all(why for _, _, why in told)
    assert (again.model_asked, again.model_used) == (call.model_asked, call.model_used) == ("gpt-4.1-nano", "gpt-6-luna")
    assert (again.endpoint, again.dialect, again.stream) == (call.endpoint, call.dialect, stream)
    assert again.client.agent == "codex-mitm replay" and again.account == call.account == "alice", "it was asked for by name"
    assert upstream(again) == upstream(call)


def test_what_a_codex_cli_said_is_said_by_a_codex_cli(recording: RunningProxy, home: Path, program: Program) -> None:
    """With a model that takes its requests only with a header of its own."""
    cli = LITE_HEADER | {"originator": "codex_exec", "user-agent": "codex_exec/0.169"}
    call = recorded(home, post(recording.url, lite("one two three"), headers=cli))
    again = replayed(program, recording, call)
    assert (again.status, again.dialect, again.edits) == (call.status, call.dialect, call.edits) == (200, "codex", ())
    assert again.client.agent == "codex_exec/0.169" and upstream(again) == upstream(call)


def test_with_another_model_it_meets_what_that_model_meets(recording: RunningProxy, home: Path, program: Program) -> None:
    call = recorded(home, chat(recording, stream=True))
    again = replayed(program, recording, call, "--model", "gpt-5.5")
    straight = recorded(home, chat(recording, stream=True, model="gpt-5.5"))
    assert again.edits == straight.edits != call.edits
    assert (again.model_asked, again.model_used) == ("gpt-5.5", "gpt-5.5")
    assert upstream(again) == upstream(straight)


def test_with_another_account_it_goes_there(recording: RunningProxy, home: Path, program: Program, openai: FakeOpenAI) -> None:
    call = recorded(home, chat(recording))
    again = replayed(program, recording, call, "--account", "bob")
    assert (call.account, again.account) == ("alice", "bob") and again.edits == call.edits
    bearers = [seen.header("authorization") for seen in openai.control.seen("backend", "responses")[-2:]]
    assert bearers == [f"Bearer {openai.control.current(email).access_token}" for email in ACCOUNTS.values()]
