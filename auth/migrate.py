"""Moves accounts between this machine's folders and the Redis that several proxies share.

A refresh token is good for one use, so at no instant may an account be usable in both places, and at none in neither without a way
back. Under the locks of both:

    1  park     a sealed copy at the destination, where no proxy looks for accounts
    2  remove   the account at its source
    3  unpark   the copy becomes the account

Whoever is killed leaves the account at its source (before 2) or parked at its destination (after 2); the same command again ends
what was begun. A parked copy beside an account that is there already is what a kill within 3 leaves, and is dropped.
"""

import base64
import json
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from auth import durable, sidecar
from auth.account_in_redis import AccountInRedis
from auth.authjson import AuthDocument, BadDocument
from auth.errors import AccountFileError, AuthError, NotSignedIn, SaveFailed
from auth.places import Folders, Shelf
from auth.sealing import BadSeal
from auth.shared import Shared
from auth.sidecar import Memory
from auth.source import LOCK_TIMEOUT
from auth.store import MAX_FILE_SIZE, AccountStore, is_own_name, own_folder, reason

PARKED = "auth.json.moving"


@dataclass(frozen=True, slots=True)
class Parcel:
    document: AuthDocument
    memory: Memory

    def dump(self) -> bytes:
        parts = {"document": self.document.dump(), "memory": sidecar.pack(self.memory).rstrip()}
        return json.dumps({name: base64.b64encode(part).decode() for name, part in parts.items()}).encode()

    @classmethod
    def parse(cls, raw: bytes) -> "Parcel":
        """Raises BadDocument."""
        try:
            parts = {name: base64.b64decode(part) for name, part in json.loads(raw).items()}
            return cls(AuthDocument.parse(parts["document"]), sidecar.unpack(parts["memory"]))
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise BadDocument("it is no parked account") from error


class Side(Protocol):
    """Either place, with what only moving needs of it."""

    async def names(self) -> Collection[str]:
        """Of the accounts that are there and can be moved."""

    def account(self, name: str) -> AccountStore: ...

    async def parked(self) -> Collection[str]: ...

    async def park(self, name: str, parcel: Parcel) -> None: ...

    async def unwrap(self, name: str) -> Parcel:
        """Raises AccountFileError."""

    async def drop(self, name: str) -> None: ...


async def move(source: Side, destination: Side, wanted: Collection[str]) -> AsyncIterator[str]:
    """All accounts, or the `wanted` ones, and those that an earlier run left half moved. Yields each name as it is done.

    Raises AuthError for the first one that cannot be moved.
    """
    there = {*await source.names(), *await destination.parked()}
    for name in sorted(there & set(wanted) if wanted else there):
        await _move_one(source, destination, name)
        yield name


async def _move_one(source: Side, destination: Side, name: str) -> None:
    old, new = source.account(name), destination.account(name)
    async with _both_locked(old, new):
        left = await _document_of(old)
        taken = await _document_of(new)
        if left is not None:
            if taken is not None:
                raise AuthError(
                    f"there is an account {name} at both ends, which may be two sign-ins",
                    f"`python -m auth logout --account {name}` signs one of them out",
                )
            await _check_movable(old, left)
            await destination.park(name, Parcel(left, await old.recall()))
            await _check_copy(destination, name, left)
        await old.erase()
        if taken is None:
            parcel = await destination.unwrap(name)
            await new.remember(parcel.memory)
            await new.save(parcel.document)
        await destination.drop(name)


@asynccontextmanager
async def _both_locked(old: AccountStore, new: AccountStore) -> AsyncIterator[None]:
    """Folders first, whichever way it goes, so that two of us cannot wait for each other."""
    first, second = sorted((old, new), key=lambda account: isinstance(account, AccountInRedis))
    async with first.locked(LOCK_TIMEOUT), second.locked(LOCK_TIMEOUT):
        yield


async def _document_of(account: AccountStore) -> AuthDocument | None:
    try:
        return await account.read()
    except NotSignedIn:
        return None


async def _check_movable(account: AccountStore, document: AuthDocument) -> None:
    """What is written down may not be the newest."""
    if (await account.recall()).unsaved_why:
        raise SaveFailed(account.where, "a proxy holds a newer token of it than it could save", "let that proxy save it first")
    if isinstance(account, AccountInRedis) and await account.is_in_doubt(document.refresh_token):
        raise AuthError(f"a refresh of {account.where} is under way or was interrupted", "`python -m auth status` shows which")


async def _check_copy(destination: Side, name: str, document: AuthDocument) -> None:
    if (await destination.unwrap(name)).document != document:
        raise SaveFailed(f"the copy of account {name}", "it does not read back as it was written", "try again")


class FolderSide:
    """Our own folders. The Codex CLI's file is left alone: it would be signed out."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._folders = Folders(env)
        self._folder = own_folder(env) / "accounts"

    async def names(self) -> Collection[str]:
        return self._folders.own_names()

    def account(self, name: str) -> AccountStore:
        return self._folders.own(name)

    async def parked(self) -> Collection[str]:
        return [path.parent.name for path in self._folder.glob(f"*/{PARKED}")]

    async def park(self, name: str, parcel: Parcel) -> None:
        try:
            durable.replace(self._parked(name), parcel.dump())
        except OSError as error:
            raise SaveFailed(self._parked(name), reason(error)) from error

    async def unwrap(self, name: str) -> Parcel:
        path = self._parked(name)
        try:
            return Parcel.parse(durable.read_bounded(path, 2 * MAX_FILE_SIZE))
        except OSError as error:
            raise AccountFileError(path, reason(error)) from error
        except BadDocument as error:
            raise AccountFileError(path, str(error)) from error

    async def drop(self, name: str) -> None:
        self._parked(name).unlink(missing_ok=True)

    def _parked(self, name: str) -> Path:
        return self._folder / name / PARKED


class RedisSide:
    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._shelf = Shelf(shared)
        self._key = shared.key("moving")

    async def names(self) -> Collection[str]:
        return [account.name for account in await self._shelf.find([])]

    def account(self, name: str) -> AccountStore:
        return self._shelf.own(name)

    async def parked(self) -> Collection[str]:
        with self._shared.asking():
            names = [name.decode(errors="replace") for name in await self._shared.redis.hkeys(self._key)]
        return [name for name in names if is_own_name(name)]

    async def park(self, name: str, parcel: Parcel) -> None:
        sealed = self._shared.seal(f"{self._key} {name}", parcel.dump())
        with self._shared.asking():
            await self._shared.redis.hset(self._key, name, sealed)

    async def unwrap(self, name: str) -> Parcel:
        with self._shared.asking():
            sealed = await self._shared.redis.hget(self._key, name)
        where = f"the parked account {name} in {self._shared.where}"
        if sealed is None:
            raise AccountFileError(where, "it is gone")
        try:
            return Parcel.parse(self._shared.open(f"{self._key} {name}", sealed))
        except (BadSeal, BadDocument) as error:
            raise AccountFileError(where, str(error)) from error

    async def drop(self, name: str) -> None:
        with self._shared.asking():
            await self._shared.redis.hdel(self._key, name)
