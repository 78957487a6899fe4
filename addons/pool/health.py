"""Whether one account can serve: what upstream said of it last, and for how long it is left alone because of that.

serving   nothing is against it
avoided   others are preferred: trouble that may be over by now, or a window of the plan that reads 100 %. With no other account
          there it serves all the same, so that one 502 is no outage, and a plan that is kinder than its numbers is used
resting   upstream refused the account itself and said, or is known, to go on refusing: nothing is sent to it until then
out       its sign-in is dead; only a new one helps

A plan can be reset long before the time that was told, and a block can be lifted. So an account that is cooled for one of these is
asked now and then by a single request, a probe. A request that was sent before a cooldown began says nothing about its end.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from addons.wire.quota import UNTOLD, Quota, merge
from addons.wire.verdict import Blame, Verdict

State = Literal["serving", "avoided", "resting", "out"]


class Cooldown(NamedTuple):
    """Seconds without an account after a verdict: as long as upstream asks, else `first`, doubled by each failure in a row."""

    first: float
    longest: float
    doubles: bool = True
    rests: bool = False
    """Whether it is left in peace by everybody; if not, by those who find another account."""
    probed: bool = False


COOLDOWNS: Mapping[Blame, Cooldown] = {
    # The longest window of any plan is a month. What is said to last for longer is a number that went wrong.
    "plan": Cooldown(UNTOLD, 31 * 86400.0, doubles=False, rests=True, probed=True),
    # It rests if upstream says for how long; a time of our own making keeps no client waiting.
    "pace": Cooldown(2.0, 300.0),
    # It is the address that is blocked, and each request makes it worse.
    "blocked": Cooldown(60.0, 900.0, rests=True, probed=True),
    "upstream": Cooldown(1.0, 60.0),
    "network": Cooldown(1.0, 60.0),
}
# An answer of any kind shows that these are over.
BROKEN_BY_AN_ANSWER: frozenset[Blame] = frozenset({"upstream", "network", "blocked"})

# A probe whose end nobody reported. No first byte is waited for as long as this.
PROBE_LOST = 300.0
# A clock that was set back by more than this makes what lies ahead of it void.
CLOCK_SLACK = 60.0


class Cooling(NamedTuple):
    blame: Blame
    reason: str
    since: float
    until: float
    rests: bool

    def lasts(self, now: float) -> bool:
        return self.since - CLOCK_SLACK <= now < self.until

    def gives_way_to(self, new: "Cooling", sent_at: float) -> bool:
        """Whether a verdict on a request that was sent at that time takes the place of this one."""
        if new.rests != self.rests:
            return new.rests
        return new.until > self.until or (new.blame == self.blame and sent_at >= self.since)


class Failure(NamedTuple):
    blame: Blame
    reason: str
    at: float


@dataclass(slots=True)
class Account:
    """What the pool knows of one account; mutable, and owned by the pool. Times are unix seconds."""

    name: str
    cooling: Cooling | None = None
    failures: int = 0
    told_at: float = 0.0
    """When that was learned; of a cooldown that was ended, when the request was sent that ended it."""
    last_failure: Failure | None = None
    signed_out: str = ""
    """Why the sign-in is dead."""
    signed_in_at: float = 0.0
    quota: Quota | None = None
    turn: int = 0
    """In the round robin: who has most is next."""
    in_flight: int = 0
    probe_sent_at: float | None = None
    """Of the probe that is under way."""
    probed_at: float = 0.0

    def state(self, now: float) -> State:
        if self.signed_out:
            return "out"
        cooling = self.cooled(now)
        return "serving" if cooling is None else "resting" if cooling.rests else "avoided"

    def cooled(self, now: float) -> Cooling | None:
        return self.cooling if self.cooling and self.cooling.lasts(now) else None

    def may_be_probed(self, now: float, quiet: float) -> bool:
        """Whether its cooldown can end early, nobody finds out at the moment, and nothing was heard of it for `quiet` seconds."""
        cooling = self.cooled(now)
        if self.signed_out or not cooling or not COOLDOWNS[cooling.blame].probed:
            return False
        if self.probe_sent_at is not None and 0 <= now - self.probe_sent_at < PROBE_LOST:
            return False
        is_told_again = self.quota and cooling.blame == "plan" and self.quota.spent_until(now)
        told_at = self.quota.heard_at if self.quota and is_told_again else cooling.since
        return not 0 <= now - max(cooling.since, told_at, self.probed_at) < quiet

    def probe_begins(self, now: float) -> None:
        self.probe_sent_at = self.probed_at = now

    def probe_ended(self, sent_at: float) -> None:
        if self.probe_sent_at == sent_at:
            self.probe_sent_at = None

    def failed(self, verdict: Verdict, sent_at: float, now: float) -> None:
        cooling = self.cooled(now)
        is_news = cooling is None or sent_at >= cooling.since
        if verdict.blame == "client":
            if cooling and is_news and cooling.blame in BROKEN_BY_AN_ANSWER:
                self.cooling, self.failures, self.told_at = None, 0, sent_at
            return
        self.last_failure = Failure(verdict.blame, verdict.reason, now)
        if verdict.blame == "sign_in":
            # Else a new token may help, or it was the sign-in before.
            if verdict.elsewhere and sent_at >= self.signed_in_at:
                self.signed_out = verdict.reason
            return
        self.failures += is_news
        self.told_at = now
        self._cool(self._cooling_for(verdict, now), sent_at, now)

    def served(self, sent_at: float, now: float) -> None:
        cooling = self.cooled(now)
        if cooling and sent_at < cooling.since:
            return
        if self.failures or self.cooling:
            self.told_at = sent_at
        self.failures, self.cooling = 0, None
        if self.quota and cooling and cooling.blame == "plan":
            if self.quota.heard_at >= sent_at and self.quota.spent_until(now):
                self.cooling = cooling._replace(rests=False)
            else:
                self.quota = self.quota.disproved(now)

    def heard(self, quota: Quota, sent_at: float, now: float) -> None:
        self.quota = merge(self.quota, quota)
        if not quota.tells_use:
            return
        cooling, until = self.cooled(now), self.quota.spent_until(now)
        if until is not None:
            since = cooling.since if cooling and cooling.blame == "plan" else now
            self._cool(Cooling("plan", "its plan is used up", since, _capped("plan", now, until - now), rests=False), now, now)
        elif cooling and cooling.blame == "plan" and sent_at >= cooling.since:
            self.cooling, self.told_at = None, sent_at

    def signed_in_anew(self, now: float) -> None:
        self.signed_out, self.signed_in_at = "", now

    def _cool(self, new: Cooling, sent_at: float, now: float) -> None:
        cooling = self.cooled(now)
        if cooling is None or cooling.gives_way_to(new, sent_at):
            self.cooling, self.told_at = new, now

    def _cooling_for(self, verdict: Verdict, now: float) -> Cooling:
        rule = COOLDOWNS[verdict.blame]
        asked = _asked(verdict, self.quota, now)
        own = rule.first * 2 ** min(max(self.failures - 1, 0), 20) if rule.doubles else rule.first
        rests = rule.rests or (verdict.blame == "pace" and asked is not None)
        return Cooling(verdict.blame, verdict.reason, now, _capped(verdict.blame, now, own if asked is None else asked), rests)


def _asked(verdict: Verdict, quota: Quota | None, now: float) -> float | None:
    """For how many seconds upstream wants to be left alone."""
    if verdict.blame != "plan":
        return verdict.wait if verdict.wait and verdict.wait > 0 else None
    spent_until = quota.spent_until(now) if quota else None
    told = [verdict.resets_at, None if verdict.wait is None else now + verdict.wait, spent_until]
    return next((until - now for until in told if until is not None and until > now), None)


def _capped(blame: Blame, now: float, seconds: float) -> float:
    return now + min(seconds, COOLDOWNS[blame].longest)
