"""How much one key may ask for: so many requests and tokens in a minute, so many answers at a time. Pure: time is a parameter, in
seconds of any clock.

in no 60 seconds are more requests let in than the limit, and none is refused while there is one left
tokens are known when an answer is over; until then a request counts for what its body makes likely
what is left is never less than nothing, and whoever waits as long as told finds it free, if nobody was faster
memory: one entry for each request of the last minute, and one for each second in which tokens were used

`shared/lua/minute.lua` decides the same for several proxies; what changes here has to change there.
"""

import math
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import NamedTuple
from weakref import WeakKeyDictionary

PERIOD = 60.0
# Seconds. Tokens of one second are one entry, which ends with the last of them: later than it must, never sooner.
GRAIN = 1.0
# Seconds after which to come back, if what is in the way are requests under way. Nobody knows when they end.
SOON = 1.0
# Bytes of a request for one token: English text has about four, JSON around it more. The answer says what it was.
BYTES_PER_TOKEN = 4


class Limits(NamedTuple):
    """None is no limit."""

    requests: int | None = None
    tokens: int | None = None
    parallel: int | None = None

    @property
    def are_none(self) -> bool:
        return self == Limits()


class Wanted(NamedTuple):
    """By one request."""

    tokens: int = 1
    slot: bool = True
    """Whether it is one of those that may be under way at once: a question, and no look-up."""


@dataclass(slots=True)
class Entry:
    since: float
    until: float
    """When the latest of it was taken; it counts for a minute from then."""
    amount: int


@dataclass(slots=True)
class Window:
    """What was taken in the last minute."""

    grain: float = 0.0
    entries: deque[Entry] = field(default_factory=deque)
    taken: int = 0

    def used(self, now: float) -> int:
        while self.entries and self.entries[0].until + PERIOD <= now:
            self.taken -= self.entries.popleft().amount
        return self.taken

    def take(self, amount: int, now: float) -> None:
        if amount <= 0:
            return
        latest = self.entries[-1] if self.entries else None
        if latest and now - latest.since < self.grain:
            latest.until, latest.amount = max(now, latest.until), latest.amount + amount
        else:
            self.entries.append(Entry(now, now, amount))
        self.taken += amount

    def free_in(self, amount: int, limit: int, now: float) -> float:
        """Seconds until `amount` fits beside what was taken; as soon as all is over, if it never does."""
        used = self.used(now)
        if used + amount <= limit:
            return 0.0
        for entry in self.entries:
            used -= entry.amount
            if used + amount <= limit:
                return max(0.0, entry.until + PERIOD - now)
        return self.empty_in(now)

    def empty_in(self, now: float) -> float:
        return max(0.0, self.entries[-1].until + PERIOD - now) if self.used(now) else 0.0


class Gauge(NamedTuple):
    """One limit as a client is told of it, in the `x-ratelimit-` headers that OpenAI's answers have."""

    of: str
    """`requests` or `tokens`; `parallel` is in no header of OpenAI's."""
    limit: int
    left: int
    full_in: float

    def headers(self) -> dict[str, str]:
        return {
            f"x-ratelimit-limit-{self.of}": str(self.limit),
            f"x-ratelimit-remaining-{self.of}": str(self.left),
            f"x-ratelimit-reset-{self.of}": in_gos_words(self.full_in),
        }


class Over(NamedTuple):
    """What does not fit, and when it will."""

    gauge: Gauge
    asked: int
    again_in: float


class Asked(NamedTuple):
    """What becomes of a request, and what it leaves."""

    over: Over | None
    gauges: tuple[Gauge, ...]
    alone: bool = False
    """Several proxies were to count together, and this one had to count by itself."""


class Held(NamedTuple):
    """What a request that is under way holds."""

    tokens: int | None
    """That it is expected to use; None where nobody limits them."""
    slot: bool


class Allowance[Ticket: Hashable]:
    """Of one key. The limits may be others each time: what was taken stays taken."""

    def __init__(self) -> None:
        self.requests = Window()
        self.tokens = Window(GRAIN)
        self.held: WeakKeyDictionary[Ticket, Held] = WeakKeyDictionary()
        """By requests under way. One that is lost without a word is not under way any more."""

    def ask(self, ticket: Ticket, wanted: Wanted, limits: Limits, now: float) -> Over | None:
        """Takes what is wanted, or takes nothing and says what is over."""
        over = self.over(wanted, limits, now)
        if over is None:
            self.take(ticket, wanted, limits, now)
        return over

    def over(self, wanted: Wanted, limits: Limits, now: float) -> Over | None:
        """A request that looks larger than the whole limit is let in where it is the only one: it may look larger than it is."""
        if limits.requests is not None and self.requests.used(now) >= limits.requests:
            return Over(self._requests(limits.requests, now), 1, self.requests.free_in(1, limits.requests, now))
        if limits.tokens is not None:
            expected = min(wanted.tokens, limits.tokens)
            under_way = self._under_way()
            if self.tokens.used(now) + under_way + expected > limits.tokens:
                fits = under_way + expected <= limits.tokens
                wait = self.tokens.free_in(under_way + expected, limits.tokens, now) if fits else SOON
                return Over(self._tokens(limits.tokens, now), expected, wait)
        if limits.parallel is not None and wanted.slot:
            left = limits.parallel - sum(held.slot for held in self.held.values())
            if left <= 0:
                return Over(Gauge("parallel", limits.parallel, 0, SOON), 1, SOON)
        return None

    def take(self, ticket: Ticket, wanted: Wanted, limits: Limits, now: float) -> None:
        held = held_by(wanted, limits)
        if held:
            self.held[ticket] = held
        if limits.requests is not None:
            self.requests.take(1, now)

    def settle(self, ticket: Ticket, used: int | None, now: float) -> bool:
        """It is over, and this is what it used; None if nobody knows, and it stays at what was expected. Twice is as once: whether
        it was under way."""
        held = self.held.pop(ticket, None)
        if held and held.tokens is not None:
            self.tokens.take(held.tokens if used is None else used, now)
        return held is not None

    def gauges(self, limits: Limits, now: float) -> tuple[Gauge, ...]:
        return (
            *([self._requests(limits.requests, now)] if limits.requests is not None else []),
            *([self._tokens(limits.tokens, now)] if limits.tokens is not None else []),
        )

    def _under_way(self) -> int:
        return sum(held.tokens or 0 for held in self.held.values())

    def _requests(self, limit: int, now: float) -> Gauge:
        return Gauge("requests", limit, max(0, limit - self.requests.used(now)), self.requests.empty_in(now))

    def _tokens(self, limit: int, now: float) -> Gauge:
        under_way = self._under_way()
        left = max(0, limit - self.tokens.used(now) - under_way)
        # What is under way will have to pass as well, a minute after its end at the soonest.
        full_in = PERIOD if under_way else self.tokens.empty_in(now)
        return Gauge("tokens", limit, left, full_in)


def held_by(wanted: Wanted, limits: Limits) -> Held | None:
    """None where it holds nothing, and its end is of no interest."""
    tokens = None if limits.tokens is None else min(wanted.tokens, limits.tokens)
    slot = limits.parallel is not None and wanted.slot
    return Held(tokens, slot) if tokens is not None or slot else None


def expected_tokens(body_size: int) -> int:
    return max(1, math.ceil(body_size / BYTES_PER_TOKEN))


def in_gos_words(seconds: float) -> str:
    """As OpenAI writes it: `4ms`, `1s`, `6m0s`. Rounded up, so that nobody comes too soon."""
    milliseconds = math.ceil(max(0.0, seconds) * 1000)
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    return (f"{minutes}m" if minutes else "") + f"{rest / 1000:g}s"
