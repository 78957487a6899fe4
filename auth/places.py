"""Where the accounts are: in folders of this machine, or in the Redis that several proxies share. Never in both.

Folders    our own; the Codex CLI's, if there are none; or those that somebody names
Shelf      Redis, if CODEX_MITM_REDIS_URL is set; no folder is looked at then
"""

import asyncio
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from auth.errors import AuthError, BadSetting, NotSignedIn, RedisAway
from auth.shared import URL, Shared
from auth.store import AUTH_JSON, CODEX_CLI, DEFAULT, AccountFile, AccountStore, find_accounts, is_own_name, own_account, own_folder

if TYPE_CHECKING:  # what talks to Redis is for those who share accounts
    from auth.account_in_redis import AccountInRedis

logger = logging.getLogger(__name__)

# Seconds until every proxy knows of a sign-in, a sign-out or a refresh elsewhere. Nothing depends on its being short: whoever has
# to refresh learns the truth with the lock.
LOOK_EVERY = 1.0


class Place(Protocol):
    async def find(self, configured: Sequence[str | Path]) -> Sequence[AccountStore]:
        """The accounts in use, the first one first. Raises AccountFileError, BadSetting, RedisAway."""

    def nobody(self) -> NotSignedIn:
        """What there is to say if none was found."""

    def own(self, name: str) -> AccountStore:
        """Where a sign-in under this name is kept. Raises SaveFailed."""

    async def ours(self, name: str) -> AccountStore:
        """One that may be signed out. Raises AuthError for one that is not there, or not ours."""

    async def watch(self) -> None:
        """Keeps the accounts that were found up to date, for as long as it runs."""


def place_of(env: Mapping[str, str], shared: Shared | None) -> Place:
    return Shelf(shared) if shared else Folders(env)


class Folders:
    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env

    async def find(self, configured: Sequence[str | Path]) -> Sequence[AccountFile]:
        return find_accounts(configured, self._env)

    def nobody(self) -> NotSignedIn:
        return NotSignedIn()

    def own(self, name: str) -> AccountFile:
        return own_account(name, self._env)

    async def ours(self, name: str) -> AccountFile:
        if name in self.own_names():
            return AccountFile(own_folder(self._env) / "accounts" / name / AUTH_JSON)
        if name == CODEX_CLI or any(account.name == CODEX_CLI for account in find_accounts([], self._env)):
            raise AuthError("the sign-in in use is the Codex CLI's, which is left alone", "run `codex logout` to end it")
        raise _no_account(name)

    def own_names(self) -> list[str]:
        """Also of those that are broken: a link that leads nowhere is something to sign out."""
        folder = own_folder(self._env) / "accounts"
        return sorted(path.name for path in folder.glob("*") if os.path.lexists(path / AUTH_JSON))

    async def watch(self) -> None:
        """A file says by itself when it has changed."""


class Shelf:
    """Every account in Redis, each as one object: what it holds of a document is what Redis may lose.

    Who signs in or out gets an object of its own, because one remembers what was read through it last.
    """

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._accounts: dict[str, AccountInRedis] = {}

    async def find(self, configured: Sequence[str | Path]) -> "Sequence[AccountInRedis]":
        if configured:
            raise accounts_named_twice()
        await self._look()
        there = [account for account in self._accounts.values() if account.is_there]
        return sorted(there, key=lambda account: (account.name != DEFAULT, account.name))

    def nobody(self) -> NotSignedIn:
        """Names Redis, which may have had accounts and lost them."""
        return NotSignedIn(f"any account in {self._shared.where}")

    def own(self, name: str) -> "AccountInRedis":
        from auth.account_in_redis import AccountInRedis

        return AccountInRedis(self._shared, name)

    async def ours(self, name: str) -> "AccountInRedis":
        if any(account.name == name for account in await self.find([])):
            return self.own(name)
        raise _no_account(name)

    async def watch(self) -> None:
        away = False
        while True:
            try:
                await self._look()
            except RedisAway as error:
                if not away:
                    logger.warning("%s: tokens that are good serve on, and none is refreshed", error.why)
                away = True
            else:
                if away:
                    logger.info("%s is back", self._shared.where)
                away = False
            await asyncio.sleep(LOOK_EVERY)

    async def _look(self) -> None:
        from auth.account_in_redis import version_of

        with self._shared.asking():
            found = await self._shared.redis.hgetall(self._shared.key("accounts"))
        names = {name.decode(errors="replace"): version_of(version) for name, version in found.items()}
        versions = {name: version for name, version in names.items() if is_own_name(name)}
        for name in versions.keys() - self._accounts.keys():
            self._accounts[name] = self.own(name)
        for name, account in list(self._accounts.items()):
            await account.hear(versions.get(name, 0))


def accounts_named_twice() -> BadSetting:
    return BadSetting("codex_accounts", f"{URL} is set, and then the accounts are in Redis: unset one of the two")


def _no_account(name: str) -> AuthError:
    return AuthError(f"there is no account {name} of ours", "`python -m auth status` lists those that are there")
