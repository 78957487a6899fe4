"""What lasts: ten thousand requests through an upstream that fails at random, and accounts that come back from everything."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from auth.source import MIN_INTERVAL
from tests.e2e.client import error, post, said
from tests.e2e.conftest import options_for, write_account
from tests.e2e.endings import Dialect, ask_for
from tests.fakes.control import Control
from tests.fakes.openai import FakeOpenAI
from tests.proxy import ENTRY, RunningProxy, running_proxy

pytestmark = pytest.mark.slow

REQUESTS, AT_ONCE = 10_000, 32
ACCOUNTS = ("alice", "bob", "carol")
# In the middle of each half of the run the server's clock is turned so many days ahead. A token is good for ten.
DAYS_AHEAD = (11, 22)
DAY = 86400.0

BUSY = (
    'data: {"type":"response.failed","response":{"status":"failed","error":{"code":"server_is_overloaded","message":"busy"}}}\n\n'
)
USED_UP = {"type": "usage_limit_reached", "message": "The usage limit has been reached", "plan_type": "plus"}
# What upstream does to how many of the requests: one in eight, all in all.
FAULTS: list[tuple[dict[str, Any], float]] = [
    ({"status": 503, "body": {"detail": "unavailable"}}, 0.02),
    ({"status": 500, "body": "oops"}, 0.01),
    ({"status": 429, "body": {"detail": "slow down"}, "headers": {"retry-after": "1"}}, 0.003),
    ({"status": 429, "body": {"error": {**USED_UP, "resets_in_seconds": 2}}}, 0.002),
    ({"reset": "before_headers"}, 0.01),
    ({"reset": "after_headers"}, 0.01),
    ({"lose_answer": True}, 0.01),
    ({"garbage": True}, 0.005),
    ({"cut_after_events": 2, "how": "rst"}, 0.01),
    ({"cut_after_events": 9, "how": "fin"}, 0.01),
    ({"clean_eof_after_events": 9}, 0.005),
    ({"say_after_events": 3, "text": BUSY}, 0.01),
    ({"say_after_events": 9, "text": BUSY}, 0.005),
    ({"silence_after_events": 8, "seconds": 0.2}, 0.01),
    ({"split": 500}, 0.01),
]
type Told = tuple[str, int, str | None]
WHOLE: Told = ("whole", 200, None)
# Each of them told as what it is.
HONEST = {
    WHOLE,
    ("refused", 500, "server_error"),
    ("refused", 502, "upstream_error"),
    ("refused", 502, "upstream_stream_incomplete"),
    ("refused", 503, "server_is_overloaded"),
    ("refused", 503, "auth_unavailable"),  # the token was over, and no attempt was left
    ("refused", 429, "rate_limit_exceeded"),
    ("refused", 429, "usage_limit_reached"),
    ("failed", 200, "upstream_stream_incomplete"),
    ("failed", 200, "server_is_overloaded"),
}
WAYS: list[tuple[Dialect, bool]] = [("chat", True), ("responses", True), ("chat", False), ("responses", False)]


@pytest.fixture
def home(tmp_path: Path, control: Control) -> Path:
    for name in ACCOUNTS:
        sign_in(control, tmp_path, name)
    return tmp_path


@pytest.fixture
def three(openai: FakeOpenAI, home: Path) -> Iterator[RunningProxy]:
    with running_proxy(home, options_for(openai)) as proxy:
        yield proxy


def sign_in(control: Control, home: Path, name: str) -> None:
    write_account(home / ".codex-mitm/accounts" / name / "auth.json", control.login(f"{name}@example.com"))


def standings(proxy: RunningProxy) -> dict[str, tuple[str, int]]:
    """Of each account, its state and what is under way."""
    told = httpx.get(f"{proxy.origin}/codex/usage", trust_env=False, timeout=30).json()["accounts"]
    return {account["name"]: (account["state"], account["in_flight"]) for account in told}


async def ask_all(proxy: RunningProxy, control: Control) -> Counter[Told]:
    told: Counter[Told] = Counter()

    async def ask_on(numbers: Iterator[int], turn_at: int, days: int) -> None:
        for number in numbers:
            if number == turn_at:
                control.clock(days * DAY)
            dialect, stream = WAYS[number % len(WAYS)]
            ending = await ask_for(client, proxy.url, dialect, stream, f"number {number}")
            told[ending.how, ending.status, ending.code] += 1

    async with httpx.AsyncClient(trust_env=False, limits=httpx.Limits(max_connections=AT_ONCE)) as client:
        for half, days in enumerate(DAYS_AHEAD):
            # A token that is refused so soon behind its renewal would not be renewed again, and rightly so.
            await asyncio.sleep(half * MIN_INTERVAL)
            begin, length = half * REQUESTS // 2, REQUESTS // 2
            numbers = iter(range(begin, begin + length))
            async with asyncio.TaskGroup() as group:
                for worker in range(AT_ONCE):
                    group.create_task(ask_on(numbers, begin + length // 2, days), name=f"client {worker}")
    return told


def test_ten_thousand_requests_through_random_faults(three: RunningProxy, control: Control) -> None:
    for effect, chance in FAULTS:
        control.fault("responses", effect, times=None, chance=chance)
    told = asyncio.run(ask_all(three, control))
    assert told.total() == REQUESTS
    assert all(fault["used"] for fault in control.faults()), "each fault has come true"
    assert told.keys() <= HONEST, told
    assert told[WHOLE] > REQUESTS * 0.97, "what can be repeated is not the client's trouble"
    counts = control.counts()
    assert (counts.refreshes, counts.reuses) == (len(ACCOUNTS) * len(DAYS_AHEAD), 0), "one refresh for each token that was over"
    control.clear_faults()
    assert {name: in_flight for name, (_, in_flight) in standings(three).items()} == dict.fromkeys(ACCOUNTS, 0)
    for name in ACCOUNTS:
        serves_again(three, name)
    assert "Traceback" not in three.log() and "crashed" not in three.log()


def serves_again(proxy: RunningProxy, name: str, timeout: float = 30.0) -> None:
    deadline = time.monotonic() + timeout
    while post(proxy.url, headers={"x-codex-account": name}).status_code != 200:
        assert time.monotonic() < deadline, standings(proxy)
        time.sleep(0.2)


# Seconds of the product, for a test that cannot wait for them.
IMPATIENT = "from addons import usage\nusage.LOOK_EVERY, usage.QUIET = 0.1, 0.5\n"


def test_a_plan_that_is_reset_early_serves_again_without_a_client_that_tries(
    openai: FakeOpenAI, control: Control, tmp_path: Path
) -> None:
    sign_in(control, tmp_path, "alice")
    script = tmp_path / "impatient.py"
    script.write_text(IMPATIENT)
    with running_proxy(tmp_path, options_for(openai), scripts=[ENTRY, script]) as proxy:
        control.quota("alice@example.com", primary=100)
        refused = post(proxy.url)
        assert refused.status_code == 429 and error(refused)["type"] == "usage_limit_reached"
        assert int(refused.headers["retry-after"]) > 60, "so much for what was told"
        asked = len(control.seen("backend", "responses"))
        control.quota("alice@example.com", primary=3)
        deadline = time.monotonic() + 15
        while standings(proxy)["alice"][0] != "serving":
            assert time.monotonic() < deadline, "nobody has looked"
            time.sleep(0.1)
        assert len(control.seen("backend", "responses")) == asked, "no client's request had to try"
        assert said(post(proxy.url)) == "You said: hello there"
