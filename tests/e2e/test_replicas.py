"""Two real proxies on one real Redis: what a client meets at one of them holds at the other."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from auth.account_in_redis import AccountInRedis
from auth.authjson import AuthDocument
from auth.keys import NewKey, make
from auth.shared import Shared
from tests.e2e.client import error, events
from tests.e2e.conftest import options_for
from tests.fakes.control import Control
from tests.fakes.openai import FakeOpenAI
from tests.proxy import RunningProxy, running_proxy
from tests.redisserver import RedisServer, redis_server

MODEL = "gpt-5.5"
CANARY = "CANARY-what-was-said"
PLAIN, SLOW, FEW = make("plain"), make("slow"), make("few")
POLICY = {"keys": [PLAIN.entry, SLOW.entry | {"requests_per_minute": 20}, FEW.entry | {"parallel": 2}]}
USED_UP = {"type": "usage_limit_reached", "message": "The usage limit has been reached", "resets_in_seconds": 9000}


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def control(openai: FakeOpenAI, redis: RedisServer) -> Control:
    """Two accounts for all tests of this file, in Redis."""
    openai.control.reset()
    for name in ("alice", "bob"):
        asyncio.run(sign_in(redis, name, openai.control.login(f"{name}@example.com")))
    return openai.control


async def sign_in(redis: RedisServer, name: str, document: dict[str, Any]) -> None:
    shared = Shared.from_env(redis.env)
    assert shared
    account = AccountInRedis(shared, name)
    async with account.locked(5):
        await account.save(AuthDocument.parse(json.dumps(document).encode()))
    await shared.aclose()


@pytest.fixture(scope="module")
def two(
    openai: FakeOpenAI, control: Control, redis: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[RunningProxy]]:
    homes: list[Path] = [tmp_path_factory.mktemp(name) for name in ("here", "there")]
    (homes[0] / "policy.yaml").write_text(json.dumps(POLICY))
    options = options_for(openai, codex_policy=str(homes[0] / "policy.yaml"))
    with running_proxy(homes[0], options, env=redis.env) as here, running_proxy(homes[1], options, env=redis.env) as there:
        yield [here, there]


def call(method: str, proxy: RunningProxy, path: str, key: NewKey = PLAIN, account: str = "", **more: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {key.key}"} | ({"x-codex-account": account} if account else {})
    return httpx.request(method, f"{proxy.origin}{path}", headers=headers, timeout=30, trust_env=False, **more)


def ask(proxy: RunningProxy, given: str = "hello", key: NewKey = PLAIN, account: str = "", **body: Any) -> httpx.Response:
    return call("POST", proxy, "/v1/responses", key, account, json={"model": MODEL, "input": given} | body)


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)


def sent(control: Control) -> dict[str, Any]:
    body: dict[str, Any] = control.seen("backend", "responses")[-1].json
    return body


def test_a_conversation_goes_on_at_the_other_proxy(two: list[RunningProxy], control: Control) -> None:
    here, there = two
    first = ask(here, f"say reasoning {CANARY}").json()
    by_id = ask(there, "more", previous_response_id=first["id"])
    assert by_id.status_code == 200, by_id.text
    body = sent(control)
    assert [item.get("role", item["type"]) for item in body["input"]] == ["user", "reasoning", "assistant", "user"]
    assert body["input"][1]["encrypted_content"], "on the account that can read it"
    streamed = ask(here, "and more", previous_response_id=by_id.json()["id"], stream=True)
    last = events(streamed.content)[-1]["response"]
    assert sent(control)["prompt_cache_key"] == body["prompt_cache_key"], "and with the same key for the plan's cache"
    path = f"/v1/responses/{last['id']}"
    assert call("GET", there, path).json() == last
    assert call("GET", there, path, key=FEW).status_code == 404, "it is somebody else's"
    assert call("DELETE", there, path).json()["deleted"]
    assert call("GET", here, path).status_code == 404
    assert error(ask(here, "x", previous_response_id=last["id"]))["code"] == "previous_response_not_found"


def test_a_limit_per_minute_is_exact_over_both(two: list[RunningProxy]) -> None:
    with ThreadPoolExecutor(16) as clients:
        answers = list(clients.map(lambda n: ask(two[n % 2], key=SLOW), range(50)))
    let_in = [answer for answer in answers if answer.status_code == 200]
    assert len(let_in) == 20
    left = {int(answer.headers["x-ratelimit-remaining-requests"]) for answer in let_in}
    assert left == set(range(20)), "each was told another number, whoever counted"
    assert {(error(answer)["code"], error(answer)["type"]) for answer in answers if answer.status_code == 429} == {
        ("rate_limit_exceeded", "requests")
    }
    assert not [answer for answer in answers if "x-codex-limits" in answer.headers]


def test_so_many_at_a_time_are_so_many_over_both(two: list[RunningProxy], control: Control) -> None:
    here, there = two
    control.settings(delta_delay=0.1)
    with ThreadPoolExecutor(2) as clients:
        running = [clients.submit(ask, proxy, "say 20 words", key=FEW) for proxy in two]
        wait_until(lambda: len([seen for seen in control.seen("backend", "responses") if seen.ended is None]) == 2)
        refused = ask(there, key=FEW)
        assert refused.status_code == 429 and refused.headers["retry-after"] == "1"
        assert "requests at a time: Limit 2, Used 2" in error(refused)["message"] and error(refused)["type"] == "parallel"
        assert call("GET", here, "/v1/models", key=FEW).status_code == 200, "a look-up waits for nobody"
        assert [each.result().status_code for each in running] == [200, 200]
    control.settings(delta_delay=0.0)
    assert ask(there, key=FEW).status_code == 200 and ask(here, key=FEW).status_code == 200


def test_what_one_learns_of_an_account_the_other_knows(two: list[RunningProxy], control: Control) -> None:
    here, there = two
    control.fault("responses", {"status": 429, "body": {"error": USED_UP}}, times=None, email="alice@example.com")
    assert ask(here, account="alice").status_code == 429
    count = len(control.seen("backend", "responses"))
    wait_until(lambda: "resting" in [account["state"] for account in call("GET", there, "/codex/usage").json()["accounts"]])
    refused = ask(there, account="alice")
    assert refused.status_code == 429 and error(refused)["code"] == "usage_limit_reached"
    assert len(control.seen("backend", "responses")) == count, "upstream is not asked again"
    assert ask(there).status_code == 200


@pytest.mark.slow
def test_redis_goes_and_comes_back(two: list[RunningProxy], control: Control, redis: RedisServer) -> None:
    here, there = two
    kept_here = ask(here, "before").json()["id"]
    control.settings(delta_delay=0.1)
    with httpx.stream(
        "POST",
        f"{here.url}/responses",
        json={"model": MODEL, "input": "say 10 words", "stream": True},
        headers={"authorization": f"Bearer {PLAIN.key}"},
        timeout=30,
        trust_env=False,
    ) as running:
        pieces = running.iter_bytes()
        said = next(pieces)
        before = [len(proxy.log()) for proxy in two]
        redis.kill()
        said += b"".join(pieces)
    assert events(said)[-1]["type"] == "response.completed", "a stream goes on"
    control.settings(delta_delay=0.0)
    alone = ask(there, key=FEW)
    assert alone.status_code == 200 and alone.headers["x-codex-limits"] == "this proxy only"
    assert ask(here, "more", previous_response_id=kept_here).status_code == 200
    unknown = ask(there, "more", previous_response_id=kept_here)
    assert unknown.status_code == 503 and error(unknown)["code"] == "turns_unavailable" and unknown.headers["retry-after"] == "1"
    new = ask(there, "meanwhile").json()["id"]
    redis.start()
    wait_until(lambda: ask(there, "more", previous_response_id=kept_here).status_code == 200)
    wait_until(lambda: ask(here, "more", previous_response_id=new).status_code == 200)
    wait_until(lambda: "x-codex-limits" not in ask(there, key=FEW).headers)
    for proxy, begun in zip(two, before, strict=True):
        assert proxy.log()[begun:].count("each proxy counts the limits of keys alone") == 1


def test_nothing_of_it_can_be_read_in_redis(two: list[RunningProxy], control: Control, redis: RedisServer) -> None:
    ask(two[0], f"once more {CANARY}")
    written = redis.written()
    assert len(written) > 2000
    secrets = [CANARY, "alice@example.com", PLAIN.key, FEW.key, *control.tokens()]
    assert [secret[:12] for secret in secrets if secret.encode() in written] == []
