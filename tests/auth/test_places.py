"""Where accounts are looked for: this machine's folders, or Redis and nothing else."""

import asyncio
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from mitmproxy import exceptions
from mitmproxy.test import taddons

from addons.accounts import CodexAccounts
from addons.policy import AccountRules
from auth.errors import AuthError, BadSetting
from auth.outbound import Outbound
from auth.places import Folders, Shelf, place_of
from auth.shared import Shared
from tests.auth.minting import chatgpt_fields, document
from tests.redisserver import RedisServer


def place_file(home: Path, name: str) -> None:
    path = home / "accounts" / name / "auth.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(chatgpt_fields()))


async def test_with_redis_the_folders_are_not_looked_at(tmp_path: Path, shared: Shared) -> None:
    env = {"CODEX_MITM_HOME": str(tmp_path), "HOME": str(tmp_path)}
    place_file(tmp_path, "work")
    assert [account.name for account in await place_of(env, None).find([])] == ["work"]
    place = place_of(env, shared)
    assert list(await place.find([])) == []
    assert str(place.nobody()).startswith(f"not signed in, any account in {shared.where} does not exist")


async def test_accounts_are_named_in_one_place(tmp_path: Path, shared: Shared) -> None:
    with pytest.raises(BadSetting, match="codex_accounts cannot be used, CODEX_MITM_REDIS_URL is set"):
        await Shelf(shared).find([tmp_path])
    addon = CodexAccounts(Outbound(), AccountRules, shared)
    with taddons.context(addon) as tctx:
        with pytest.raises(exceptions.OptionsError, match="CODEX_MITM_REDIS_URL is set"):
            tctx.configure(addon, codex_accounts=[str(tmp_path)])


async def test_whom_one_may_sign_out(tmp_path: Path, shared: Shared) -> None:
    place_file(tmp_path, "work")
    folders, shelf = Folders({"CODEX_MITM_HOME": str(tmp_path), "HOME": str(tmp_path)}), Shelf(shared)
    account = shelf.own("work")
    async with account.locked(1):
        await account.save(document(chatgpt_fields()))
    for place in (folders, shelf):
        assert (await place.ours("work")).name == "work"
        with pytest.raises(AuthError, match="there is no account other of ours"):
            await place.ours("other")


async def test_who_watches_hears_of_what_others_do_and_says_when_redis_is_away(
    server: RedisServer, shared: Shared, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    shelf = Shelf(shared)
    account = shelf.own("work")
    async with account.locked(1):
        await account.save(document(chatgpt_fields()))
    (known,) = await shelf.find([])
    watching = asyncio.get_running_loop().create_task(shelf.watch(), name="watch")
    stamp = await account.save(document(chatgpt_fields(refresh="rt_2")))
    await until(lambda: known.stamp() == stamp)
    server.kill()
    await until(lambda: "is away (ConnectionError): tokens that are good serve on" in caplog.text)
    server.start()
    await until(lambda: "is back" in caplog.text)
    assert known.stamp() == stamp
    watching.cancel()


async def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not done():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
