"""What the keys have used, counted by several proxies together: the rules of limits.py, exact to one request, in one round trip.

Each proxy keeps its own count beside it. It is what is left when Redis is away: then a limit holds for each proxy alone, and the
answers say so. When Redis is back, what is under way is counted again; what began and ended meanwhile is not.
"""

import logging
from collections import deque
from collections.abc import Collection, Hashable
from itertools import count
from typing import Any
from weakref import WeakKeyDictionary, finalize

from addons.counter import OwnCounter
from addons.limits import Asked, Gauge, Held, Limits, Over, Wanted
from addons.shared.line import Away, Line, lua
from addons.shared.presence import Presence

logger = logging.getLogger(__name__)

ASK = lua("clock", "minute", "ask")
SETTLE = lua("clock", "minute", "settle")
HOLD = lua("hold")

# As ask.lua counts them, from 1.
KINDS = ("requests", "tokens", "parallel")
UNKNOWN_HERE = -1

# Ends that Redis has not heard of. More do not happen in the seconds that it takes to restart, and the oldest may be dropped: its
# expectation is free when this proxy's lease is over.
MAX_UNSETTLED = 10_000


class SharedCounter[Ticket: Hashable]:
    def __init__(self, line: Line, presence: Presence, own: OwnCounter[Ticket]) -> None:
        self.line = line
        self.presence = presence
        self.own = own
        self.moment = ""
        """Microseconds instead of Redis' clock, for tests."""
        self.numbers: WeakKeyDictionary[Ticket, str] = WeakKeyDictionary()
        """What a ticket is called in Redis."""
        self.lost: dict[str, finalize[Any, Any]] = {}
        """By number: a request that is lost without a word is not under way any more, there as here."""
        self.unsettled: deque[tuple[bytes, str, int | None]] = deque(maxlen=MAX_UNSETTLED)
        self._next = count(1)
        presence.restorers.append(self.restore)

    async def ask(self, key: bytes, ticket: Ticket, wanted: Wanted, limits: Limits) -> Asked:
        number = self.numbers[ticket] = str(next(self._next))
        words = [
            *(self.moment, self.presence.id, number, wanted.tokens, int(wanted.slot)),
            *("" if limit is None else limit for limit in limits),
        ]
        try:
            told = await self.line.run(ASK, self._keys(key), words)
            if told[0] == UNKNOWN_HERE:
                await self.presence.beat()
                told = await self.line.run(ASK, self._keys(key), words)
            if told[0] == UNKNOWN_HERE:
                raise Away("a lease of this proxy is over as soon as it begins")
        except Away:
            asked = await self.own.ask(key, ticket, wanted, limits)
            if asked.over:
                self.unsettled.append((key, number, 0))  # it may have been let in there, and the answer was lost
            else:
                self._note(key, ticket, number)
            return asked._replace(alone=True)
        asked = as_asked(told, limits)
        if asked.over is None:
            self.own.of(key).take(ticket, wanted, limits, self.own.clock())
            self._note(key, ticket, number)
        return asked

    async def settle(self, key: bytes, ticket: Ticket, used: int | None) -> None:
        if not (allowance := self.own.allowances.get(key)) or not allowance.settle(ticket, used, self.own.clock()):
            return
        number = self.numbers.pop(ticket)
        self.lost.pop(number).detach()
        await self._settle(key, number, used)

    def keep(self, keys: Collection[bytes]) -> None:
        self.own.keep(keys)

    async def restore(self) -> None:
        """Redis takes this proxy for a new one. Raises Away."""
        for key, allowance in list(self.own.allowances.items()):
            held = {self.numbers[ticket]: (ticket, written(each)) for ticket, each in allowance.held.items()}
            if not held:
                continue
            pairs = [word for number, (_, value) in held.items() for word in (number, value)]
            await self.line.run(HOLD, [self._keys(key)[2]], [self.presence.id, *pairs])
            # What ended while this was on its way may have been settled before it.
            self.unsettled.extend((key, number, 0) for number, (ticket, _) in held.items() if ticket not in allowance.held)

    async def catch_up(self) -> None:
        """Tells what could not be told."""
        for _ in range(len(self.unsettled)):
            if self.line.trouble:
                return
            await self._settle(*self.unsettled.popleft())

    async def _settle(self, key: bytes, number: str, used: int | None) -> None:
        try:
            await self.line.run(SETTLE, self._keys(key), [self.moment, self.presence.id, number, "" if used is None else used])
        except Away:
            self.unsettled.append((key, number, used))

    def _note(self, key: bytes, ticket: Ticket, number: str) -> None:
        if ticket in self.own.of(key).held:
            self.lost[number] = finalize(ticket, self._is_lost, key, number)

    def _is_lost(self, key: bytes, number: str) -> None:
        self.lost.pop(number, None)
        self.unsettled.append((key, number, 0))

    def _keys(self, key: bytes) -> list[str]:
        name = self.line.mark("limits", key)
        return [*(self.line.key("limits", name, kind) for kind in ("requests", "tokens", "held")), self.presence.key]


def written(held: Held) -> str:
    return f"{'-' if held.tokens is None else held.tokens} {int(held.slot)}"


def as_asked(told: list[int], limits: Limits) -> Asked:
    over, asked, again, requests_left, requests_full_in, tokens_left, tokens_full_in = told
    found = {
        "requests": (limits.requests, requests_left, requests_full_in),
        "tokens": (limits.tokens, tokens_left, tokens_full_in),
        "parallel": (limits.parallel, 0, again),
    }
    gauges = {of: Gauge(of, limit, left, full / 1e6) for of, (limit, left, full) in found.items() if limit is not None}
    kind = KINDS[over - 1] if over else ""
    return Asked(
        Over(gauges[kind], asked, again / 1e6) if kind else None,
        tuple(gauge for of, gauge in gauges.items() if of != "parallel"),
    )
