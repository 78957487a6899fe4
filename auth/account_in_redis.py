"""An account that several proxies share, in Redis: nothing is written that would undo something newer, and no token is spent twice.

    {codex-mitm}:accounts              hash: name -> version, negative for an account that was erased
    {codex-mitm}:account:NAME          hash: version, document (sealed), memory (sealed), spending
    {codex-mitm}:account:NAME:lease    who may refresh now; gone when its holder is

Rules that the scripts below keep:

* A version is Redis's own clock in microseconds, and always more than the one before. It is sealed with the document. What is saved
  names the version that it comes from, and is refused if there is a newer one. So a holder that slept beyond its lease, and comes
  back with a rotated token, may save it as long as nobody has written since, which nobody has: see below.
* Before a refresh token is spent, its fingerprint is written down (`spending`); only the holder of the lease can do so. It stays
  until something newer is saved, or the holder says how the request ended. Who takes over a lease and finds it there does not spend
  the token: its successor may be on its way. After `DOUBT` no answer can come any more. Then the token counts as spent, because
  nearly always it is: a request that has reached the issuer is carried out, whoever waits for the answer. To find out would be the
  reuse that issuers end whole sign-ins for.
* "No answer came" is believed only of a holder that had its lease all the time. One that was stopped, or cut off, finds its own
  time-outs run down when it comes back, and the answer may have been there.
* Redis may lose what it was told last, or everything. It is then at an older version than a process has seen. Whoever holds a newer
  document in memory puts it back, as it was sealed, and nobody refreshes for `DOUBT`, so that those who hold something newer still,
  or have a request under way, come first. An erased account leaves its version behind and is not put back.
"""

import asyncio
import logging
import re
import secrets
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

from auth import sidecar
from auth.authjson import AuthDocument, BadDocument
from auth.errors import AccountFileError, NotSignedIn, Overtaken, RedisAway, SaveFailed, TryAgainLater
from auth.issuer import TOTAL_TIMEOUT
from auth.sealing import BadSeal
from auth.shared import Shared
from auth.sidecar import Memory, fingerprint

logger = logging.getLogger(__name__)

# Seconds. A pause of ten (a frozen container, a machine that swaps) loses no lease; nobody waits longer for a killed holder.
LEASE = 15.0
RENEWALS_PER_LEASE = 3
LOCK_POLL = 0.1
# The issuer's answer comes within TOTAL_TIMEOUT or not at all; the rest is for putting it away.
DOUBT = TOTAL_TIMEOUT + 10

INTERRUPTED = "a proxy was lost in the middle of a refresh, and the answer with it"

# All numbers are compared in Lua, where integers are exact up to 2^53: microseconds until the year 2255.
_ACQUIRE = """
local version = redis.call('HGET', KEYS[1], 'version') or '0'
if math.abs(tonumber(version)) < tonumber(ARGV[3]) then return {'behind', version} end
if redis.call('GET', KEYS[2]) == ARGV[4] then redis.call('DEL', KEYS[2]) end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return {'held', version} end
return {'busy', version}
"""
_RENEW = "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('PEXPIRE', KEYS[1], ARGV[2]) or 0"
_RELEASE = "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('DEL', KEYS[1]) or 0"

# -> ok, lost (the lease), moved (the document), pending (for so many milliseconds), doubtful
_ANNOUNCE = """
local lease, base, token, doubt, withdrawn = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
if redis.call('GET', KEYS[2]) ~= lease then return {'lost', 0} end
if (redis.call('HGET', KEYS[1], 'version') or '0') ~= base then return {'moved', 0} end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local whose, by, since = string.match(redis.call('HGET', KEYS[1], 'spending') or '', '^(%S+) (%S+) (%d+)$')
if (whose == token or whose == '*') and by ~= withdrawn then
  local age = now - tonumber(since)
  if age < doubt then return {'pending', doubt - age} end
  if whose == token then return {'doubtful', age} end
end
redis.call('HSET', KEYS[1], 'spending', token .. ' ' .. lease .. ' ' .. string.format('%d', now))
return {'ok', 0}
"""
_TAKE_BACK = """
local by = string.match(redis.call('HGET', KEYS[1], 'spending') or '', '^%S+ (%S+) ')
if by ~= ARGV[1] or (ARGV[2] == 'if held' and redis.call('GET', KEYS[2]) ~= ARGV[1]) then return 0 end
return redis.call('HDEL', KEYS[1], 'spending')
"""
# Returns the version that is there in the end.
_SAVE = """
local name, base, version, document = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local there = redis.call('HGET', KEYS[1], 'version') or '0'
if math.abs(tonumber(there)) > math.abs(base) then return there end
redis.call('HSET', KEYS[1], 'version', version, 'document', document)
redis.call('HDEL', KEYS[1], 'spending')
redis.call('HSET', KEYS[2], name, version)
return version
"""
_ERASE = """
local time, there = redis.call('TIME'), math.abs(tonumber(redis.call('HGET', KEYS[1], 'version') or '0'))
local version = string.format('-%d', math.max(there + 1, time[1] * 1000000 + time[2]))
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'version', version)
redis.call('HSET', KEYS[2], ARGV[1], version)
return version
"""
_PUT_BACK = """
local name, expected, version, document, memory = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local there = redis.call('HGET', KEYS[1], 'version') or '0'
if there ~= expected then return {there, 'moved'} end
if version ~= '' then
  redis.call('HSET', KEYS[1], 'version', version, 'document', document)
  if document == '' then redis.call('HDEL', KEYS[1], 'document', 'memory') end
  if document ~= '' and memory ~= '' then redis.call('HSETNX', KEYS[1], 'memory', memory) end
  redis.call('HSET', KEYS[2], name, version)
end
local time = redis.call('TIME')
redis.call('HSET', KEYS[1], 'spending', '* restored ' .. string.format('%d', time[1] * 1000 + math.floor(time[2] / 1000)))
return version ~= '' and {version, 'put back'} or {there, 'lost'}
"""


class _Sealed(NamedTuple):
    version: int
    document: bytes


class AccountInRedis:
    """For one `TokenSource`, or one sign-in. `hear` is told every second what version there is (`places`); `stamp` says that."""

    def __init__(self, shared: Shared, name: str, *, lease: float = LEASE, doubt: float = DOUBT) -> None:
        self.name = name
        self._shared = shared
        self._key = shared.key("account", name)
        self._lease_key = shared.key("account", name, "lease")
        self._index = shared.key("accounts")
        self._lease_time = lease
        self._doubt = doubt
        self._heard = 0
        self._base = 0
        """The version of what was last read or saved through this object: what is saved next comes from there."""
        self._sealed: _Sealed | None = None
        """The same as it is kept, and below what was remembered: in case that Redis loses it."""
        self._memory = b""
        self._lease = ""
        self._unreleased = "-"
        """A lease that is over, and that Redis could not be told of."""
        self._withdrawn = "-"
        """The lease under which a refresh was announced that is known not to have spent anything."""

    @property
    def where(self) -> str:
        return f"account {self.name} in {self._shared.where}"

    @property
    def is_there(self) -> bool:
        return self._heard > 0

    def stamp(self) -> Hashable:
        return self._heard

    async def hear(self, version: int) -> None:
        """Raises RedisAway."""
        if abs(version) >= abs(self._heard):
            self._heard = version
        else:
            await self._put_back(version)

    async def read(self) -> AuthDocument:
        """Raises RedisAway as well."""
        there = await self._fetch()
        if there is None:
            raise NotSignedIn(self.where)
        try:
            return AuthDocument.parse(self._shared.open(self._seal_name(there.version), there.document))
        except (BadSeal, BadDocument) as error:
            raise AccountFileError(self.where, str(error)) from error

    async def _fetch(self) -> _Sealed | None:
        version, document = await self._version_and_document()
        if abs(version) < abs(self._heard):
            await self._put_back(version)
            version, document = await self._version_and_document()
        self._heard = self._base = version
        self._sealed = _Sealed(version, document) if document else None
        return self._sealed

    async def _version_and_document(self) -> tuple[int, bytes]:
        with self._shared.asking():
            version, document = await self._shared.redis.hmget(self._key, "version", "document")
        return version_of(version), document or b""

    # -- the right to refresh, and to save

    @asynccontextmanager
    async def locked(self, patience: float) -> AsyncIterator[None]:
        self._lease = lease = await self._acquire(patience)
        renewing = asyncio.get_running_loop().create_task(self._renew(lease), name=f"auth: lease on account {self.name}")
        try:
            yield
        finally:
            renewing.cancel()
            try:
                with self._shared.asking():
                    await self._shared.redis.eval(_RELEASE, 1, self._lease_key, lease)
            except RedisAway:  # then it runs out by itself, and need not keep ourselves out until then
                self._unreleased = lease

    async def _acquire(self, patience: float) -> str:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience
        lease = secrets.token_hex(16)
        while True:
            with self._shared.asking():
                state, version = await self._shared.redis.eval(
                    _ACQUIRE,
                    2,
                    self._key,
                    self._lease_key,
                    lease,
                    _milliseconds(self._lease_time),
                    abs(self._heard),
                    self._unreleased,
                )
            if state == b"behind":
                await self._put_back(version_of(version))
                continue
            self._heard = version_of(version)
            if state == b"held":
                return lease
            if loop.time() >= deadline:
                raise TryAgainLater(f"another process holds {self.where}")
            await asyncio.sleep(LOCK_POLL)

    async def _renew(self, lease: str) -> None:
        while True:
            await asyncio.sleep(self._lease_time / RENEWALS_PER_LEASE)
            with suppress(RedisAway), self._shared.asking():
                await self._shared.redis.eval(_RENEW, 1, self._lease_key, lease, _milliseconds(self._lease_time))

    async def announce(self, refresh_token: str) -> str | None:
        try:
            with self._shared.asking():
                state, more = await self._shared.redis.eval(
                    _ANNOUNCE,
                    2,
                    self._key,
                    self._lease_key,
                    self._lease,
                    self._base,
                    fingerprint(refresh_token),
                    _milliseconds(self._doubt),
                    self._withdrawn,
                )
        except RedisAway:
            self._withdrawn = self._lease  # it may have been written down, and nothing is spent
            raise
        match state:
            case b"ok":
                return None
            case b"doubtful":
                return INTERRUPTED
            case b"pending":
                raise TryAgainLater("another proxy has begun to refresh it and did not say how that ended", more / 1000)
            case _:
                raise TryAgainLater(f"{self.where} was taken over by another process")

    async def take_back(self, *, answered: bool) -> None:
        if answered:
            self._withdrawn = self._lease  # also if Redis cannot be told now
        with suppress(RedisAway), self._shared.asking(at_any_rate=True):
            condition = "always" if answered else "if held"
            await self._shared.redis.eval(_TAKE_BACK, 2, self._key, self._lease_key, self._lease, condition)

    async def is_in_doubt(self, refresh_token: str | None) -> bool:
        """Only under the lock. Whether `announce` would refuse it now."""
        with self._shared.asking():
            spending = await self._shared.redis.hget(self._key, "spending")
            now, _ = await self._shared.redis.time()
        if refresh_token is None or not spending:
            return False
        whose, _, since = str(spending, "ascii").split()
        return whose == fingerprint(refresh_token) or (whose == "*" and int(now) - int(since) / 1000 < self._doubt)

    async def save(self, document: AuthDocument) -> Hashable:
        base = self._base
        try:
            with self._shared.asking(at_any_rate=True):
                seconds, rest = await self._shared.redis.time()
                version: int = max(abs(base) + 1, seconds * 1_000_000 + rest)
                sealed = self._shared.seal(self._seal_name(version), document.dump())
                written = await self._shared.redis.eval(_SAVE, 2, self._key, self._index, self.name, base, version, sealed)
        except RedisAway as error:
            raise SaveFailed(self.where, error.why, "bring Redis back") from error
        self._heard = version_of(written)
        if self._heard != version:
            raise Overtaken(self.where)
        self._base, self._sealed = version, _Sealed(version, sealed)
        return version

    async def erase(self) -> None:
        try:
            with self._shared.asking():
                version = await self._shared.redis.eval(_ERASE, 2, self._key, self._index, self.name)
        except RedisAway as error:
            raise SaveFailed(self.where, error.why, "bring Redis back") from error
        self._heard = self._base = int(version)
        self._sealed = None

    async def _put_back(self, there: int) -> None:
        """Redis is at an older version than we have seen."""
        lost, version, document = self._heard, "", b""
        if lost < 0:
            version = str(lost)
        elif self._sealed and self._sealed.version > abs(there):
            version, document = str(self._sealed.version), self._sealed.document
        with self._shared.asking():
            now, became = await self._shared.redis.eval(
                _PUT_BACK, 2, self._key, self._index, self.name, there, version, document, self._memory
            )
        self._heard = version_of(now)
        if became == b"put back" and document:
            logger.warning("%s was lost there, and is put back from memory: let Redis write down what it is told", self.where)
        elif became == b"lost":
            logger.error("%s was lost there, and what is left is older: it may be signed out soon", self.where)

    # -- what is remembered

    async def probe_writable(self) -> str | None:
        try:
            with self._shared.asking():
                await self._shared.redis.set(self._shared.key("probe"), b"", px=1000)
        except RedisAway as error:
            return error.why
        return None

    async def recall(self) -> Memory:
        try:
            with self._shared.asking():
                self._memory = await self._shared.redis.hget(self._key, "memory") or b""
            return sidecar.unpack(self._shared.open(self._seal_name("memory"), self._memory)) if self._memory else Memory()
        except (RedisAway, BadSeal):
            return Memory()

    async def remember(self, memory: Memory) -> bool:
        sealed = self._shared.seal(self._seal_name("memory"), sidecar.pack(memory).rstrip())
        try:
            with self._shared.asking():
                await self._shared.redis.hset(self._key, "memory", sealed)
        except RedisAway:
            return False
        self._memory = sealed
        return True

    def _seal_name(self, what: int | str) -> str:
        return f"{self._key} {what}"


def version_of(written: bytes | None) -> int:
    """0 for what is none: somebody else has written there."""
    return int(written) if written and re.fullmatch(rb"-?\d{1,16}", written) else 0


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
