"""Which of several accounts that could all serve: three ways to decide, each a function with its reason in words."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

from addons.pool.health import Account

Strategy = Literal["round-robin", "fill-first", "least-used"]

MAX_WEIGHT = 1000
# No turn gets as far as this.
MAX_TURN = MAX_WEIGHT * 1000


class Member(NamedTuple):
    """An account in the policy's words. The highest priority that serves is used, and among equals the weight counts (from 1)."""

    name: str
    priority: int = 0
    weight: int = 1


class Seat(NamedTuple):
    """A member, and what is known of its account."""

    member: Member
    account: Account

    @property
    def name(self) -> str:
        return self.member.name

    @property
    def weight(self) -> int:
        return min(max(1, self.member.weight), MAX_WEIGHT)


Pick = Callable[[Sequence[Seat], float, float], tuple[Seat, str]]


def round_robin(seats: Sequence[Seat], now: float, roll: float) -> tuple[Seat, str]:
    """nginx's smooth weighted round robin: all are given their weight, who has most is next and pays for all. What one was away for
    it does not get afterwards.
    """
    for seat in seats:
        seat.account.turn += seat.weight
    chosen = max(seats, key=lambda seat: seat.account.turn)
    chosen.account.turn -= sum(seat.weight for seat in seats)
    return chosen, "its turn"


def fill_first(seats: Sequence[Seat], now: float, roll: float) -> tuple[Seat, str]:
    return seats[0], "the first in order that serves"


def least_used(seats: Sequence[Seat], now: float, roll: float) -> tuple[Seat, str]:
    """By the tightest window, in whole percents, then by what is under way, then by lot. What is not known counts as unused: one
    request is enough to know it.
    """

    def rank(seat: Seat) -> tuple[int, float]:
        return -_percent_left(seat, now), seat.account.in_flight / seat.weight

    best = min(map(rank, seats))
    seat = _by_lot([seat for seat in seats if rank(seat) == best], roll)
    window = seat.account.quota.tightest(now) if seat.account.quota else None
    if window is None:
        return seat, "nothing known of its plan yet"
    return seat, f"{_percent_left(seat, now)} % of its {window.kind} left, the most"


STRATEGIES: Mapping[Strategy, Pick] = {"round-robin": round_robin, "fill-first": fill_first, "least-used": least_used}


def _percent_left(seat: Seat, now: float) -> int:
    window = seat.account.quota.tightest(now) if seat.account.quota else None
    return 100 if window is None else int(window.left(now))


def _by_lot(seats: Sequence[Seat], roll: float) -> Seat:
    """`roll` is in [0, 1); a weight of 2 has twice the chance."""
    mark = roll * sum(seat.weight for seat in seats)
    for seat in seats:
        mark -= seat.weight
        if mark < 0:
            return seat
    return seats[-1]
