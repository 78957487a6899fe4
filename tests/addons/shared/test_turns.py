"""Turns that several proxies keep for each other: found everywhere, deleted everywhere, bounded, and sealed."""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from addons.kept import Kept, Turn
from addons.shared.line import Away, Line
from addons.shared.turns import SharedTurns, mark
from auth.shared import Shared
from tests.addons.shared.conftest import Connect
from tests.addons.shared.waiting import until
from tests.addons.test_kept import told, turn
from tests.redisserver import RedisServer, redis_server
from tests.wire.asking import function, heard, message

CANARY = "CANARY-what-was-said"


class Proxy:
    def __init__(self, connect: Connect, **more: Any) -> None:
        self.kept = Kept()
        self.line = connect()
        self.turns = SharedTurns(self.line, self.kept, **more)

    async def says(self, *names: str, previous: Turn | None = None, **more: Any) -> Turn:
        """One turn after the other, each told when it is kept, as the addon does it."""
        for name in names:
            previous = turn(name, previous, **more)
            assert self.kept.keep(previous)
            await self.turns.keep(previous)
        assert previous
        return previous

    async def find(self, name: str, owner: str = "me") -> list[str] | None:
        """The conversation, or None if there is none by that name; `resp_` is left out."""
        assert await self.turns.recall(owner, {f"resp_{name}"}, set()) == ""
        found = self.kept.find(owner, f"resp_{name}")
        return told(found) if found else None

    async def find_item(self, item_id: str, owner: str = "me") -> list[str] | None:
        assert await self.turns.recall(owner, set(), {item_id}) == ""
        home = self.kept.home_of(owner, item_id)
        return told(home) if home else None

    async def forget(self, name: str) -> None:
        assert await self.turns.forget("me", f"resp_{name}") == ""


@pytest.fixture
def proxy(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Proxy]:
    monkeypatch.setattr("addons.shared.turns.LOOK_AGAIN", ())
    return lambda **more: Proxy(connect, **more)


@pytest.fixture
def here(proxy: Callable[..., Proxy]) -> Proxy:
    return proxy()


@pytest.fixture
def there(proxy: Callable[..., Proxy]) -> Proxy:
    return proxy()


async def test_another_proxy_goes_on_from_it(here: Proxy, there: Proxy) -> None:
    said = await here.says("a", "b", tools=[function("x" * 1000)])
    assert await there.find("b") == ["a", "b"]
    found = there.kept.find("me", "resp_b")
    assert found and found.document() == said.document() and found.said() == said.said()
    third = await there.says("c", previous=found, tools=[function("x" * 1000)])
    assert third.echoes is found.echoes, "the tools are in memory once"
    assert await here.find("c") == ["a", "b", "c"]
    back = here.kept.find("me", "resp_c")
    assert back and back.previous is said, "and what was in memory is what it goes on from"


async def test_half_a_surrogate_pair_goes_there_too(here: Proxy, there: Proxy) -> None:
    asked = message("user", heard("\ud83d"), id="msg_\ud83d")
    first = Turn("me", None, [asked], turn("a").document())
    here.kept.keep(first)
    await here.turns.keep(first)
    assert await there.find("a") == ["a"] and await there.find_item("msg_\ud83d") == ["a"]
    found = there.kept.find("me", "resp_a")
    assert found and found.said().input == [asked]


async def test_one_look_is_one_round_trip(here: Proxy, there: Proxy, redis: RedisServer) -> None:
    await here.says(*(f"t{n}" for n in range(50)))
    await there.find("t0")
    before = commands(redis)
    assert len(await there.find("t49") or ()) == 50
    assert commands(redis) - before == 1


def commands(redis: RedisServer) -> int:
    """Scripts that were run."""
    found = [line for line in redis.run("INFO", "commandstats").splitlines() if line.startswith("cmdstat_evalsha:")]
    return int(found[0].partition("calls=")[2].partition(",")[0])


async def test_only_its_owner_finds_it(here: Proxy, there: Proxy) -> None:
    await here.says("a")
    assert await there.find("a", "you") is None and await there.find_item("msg_a_said", "you") is None


async def test_items_are_found_with_the_conversation_that_they_belong_to(here: Proxy, there: Proxy) -> None:
    await here.says("a", "b", "c")
    assert await there.find_item("msg_b_said") == ["a", "b"]
    assert await there.find("b") == ["a", "b"] and await there.find_item("msg_nobody") is None


async def test_what_is_deleted_is_deleted_for_all(here: Proxy, there: Proxy, redis: RedisServer) -> None:
    await here.says("a", "b")
    assert await there.find("b") == ["a", "b"] and await there.find("a") == ["a"]
    await here.forget("a")
    for proxy in (here, there):
        assert await proxy.find("a") is None and await proxy.find_item("msg_a_said") is None
        assert await proxy.find("b") == ["a", "b"], "it stays a part of what was said after it"
    await there.forget("b")
    assert await here.find("b") is None and await there.find("b") is None
    assert redis.run("HLEN", "{codex-mitm}:turns:said") == "0", "and then nothing of it is left"
    assert redis.run("GET", "{codex-mitm}:turns:bytes") == "0" and redis.run("HLEN", "{codex-mitm}:turns:items") == "0"


async def test_an_answer_to_a_turn_that_was_deleted_meanwhile_is_kept_whole(here: Proxy, there: Proxy, redis: RedisServer) -> None:
    first = await here.says("a")
    await there.forget("a")
    await here.says("b", previous=first)
    assert await there.find("b") == ["a", "b"] and await there.find("a") is None
    await there.forget("b")
    assert redis.run("HLEN", "{codex-mitm}:turns:said") == "0"


async def test_the_conversation_that_was_not_used_for_longest_goes_first_and_from_its_end(
    proxy: Callable[..., Proxy], redis: RedisServer
) -> None:
    here = proxy()
    await here.says("a1", "a2")
    await here.says("b1", "b2")
    assert await proxy().find("a1") == ["a1"]
    full = int(redis.run("GET", "{codex-mitm}:turns:bytes"))
    narrow, left = proxy(max_bytes=full), [in_redis(redis, "a1", "a2", "b1", "b2")]
    for n in range(5):
        await narrow.says(f"c{n}")
        left.append(in_redis(redis, "a1", "a2", "b1", "b2"))
        assert int(redis.run("GET", "{codex-mitm}:turns:bytes")) <= full
    shorter = list(dict.fromkeys(left))
    assert shorter[:4] == [("a1", "a2", "b1", "b2"), ("a1", "b1", "b2"), ("a1", "b1"), ("a1",)]
    assert await proxy().find("b1") is None


def in_redis(redis: RedisServer, *names: str) -> tuple[str, ...]:
    """Without using them."""
    there = redis.run("HKEYS", "{codex-mitm}:turns:said").split()
    return tuple(name for name in names if mark("me", f"resp_{name}") in there)


async def test_what_nobody_used_for_long_is_gone(proxy: Callable[..., Proxy], redis: RedisServer) -> None:
    here, late = proxy(lifetime=0.3), proxy(lifetime=0.3)
    await here.says("a", "b")
    await asyncio.sleep(0.4)
    await late.says("c")
    assert in_redis(redis, "a", "b", "c") == ("c",)
    assert redis.run("HLEN", "{codex-mitm}:turns:told") == "1" and await here.find("b") == ["a", "b"], (
        "but for who has it in memory"
    )
    await asyncio.sleep(0.4)
    assert redis.run("KEYS", "*turns*") == "", "and nothing is left of what nobody asks for"


async def test_a_turn_is_found_that_is_told_a_moment_after_it_is_asked_for(proxy: Callable[..., Proxy]) -> None:
    here, there = proxy(), proxy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("addons.shared.turns.LOOK_AGAIN", (0.02,) * 500)
        found, _ = await asyncio.gather(there.find("a"), a_moment_later(here))
        assert found == ["a"]


async def a_moment_later(proxy: Proxy) -> None:
    await asyncio.sleep(0.1)
    await proxy.says("a")


async def test_without_redis_there_is_what_is_in_memory_and_the_rest_is_told_later(
    here: Proxy, there: Proxy, redis: RedisServer
) -> None:
    before = await here.says("a")
    redis.kill()
    await here.says("b", previous=before)
    assert "is away" in await there.turns.recall("me", {"resp_a"}, set()) and not there.kept.peek("me", "resp_a")
    assert "is away" in await here.turns.recall("me", {"resp_b"}, set()) and here.kept.peek("me", "resp_b")
    assert "is away" in await here.turns.forget("me", "resp_b")
    redis.start()  # with nothing in it
    for each in (here, there):
        await until(partial(knocks, each))
        await each.turns.catch_up()
    assert await there.find("b") == ["a", "b"], "with what came before it"


async def knocks(proxy: Proxy) -> bool:
    try:
        await proxy.line.knock("return 1", [], [])
    except Away:
        return False
    return True


async def test_what_is_not_of_ours_is_not_there(here: Proxy, there: Proxy, redis: RedisServer) -> None:
    await here.says("a", "b")
    name = mark("me", "resp_a")
    other = redis.run("HKEYS", "{codex-mitm}:turns:said").split()
    redis.run("HSET", "{codex-mitm}:turns:said", name, "not sealed")
    assert await there.find("a") is None and await there.find("b") is None
    assert set(other) == {name, mark("me", "resp_b")}


async def test_what_was_said_stands_nowhere_in_the_clear(tmp_path: Path, connect: Connect) -> None:
    with redis_server(tmp_path / "redis") as written_down:
        shared = Shared.from_env(written_down.env)
        assert shared
        here = Proxy(lambda: Line(shared))
        said = turn("x", owner="me", instructions=CANARY, tools=[function(CANARY)])
        asked = message("user", heard(CANARY), id=f"msg_{CANARY}")
        here.kept.keep(said := Turn("me", said, [asked], said.document() | {"id": f"resp_{CANARY}"}))
        await here.turns.keep(said)
        assert await Proxy(lambda: Line(shared)).find(CANARY) == ["x", CANARY]
        await shared.aclose()
        everything = written_down.written()
    assert len(everything) > 500 and b"{codex-mitm}:turns" in everything
    assert CANARY.encode() not in everything
