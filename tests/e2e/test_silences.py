"""An upstream that is silent: the client hears in words that it knows that somebody is there, and gets its whole answer."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.client import ask, error, events, post
from tests.e2e.conftest import options_for, write_account
from tests.e2e.endings import PATHS, Dialect, Ending, ask_for
from tests.fakes.control import Control
from tests.fakes.openai import FakeOpenAI
from tests.proxy import RunningProxy, running_proxy

# Of what upstream says, so much comes before it falls silent in the middle of the words, for how many keep-alives.
IN_THE_WORDS, SILENCE = 8, 1.0


@pytest.fixture(scope="module")
def lively_proxy(openai: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningProxy, Path]]:
    home = tmp_path_factory.mktemp("lively")
    with running_proxy(home, options_for(openai, codex_keepalive="0.2")) as proxy:
        yield proxy, home / ".codex-mitm/accounts/default/auth.json"


@pytest.fixture
def lively(lively_proxy: tuple[RunningProxy, Path], control: Control) -> RunningProxy:
    proxy, account = lively_proxy
    write_account(account, control.login())
    return proxy


@pytest.mark.parametrize("dialect", PATHS)
def test_a_client_that_streams_hears_comments_and_gets_all_of_it(dialect: Dialect, lively: RunningProxy, control: Control) -> None:
    control.fault("responses", silence_after_events=IN_THE_WORDS, seconds=SILENCE)
    asked = {"messages": [{"role": "user", "content": "hello there"}]} if dialect == "chat" else {"input": "hello there"}
    answer = httpx.post(
        f"{lively.url}/{PATHS[dialect]}", json={"model": "gpt-5.5", "stream": True} | asked, trust_env=False, timeout=30
    )
    before, *comments, behind = answer.text.split(": keepalive\n\n")
    assert len(comments) >= 1 and "".join(comments) == "", "nothing but comments in the silence"
    assert before.endswith("\n\n") and "said" in before and behind.endswith("data: [DONE]\n\n")
    assert asyncio.run(_ask(lively, control, dialect, stream=True)) == Ending("whole", 200)


@pytest.mark.parametrize("dialect", PATHS)
def test_a_client_that_does_not_stream_gets_nothing_but_json(dialect: Dialect, lively: RunningProxy, control: Control) -> None:
    assert asyncio.run(_ask(lively, control, dialect, stream=False)) == Ending("whole", 200)


async def _ask(proxy: RunningProxy, control: Control, dialect: Dialect, stream: bool) -> Ending:
    control.fault("responses", silence_after_events=IN_THE_WORDS, seconds=SILENCE)
    async with httpx.AsyncClient(trust_env=False) as client:
        return await ask_for(client, proxy.url, dialect, stream, "hello there")


def test_a_codex_cli_hears_events_that_mean_nothing_to_it(lively: RunningProxy, control: Control) -> None:
    """It counts what it hears by events; a comment is none."""
    control.fault("responses", silence_after_events=IN_THE_WORDS, seconds=SILENCE)
    answer = post(lively.url, headers={"originator": "codex_exec"})
    found = events(answer.content)
    alive = [number for number, event in enumerate(found) if event == {"type": "response.in_progress"}]
    assert len(alive) >= 2 and alive == list(range(IN_THE_WORDS, IN_THE_WORDS + len(alive))), "in the silence, and nowhere else"
    told = [event for event in found if event != {"type": "response.in_progress"}]
    assert "".join(event["delta"] for event in told if "delta" in event) == "You said: hello there"
    assert [event["sequence_number"] for event in told if "sequence_number" in event] == list(range(len(told) - 2))
    assert told[-1]["type"] == "response.completed" and "keepalive" not in answer.text


CREATED = {"event": {"type": "response.created", "response": {"id": "resp_1", "status": "in_progress"}}}
BUSY = {"type": "response.failed", "response": {"status": "failed", "error": {"code": "server_is_overloaded", "message": "busy"}}}


@pytest.mark.slow
@pytest.mark.parametrize("dialect", PATHS)
def test_a_failure_behind_a_head_that_could_not_wait_is_told_in_the_stream(
    dialect: Dialect, lively: RunningProxy, control: Control
) -> None:
    """After 5 s the client has its 200; no status can be given any more, and nothing is sent again."""
    control.script([CREATED, {"event": BUSY, "delay": 6}])

    async def asked() -> Ending:
        async with httpx.AsyncClient(trust_env=False) as client:
            return await ask_for(client, lively.url, dialect, True, "hello there")

    assert asyncio.run(asked()) == Ending("failed", 200, "server_is_overloaded")
    assert len(control.seen("backend", "responses")) == 1


@pytest.mark.slow
def test_the_time_of_a_request_is_spent_once(openai: FakeOpenAI, control: Control, tmp_path: Path) -> None:
    """`codex_total_timeout` is for all attempts: another one would be given up in the moment in which it goes out."""
    write_account(tmp_path / ".codex-mitm/accounts/default/auth.json", control.login())
    control.fault("responses", delay=60, times=None)
    with running_proxy(tmp_path, options_for(openai, codex_total_timeout="1.5")) as proxy:
        answer = post(proxy.url)
        assert (answer.status_code, error(answer)["code"]) == (504, "upstream_timeout")
        assert answer.headers["x-should-retry"] == "false" and "codex_total_timeout" in error(answer)["message"]
        assert len(control.seen("backend", "responses")) == 1
        control.clear_faults()
        assert post(proxy.url, ask("again")).status_code == 200


def test_a_client_that_reads_slowly_is_not_told_that_upstream_is_silent(
    openai: FakeOpenAI, control: Control, tmp_path: Path
) -> None:
    """While it is behind, nothing is read of upstream, whose silence that is not."""
    write_account(tmp_path / "auth.json", control.login())
    created = {"type": "response.created", "response": {"id": "resp_1", "status": "in_progress"}}
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
    opening = [created, {"type": "response.output_item.added", "output_index": 0, "item": item}]
    word = {
        "type": "response.output_text.delta",
        "item_id": "msg_1",
        "output_index": 0,
        "content_index": 0,
        "delta": "x" * (1 << 20),
    }
    ending = {"type": "response.completed", "response": {"id": "resp_1", "status": "completed", "output": []}}
    control.script([{"event": event} for event in [*opening, *[word] * 24, ending]])
    options = options_for(openai, codex_accounts=str(tmp_path / "auth.json"), codex_idle_timeout="1")
    with running_proxy(tmp_path, options) as proxy, httpx.Client(trust_env=False, timeout=60) as client:
        with client.stream("POST", f"{proxy.url}/responses", json=ask()) as answer:
            pieces = answer.iter_raw()
            first = next(pieces)
            time.sleep(3)
            body = first + b"".join(pieces)
    assert events(body)[-1]["type"] == "response.completed", body[-300:]
    assert body.count(b"x" * 1000) >= 24
