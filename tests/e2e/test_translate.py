"""Both of OpenAI's dialects on the Codex backend, through the real proxy: what goes up, what comes back, what is said of it."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.client import error, events, wait_until_ended
from tests.e2e.conftest import options_for, write_account
from tests.fakes.control import Control
from tests.fakes.openai import FakeOpenAI
from tests.proxy import ENTRY, RunningProxy, running_proxy

HELLO = [{"role": "user", "content": "hello"}]


def chat(proxy: RunningProxy, **body: Any) -> httpx.Response:
    request = {"model": "gpt-5.5", "messages": HELLO} | body
    return httpx.post(f"{proxy.url}/chat/completions", json=request, trust_env=False, timeout=30)


def responses(proxy: RunningProxy, **body: Any) -> httpx.Response:
    return httpx.post(f"{proxy.url}/responses", json={"model": "gpt-5.5", "input": "hello"} | body, trust_env=False, timeout=30)


def sent(control: Control) -> dict[str, Any]:
    body: dict[str, Any] = control.seen("backend", "responses")[-1].json
    return body


def test_chat_whole(proxy: RunningProxy, control: Control) -> None:
    answer = chat(proxy, messages=[{"role": "system", "content": "be brief"}, *HELLO], temperature=0.3)
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["choices"][0]["message"]["content"] == "You said: hello"
    assert answer.json()["usage"]["total_tokens"] > 0
    assert answer.headers["x-codex-model"] == "gpt-5.5" and "dropped temperature" in answer.headers["x-codex-edits"]
    assert [item["role"] for item in sent(control)["input"]] == ["developer", "user"] and "temperature" not in sent(control)


def test_chat_streamed(proxy: RunningProxy) -> None:
    answer = chat(proxy, stream=True, stream_options={"include_usage": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-cache" and answer.headers["x-accel-buffering"] == "no"
    chunks = events(answer.content)
    assert "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"]) == "You said: hello"
    assert [c["choices"][0]["finish_reason"] for c in chunks if c["choices"]][-1] == "stop"
    assert chunks[-1]["usage"]["total_tokens"] > 0 and answer.text.endswith("data: [DONE]\n\n")


def test_responses_whole_is_filled_from_its_items(proxy: RunningProxy) -> None:
    answer = responses(proxy).json()
    assert answer["status"] == "completed" and answer["output"][0]["content"][0]["text"] == "You said: hello"


def test_responses_streamed_is_in_openais_order(proxy: RunningProxy) -> None:
    found = events(responses(proxy, stream=True).content)
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    assert found[0]["type"] == "response.created" and found[-1]["type"] == "response.completed"
    assert found[-1]["response"]["output"][0]["content"][0]["text"] == "You said: hello"
    assert not [event for event in found if event["type"].startswith("codex.")]


@pytest.mark.parametrize("name", ["gpt-4.1-nano", "gpt-4.1", "gpt-4o-mini", "openai/gpt-4o"])
def test_models_that_a_plan_does_not_have_become_its_smallest(name: str, proxy: RunningProxy, control: Control) -> None:
    answer = chat(proxy, model=name)
    assert answer.headers["x-codex-model"] == sent(control)["model"] == "gpt-6-luna"
    assert answer.json()["model"] == name and "mapped model" in answer.headers["x-codex-edits"]


def test_an_effort_behind_the_models_name(proxy: RunningProxy, control: Control) -> None:
    assert chat(proxy, model="gpt-5.6-luna-high").status_code == 200
    assert (sent(control)["model"], sent(control)["reasoning"]["effort"]) == ("gpt-5.6-luna", "high")


def test_a_model_that_nobody_knows_is_said_so_as_each_api_does(proxy: RunningProxy) -> None:
    as_chat, as_responses = chat(proxy, model="nonsense-1"), responses(proxy, model="nonsense-1")
    assert (as_chat.status_code, error(as_chat)["code"], error(as_chat)["param"]) == (404, "model_not_found", None)
    assert (as_responses.status_code, error(as_responses)["code"], error(as_responses)["param"]) == (
        400,
        "model_not_found",
        "model",
    )


def test_the_models_of_the_account_are_listed(proxy: RunningProxy, control: Control) -> None:
    for path in ("/v1/models", "/models"):
        listed = httpx.get(proxy.origin + path, trust_env=False).json()
        assert listed["object"] == "list" and {"gpt-5.5", "gpt-6-luna", "gpt-6-luna-high"} <= {m["id"] for m in listed["data"]}
    assert httpx.get(f"{proxy.url}/models/gpt-5.5", trust_env=False).json()["id"] == "gpt-5.5"
    missing = httpx.get(f"{proxy.url}/models/nonsense", trust_env=False)
    assert missing.status_code == 404 and error(missing)["code"] == "model_not_found"


def test_a_conversation_keeps_its_key_for_the_plans_cache(proxy: RunningProxy, control: Control) -> None:
    def key_of(messages: list[dict[str, str]], agent: str = "one", **body: Any) -> tuple[str, str | None]:
        request = {"model": "gpt-5.5", "messages": messages} | body
        headers = {"user-agent": agent}
        assert httpx.post(f"{proxy.url}/chat/completions", json=request, headers=headers, trust_env=False).status_code == 200
        seen = control.seen("backend", "responses")[-1]
        assert seen.header("session-id") == seen.json["prompt_cache_key"]
        return str(seen.json["prompt_cache_key"]), seen.header("session-id")

    grown = [*HELLO, {"role": "assistant", "content": "hi"}, {"role": "user", "content": "more"}]
    assert key_of(HELLO) == key_of(grown)
    assert key_of(HELLO) != key_of(HELLO, agent="another client")
    assert key_of(HELLO, prompt_cache_key="its-own")[0] == "its-own"


@pytest.mark.parametrize(("agent", "shown"), [("Go-http-client/1.1", []), ("OpenAI/Python 3.52", ["url_citation"])])
def test_nanobot_is_spared_the_citations_that_it_cannot_read(
    agent: str, shown: list[str], proxy: RunningProxy, control: Control
) -> None:
    citation = {"type": "url_citation", "url": "https://a.example", "title": "a", "start_index": 0, "end_index": 1}
    part = {"type": "output_text", "text": "hi", "annotations": [citation]}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    done = {"type": "response.output_item.done", "output_index": 0, "item": message}
    completed = {"type": "response.completed", "response": {"id": "resp_1", "status": "completed", "output": []}}
    control.script([{"event": done}, {"event": completed}])
    request = {"model": "gpt-5.5", "input": "hello"}
    answer = httpx.post(f"{proxy.url}/responses", json=request, headers={"user-agent": agent}, trust_env=False).json()
    assert [annotation["type"] for annotation in answer["output"][0]["content"][0]["annotations"]] == shown


def test_a_limit_is_kept_and_upstream_is_let_go(proxy: RunningProxy, control: Control) -> None:
    control.settings(delta_delay=0.05)
    answer = chat(proxy, messages=[{"role": "user", "content": "say 200 words"}], max_tokens=5)
    assert answer.json()["choices"][0]["finish_reason"] == "length" and "emulated max_tokens" in answer.headers["x-codex-edits"]
    assert wait_until_ended(control).ended == "client_left"


def test_stop_is_kept(proxy: RunningProxy) -> None:
    answer = chat(proxy, messages=[{"role": "user", "content": "one two three STOP four"}], stop=["STOP"])
    assert answer.json()["choices"][0] | {"logprobs": None} == answer.json()["choices"][0]
    assert answer.json()["choices"][0]["message"]["content"].rstrip() == "You said: one two three"


REFUSED: dict[str, tuple[dict[str, Any], str, str | None]] = {
    "two answers": ({"n": 2}, "n", "unsupported_value"),
    "logprobs": ({"logprobs": True}, "logprobs", "unsupported_parameter"),
    "no messages": ({"messages": []}, "messages", None),
    "a wrong temperature": ({"temperature": 9}, "temperature", None),
}


@pytest.mark.parametrize(("change", "param", "code"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_had_is_a_400_that_names_it(
    change: dict[str, Any], param: str, code: str | None, proxy: RunningProxy, control: Control
) -> None:
    answer = chat(proxy, **change)
    assert answer.status_code == 400 and error(answer)["param"] == param
    assert code is None or error(answer)["code"] == code
    assert control.seen("backend", "responses") == []


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_an_early_failure_keeps_its_status(stream: bool, proxy: RunningProxy, control: Control) -> None:
    failed = {
        "type": "response.failed",
        "response": {"status": "failed", "error": {"code": "rate_limit_exceeded", "message": "try again in 30s"}},
    }
    created = {"type": "response.created", "response": {"id": "resp_1", "status": "in_progress"}}
    control.script([{"event": created}, {"event": failed}])
    answer = chat(proxy, stream=stream)
    assert answer.status_code == 429 and error(answer)["code"] == "rate_limit_exceeded"
    assert answer.headers["retry-after"] == "30" and "x-codex-primary-used-percent" in answer.headers


def test_lone_surrogates_arrive_as_they_came(proxy: RunningProxy, control: Control) -> None:
    """JavaScript cuts a string between the halves of an emoji, and sends that."""
    body = rb'{"model":"gpt-5.5","messages":[{"role":"user","content":"half \ud83d, \u2028"},{"role":"user","content":"hello"}]}'
    headers = {"content-type": "application/json"}
    answer = httpx.post(f"{proxy.url}/chat/completions", content=body, headers=headers, trust_env=False, timeout=30)
    assert answer.json()["choices"][0]["message"]["content"] == "You said: hello"
    assert sent(control)["input"][0]["content"][0]["text"] == "half \ud83d, \u2028"


def test_strict_refuses_what_would_be_dropped(openai: FakeOpenAI, control: Control, tmp_path: Path) -> None:
    write_account(tmp_path / "auth.json", control.login())
    options = options_for(openai, codex_accounts=str(tmp_path / "auth.json"), codex_strict="true")
    with running_proxy(tmp_path, options) as proxy:
        answer = chat(proxy, temperature=0.3)
        assert answer.status_code == 400 and error(answer)["param"] == "temperature"
        assert chat(proxy).status_code == 200


def test_the_list_of_models_is_read_with_another_token_where_the_first_is_withdrawn(proxy: RunningProxy, control: Control) -> None:
    control.revoke("access")
    assert httpx.get(f"{proxy.url}/models", trust_env=False).json()["data"]
    assert control.counts().refreshes == 1


def test_the_list_of_models_is_served_stale_when_it_cannot_be_had(proxy: RunningProxy, control: Control) -> None:
    assert chat(proxy, model="gpt-4.1-nano").headers["x-codex-model"] == "gpt-6-luna"
    control.fault("models", status=500, body="oops", times=None)
    assert chat(proxy, model="gpt-4.1-nano").headers["x-codex-model"] == "gpt-6-luna"


def test_rules_are_read_again_and_a_mistake_keeps_the_old_ones(openai: FakeOpenAI, control: Control, tmp_path: Path) -> None:
    write_account(tmp_path / "auth.json", control.login())
    policy = tmp_path / "policy.yaml"
    policy.write_text('aliases:\n  mine: "gpt-5.5"\n')
    options = options_for(openai, codex_accounts=str(tmp_path / "auth.json"), codex_policy=str(policy))
    with running_proxy(tmp_path, options) as proxy:
        assert chat(proxy, model="mine").headers["x-codex-model"] == "gpt-5.5"
        policy.write_text('aliases:\n  mine: "gpt-5.6-luna"\n  other: "@default"\n')
        assert chat(proxy, model="mine").headers["x-codex-model"] == "gpt-5.6-luna"
        policy.write_text("alaises: {}\n")
        assert chat(proxy, model="mine").headers["x-codex-model"] == "gpt-5.6-luna"
        proxy.wait_for_log("alaises is not known, did you mean aliases?")


BREAKER = """
from mitmproxy import ctx

def running():
    ctx.master.addons.get("codextranslate").answers = None  # which is used where an answer begins
"""


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_a_bug_at_the_head_of_an_answer_lets_nothing_of_it_through(
    stream: bool, openai: FakeOpenAI, control: Control, tmp_path: Path
) -> None:
    breaker = tmp_path / "breaker.py"
    breaker.write_text(BREAKER)
    write_account(tmp_path / "auth.json", control.login())
    options = options_for(openai, codex_accounts=str(tmp_path / "auth.json"))
    with running_proxy(tmp_path, options, scripts=[ENTRY, breaker]) as proxy:
        answer = chat(proxy, stream=stream)
        assert answer.status_code == 500 and error(answer)["code"] == "server_error"
        assert b"response.created" not in answer.content
        proxy.wait_for_log("failed at its answer's head")
    assert len(control.seen("backend", "responses")) == 1, "to repeat it would not help"
