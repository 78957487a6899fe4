import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from auth.issuer import Issuer
from auth.outbound import Outbound
from auth.shared import Shared
from auth.store import AccountFile
from tests.auth.program import Program
from tests.fakes.control import Control
from tests.fakes.openai import FakeOpenAI
from tests.redisserver import RedisServer, redis_server


@pytest.fixture(scope="session")
def running_fake() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as fake:
        yield fake


@pytest.fixture
def fake(running_fake: FakeOpenAI) -> FakeOpenAI:
    running_fake.control.reset()
    return running_fake


@pytest.fixture
def control(fake: FakeOpenAI) -> Control:
    return fake.control


@pytest.fixture
async def issuer(fake: FakeOpenAI) -> AsyncIterator[Issuer]:
    issuer = Issuer(fake.issuer_url, Outbound(), "codex_mitm/test")
    yield issuer
    await issuer.aclose()


@pytest.fixture
def account(tmp_path: Path) -> AccountFile:
    """An account's place, with nobody signed in."""
    folder = tmp_path / "accounts" / "work"
    folder.mkdir(parents=True)
    return AccountFile(folder / "auth.json")


@pytest.fixture
def sign_in(control: Control, account: AccountFile) -> Callable[..., dict[str, Any]]:
    """Writes what the CLI would have written; takes what `Control.login` takes."""

    def sign_in(**how: Any) -> dict[str, Any]:
        fields = control.login(**how)
        account.path.write_text(json.dumps(fields))
        return fields

    return sign_in


@pytest.fixture
def program(tmp_path: Path, fake: FakeOpenAI) -> Iterator[Program]:
    """The command line, in a home where nobody has signed in."""
    program = Program(tmp_path, fake)
    yield program
    program.check()


@pytest.fixture(scope="module")
def running_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def server(running_redis: RedisServer) -> RedisServer:
    """A real Redis, with nothing in it."""
    running_redis.run("FLUSHALL")
    return running_redis


@pytest.fixture
async def shared(server: RedisServer) -> AsyncIterator[Shared]:
    shared = Shared.from_env(server.env)
    assert shared
    yield shared
    await shared.aclose()
