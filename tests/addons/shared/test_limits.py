"""The limits of keys over several proxies: as exact as those of one, whatever becomes of a proxy or of Redis."""

import asyncio
import gc
from random import Random
from typing import Any

import pytest

from addons.counter import OwnCounter
from addons.limits import Asked, Limits, Wanted
from addons.shared.limits import SharedCounter
from addons.shared.line import Away, Line
from addons.shared.presence import Presence
from tests.addons.shared.conftest import Connect
from tests.addons.shared.waiting import until
from tests.redisserver import RedisServer

KEY, OTHER = b"\x01" * 32, b"\x02" * 32


class Request:
    """A ticket."""


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def counter_on(line: Line, **more: Any) -> SharedCounter[Request]:
    return SharedCounter(line, Presence(line, **more), OwnCounter[Request](Clock()))


async def ask(counter: SharedCounter[Request], limits: Limits, tokens: int = 1, key: bytes = KEY) -> tuple[Request, Asked]:
    request = Request()
    return request, await counter.ask(key, request, Wanted(tokens), limits)


# -- the same rules

# Seconds between two steps: often none, often a part of one, now and then most of a minute. Eighths are exact.
GAPS = (0.0, 0.0, 0.125, 0.25, 0.75, 2.5, 11.0, 40.0)


def some_limits(chance: Random) -> Limits:
    return Limits(*(chance.choice([None, most]) for most in (chance.randint(2, 12), chance.randint(20, 120), chance.randint(2, 4))))


@pytest.mark.parametrize("seed", range(12))
async def test_it_answers_as_one_proxy_does_alone(seed: int, connect: Connect) -> None:
    """A history of the same requests and ends, made by lot, for both; each answer is the same, whatever it was."""
    chance, clock = Random(seed), Clock()
    together = SharedCounter(line := connect(), Presence(line), OwnCounter[Request](clock))
    alone, under_way, limits = OwnCounter[Request](clock), list[Request](), some_limits(chance)
    kinds = set()
    for _ in range(200):
        clock.now += chance.choice(GAPS)
        together.moment = str(round(clock.now * 1e6))
        if chance.random() < 0.03:
            limits = some_limits(chance)  # they may be changed at any time
        request, wanted = Request(), Wanted(chance.randint(1, 30), chance.random() < 0.7)
        answer = await together.ask(KEY, request, wanted, limits)
        assert answer == await alone.ask(KEY, request, wanted, limits)
        kinds.add(answer.over and answer.over.gauge.of)
        if answer.over is None:
            under_way.append(request)
        while under_way and chance.random() < 0.4:
            over, used = under_way.pop(chance.randrange(len(under_way))), chance.choice([None, chance.randint(0, 40)])
            for counter in (together, alone, together):
                await counter.settle(KEY, over, used)
    assert len(kinds) > 1, "it was about something"


# -- over several proxies


async def test_a_limit_is_exact_to_one_request_over_three_proxies(connect: Connect) -> None:
    counters = [counter_on(connect()) for _ in range(3)]
    answers = await asyncio.gather(*(ask(counters[n % 3], Limits(requests=50)) for n in range(200)))
    assert sum(answer.over is None for _, answer in answers) == 50
    assert not any(answer.alone for _, answer in answers)
    _, answer = await ask(counters[0], Limits(requests=50), key=OTHER)
    assert answer.over is None, "and each key has its own"


async def test_slots_are_exact_too_and_free_when_the_answer_ends(connect: Connect) -> None:
    here, there = counter_on(connect()), counter_on(connect())
    answers = await asyncio.gather(*(ask([here, there][n % 2], Limits(parallel=5)) for n in range(40)))
    let_in = [(n, request) for n, (request, answer) in enumerate(answers) if answer.over is None]
    assert len(let_in) == 5
    over = answers[next(n for n in range(40) if answers[n][1].over)][1].over
    assert over and (over.gauge.of, over.gauge.limit, over.again_in) == ("parallel", 5, 1.0)
    n, request = let_in[0]
    await [here, there][n % 2].settle(KEY, request, 0)
    assert (await ask(there, Limits(parallel=5)))[1].over is None
    assert (await ask(here, Limits(parallel=5)))[1].over


async def test_tokens_that_are_expected_count_everywhere_until_it_is_known_what_was_used(connect: Connect) -> None:
    here, there, limits = counter_on(connect()), counter_on(connect()), Limits(tokens=100)
    request, _ = await ask(here, limits, 80)
    assert (await ask(there, limits, 30))[1].over
    await here.settle(KEY, request, 60)
    _, answer = await ask(there, limits, 30)
    assert answer.over is None and answer.gauges[0].left == 10


# -- a proxy that is gone


async def test_what_a_dead_proxy_held_is_free_when_its_lease_is_over(connect: Connect) -> None:
    dead, alive = counter_on(connect(), lease=0.5), counter_on(connect())
    limits = Limits(tokens=100, parallel=1)
    held, _ = await ask(dead, limits, 100)
    assert (await ask(alive, limits))[1].over

    async def is_free() -> bool:
        return (await ask(alive, limits, 100))[1].over is None

    await until(is_free)
    await dead.settle(KEY, held, 100)  # it was only asleep: what it says now of a request that nobody counts harms nobody
    assert (await ask(dead, limits))[1].over


async def test_one_that_beats_keeps_what_it_holds_and_one_that_leaves_gives_it_back(connect: Connect) -> None:
    here, there = counter_on(connect(), lease=0.5), counter_on(connect())
    held, _ = await ask(here, Limits(parallel=1))
    for _ in range(10):
        await here.presence.beat()
        await asyncio.sleep(0.1)
    assert (await ask(there, Limits(parallel=1)))[1].over
    await here.presence.leave()
    assert (await ask(there, Limits(parallel=1)))[1].over is None
    assert held


async def test_a_request_that_is_lost_without_a_word_is_under_way_no_more(connect: Connect) -> None:
    here, there = counter_on(connect()), counter_on(connect())
    held, _ = await ask(here, Limits(parallel=1))
    assert (await ask(there, Limits(parallel=1)))[1].over
    del held
    gc.collect()
    await here.catch_up()
    assert (await ask(there, Limits(parallel=1)))[1].over is None


# -- without Redis


async def test_without_redis_each_proxy_holds_the_limit_alone_and_says_so(connect: Connect, redis: RedisServer) -> None:
    here, there, limits = counter_on(connect()), counter_on(connect()), Limits(requests=4)
    for _ in range(3):
        assert not (await ask(here, limits))[1].alone
    redis.kill()
    answers = [(await ask(here, limits))[1] for _ in range(3)]
    assert [answer.over is None for answer in answers] == [True, False, False], "what it let in before counts"
    assert all(answer.alone for answer in answers)
    assert (await ask(there, limits))[1].over is None and here.line.trouble and there.line.trouble


async def test_what_is_under_way_is_counted_again_when_redis_has_forgotten_it(connect: Connect, redis: RedisServer) -> None:
    here, there, limits = counter_on(connect()), counter_on(connect()), Limits(tokens=100, parallel=3)
    before, _ = await ask(here, limits, 30)
    ended, _ = await ask(here, limits, 10)
    redis.kill()
    meanwhile, answer = await ask(here, limits, 30)
    assert answer.alone
    await here.settle(KEY, ended, 10)
    redis.start()
    await back(here, there)
    _, answer = await ask(there, limits, 30)
    assert answer.over is None and not answer.alone and answer.gauges[0].left == 10, "two of 30 are under way there, and this one"
    assert (await ask(there, limits, 10))[1].over, "and all slots are taken"
    for request in (before, meanwhile):
        await here.settle(KEY, request, 0)
    assert (await ask(there, limits, 60))[1].over is None


async def test_an_end_that_could_not_be_told_is_told_later(connect: Connect, redis: RedisServer) -> None:
    here, there, limits = counter_on(connect()), counter_on(connect()), Limits(tokens=100)
    held, _ = await ask(here, limits, 90)
    here.line.trouble = "on a way of its own"
    await here.settle(KEY, held, 50)
    assert (await ask(there, limits, 50))[1].over
    await back(here)
    await here.catch_up()
    assert (await ask(there, limits, 50))[1].over is None
    assert (await ask(there, limits, 1))[1].over


async def back(*counters: SharedCounter[Request]) -> None:
    """As the addon does it, twice a second."""
    for counter in counters:

        async def beats(counter: SharedCounter[Request] = counter) -> bool:
            try:
                await counter.presence.beat()
            except Away:
                return False
            return True

        await until(beats)
