"""How long a failure stays everybody's answer before the issuer is asked again."""

from typing import NamedTuple

from auth.errors import TryAgainLater

FIRST = 1.0
LONGEST = 60.0
# An issuer that asks for more is asked again all the same: "Retry-After: 86400" has been an operator's typing error before.
LONGEST_ASKED = 300.0


class BackOff(NamedTuple):
    """The last failure; a fresh one means there was none."""

    failures: int = 0
    why: str = ""
    since: float = 0.0
    seconds: float = 0.0

    def remaining(self, now: float) -> float:
        """0 when it is over. A clock that was set back ends it, so that it cannot last for hours."""
        passed = now - self.since
        return self.seconds - passed if 0 <= passed < self.seconds else 0.0

    def after(self, error: TryAgainLater, now: float, jitter: float) -> "BackOff":
        """Doubles; `jitter` in [0, 1) spreads it from a half to three halves, so that many proxies do not come back at once."""
        seconds = min(LONGEST, FIRST * 2 ** min(self.failures, 10)) * (0.5 + jitter)
        asked = min(error.retry_after or 0.0, LONGEST_ASKED)
        return BackOff(self.failures + 1, error.why, now, max(seconds, asked))
