"""What was said, for requests that go on from it on another proxy than the one that answered: sealed, for a while, and so much.

Each proxy has its own memory too (kept.py), and what it fetches from here goes there. A turn that one of them deletes is deleted
for all: whoever has it in memory asks before it uses it, in the same round trip that fetches what it has not.

A turn is told here before its client has the end of its answer. Some clients do not wait for that, so a turn that is not found is
looked for again a moment later.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence, Set
from hashlib import blake2b
from typing import Any

import zstandard

from addons.kept import MAX_BYTES as MOST_OF_ONE
from addons.kept import Kept, Turn
from addons.shared.line import Away, Line, lua

logger = logging.getLogger(__name__)

KEEP, RECALL, FORGET = (lua("clock", "turns", name) for name in ("keep_turn", "recall_turns", "forget_turn"))

# Since it was used last. Agents come back after a weekend; OpenAI keeps responses for 30 days.
LIFETIME_DAYS = 7
# Sealed and compressed, all together. Redis has it in memory.
MAX_BYTES = 256 << 20
# Seconds. A long conversation is megabytes, and one that is not there is worse than one that is late.
PATIENCE = 5.0
# Seconds between the looks for a turn whose answer may have ended just now.
LOOK_AGAIN = (0.05, 0.15, 0.3)
# Turns that could not be told while Redis was away.
MAX_UNTOLD = 1000

ABSENT, THERE, DELETED, TOO_LONG = range(4)
LEVEL = 3
TROUBLE = "a conversation is longer than what one proxy keeps"


class SharedTurns:
    def __init__(self, line: Line, kept: Kept, *, lifetime: float = LIFETIME_DAYS * 86400.0, max_bytes: int = MAX_BYTES) -> None:
        self.line = line
        self.kept = kept
        kept.promise = f"turns for {LIFETIME_DAYS} days after they were used last, as far as there is room"
        self.untold: deque[tuple[str, str]] = deque(maxlen=MAX_UNTOLD)
        self._rules = ["", round(lifetime * 1e6)]
        self._max_bytes = max_bytes
        self._keys = [line.key("turns", part) for part in ("said", "told", "used", "items", "bytes")]

    async def recall(self, owner: str, responses: Set[str], items: Set[str]) -> str:
        """Brings into memory what is asked for and is kept anywhere, and takes out what was deleted. Returns why nobody can know
        whether all of that is everything, or nothing.
        """
        for wait in (*LOOK_AGAIN, None):
            try:
                fates = await self._recall(owner, responses, items)
            except Away as e:
                return str(e)
            if TOO_LONG in fates:
                return TROUBLE
            missing = ABSENT in fates and not self.kept.has_all(owner, responses, items)
            if not missing or wait is None:
                break
            await asyncio.sleep(wait)
        return ""

    async def keep(self, turn: Turn) -> None:
        """Never raises: what cannot be told now is told when Redis is back."""
        try:
            if not await self._keep(turn, is_asked_for=True):
                for each in reversed([*turn.and_before()]):
                    await self._keep(each, is_asked_for=each is turn)
        except Away:
            self.untold.append((turn.owner, turn.id))

    async def forget(self, owner: str, response_id: str) -> str:
        """Returns why it cannot be forgotten everywhere."""
        try:
            await self.line.run(FORGET, self._keys, ["", mark(owner, response_id)])
        except Away as e:
            return str(e)
        return ""

    async def catch_up(self) -> None:
        for _ in range(len(self.untold)):
            if self.line.trouble:
                return
            if turn := self.kept.peek(*self.untold.popleft()):
                await self.keep(turn)

    async def _recall(self, owner: str, responses: Set[str], items: Set[str]) -> list[int]:
        words: list[str] = []
        homes: list[tuple[str, str] | None] = []
        for response_id in responses:
            words += ["t", mark(owner, response_id), str(int(self.kept.peek(owner, response_id) is not None))]
            homes.append((owner, response_id))
        for item_id in items:
            turn = self.kept.home_of(owner, item_id)
            words += ["t", mark(owner, turn.id), "1"] if turn else ["i", mark(owner, item_id), "0"]
            homes.append((owner, turn.id) if turn else None)
        if not words:
            return []
        fates, *told = await self.line.run(RECALL, self._keys, [*self._rules, MOST_OF_ONE, *words], PATIENCE)
        for home, fate in zip(homes, fates, strict=True):
            if fate == DELETED and home:
                self.kept.forget(*home)
        for turn in self._opened(owner, told):
            if turn.id in responses or not items.isdisjoint(turn.item_ids):
                self.kept.keep(turn)
        return list(fates)

    def _opened(self, owner: str, told: Sequence[bytes]) -> list[Turn]:
        """In the order in which they were said."""
        found: dict[bytes, Turn] = {}
        for name, before, sealed in zip(told[::3], told[1::3], told[2::3], strict=True):
            try:
                turn = opened(self.line, owner, name.decode(), found.get(before), sealed)
            except (ValueError, KeyError, TypeError, zstandard.ZstdError) as e:
                logger.warning("a turn in Redis cannot be read (%s)", type(e).__name__)
                continue
            if before and before not in found:
                continue
            # The same turn may be here already, and be a part of others.
            found[name] = self.kept.peek(owner, turn.id) or turn
        return list(found.values())

    async def _keep(self, turn: Turn, *, is_asked_for: bool) -> Any:
        name = mark(turn.owner, turn.id)
        previous = mark(turn.owner, turn.previous.id) if turn.previous else ""
        items = [mark(turn.owner, item_id) for item_id in dict.fromkeys(turn.item_ids)]
        words = [*self._rules, self._max_bytes, name, previous, sealed(self.line, name, turn), int(not is_asked_for), *items]
        return await self.line.run(KEEP, self._keys, words, PATIENCE)


def mark(owner: str, name: str) -> str:
    """An owner is a hash with a secret; names of items are the client's own words."""
    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16, key=owner.encode()).hexdigest()


def sealed(line: Line, name: str, turn: Turn) -> bytes:
    return line.seal(f"turn {name}", zstandard.compress(b"\n".join(turn.parts()), LEVEL))


def opened(line: Line, owner: str, name: str, previous: Turn | None, text: bytes) -> Turn:
    parts = zstandard.decompress(line.open(f"turn {name}", text), max_output_size=MOST_OF_ONE).split(b"\n")
    return Turn.of_parts(owner, previous, parts)
