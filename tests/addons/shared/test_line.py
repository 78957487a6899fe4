"""The way to Redis: nobody waits for one that is away, and one that is slow to be asked is not taken for it."""

import asyncio
import logging
import signal
import time

import pytest

from addons.shared.line import PATIENCE, Away, Line
from tests.addons.shared.conftest import Connect
from tests.addons.shared.waiting import until
from tests.redisserver import RedisServer

ECHO = "return ARGV[1]"


async def knocks(line: Line) -> bool:
    try:
        await line.knock(ECHO, [], ["knock"])
    except Away:
        return False
    return True


async def test_who_is_known_to_be_away_is_asked_by_a_knock_only(
    connect: Connect, redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    line = connect()
    with caplog.at_level(logging.INFO):
        redis.kill()
        for _ in range(3):
            with pytest.raises(Away, match=r"Redis at 127\.0\.0\.1:\d+ is away \(ConnectionError\)"):
                await line.run(ECHO, [], ["a"])
        redis.start()
        with pytest.raises(Away):
            await line.run(ECHO, [], ["a"])
        await until(lambda: knocks(line))
        assert await line.run(ECHO, [], ["a"]) == b"a" and line.trouble == ""
    told = [record.message for record in caplog.records if record.name == "addons.shared.line"]
    assert len(told) == 2 and "each proxy counts the limits of keys alone" in told[0] and told[1].endswith("is back")


async def test_an_answer_that_comes_too_late_is_nobody_elses(connect: Connect, redis: RedisServer) -> None:
    line = connect()
    assert await line.run(ECHO, [], ["before"]) == b"before"
    redis.send(signal.SIGSTOP)
    try:
        with pytest.raises(Away, match="no answer"):
            await line.run(ECHO, [], ["late"])
    finally:
        redis.send(signal.SIGCONT)
    await until(lambda: knocks(line))
    words = [str(n) for n in range(50)]
    assert await asyncio.gather(*(line.run(ECHO, [], [word]) for word in words)) == [word.encode() for word in words]


async def test_a_process_that_stands_still_does_not_take_redis_for_away(connect: Connect) -> None:
    line = connect()
    await line.run(ECHO, [], ["before"])

    async def stand_still() -> None:
        time.sleep(1.5 * PATIENCE)  # noqa: ASYNC251 - the event loop is what must stand still

    answer, _ = await asyncio.gather(line.run(ECHO, [], ["here"]), stand_still())
    assert answer == b"here"


async def test_what_redis_refuses_is_as_if_it_were_away(connect: Connect) -> None:
    with pytest.raises(Away, match="ResponseError"):
        await connect().run("return redis.call('NOT A COMMAND')", [], [])


async def test_one_that_is_full_comes_and_goes_and_is_complained_of_once(
    connect: Connect, redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    line = connect()
    redis.run("CONFIG", "SET", "maxmemory", "1")
    try:
        for _ in range(3):
            await until(lambda: knocks(line))
            with pytest.raises(Away, match="OutOfMemoryError"):
                await line.run("return redis.call('SET', KEYS[1], 'x')", [line.key("x")], [])
    finally:
        redis.run("CONFIG", "SET", "maxmemory", "0")
    assert len([record for record in caplog.records if record.name == "addons.shared.line"]) == 1
