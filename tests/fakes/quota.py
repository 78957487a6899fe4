"""How much of its plan an account has used: the windows, and the four places where the backend tells."""

from dataclasses import dataclass
from typing import Any

from .identity import Identity
from .settings import Clock

PRIMARY_MINUTES = 300
SECONDARY_MINUTES = 10080


@dataclass
class Usage:
    primary: float = 12.5
    secondary: float = 3.0

    @property
    def reached(self) -> bool:
        return self.primary >= 100 or self.secondary >= 100


class Quotas:
    """Usage by account. Windows reset at the next full multiple of their length."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._usage: dict[str, Usage] = {}

    def of(self, account_id: str) -> Usage:
        return self._usage.setdefault(account_id, Usage())

    def resets_at(self, minutes: int) -> int:
        window = minutes * 60
        return (int(self._clock.now()) // window + 1) * window

    def headers(self, who: Identity) -> list[tuple[str, str]]:
        usage = self.of(who.account_id)
        return [
            ("x-codex-plan-type", who.plan),
            ("x-codex-active-limit", "premium"),
            ("x-codex-primary-used-percent", f"{usage.primary:g}"),
            ("x-codex-primary-window-minutes", str(PRIMARY_MINUTES)),
            ("x-codex-primary-reset-at", str(self.resets_at(PRIMARY_MINUTES))),
            ("x-codex-secondary-used-percent", f"{usage.secondary:g}"),
            ("x-codex-secondary-window-minutes", str(SECONDARY_MINUTES)),
            ("x-codex-secondary-reset-at", str(self.resets_at(SECONDARY_MINUTES))),
            ("x-codex-credits-has-credits", "False"),
            ("x-codex-credits-unlimited", "False"),
            ("x-codex-credits-balance", ""),
        ]

    def event(self, who: Identity) -> dict[str, Any]:
        usage = self.of(who.account_id)
        return {
            "type": "codex.rate_limits",
            "plan_type": who.plan,
            "rate_limits": {
                "allowed": not usage.reached,
                "limit_reached": usage.reached,
                "primary": self._event_window(usage.primary, PRIMARY_MINUTES),
                "secondary": self._event_window(usage.secondary, SECONDARY_MINUTES),
            },
            "credits": {"has_credits": False, "unlimited": False, "balance": None},
        }

    def document(self, who: Identity) -> dict[str, Any]:
        """The answer of /wham/usage."""
        usage = self.of(who.account_id)
        return {
            "plan_type": who.plan,
            "rate_limit": {
                "allowed": not usage.reached,
                "limit_reached": usage.reached,
                "primary_window": self._document_window(usage.primary, PRIMARY_MINUTES),
                "secondary_window": self._document_window(usage.secondary, SECONDARY_MINUTES),
            },
            "credits": {"has_credits": False, "unlimited": False, "balance": None},
            "spend_control": None,
            "additional_rate_limits": [],
            "rate_limit_reached_type": {"type": "rate_limit_reached"} if usage.reached else None,
        }

    def refusal(self, who: Identity) -> dict[str, Any]:
        """The body of the 429; `type`, not `code`, is what tells it from other 429s."""
        minutes = SECONDARY_MINUTES if self.of(who.account_id).secondary >= 100 else PRIMARY_MINUTES
        resets_at = self.resets_at(minutes)
        return {
            "error": {
                "type": "usage_limit_reached",
                "message": "The usage limit has been reached",
                "plan_type": who.plan,
                "resets_at": resets_at,
                "resets_in_seconds": resets_at - int(self._clock.now()),
                "eligible_promo": None,
            }
        }

    def _event_window(self, used: float, minutes: int) -> dict[str, Any]:
        return {"used_percent": used, "window_minutes": minutes, "reset_at": self.resets_at(minutes)}

    def _document_window(self, used: float, minutes: int) -> dict[str, Any]:
        resets_at = self.resets_at(minutes)
        return {
            "used_percent": int(used),  # the headers have fractions, this has none
            "limit_window_seconds": minutes * 60,
            "reset_after_seconds": resets_at - int(self._clock.now()),
            "reset_at": resets_at,
        }
