"""What the pool answers: an account, or nobody, with the reasons; and how each account stands, for people."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from addons.pool.health import Failure, State
from addons.wire import quota as quotas
from addons.wire.quota import Quota
from addons.wire.verdict import Blame


@dataclass(slots=True)
class Choice:
    """`why` is for `explain`; `str()` is the sentence. `at` is when it was made, which is how late news are told from new ones.
    `moves` are the keys of a conversation that is at home elsewhere, and is here from now on if this account serves it.

    Not to be changed; to make a frozen one takes three times as long.
    """

    name: str
    why: str
    at: float
    probe: bool = False
    moves: tuple[str, ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        return f"{self.name}: {self.why}"


class Absence(NamedTuple):
    """Why one account is not chosen. `until` is None if time does not help; `blame` is None if it was only tried already."""

    name: str
    reason: str
    until: float | None
    blame: Blame | None
    tried: bool = False
    """For this request: it will not be chosen again, whenever it is back."""


class Nobody(NamedTuple):
    """No account can serve. `first` is the one that is back first, and says best what the client is to be told; one that was tried
    only if there is no other.
    """

    absences: tuple[Absence, ...]

    @property
    def first(self) -> Absence | None:
        return min(self.absences, key=lambda absence: (absence.tried, _or_never(absence.until)), default=None)

    @property
    def until(self) -> float | None:
        return self.first.until if self.first else None

    def __str__(self) -> str:
        return "; ".join(f"{absence.name}: {absence.reason}" for absence in self.absences) or "there is no account"


class Standing(NamedTuple):
    """One account, for a status page."""

    name: str
    state: State
    reason: str
    until: float | None
    in_flight: int
    last_failure: Failure | None
    quota: Quota | None

    def document(self, now: float) -> dict[str, Any]:
        last = self.last_failure
        return {
            "name": self.name,
            "state": self.state,
            "reason": self.reason or None,
            "until": None if self.until is None else quotas.moment(self.until),
            "in_flight": self.in_flight,
            "last_failure": last and {"blame": last.blame, "reason": last.reason, "at": quotas.moment(last.at)},
            "quota": self.quota and quotas.document(self.quota, now),
        }


def _or_never(until: float | None) -> float:
    return float("inf") if until is None else until
