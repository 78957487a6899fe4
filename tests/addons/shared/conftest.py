"""Several proxies' worth of what proxies share, in one process, on one real Redis."""

from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from addons.shared.line import Line
from auth.shared import Shared
from tests.redisserver import RedisServer, redis_server

Connect = Callable[[], Line]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis"), appendonly="no") as server:
        yield server


@pytest.fixture
def redis(server: RedisServer) -> RedisServer:
    """Running, and empty."""
    if server.process is None or server.process.poll() is not None:
        server.start()
    server.run("FLUSHALL")
    return server


@pytest.fixture
async def connect(redis: RedisServer) -> AsyncIterator[Connect]:
    """The line of one proxy more."""
    lines: list[Line] = []

    def connect() -> Line:
        shared = Shared.from_env(redis.env)
        assert shared
        lines.append(Line(shared))
        return lines[-1]

    yield connect
    for line in lines:
        await line.aclose()
