"""The way to Redis: questions that nobody waits long for, and that nobody asks while it is known to be away.

Who finds out that it is away has waited for `PATIENCE`. From then on only the beat (replicas.py) asks, and when it is answered
everybody asks again. Whether a question without an answer was carried out, nobody knows: scripts are made for that.
"""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

from mitmproxy.utils import asyncio_utils

from auth.errors import RedisAway
from auth.shared import Shared

logger = logging.getLogger(__name__)

# Seconds. Redis answers in a hundredth of it, and a client notices more.
PATIENCE = 0.5
# It is waited for so many times in a row: a process that stands still for longer than that finds the answer when it goes on, where
# a single wait would be over before it is read.
WAITS = 4
# Seconds. One that answers some questions and not others (it is full, or another's replica) comes and goes with each beat.
SAY_AGAIN = 60.0

_SCRIPTS = Path(__file__).with_name("lua")


def lua(*names: str) -> str:
    """One script of several files."""
    return "\n".join((_SCRIPTS / f"{name}.lua").read_text(encoding="utf-8") for name in names)


class Away(Exception):
    """Redis did not answer, or is known not to."""


class Line:
    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.trouble = ""
        """Why there is no answer, while there is none."""
        self._said = ""
        self._said_at = -SAY_AGAIN
        self._away_since = 0.0
        self._scripts: dict[str, Any] = {}

    def key(self, *names: str) -> str:
        return self.shared.key(*names)

    def mark(self, purpose: str, name: bytes) -> str:
        """What stands in Redis instead of a name. A hash without a secret could be guessed."""
        return blake2b(name, digest_size=16, key=self.shared.derive(purpose)).hexdigest()

    def seal(self, name: str, plain: bytes) -> bytes:
        return self.shared.seal(name, plain)

    def open(self, name: str, sealed: bytes) -> bytes:
        """Raises ValueError for what nobody here has sealed under this name."""
        return self.shared.open(name, sealed)

    async def run(self, script: str, keys: Sequence[str], arguments: Sequence[Any], patience: float = PATIENCE) -> Any:
        """Raises Away."""
        if self.trouble:
            raise Away(self.trouble)
        return await self.knock(script, keys, arguments, patience)

    async def knock(self, script: str, keys: Sequence[str], arguments: Sequence[Any], patience: float = PATIENCE) -> Any:
        """The same, also while it is away. Raises Away."""
        if script not in self._scripts:
            self._scripts[script] = self.shared.redis.register_script(script)
        try:
            with self.shared.asking():
                answer = await self._answer(self._scripts[script](keys, arguments), patience)
        except RedisAway as e:
            raise self._away(e.what) from e
        if self.trouble and self._said_at >= self._away_since:
            logger.info("%s is back", self.shared.where)
        self.trouble = ""
        return answer

    async def _answer(self, question: Coroutine[Any, Any, Any], patience: float) -> Any:
        asking = asyncio_utils.create_task(question, name="codex asks redis", keep_ref=True)
        try:
            for _ in range(WAITS):
                done, _ = await asyncio.wait({asking}, timeout=patience / WAITS)
                if done:
                    return asking.result()
        finally:
            asking.cancel()
        raise self._away(f"{self.shared.where} is away (no answer)")

    def _away(self, trouble: str) -> Away:
        now = asyncio.get_running_loop().time()
        if not self.trouble:
            self._away_since = now
        if not self.trouble and (trouble != self._said or now - self._said_at >= SAY_AGAIN):
            self._said, self._said_at = trouble, now
            logger.warning(
                "%s: until it is back each proxy counts the limits of keys alone, learns of plans by itself, and goes on only from "
                "turns in its own memory",
                trouble,
            )
        self.trouble = trouble
        return Away(trouble)

    async def aclose(self) -> None:
        await self.shared.aclose()
