"""What a token says about itself, and when it stops being good on this machine's clock.

Claims are read without verifying the signature: we are not the audience, and only the server's answer counts. They steer
display and timing, never a decision about trust.

Two clocks are involved: `iat` and `exp` were written by the issuer's, `last_refresh` by ours. When the two disagree by an
hour, comparing `exp` with our own time refreshes an hour early (each request, if tokens live less than that) or an hour
late. So the lifetime is taken from the issuer and the starting point from us.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

OPENAI_AUTH = "https://api.openai.com/auth"
OPENAI_PROFILE = "https://api.openai.com/profile"

# The CLI refreshes 5 minutes before `exp`, and after 8 days when a token has none (codex-rs, login/src/auth/manager.rs).
MAX_LEEWAY = 300.0
REFRESH_WITHOUT_EXP = 8 * 86400.0
# Clocks are wrong by minutes, by a time zone, by a summer hour. A day apart, `last_refresh` belongs to another token.
MAX_CLOCK_ERROR = 86400.0
# Background refreshing begins this many leeways before the end, so that a request seldom has to wait for one.
AHEAD = 3


class Claims(NamedTuple):
    """The claims that we show or send on; None where the token does not say."""

    email: str | None = None
    plan: str | None = None
    account_id: str | None = None
    user_id: str | None = None
    fedramp: bool = False
    issued_at: float | None = None
    expires_at: float | None = None


def read_claims_unverified(token: str | None) -> Claims:
    """All None for a token that is absent or no JWT: that is not ours to judge."""
    payload = _payload(token)
    auth = _member(payload, OPENAI_AUTH)
    return Claims(
        email=_text(payload, "email") or _text(_member(payload, OPENAI_PROFILE), "email"),
        plan=_text(auth, "chatgpt_plan_type"),
        account_id=_text(auth, "chatgpt_account_id"),
        user_id=_text(auth, "chatgpt_user_id") or _text(auth, "user_id"),
        fedramp=auth.get("chatgpt_account_is_fedramp") is True,
        issued_at=_seconds(payload, "iat"),
        expires_at=_seconds(payload, "exp"),
    )


class Validity(NamedTuple):
    """From `ahead_at` a refresh is welcome, from `stale_at` it is due, from `ends_at` the token is useless."""

    ahead_at: float = math.inf
    stale_at: float = math.inf
    ends_at: float = math.inf

    def is_stale(self, now: float) -> bool:
        return now >= self.stale_at

    def is_over(self, now: float) -> bool:
        return now >= self.ends_at


def validity(claims: Claims, last_refresh: float | None) -> Validity:
    """When the access token with these claims, stored at `last_refresh`, has to be refreshed; in local time."""
    if claims.expires_at is not None:
        ends_at = _local_end(claims.expires_at, claims.issued_at, last_refresh)
        leeway = _leeway(claims.expires_at, claims.issued_at)
        return Validity(ends_at - AHEAD * leeway, ends_at - leeway, ends_at)
    if last_refresh is not None:
        stale_at = last_refresh + REFRESH_WITHOUT_EXP
        return Validity(stale_at - (AHEAD - 1) * MAX_LEEWAY, stale_at)
    return Validity()


def _local_end(expires_at: float, issued_at: float | None, last_refresh: float | None) -> float:
    if issued_at is None or last_refresh is None or abs(issued_at - last_refresh) > MAX_CLOCK_ERROR:
        return expires_at
    return last_refresh + (expires_at - issued_at)


def _leeway(expires_at: float, issued_at: float | None) -> float:
    # A fixed leeway longer than the token's life would refresh it on every request.
    lifetime = math.inf if issued_at is None else max(0.0, expires_at - issued_at)
    return min(MAX_LEEWAY, lifetime / 4)


def _payload(token: str | None) -> Mapping[str, object]:
    import jwt  # with all of cryptography: a third of the time of `--help`, and of `status` where nobody is signed in

    try:
        payload: Mapping[str, object] = jwt.decode(token or "", options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, RecursionError):
        return {}
    return payload


def _member(claims: Mapping[str, object], name: str) -> Mapping[str, object]:
    value = claims.get(name)
    return value if isinstance(value, dict) else {}


def _text(claims: Mapping[str, object], name: str) -> str | None:
    value = claims.get(name)
    return value if isinstance(value, str) and value else None


def _seconds(claims: Mapping[str, object], name: str) -> float | None:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
