"""Two real proxies whose account is in a real Redis: one refresh for both, and what clients see while Redis is away."""

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from auth.account_in_redis import LEASE, AccountInRedis
from auth.authjson import AuthDocument
from auth.errors import NotSignedIn
from auth.shared import Shared
from tests.e2e.client import ask, error, post, said
from tests.e2e.conftest import options_for
from tests.fakes.control import Control
from tests.fakes.openai import FakeOpenAI
from tests.proxy import RunningProxy, running_proxy
from tests.redisserver import RedisServer, redis_server

pytestmark = pytest.mark.slow

SOON = 20.0


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def two(openai: FakeOpenAI, redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RunningProxy]]:
    options = options_for(openai, codex_max_parallel="200")
    homes = [tmp_path_factory.mktemp(name) for name in ("here", "there")]
    with running_proxy(homes[0], options, env=redis.env) as here, running_proxy(homes[1], options, env=redis.env) as there:
        yield [here, there]


def sign_in(redis: RedisServer, fields: dict[str, Any]) -> None:
    async def put() -> None:
        shared = Shared.from_env(redis.env)
        assert shared
        account = AccountInRedis(shared, "default")
        async with account.locked(LEASE + 5):  # which a proxy that was killed may have left
            try:
                await account.read()
            except NotSignedIn:
                pass
            await account.save(AuthDocument.parse(json.dumps(fields).encode()))
        await shared.aclose()

    asyncio.run(put())


def answer_soon(proxy: RunningProxy, status: int) -> httpx.Response:
    """A sign-in elsewhere is noticed within a second or two."""
    deadline = time.monotonic() + SOON
    while (answer := post(proxy.url)).status_code != status:
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.1)
    return answer


def wait_until_served_by(proxy: RunningProxy, control: Control, email: str) -> None:
    bearer = f"Bearer {control.current(email).access_token}"
    deadline = time.monotonic() + SOON
    while said(post(proxy.url)) and control.seen("backend", "responses")[-1].header("authorization") != bearer:
        assert time.monotonic() < deadline
        time.sleep(0.1)


async def at_once(proxies: list[RunningProxy], each: int) -> list[httpx.Response]:
    async with httpx.AsyncClient(trust_env=False, timeout=60, limits=httpx.Limits(max_connections=None)) as client:
        headers = {"authorization": "Bearer any"}
        asked = [client.post(f"{proxy.url}/responses", json=ask(), headers=headers) for proxy in proxies for _ in range(each)]
        return await asyncio.gather(*asked)


def test_what_clients_see(two: list[RunningProxy], redis: RedisServer, control: Control) -> None:
    assert [error(post(proxy.url))["code"] for proxy in two] == ["login_required"] * 2

    # Signed in elsewhere; then the token is refused in the middle of everything: one refresh for all requests to both.
    sign_in(redis, control.login())
    for proxy in two:
        said(answer_soon(proxy, 200))
    control.revoke("access")
    control.fault("token", delay=1.0)
    answers = asyncio.run(at_once(two, 50))
    assert {answer.status_code for answer in answers} == {200}
    assert control.counts().refreshes == 1

    # Another signs in under that name: both notice.
    sign_in(redis, control.login("ada@example.com"))
    for proxy in two:
        wait_until_served_by(proxy, control, "ada@example.com")

    # Away: what is good serves on, and what would have to be renewed is refused with the reason.
    redis.kill()
    assert [said(post(proxy.url)) != "" for proxy in two] == [True, True]
    control.revoke("access")
    for proxy in two:
        refused = post(proxy.url)
        assert (refused.status_code, error(refused)["code"]) == (503, "auth_unavailable")
        assert f"Redis at 127.0.0.1:{redis.port} is away" in error(refused)["message"]
        assert int(refused.headers["retry-after"]) <= 2
    renewed = control.counts().refreshes

    # Back: everything goes on by itself.
    redis.start()
    for proxy in two:
        said(answer_soon(proxy, 200))
    assert (control.counts().refreshes, control.counts().reuses) == (renewed + 1, 0)

    # It lost all that it had: they put it back.
    redis.restart(forget=True)
    deadline = time.monotonic() + SOON
    while redis.run("HLEN", "{codex-mitm}:accounts") != "1":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    for proxy in two:
        said(post(proxy.url))
    secrets = control.tokens()
    assert [secret for proxy in two for secret in secrets if secret in proxy.log()] == []
    assert [secret for secret in secrets if secret.encode() in redis.written()] == []
