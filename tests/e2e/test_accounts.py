"""Several accounts before one proxy: who serves, who takes over, what the client sees of it, and what is known of the plans."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from tests.e2e.client import ask, error, events, post, said
from tests.e2e.conftest import options_for, write_account
from tests.fakes.control import Control
from tests.fakes.openai import FakeOpenAI
from tests.proxy import RunningProxy, running_proxy

ALICE, BOB = "alice@example.com", "bob@example.com"
USED_UP = {
    "type": "usage_limit_reached",
    "message": "The usage limit has been reached",
    "plan_type": "plus",
    "resets_in_seconds": 9000,
}
FAILED = {"type": "response.failed", "response": {"status": "failed", "error": {"code": "server_is_overloaded", "message": "busy"}}}
CREATED = {"type": "response.created", "response": {"id": "resp_1", "status": "in_progress"}}


@pytest.fixture
def folder(tmp_path: Path, control: Control) -> Path:
    for name, email in (("alice", ALICE), ("bob", BOB)):
        write_account(tmp_path / ".codex-mitm/accounts" / name / "auth.json", control.login(email))
    return tmp_path


@pytest.fixture
def two(openai: FakeOpenAI, folder: Path) -> Iterator[RunningProxy]:
    with running_proxy(folder, options_for(openai)) as proxy:
        yield proxy


def who(control: Control, start: int = 0) -> list[str]:
    """Whose tokens the requests to the backend carried, in order."""
    sent = control.seen("backend", "responses")[start:]
    tokens = [(seen.header("authorization") or "").removeprefix("Bearer ") for seen in sent]
    return [jwt.decode(token, options={"verify_signature": False})["email"].partition("@")[0] for token in tokens]


def usage(proxy: RunningProxy) -> dict[str, Any]:
    answer = httpx.get(f"{proxy.origin}/codex/usage", trust_env=False, timeout=20)
    assert answer.status_code == 200
    return {account["name"]: account for account in answer.json()["accounts"]}


REFUSALS: dict[str, dict[str, Any]] = {
    "its plan is used up": {"status": 429, "body": {"error": USED_UP}},
    "too many requests for now": {"status": 429, "body": {"detail": "slow down"}, "headers": {"retry-after": "20"}},
    "a token that stays refused": {"status": 401, "body": {"detail": "Unauthorized"}},
    "trouble, and again": {"status": 503, "body": {"detail": "unavailable"}},
    "no answer, and again": {"reset": "before_headers"},
}


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("fault", REFUSALS.values(), ids=REFUSALS)
def test_the_second_account_takes_over_before_the_client_notices(
    fault: dict[str, Any], stream: bool, two: RunningProxy, control: Control
) -> None:
    control.settings(delta_delay=0.02)
    control.fault("responses", fault, times=None, email=ALICE)
    for number in range(4):
        with httpx.stream(
            "POST", f"{two.url}/responses", json=ask(f"question {number} of many", stream=stream), timeout=60
        ) as answer:
            pieces = [piece for piece in answer.iter_raw()]
        assert answer.status_code == 200, b"".join(pieces)
        assert (
            f"You said: question {number} of many" in "".join(event.get("delta", "") for event in events(b"".join(pieces)))
            or not stream
        )
        assert not stream or len(pieces) > 3, "it must stream"
    assert "bob" in who(control)


def test_an_early_failure_in_the_stream_is_taken_to_the_next_account_too(two: RunningProxy, control: Control) -> None:
    control.script([{"event": CREATED}, {"event": FAILED}], times=2)
    assert said(post(two.url)) == "You said: hello there"
    assert len(who(control)) == 3


def test_a_conversation_stays_where_its_cache_is(two: RunningProxy, control: Control) -> None:
    with httpx.Client(trust_env=False, timeout=30) as client:
        for turn in range(6):
            for conversation in ("red", "green", "blue", "grey"):
                answer = client.post(f"{two.url}/responses", json=ask(f"{turn}", prompt_cache_key=conversation))
                assert answer.status_code == 200
    served = who(control)
    assert {len(set(served[n::4])) for n in range(4)} == {1}, "each conversation on one account"
    assert set(served) == {"alice", "bob"}


def test_all_plans_used_up_is_told_with_the_time_at_which_the_first_is_back(two: RunningProxy, control: Control) -> None:
    for email in (ALICE, BOB):
        control.quota(email, primary=100)
    answer = post(two.url)
    assert answer.status_code == 429 and error(answer)["type"] == "usage_limit_reached"
    assert answer.headers["x-should-retry"] == "false" and int(answer.headers["retry-after"]) > 60
    again = post(two.url)  # nobody is asked a second time
    assert again.status_code == 429 and error(again)["type"] == "usage_limit_reached"
    assert error(again)["resets_at"] > time.time() and "alice" in error(again)["message"]
    assert len(control.seen("backend", "responses")) == 2


def test_a_plan_that_is_used_up_in_the_middle_of_an_answer_is_known_afterwards(two: RunningProxy, control: Control) -> None:
    """The client was told in the stream, for whom it is too late. The next request does not go there any more."""
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
    word = {"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": "well"}
    used_up = {
        "type": "response.failed",
        "response": {"status": "failed", "error": {"code": "usage_limit_reached", "message": "no"}},
    }
    opening = [CREATED, {"type": "response.output_item.added", "output_index": 0, "item": item}]
    control.script([{"event": event} for event in [*opening, word, used_up]])
    answer = post(two.url)
    assert answer.status_code == 200 and events(answer.content)[-1]["type"] == "response.failed"
    for number in range(3):
        assert said(post(two.url, ask(f"{number}"))) == f"You said: {number}"
    first, *others = who(control)
    assert first not in others


def test_a_dead_sign_in_takes_the_account_out_until_there_is_another(two: RunningProxy, control: Control, folder: Path) -> None:
    control.revoke("all", ALICE)
    for number in range(4):
        assert said(post(two.url, ask(f"{number}"))) == f"You said: {number}"
    assert usage(two)["alice"]["state"] == "out" and "auth login --account alice" in usage(two)["alice"]["reason"]
    before = len(control.seen("backend", "responses"))
    write_account(folder / ".codex-mitm/accounts/alice/auth.json", control.login(ALICE))
    for number in range(8):
        assert said(post(two.url, ask(f"{number}"))) == f"You said: {number}"
    assert "alice" in who(control, before)


def test_a_client_can_ask_for_an_account(two: RunningProxy, control: Control) -> None:
    for name in ("bob", "alice", "bob"):
        assert post(two.url, headers={"x-codex-account": name}).status_code == 200
    assert who(control) == ["bob", "alice", "bob"]
    assert all(seen.header("x-codex-account") is None for seen in control.seen("backend"))
    answer = post(two.url, headers={"x-codex-account": "carol"})
    assert answer.status_code == 400 and error(answer)["code"] == "no_account"


def test_what_is_left_of_each_plan_is_told(two: RunningProxy, control: Control) -> None:
    control.quota(ALICE, primary=30, secondary=60)
    found = usage(two)
    assert {name: found[name]["state"] for name in found} == {"alice": "serving", "bob": "serving"}
    left = {window["name"]: window["left_percent"] for window in found["alice"]["quota"]["windows"]}
    assert left == {"5h": 70, "weekly": 40}
    for secret in control.tokens():
        assert secret not in json.dumps(found)
    assert "HTTP Request" not in two.log(), "looking it up is nothing to tell"


def test_what_is_known_survives_a_restart(openai: FakeOpenAI, folder: Path, control: Control) -> None:
    control.quota(ALICE, primary=100)
    control.quota(BOB, primary=100)
    with running_proxy(folder, options_for(openai)) as proxy:
        assert post(proxy.url).status_code == 429
    state = (folder / ".codex-mitm/state.json").read_text()
    assert not any(secret in state for secret in control.tokens()) and "hello there" not in state
    with running_proxy(folder, options_for(openai)) as proxy:
        assert post(proxy.url).status_code == 429
    assert len(control.seen("backend", "responses")) == 2, "the second proxy asked nobody"
