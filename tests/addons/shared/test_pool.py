"""What one proxy learns of the accounts, the others know: the pool's own rules, several pools, and a real Redis between them."""

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from addons.pool import Choice, Pool
from addons.pool.strategies import Member
from addons.shared.board import Board
from addons.shared.facts import Facts
from addons.shared.line import Away, Line
from addons.shared.pool import SharedPool
from addons.shared.presence import Presence
from addons.wire.quota import Credits, Family, Quota
from auth.shared import Shared
from tests.addons.pooling import ALICE, DAY, HOUR, NOW, THREE, choose, fail, nobody, plan, pool_with, state, succeed, used, verdict
from tests.addons.shared.conftest import Connect
from tests.addons.shared.waiting import until
from tests.redisserver import RedisServer

NAMES = ("alice", "bob", "carol")


class Proxy:
    """A roster, as far as the shared pool knows one, and a clock of its own."""

    def __init__(self, line: Line, pool: Pool | None = None, names: tuple[str, ...] = NAMES) -> None:
        self.pool = pool or pool_with()
        self.sources = dict.fromkeys(names)
        self.now = NOW
        self.shared = SharedPool(line, Presence(line), self, lambda: self.now)

    def state(self, name: str, at: float | None = None) -> str:
        return state(self.pool, name, self.now if at is None else at)


async def told(*proxies: Proxy) -> None:
    """Each says what it knows, and then each has heard it."""
    for _ in range(2):
        for proxy in proxies:
            await proxy.shared.exchange()


@pytest.fixture
async def here(connect: Connect) -> Proxy:
    return Proxy(connect())


@pytest.fixture
async def there(connect: Connect) -> Proxy:
    return Proxy(connect())


async def test_a_cooldown_is_known_everywhere_and_so_is_its_end(here: Proxy, there: Proxy) -> None:
    await told(here, there)
    fail(here.pool, "alice", plan(NOW + HOUR), at=NOW)
    fail(here.pool, "bob", verdict("blocked"), at=NOW)
    await told(here, there)
    assert [there.state(name) for name in NAMES] == ["resting", "resting", "serving"]
    assert there.pool.view(THREE, NOW) == here.pool.view(THREE, NOW)
    succeed(there.pool, "alice", at=NOW + 30)
    await told(there, here)
    assert [here.state(name, NOW + 30) for name in NAMES] == ["serving", "resting", "serving"]


async def test_failures_in_a_row_are_in_a_row_wherever_they_happen(here: Proxy, there: Proxy) -> None:
    for n in range(4):
        fail((here, there)[n % 2].pool, "alice", verdict("network"), at=NOW)
        await told(here, there)
    assert here.pool.view([ALICE], NOW)[0].until == NOW + 8


async def test_what_is_known_of_a_plan_is_known_everywhere(here: Proxy, there: Proxy) -> None:
    quota = Quota(
        NOW, used(40, NOW).windows, "plus", Credits(True, False, "3"), True, NOW + DAY, {"spark": Family("S", used(9, NOW).windows)}
    )
    here.pool.heard("alice", quota, NOW)
    await told(here, there)
    assert there.pool.accounts["alice"].quota == quota


async def test_what_only_one_heard_is_not_lost_under_the_news_of_another(here: Proxy, there: Proxy) -> None:
    await told(here, there)
    here.pool.heard("alice", Quota(NOW, credits=Credits(True, True, None)), NOW)
    there.pool.heard("alice", used(40, NOW + 0.1), NOW + 0.1)
    await told(here, there)
    for proxy in (here, there):
        quota = proxy.pool.accounts["alice"].quota
        assert quota and quota.credits == Credits(True, True, None) and quota.windows["5h"].used_percent == 40


async def test_a_window_that_was_disproved_does_not_come_back(here: Proxy, there: Proxy) -> None:
    here.pool.heard("alice", used(100, NOW), NOW)
    await told(here, there)
    assert there.state("alice") == "avoided"
    succeed(there.pool, "alice", at=NOW + 60)
    await told(here, there)
    assert [proxy.state("alice", NOW + 60) for proxy in (here, there)] == ["serving", "serving"]


async def test_old_news_that_come_late_change_nothing(here: Proxy, there: Proxy) -> None:
    await told(here, there)
    fail(here.pool, "alice", verdict("upstream"), at=NOW)  # and its proxy stands still before it can say so
    fail(there.pool, "alice", plan(NOW + HOUR), at=NOW + 1)
    await there.shared.exchange()
    await told(here, there)
    assert [proxy.state("alice", NOW + 2) for proxy in (here, there)] == ["resting", "resting"]


async def test_the_end_of_a_cooldown_counts_from_when_the_request_was_sent_that_ended_it(here: Proxy, there: Proxy) -> None:
    await told(here, there)
    fail(there.pool, "alice", verdict("upstream"), at=NOW)
    fail(here.pool, "alice", plan(NOW + HOUR), at=NOW + 2)
    succeed(there.pool, "alice", sent_at=NOW + 1, at=NOW + 3)  # knows nothing of what was learned after it was sent
    await told(here, there)
    assert [proxy.state("alice", NOW + 3) for proxy in (here, there)] == ["resting", "resting"]


async def test_what_is_learned_while_the_others_are_asked_is_not_lost(here: Proxy, there: Proxy) -> None:
    await told(here, there)
    here.pool.heard("bob", used(10, NOW), NOW)
    await here.shared.exchange()

    class Meanwhile(Board):
        async def exchange(self) -> Facts:
            news = await super().exchange()
            fail(there.pool, "bob", verdict("blocked"), at=NOW)
            return news

    there.shared.accounts = Meanwhile(there.shared.line, "accounts", 1000)
    await there.shared.exchange()
    await told(here, there)
    assert [proxy.state("bob") for proxy in (here, there)] == ["resting", "resting"]


async def test_a_clock_that_is_behind_does_not_silence_a_proxy(here: Proxy, there: Proxy) -> None:
    fail(here.pool, "alice", plan(NOW + HOUR), at=NOW)
    await told(here, there)
    there.now = NOW - 20
    there.pool.accounts["alice"].served(NOW, NOW - 20)
    await told(there, here)
    assert here.state("alice") == "serving"


async def test_a_proxy_that_starts_knows_what_the_others_know(here: Proxy, connect: Connect) -> None:
    fail(here.pool, "alice", plan(NOW + HOUR), at=NOW)
    choose(here.pool, at=NOW, keys=["a conversation"])
    await told(here)
    new = Proxy(connect())
    new.now = NOW + 10
    await new.shared.exchange()
    assert new.state("alice") == "resting" and choose(new.pool, at=NOW + 10).name == "bob"


async def test_what_a_proxy_remembers_of_last_week_is_older_than_what_the_others_know(here: Proxy, connect: Connect) -> None:
    fail(here.pool, "alice", plan(NOW + HOUR), at=NOW)
    await told(here)
    pool = pool_with()
    fail(pool, "alice", verdict("blocked"), at=NOW - 7 * DAY)
    fail(pool, "bob", verdict("plan", resets_at=NOW + DAY), at=NOW - DAY)
    new = Proxy(connect(), pool)
    await told(new, here)
    for proxy in (new, here):
        assert [proxy.pool.view([Member(name)], NOW)[0].reason for name in ("alice", "bob")] == ["plan trouble", "plan trouble"]


async def test_conversations_are_at_home_where_they_are_for_the_others(here: Proxy, there: Proxy) -> None:
    await told(here, there)
    fail(here.pool, "alice", verdict("pace", wait=5), at=NOW)
    assert choose(here.pool, at=NOW, keys=["one"]).name == "bob"
    await told(here, there)
    assert choose(there.pool, at=NOW + 10, keys=["one"]).name == "bob"
    assert choose(there.pool, at=NOW + 10, keys=["two"]).name == "alice"


async def test_somebody_else_under_the_same_name_is_new_to_all(here: Proxy, there: Proxy, connect: Connect) -> None:
    here.pool.heard("alice", used(70, NOW), NOW)
    fail(here.pool, "alice", plan(NOW + HOUR), at=NOW)
    await told(here, there)
    there.pool.keep({"bob", "carol"})
    there.shared.forget("alice", NOW + 1)
    await told(there, here)
    late = Proxy(connect())
    await told(late)
    for proxy in (here, there, late):
        assert proxy.state("alice") == "serving" and proxy.pool.accounts["alice"].quota is None


async def test_who_notices_somebody_else_late_forgets_nothing_that_was_learned_since(here: Proxy, there: Proxy) -> None:
    fail(here.pool, "alice", verdict("network"), at=NOW)
    await told(here, there)
    here.pool.keep({"bob", "carol"})
    here.shared.forget("alice", NOW + 1)
    await told(here, there)
    fail(here.pool, "alice", plan(NOW + DAY), at=NOW + 2)
    await told(here, there)
    there.pool.keep({"bob", "carol"})
    there.shared.forget("alice", NOW + 1)
    await told(there, here)
    assert [proxy.state("alice", NOW + 3) for proxy in (here, there)] == ["resting", "resting"]


async def test_an_account_that_only_some_have_is_forgotten_by_nobody(here: Proxy, connect: Connect) -> None:
    fail(here.pool, "alice", plan(NOW + HOUR), at=NOW)
    await told(here)
    poor = Proxy(connect(), names=("bob",))
    await told(poor, here)
    assert "alice" not in poor.pool.accounts and here.state("alice") == "resting"


# -- probes


async def test_one_of_all_probes(here: Proxy, there: Proxy) -> None:
    fail(here.pool, "alice", plan(NOW + DAY), at=NOW)
    await told(here, there)
    probes = [choose(proxy.pool, [ALICE], at=NOW + 60) for proxy in (here, there)]
    assert all(probe.probe for probe in probes), "both find that it is time"
    assert [await proxy.shared.may_probe("alice") for proxy in (here, there)] == [True, False]
    there.pool.not_sent(probes[1])
    nobody(there.pool, [ALICE], at=NOW + 61)


async def test_the_right_lasts_as_long_as_the_probe_and_is_free_when_its_proxy_died(
    here: Proxy, there: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("addons.shared.pool.PROBE_LEASE", 300)
    fail(here.pool, "alice", plan(NOW + DAY), at=NOW)
    await told(here, there)
    choose(here.pool, [ALICE], at=NOW + 60)
    assert await here.shared.may_probe("alice")
    for _ in range(6):
        await here.shared.exchange()
        await asyncio.sleep(0.1)
    assert not await there.shared.may_probe("alice"), "it is kept for a probe that is under way"
    await until(lambda: there.shared.may_probe("alice"))


async def test_the_others_leave_an_account_in_peace_that_was_probed(here: Proxy, there: Proxy) -> None:
    fail(here.pool, "alice", plan(NOW + DAY), at=NOW)
    here.pool.ended(choose(here.pool, [ALICE], at=NOW + 60))
    await told(here, there)
    nobody(there.pool, [ALICE], at=NOW + 61)


# -- Redis


async def test_without_redis_each_goes_on_alone_and_tells_it_later(here: Proxy, there: Proxy, redis: RedisServer) -> None:
    fail(there.pool, "carol", plan(NOW + HOUR), at=NOW)
    await told(here, there)
    redis.kill()
    fail(here.pool, "alice", plan(NOW + HOUR), at=NOW + 1)
    for proxy in (here, there):
        with pytest.raises(Away):
            await proxy.shared.exchange()
    assert here.state("alice") == "resting" and await there.shared.may_probe("alice")
    redis.start()  # with nothing in it
    await until(lambda: answers(here))
    await until(lambda: answers(there))
    await told(here, there)
    assert [there.state(name) for name in NAMES] == ["resting", "serving", "resting"]


async def test_what_redis_has_lost_is_told_again(here: Proxy, there: Proxy, redis: RedisServer, connect: Connect) -> None:
    fail(here.pool, "alice", plan(NOW + HOUR), at=NOW)
    await told(here, there)
    redis.run("FLUSHALL")
    await told(there)
    new = Proxy(connect())
    await told(new)
    assert new.state("alice") == "resting"


async def answers(proxy: Proxy) -> bool:
    try:
        await proxy.shared.presence.beat()
    except Away:
        return False
    return True


async def test_what_is_no_fact_of_ours_is_passed_over(here: Proxy, there: Proxy, redis: RedisServer) -> None:
    fail(here.pool, "alice", plan(NOW + HOUR), at=NOW)
    await told(here)
    name = redis.run("HKEYS", "{codex-mitm}:board:accounts:facts").split()[0]
    for value in ("", "x", "1 a sealed by nobody"):
        redis.run("HSET", "{codex-mitm}:board:accounts:facts", name, value)
        await told(Proxy(there.shared.line))


async def test_redis_learns_no_names(here: Proxy, redis: RedisServer) -> None:
    fail(here.pool, "alice", verdict("blocked"), at=NOW)
    choose(here.pool, at=NOW, keys=["the client's own words"])
    await told(here)
    await here.shared.may_probe("alice")
    keys = redis.run("KEYS", "*").split()
    assert len(keys) >= 7 and not [key for key in keys if not key.startswith("{codex-mitm}:")]
    written = redis.run("--scan") + "".join(redis.run("HGETALL", key) for key in keys if key.endswith(("facts", "count")))
    assert not [word for word in ("alice", "bob", "trouble", "words", "blocked") if word in written]


# -- for any history

WHAT = st.sampled_from(["fail", "plan", "blocked", "served", "heard", "exchange", "exchange"])
STEPS = st.lists(st.tuples(st.integers(0, 2), WHAT, st.sampled_from(NAMES), st.integers(0, 20), st.integers(0, 100)), max_size=40)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_in_the_end_all_know_the_same(redis: RedisServer, steps: list[Any]) -> None:
    asyncio.run(live(redis, steps))


async def live(redis: RedisServer, steps: list[Any]) -> None:
    lines = [Shared.from_env(redis.env) for _ in range(3)]
    proxies = [Proxy(Line(shared)) for shared in lines if shared]
    try:
        redis.run("FLUSHALL")
        now = NOW
        for index, what, name, gap, percent in steps:
            proxy, now = proxies[index], now + gap / 10
            proxy.now = now
            match what:
                case "exchange":
                    await proxy.shared.exchange()
                case "served":
                    succeed(proxy.pool, name, sent_at=now - gap / 20, at=now)
                case "heard":
                    proxy.pool.heard(name, used(percent, now), now)
                case blame:
                    why = plan(now + HOUR) if blame == "plan" else verdict("blocked" if blame == "blocked" else "upstream")
                    proxy.pool.view([Member(name)], now)
                    proxy.pool.failed(Choice(name, "", now), why, now)
        for proxy in proxies:
            proxy.now = now
        await told(*proxies)
        first, *others = [proxy.pool.view(THREE, now) for proxy in proxies]
        assert others == [first, first]
        told_then = [proxy.shared.accounts.facts for proxy in proxies]
        await told(*proxies)
        assert [proxy.shared.accounts.news for proxy in proxies] == [{}, {}, {}], "and then there is nothing left to tell"
        assert [proxy.shared.accounts.facts for proxy in proxies] == told_then
    finally:
        for shared in lines:
            if shared:
                await shared.aclose()
