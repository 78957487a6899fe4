"""What several proxies share: one Redis (or Valkey), and the key that seals what is put into it.

    CODEX_MITM_REDIS_URL        redis://, rediss:// or unix://; may hold a password, and is in no text of ours
    CODEX_MITM_REDIS_KEY_FILE   see `sealing`

Without the first, nothing is shared, and neither redis-py nor what seals is even imported. All keys have one hash tag, so that a
script may name several of them on a cluster too.
"""

import asyncio
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from auth.errors import BadSetting, RedisAway

if TYPE_CHECKING:
    from redis.asyncio import BlockingConnectionPool

    from auth.sealing import Seal

URL = "CODEX_MITM_REDIS_URL"
PREFIX = "{codex-mitm}:"

# A Redis that is there answers in a millisecond. One that is not is noticed this late, and a request may wait for that.
TIMEOUT = 2.0
# More wait for one to be free. A command holds one for a millisecond.
MAX_CONNECTIONS = 16
# Whoever failed is not asked again at once: a request that needs three things of it waits once.
RESPITE = 0.5


class Shared:
    """One connection pool of one process. Made without an event loop, used in one."""

    def __init__(self, pool: "BlockingConnectionPool", seal: "Seal") -> None:
        import redis
        from redis.asyncio import Redis

        # The stubs of redis-py call each result "awaitable or not".
        self.redis: Any = Redis(connection_pool=pool)
        """Inside `asking` only."""
        self.where = _where(pool.connection_kwargs)
        """For users."""
        self._pool = pool
        self._seal = seal
        self._errors = (redis.RedisError, OSError)
        self._failed: tuple[float, str] | None = None

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self | None:
        """None if nothing is to be shared. Raises BadSetting. Asks nobody: a Redis that is away now may be there later."""
        url = env.get(URL)
        if not url:
            return None
        from auth import sealing

        pool = _pool(url)
        if not env.get(sealing.SETTING):
            raise BadSetting(sealing.SETTING, f"it is not set, and what is put into Redis is sealed ({sealing.NEW_KEY})")
        return cls(pool, sealing.read_key_file(Path(os.path.expanduser(env[sealing.SETTING]))))

    def key(self, *names: str) -> str:
        return PREFIX + ":".join(names)

    @contextmanager
    def asking(self, *, at_any_rate: bool = False) -> Iterator[None]:
        """Around commands. Whatever goes wrong with Redis in there is RedisAway; whether the command was carried out is unknown.

        `at_any_rate`: too much depends on it to spare a Redis that did not answer a moment ago.
        """
        now = asyncio.get_running_loop().time()
        if self._failed and now - self._failed[0] < RESPITE and not at_any_rate:
            raise RedisAway(self.where, self._failed[1])
        try:
            yield
        except self._errors as error:
            # The class says what happened; the text of some would repeat what was sent.
            why = type(error).__name__
            self._failed = asyncio.get_running_loop().time(), why
            raise RedisAway(self.where, why) from None
        self._failed = None

    def seal(self, name: str, plain: bytes) -> bytes:
        return self._seal.seal(name, plain)

    def open(self, name: str, sealed: bytes) -> bytes:
        """Raises sealing.BadSeal."""
        return self._seal.open(name, sealed)

    def derive(self, purpose: str) -> bytes:
        """A secret that all who share this Redis have without asking it."""
        return self._seal.derive(purpose)

    async def aclose(self) -> None:
        await self._pool.disconnect()


def _pool(url: str) -> "BlockingConnectionPool":
    try:
        from redis.asyncio import BlockingConnectionPool
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
    except ImportError as error:
        raise BadSetting(URL, "the package redis is not installed: install codex-mitm[replicas]") from error
    try:
        return BlockingConnectionPool.from_url(
            url,
            max_connections=MAX_CONNECTIONS,
            timeout=TIMEOUT,
            socket_timeout=TIMEOUT,
            socket_connect_timeout=TIMEOUT,
            # A command whose answer was lost may have been carried out. Who sent it knows whether it may be repeated.
            retry=Retry(NoBackoff(), 0),
            # With 3, redis-py takes a connection that the server has closed for one on which it says something.
            protocol=2,
        )
    except (ValueError, TypeError):  # their text may hold the password
        raise BadSetting(URL, "it must be redis://HOST:PORT/DB, rediss://HOST:PORT/DB or unix:///PATH") from None


def _where(settings: Mapping[str, Any]) -> str:
    place = settings.get("path") or f"{settings.get('host', 'localhost')}:{settings.get('port', 6379)}"
    number = settings.get("db", 0)
    return f"Redis at {place}" + (f", database {number}" if number else "")
