"""How much one key may ask for in a minute: so many requests, so many tokens. Pure: time is a parameter, in seconds of any clock.

in no 60 seconds are more requests let in than the limit, and none is refused while there is one left
tokens are known when an answer is over; until then a request counts for what its body makes likely
what is left is never less than nothing, and whoever waits as long as told finds it free, if nobody was faster
memory: one entry for each request of the last minute, and one for each second in which tokens were used
"""

import math
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

PERIOD = 60.0
# Seconds. Tokens of one second are one entry, which ends with the last of them: later than it must, never sooner.
GRAIN = 1.0
# Seconds after which to come back, if what is in the way are requests under way. Nobody knows when they end.
SOON = 1.0
# Bytes of a request for one token: English text has about four, JSON around it more. The answer says what it was.
BYTES_PER_TOKEN = 4


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


@dataclass(frozen=True, slots=True)
class Gauge:
    """One limit as a client is told of it, in the `x-ratelimit-` headers that OpenAI's answers have."""

    of: str
    """`requests` or `tokens`."""
    limit: int
    left: int
    full_in: float

    def headers(self) -> dict[str, str]:
        return {
            f"x-ratelimit-limit-{self.of}": str(self.limit),
            f"x-ratelimit-remaining-{self.of}": str(self.left),
            f"x-ratelimit-reset-{self.of}": in_gos_words(self.full_in),
        }


@dataclass(frozen=True, slots=True)
class Over:
    """What does not fit, and when it will."""

    gauge: Gauge
    asked: int
    again_in: float


class Allowance[Ticket: Hashable]:
    """Of one key. The limits may be others each time: what was taken stays taken."""

    def __init__(self) -> None:
        self.requests = Window()
        self.tokens = Window(GRAIN)
        self.expected: WeakKeyDictionary[Ticket, int] = WeakKeyDictionary()
        """The tokens of requests under way. One that is lost without a word is not under way any more."""

    def ask(self, ticket: Ticket, expected: int, limits: tuple[int | None, int | None], now: float) -> Over | None:
        """Takes a request, and the tokens that it is expected to use, or takes nothing and says what is over.

        A request that looks larger than the whole limit is let in where it is the only one: it may look larger than it is.
        """
        per_requests, per_tokens = limits
        if per_requests is not None and self.requests.used(now) >= per_requests:
            return Over(self._requests(per_requests, now), 1, self.requests.free_in(1, per_requests, now))
        if per_tokens is not None:
            expected = min(expected, per_tokens)
            under_way = self._under_way()
            if self.tokens.used(now) + under_way + expected > per_tokens:
                fits = under_way + expected <= per_tokens
                wait = self.tokens.free_in(under_way + expected, per_tokens, now) if fits else SOON
                return Over(self._tokens(per_tokens, now), expected, wait)
            self.expected[ticket] = expected
        if per_requests is not None:
            self.requests.take(1, now)
        return None

    def settle(self, ticket: Ticket, used: int | None, now: float) -> None:
        """It is over, and this is what it used; None if nobody knows, and it stays at what was expected. Twice is as once."""
        expected = self.expected.pop(ticket, None)
        if expected is not None:
            self.tokens.take(expected if used is None else used, now)

    def gauges(self, limits: tuple[int | None, int | None], now: float) -> list[Gauge]:
        per_requests, per_tokens = limits
        return [
            *([self._requests(per_requests, now)] if per_requests is not None else []),
            *([self._tokens(per_tokens, now)] if per_tokens is not None else []),
        ]

    def _under_way(self) -> int:
        return sum(self.expected.values())

    def _requests(self, limit: int, now: float) -> Gauge:
        return Gauge("requests", limit, max(0, limit - self.requests.used(now)), self.requests.empty_in(now))

    def _tokens(self, limit: int, now: float) -> Gauge:
        left = max(0, limit - self.tokens.used(now) - self._under_way())
        # What is under way will have to pass as well, a minute after its end at the soonest.
        full_in = PERIOD if self.expected else self.tokens.empty_in(now)
        return Gauge("tokens", limit, left, full_in)


def expected_tokens(body_size: int) -> int:
    return max(1, math.ceil(body_size / BYTES_PER_TOKEN))


def in_gos_words(seconds: float) -> str:
    """As OpenAI writes it: `4ms`, `1s`, `6m0s`. Rounded up, so that nobody comes too soon."""
    milliseconds = math.ceil(max(0.0, seconds) * 1000)
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    return (f"{minutes}m" if minutes else "") + f"{rest / 1000:g}s"
