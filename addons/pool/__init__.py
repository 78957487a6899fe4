"""Which account serves the next request. Pure: time and chance are parameters, and nothing in here waits.

    choice = pool.choose(members, keys=..., tried=..., now=..., roll=...)      a Choice, or Nobody with the reasons
    pool.not_sent(choice)                             its token cannot be had, or it is not wanted after all
    pool.started(choice)                              it is on its way upstream
    pool.heard(choice.name, quota, now, choice.at)    whenever upstream tells of the plan; without the last for what was just polled
    pool.succeeded(choice, now)                       at the first event that is no failure, not at the end: a probe waits for it
    pool.failed(choice, verdict, now)                 a refusal, in whatever shape
    pool.ended(choice)                                always, also if the client has left; once for each `started`

In this order: a probe that is due, the account where the conversation is at home, the strategy among those of the highest priority
that serve, those that are better avoided, a probe that comes early. How an account comes to serve, be avoided or rest: health.py.

A probe is a client's own request. It is the client's first try only, and if it fails the next `choose` has the others. While others
serve, it is taken after a while from a conversation that has no cache to lose, and a little later from any, which it does not move.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from addons.pool.affinity import Homes
from addons.pool.answers import Absence, Choice, Nobody, Standing
from addons.pool.health import Account, State
from addons.pool.strategies import STRATEGIES, Member, Seat, Strategy
from addons.wire.quota import Quota
from addons.wire.verdict import Verdict

__all__ = ["Absence", "Choice", "Nobody", "Pool", "Rules", "Standing"]

# Seconds of silence after which an account that is cooled is asked by a request that loses nothing by it, and by any request.
# A reset ahead of time is to be noticed within a minute, the probe's own time included.
PROBE_SOON, PROBE_LATEST = 30.0, 55.0
# Accounts are files on this machine; the bound is against names that are made up.
MAX_ACCOUNTS = 1000
ALONE = "the only account"


class Rules(NamedTuple):
    strategy: Strategy = "least-used"
    affinity: bool = True


DEFAULT_RULES = Rules()


class Pool:
    def __init__(self, rules: Rules = DEFAULT_RULES) -> None:
        self.rules = rules
        """May be replaced at any time."""
        self.accounts: dict[str, Account] = {}
        self.homes = Homes()

    def choose(
        self, members: Sequence[Member], *, keys: Sequence[str] = (), tried: Collection[str] = (), now: float, roll: float
    ) -> Choice | Nobody:
        """`keys` name the conversation, the surest first: the prompt cache key, the conversation, and only if there is neither the
        client, whose conversations would otherwise all end up on one account. `tried` has been asked for this request already.
        `roll` is in [0, 1).
        """
        seats = self._seats(members)
        keys = keys if self.rules.affinity else ()
        if len(seats) == 1 and not tried and seats[0].account.state(now) == "serving":
            return self._choice(seats[0], ALONE, keys, now)  # as all that follows would find, for most users and most calls
        free = [seat for seat in seats if seat.name not in tried]
        by_state: dict[State, list[Seat]] = {"serving": [], "avoided": [], "resting": [], "out": []}
        for seat in free:
            by_state[seat.account.state(now)].append(seat)
        serving = by_state["serving"]
        home = self.homes.find(keys, {seat.name for seat in serving}, now)
        due = None if tried else _due(free, serving, PROBE_LATEST if home else PROBE_SOON, now)
        if due:
            return self._probe(due, () if home else keys, now)
        if chosen := self._among(serving, home, now, roll) or self._avoided(by_state["avoided"], keys, now):
            seat, why = chosen
            return self._choice(seat, _alone(seat, why, serving, seats), keys, now)
        early = _due(free, [], PROBE_SOON, now)
        return self._probe(early, keys, now) if early else Nobody(tuple(_absence(seat, seat.name in tried, now) for seat in seats))

    def not_sent(self, choice: Choice) -> None:
        """Instead of `started`, or the account would be left unasked until its probe is given up as lost."""
        if account := self.accounts.get(choice.name):
            account.probe_ended(choice.at)

    def started(self, choice: Choice) -> None:
        if account := self.accounts.get(choice.name):
            account.in_flight += 1

    def ended(self, choice: Choice) -> None:
        if account := self.accounts.get(choice.name):
            account.in_flight = max(0, account.in_flight - 1)
            account.probe_ended(choice.at)

    def succeeded(self, choice: Choice, now: float) -> None:
        if account := self.accounts.get(choice.name):
            account.probe_ended(choice.at)
            account.served(choice.at, now)
            self.homes.settle(choice.moves, choice.name, now)

    def failed(self, choice: Choice, verdict: Verdict, now: float) -> None:
        """Each refusal, also one that is sent again. A token that is refused puts no account out, only `SIGN_IN_DEAD` does."""
        if account := self.accounts.get(choice.name):
            account.probe_ended(choice.at)
            account.failed(verdict, choice.at, now)

    def heard(self, name: str, quota: Quota, now: float, asked_at: float | None = None) -> None:
        self.account(name).heard(quota, now if asked_at is None else asked_at, now)

    def sign_in_changed(self, name: str, now: float) -> None:
        """Its file is another one than before. What is on its way with the sign-in before says nothing about this one."""
        self.account(name).signed_in_anew(now)

    def keep(self, names: Collection[str]) -> None:
        """Forgets all other accounts."""
        self.accounts = {name: account for name, account in self.accounts.items() if name in names}
        self.homes.keep(names)

    def view(self, members: Sequence[Member], now: float) -> list[Standing]:
        return [_standing(seat, now) for seat in self._seats(members)]

    def _seats(self, members: Iterable[Member]) -> list[Seat]:
        unique = {member.name: member for member in members}
        return [Seat(member, self.account(member.name)) for member in unique.values()]

    def account(self, name: str) -> Account:
        """What is known of it; nothing, if it is new."""
        account = self.accounts.get(name)
        if account is None:
            while len(self.accounts) >= MAX_ACCOUNTS:
                del self.accounts[next(iter(self.accounts))]
            account = self.accounts[name] = Account(name)
        return account

    def _among(self, serving: Sequence[Seat], home: str | None, now: float, roll: float) -> tuple[Seat, str] | None:
        for seat in serving:
            if seat.name == home:
                return seat, "the conversation is here"
        best = [seat for seat in serving if seat.member.priority == _highest(serving)]
        return STRATEGIES[self.rules.strategy](best, now, roll) if best else None

    def _avoided(self, seats: Sequence[Seat], keys: Sequence[str], now: float) -> tuple[Seat, str] | None:
        """Trouble is often upstream's and not the account's: then all are avoided, and each conversation stays where it is."""
        home = self.homes.find(keys, {seat.name for seat in seats}, now)
        seat = min(seats, key=lambda seat: (seat.name != home, _until(seat, now)), default=None)
        return None if seat is None else (seat, f"no other serves, although {_reason(seat, now)}")

    def _probe(self, seat: Seat, keys: Sequence[str], now: float) -> Choice:
        seat.account.probe_begins(now)
        return self._choice(seat, f"to see whether it serves again, although {_reason(seat, now)}", keys, now, probe=True)

    def _choice(self, seat: Seat, why: str, keys: Sequence[str], now: float, probe: bool = False) -> Choice:
        """A conversation that is new settles at once, also for what it sends at the same time. One that has a cache elsewhere moves
        when it is served here, not when this is tried.
        """
        if self.homes.find(keys, self.accounts, now) in (None, seat.name):
            self.homes.settle(keys, seat.name, now)
            keys = ()
        return Choice(seat.name, why, now, probe, tuple(keys))


def _due(seats: Iterable[Seat], serving: Sequence[Seat], quiet: float, now: float) -> Seat | None:
    """Of those that would be used if they were back, the one of which nothing was heard for longest."""
    lowest = _highest(serving) if serving else -float("inf")
    due = [seat for seat in seats if seat.member.priority >= lowest and seat.account.may_be_probed(now, quiet)]
    return min(due, key=lambda seat: seat.account.probed_at, default=None)


def _highest(seats: Sequence[Seat]) -> float:
    return max((seat.member.priority for seat in seats), default=0)


def _alone(seat: Seat, why: str, serving: Sequence[Seat], seats: Sequence[Seat]) -> str:
    """Where there was no choice, no strategy was the reason."""
    if len(seats) == 1:
        return ALONE
    return "the only one that serves" if serving == [seat] and why != "the conversation is here" else why


def _until(seat: Seat, now: float) -> float:
    cooling = seat.account.cooled(now)
    return cooling.until if cooling else now


def _reason(seat: Seat, now: float) -> str:
    account = seat.account
    if account.signed_out:
        return f"{account.signed_out}: run `python -m auth login --account {account.name}`"
    cooling = account.cooled(now)
    return cooling.reason if cooling else ""


def _absence(seat: Seat, tried: bool, now: float) -> Absence:
    state, cooling = seat.account.state(now), seat.account.cooled(now)
    if state == "out":
        return Absence(seat.name, _reason(seat, now), None, "sign_in", tried)
    if cooling and state == "resting":
        return Absence(seat.name, cooling.reason, cooling.until, cooling.blame, tried)
    return Absence(seat.name, "was tried for this request", now, None, tried)


def _standing(seat: Seat, now: float) -> Standing:
    account = seat.account
    state, cooling = account.state(now), account.cooled(now)
    until = cooling.until if cooling and state != "out" else None
    return Standing(seat.name, state, _reason(seat, now), until, account.in_flight, account.last_failure, account.quota)
