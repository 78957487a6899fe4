"""Accounts that move between folders and a real Redis: never usable at both ends, never lost, whenever it is interrupted."""

import json
import re
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import pytest

from auth.authjson import AuthDocument
from auth.errors import AuthError, NotSignedIn, SaveFailed
from auth.migrate import FolderSide, Parcel, RedisSide, Side, move
from auth.shared import Shared
from auth.sidecar import Memory
from auth.store import AccountStore
from tests.auth.minting import chatgpt_fields, document
from tests.auth.program import Program
from tests.redisserver import RedisServer

REMEMBERED = Memory(signed_in_here=True, last_error="no answer")


@pytest.fixture
async def redis_side(server: RedisServer) -> AsyncIterator[RedisSide]:
    shared = Shared.from_env(server.env)
    assert shared
    yield RedisSide(shared)
    await shared.aclose()


@pytest.fixture
def folder_side(tmp_path: Path) -> FolderSide:
    return FolderSide({"CODEX_MITM_HOME": str(tmp_path / "ours")})


@pytest.fixture(params=["to-redis", "to-files"])
def ends(request: pytest.FixtureRequest, redis_side: RedisSide, folder_side: FolderSide) -> tuple[Side, Side]:
    """From, to."""
    return (folder_side, redis_side) if request.param == "to-redis" else (redis_side, folder_side)


def first() -> AuthDocument:
    return document(chatgpt_fields(refresh="rt_SENTINEL_1"))


def second() -> AuthDocument:
    return document(chatgpt_fields(refresh="rt_SENTINEL_2"))


async def put(account: AccountStore, content: AuthDocument, memory: Memory = REMEMBERED) -> None:
    async with account.locked(5):
        await account.remember(memory)
        await account.save(content)


async def content(account: AccountStore) -> AuthDocument | None:
    try:
        return await account.read()
    except NotSignedIn:
        return None


async def moved(source: Side, destination: Side, *wanted: str) -> list[str]:
    return [name async for name in move(source, destination, wanted)]


async def test_there_and_back(folder_side: FolderSide, redis_side: RedisSide) -> None:
    await put(folder_side.account("work"), first())
    await put(folder_side.account("default"), second())
    assert await moved(folder_side, redis_side) == ["default", "work"]
    assert (await folder_side.names(), sorted(await redis_side.names())) == ([], ["default", "work"])
    assert await redis_side.account("work").read() == first()
    assert await redis_side.account("work").recall() == REMEMBERED
    assert await moved(redis_side, folder_side, "work") == ["work"]
    assert (await folder_side.names(), await redis_side.names()) == (["work"], ["default"])
    assert await folder_side.account("work").read() == first()
    assert await folder_side.account("work").recall() == REMEMBERED


async def test_nothing_is_left_in_the_folders(folder_side: FolderSide, redis_side: RedisSide, tmp_path: Path) -> None:
    await put(folder_side.account("work"), first())
    await moved(folder_side, redis_side)
    assert list((tmp_path / "ours" / "accounts").iterdir()) == []


class Killed(BaseException):
    """Nothing that the code under test could catch."""


@dataclass
class KilledAt:
    """The destination of a run that ends at a step: after the copy, after the removal, or before the copy is dropped."""

    side: Side
    step: str
    unwrapped: int = 0

    async def names(self) -> Collection[str]:
        return await self.side.names()

    def account(self, name: str) -> AccountStore:
        return self.side.account(name)

    async def parked(self) -> Collection[str]:
        return await self.side.parked()

    async def park(self, name: str, parcel: Parcel) -> None:
        await self.side.park(name, parcel)
        if self.step == "parked":
            raise Killed

    async def unwrap(self, name: str) -> Parcel:
        self.unwrapped += 1
        if self.step == "removed" and self.unwrapped == 2:
            raise Killed
        return await self.side.unwrap(name)

    async def drop(self, name: str) -> None:
        if self.step == "unparked":
            raise Killed
        await self.side.drop(name)


@pytest.mark.parametrize(
    ("step", "at_source", "at_destination"),
    [("parked", True, False), ("removed", False, False), ("unparked", False, True)],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_who_was_interrupted_is_usable_once_at_most_and_the_same_again_ends_it(
    ends: tuple[Side, Side], step: str, at_source: bool, at_destination: bool
) -> None:
    source, destination = ends
    await put(source.account("work"), first())
    with pytest.raises(Killed):
        await moved(source, KilledAt(destination, step))
    assert (await content(source.account("work")) is not None, await content(destination.account("work")) is not None) == (
        at_source,
        at_destination,
    )
    assert await moved(source, destination) == ["work"]
    assert await content(source.account("work")) is None
    assert await content(destination.account("work")) == first()
    assert await destination.account("work").recall() == REMEMBERED
    assert list(await destination.parked()) == list(await moved(source, destination)) == []


async def test_what_was_refreshed_after_an_interruption_is_what_is_moved(ends: tuple[Side, Side]) -> None:
    source, destination = ends
    await put(source.account("work"), first())
    with pytest.raises(Killed):
        await moved(source, KilledAt(destination, "parked"))
    account = source.account("work")
    await account.read()
    await put(account, second())
    await moved(source, destination)
    assert await content(destination.account("work")) == second()


async def test_what_was_refreshed_at_its_new_place_is_not_undone(ends: tuple[Side, Side]) -> None:
    source, destination = ends
    await put(source.account("work"), first())
    with pytest.raises(Killed):
        await moved(source, KilledAt(destination, "unparked"))
    account = destination.account("work")
    await account.read()
    await put(account, second())
    await moved(source, destination)
    assert await content(destination.account("work")) == second()


async def test_two_accounts_of_one_name_are_left_where_they_are(ends: tuple[Side, Side]) -> None:
    source, destination = ends
    await put(source.account("work"), first())
    await put(destination.account("work"), second())
    with pytest.raises(AuthError, match="there is an account work at both ends"):
        await moved(source, destination)
    assert (await content(source.account("work")), await content(destination.account("work"))) == (first(), second())


async def test_what_is_not_the_newest_is_not_moved(ends: tuple[Side, Side], redis_side: RedisSide) -> None:
    source, destination = ends
    await put(source.account("work"), first(), Memory(unsaved_why="no space left on device"))
    with pytest.raises(SaveFailed, match="a proxy holds a newer token of it"):
        await moved(source, destination)
    if source is redis_side:
        account = source.account("work")
        await account.remember(Memory())
        async with account.locked(1):
            await account.read()
            await account.announce("rt_SENTINEL_1")
        with pytest.raises(AuthError, match="a refresh of account work in Redis .* is under way or was interrupted"):
            await moved(source, destination)
    assert await content(source.account("work")) == first()
    assert await content(destination.account("work")) is None


# -- as a user meets it


@pytest.mark.slow
def test_a_deployment_moves_to_redis_lives_there_and_moves_back(program: Program, server: RedisServer, tmp_path: Path) -> None:
    key = tmp_path / "new.key"
    made = program.run("migrate", "--new-key", str(key))
    assert made.out == f"export CODEX_MITM_REDIS_KEY_FILE={key}\n"
    env = {"CODEX_MITM_REDIS_URL": server.url, "CODEX_MITM_REDIS_KEY_FILE": str(key)}
    program.log_in()

    ran = program.run("migrate", "--to-redis", env=env)
    assert ran.err == f"account default is moved to\n    account default in Redis at 127.0.0.1:{server.port}\n"
    assert not program.file().exists()

    ran = program.run("status", "--json", env=env)
    (account,) = json.loads(ran.out)["accounts"]
    assert (account["name"], account["email"], account["usable"], account["writable"]) == ("default", "ada@example.com", True, True)
    assert account["file"] == f"account default in Redis at 127.0.0.1:{server.port}"
    assert program.run("status").code == 1, "without the setting there is nobody"

    ran = program.run_here("refresh", env=env)
    assert (ran.code, program.fake.control.counts().refreshes) == (0, 1)

    assert program.run("migrate", "--to-files", env=env).code == 0
    stored = json.loads(program.file().read_text())["tokens"]["refresh_token"]
    assert stored == program.fake.control.current("ada@example.com").refresh_token
    assert "not signed in" in program.run("status", env=env).err


@pytest.mark.slow
def test_a_sign_in_and_a_sign_out_in_redis(
    program: Program, server: RedisServer, sign_in_to: Callable[[RedisServer], None]
) -> None:
    sign_in_to(server)
    assert not program.file().exists()
    ran = program.run("status", env=server.env)
    assert re.search(r"account +ada@example\.com.*\n.*token +expires in", ran.out)
    ran = program.run_here("logout", env=server.env)
    assert ran.err.startswith("account default is signed out at OpenAI")
    assert program.fake.control.counts().revocations == 1
    assert "there is no account default of ours" in program.run_here("logout", env=server.env).err


@pytest.fixture
def sign_in_to(program: Program) -> Callable[[RedisServer], None]:
    def sign_in_to(server: RedisServer) -> None:
        program.fake.control.settings(device_interval="1", sign_in_email="ada@example.com")
        with program.start("login", "--device", "--issuer", program.fake.issuer_url, env=server.env) as login:
            program.fake.control.approve(login.line(1))
            ended = login.end()
        assert (ended.code, f"account default in Redis at 127.0.0.1:{server.port}" in ended.err) == (0, True)

    return sign_in_to


@pytest.mark.slow
def test_what_is_wrong_is_said(program: Program, server: RedisServer) -> None:
    away = server.env | {"CODEX_MITM_REDIS_URL": "redis://:SENTINEL@127.0.0.1:1/0"}
    for command, env, said in [
        (["migrate", "--to-redis"], {}, "CODEX_MITM_REDIS_URL cannot be used, it is not set"),
        (["migrate", "--to-redis"], server.env, "there is no account to be moved"),
        (["migrate", "--to-redis", "--account", "work"], server.env, "there is no account work to be moved"),
        (["status"], away, "Redis at 127.0.0.1:1 is away (ConnectionError)"),
        (["status"], {"CODEX_MITM_REDIS_URL": server.url}, "CODEX_MITM_REDIS_KEY_FILE cannot be used, it is not set"),
    ]:
        ran = program.run(*command, env=env)
        assert ran.code == 1 and said in ran.err.replace("\n", " ") and "SENTINEL" not in ran.err, ran
