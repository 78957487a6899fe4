"""How much of its plan an account has used: facts of several ages, and what follows from them.

A plan is counted in windows, on most plans one of 5 hours and one of a week. Which of them the backend calls primary differs from
plan to plan, so a window is known by its length alone. Where the facts come from is in quota_reports.py.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

# By length in minutes. The backend also says 299 and 10079, and the CLI forgives as much (codex-rs, get_limits_duration).
KINDS = {300: "5h", 10080: "weekly", 43200: "monthly"}
SLACK_MINUTES = 3
UNITS = ((1440, "d"), (60, "h"), (1, "min"))

FULL = 100.0
# The plan is said to be used up, and nothing says until when.
UNTOLD = 900.0
# The live answers have two windows, and a handful of families. The bounds are against answers that are none.
MAX_WINDOWS, MAX_FAMILIES = 8, 16


@lru_cache(maxsize=64)
def kind_of(minutes: int) -> str:
    known = (kind for length, kind in KINDS.items() if abs(minutes - length) <= SLACK_MINUTES)
    return next(known, None) or next(f"{minutes // size}{unit}" for size, unit in UNITS if minutes % size == 0)


class Window(NamedTuple):
    minutes: int
    used_percent: float
    resets_at: float | None
    heard_at: float

    @property
    def kind(self) -> str:
        return kind_of(self.minutes)

    @property
    def ends_at(self) -> float:
        """At the latest: no window lasts longer than its length."""
        return self.heard_at + self.minutes * 60 if self.resets_at is None else self.resets_at

    def used(self, now: float) -> float:
        return 0.0 if now >= self.ends_at else self.used_percent

    def left(self, now: float) -> float:
        return FULL - self.used(now)


class Credits(NamedTuple):
    """What was bought beside the plan; spent once a window is full."""

    has: bool
    unlimited: bool
    balance: str | None


class Family(NamedTuple):
    """Windows of one model or feature, beside the plan's own. When they are full, the account still serves everything else."""

    name: str
    windows: Mapping[str, Window]


class Quota(NamedTuple):
    """What is known of one account at `heard_at`; what was not told is empty or None. Windows are by kind, others by limit id.

    `limit_reached` is upstream's own decision, which also counts what no window shows; `back_at` may come with it.
    """

    heard_at: float
    windows: Mapping[str, Window] = {}
    plan: str | None = None
    credits: Credits | None = None
    limit_reached: bool | None = None
    back_at: float | None = None
    others: Mapping[str, Family] = {}

    @property
    def tells_use(self) -> bool:
        return bool(self.windows) or self.limit_reached is not None

    def tightest(self, now: float) -> Window | None:
        """The window that will be full first, as far as percents tell; of two the longer, which stays full for longer."""
        return max(self.windows.values(), key=lambda window: (window.used(now), window.minutes), default=None)

    def spent_until(self, now: float) -> float | None:
        """When the plan is back, or None if it is not used up. Upstream's decision counts for more than the windows do."""
        ends = [window.ends_at for window in self.windows.values() if window.used(now) >= FULL]
        if self.limit_reached is False:
            return None
        if self.limit_reached is None:
            has_credits = self.credits and (self.credits.has or self.credits.unlimited)
            return None if has_credits else max(ends, default=None)
        until = self.back_at or max(ends, default=self.heard_at + UNTOLD)
        return until if until > now else None

    def disproved(self, now: float) -> "Quota":
        """Upstream has served the account although this says that it is used up. What full windows hold now is not known."""
        windows = {kind: window for kind, window in self.windows.items() if window.used(now) < FULL}
        return self._replace(windows=windows, limit_reached=None, back_at=None)


def merge(old: Quota | None, new: Quota) -> Quota:
    """Newer facts win, what is not told stays. Of the same age, `new` wins."""
    if old is None:
        return new
    if new.heard_at < old.heard_at:
        old, new = new, old
    # Windows that are told without a decision take the old decision away: it was about the windows of then.
    decided = new if new.tells_use else old
    return Quota(
        heard_at=new.heard_at,
        windows=_newest(old.windows, new.windows),
        plan=new.plan or old.plan,
        credits=new.credits or old.credits,
        limit_reached=decided.limit_reached,
        back_at=decided.back_at,
        others=dict(list({**old.others, **new.others}.items())[-MAX_FAMILIES:]),
    )


def _newest(old: Mapping[str, Window], new: Mapping[str, Window]) -> dict[str, Window]:
    """The newer one of each kind. More kinds than plans have: those heard last."""
    both = {kind: window for kind, window in old.items() if kind not in new or window.heard_at > new[kind].heard_at}
    ranked = sorted({**new, **both}.items(), key=lambda entry: (-entry[1].heard_at, entry[1].minutes))
    return dict(sorted(ranked[:MAX_WINDOWS], key=lambda entry: entry[1].minutes))


def document(quota: Quota, now: float) -> dict[str, Any]:
    """As JSON, for `GET /codex/usage` and `auth status`. Members may join, none is renamed; null is what nobody has told."""
    credits = quota.credits
    return {
        "plan": quota.plan,
        "limit_reached": None if quota.limit_reached is None and not quota.windows else quota.spent_until(now) is not None,
        "windows": _windows(quota.windows, now),
        "credits": None if credits is None else {"has": credits.has, "unlimited": credits.unlimited, "balance": credits.balance},
        "others": [
            {"id": limit, "name": family.name, "windows": _windows(family.windows, now)} for limit, family in quota.others.items()
        ],
        "heard_at": moment(quota.heard_at),
    }


def moment(when: float) -> str:
    """RFC 3339. The readers of times let none through that no calendar has."""
    return datetime.fromtimestamp(when, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _windows(windows: Mapping[str, Window], now: float) -> list[dict[str, Any]]:
    return [
        {
            "name": kind,
            "minutes": window.minutes,
            "used_percent": window.used(now),
            "left_percent": window.left(now),
            # Once it has passed, nobody knows the next one: it depends on when the account is used again.
            "resets_at": None if window.resets_at is None or now >= window.resets_at else moment(window.resets_at),
            "resets_in_seconds": None if window.resets_at is None or now >= window.resets_at else round(window.resets_at - now),
        }
        for kind, window in windows.items()
    ]
