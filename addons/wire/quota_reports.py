"""The four places where the backend tells how much of a plan is used. Garbage in any of them is passed over, never raised.

of_headers   x-codex-* on every answer, also on a 429
of_event     `codex.rate_limits`, in a stream
of_usage     the document of GET /wham/usage
of_refusal   the body of the 429, or the error of an event

Beside the plan's own limit, whose id is `codex`, there are families with limits of their own for one model or feature.
"""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from addons.wire.quota import FULL, MAX_FAMILIES, Credits, Family, Quota, Window

OWN = "codex"
SLOTS = ("primary", "secondary")
WINDOW_HEADER = re.compile(r"x-(.{1,64})-(primary|secondary)-(used-percent|window-minutes|reset-at|reset-after-seconds)")

# As JSON has them; not bool.
_NUMBERS = frozenset({int, float, str})
# Seconds of the year 2286: a time in milliseconds is far beyond it, and `datetime` still takes it.
MAX_NUMBER = 1e10
# A window of a year at the most.
MAX_MINUTES = 366 * 1440
MAX_TEXT = 64


def of_headers(headers: Mapping[str, str], now: float) -> Quota | None:
    """None where nothing is told. Names in any case."""
    told = {lower: value for name, value in headers.items() if (lower := name.lower()).startswith("x-")}
    if not told:
        return None
    limits: dict[str, dict[str, dict[str, str]]] = {}
    for name, value in told.items():
        if place := _place_of(name):
            limit, slot, member = place
            limits.setdefault(limit, {}).setdefault(slot, {})[member] = value
    if not limits and told.keys().isdisjoint(_BESIDE_WINDOWS):
        return None
    # "rate_limit_reached", "workspace_owner_credits_depleted" and more of the kind; only a refusal has it.
    reached = told.get("x-codex-rate-limit-reached-type", "").endswith(("_reached", "_depleted"))
    others = [
        (limit, told.get(f"x-{limit}-limit-name"), _windows([slots.get(slot) for slot in SLOTS], now))
        for limit, slots in limits.items()
        if limit != OWN
    ]
    return _told(
        Quota(
            heard_at=now,
            windows=_windows(limits.get(OWN, {}).values(), now),
            plan=text(told.get("x-codex-plan-type")),
            credits=_credits({name: told.get(header) for name, header in _CREDIT_HEADERS.items()}),
            limit_reached=True if reached else None,
            others=_families(others),
        )
    )


@lru_cache(maxsize=128)  # every answer has the same headers, a dozen; for this they are looked at twice
def _place_of(name: str) -> tuple[str, str, str] | None:
    """Of a header: the limit, the slot, and the member of the window in that slot."""
    match = WINDOW_HEADER.fullmatch(name)
    return (match[1], match[2], match[3].replace("-", "_")) if match else None


def of_event(event: Any, now: float) -> Quota | None:
    """None for any other event too."""
    if not isinstance(event, dict) or event.get("type") != "codex.rate_limits":
        return None
    limits = _object(event.get("rate_limits"))
    windows = _windows([limits.get(slot) for slot in SLOTS], now)
    plan, credits = text(event.get("plan_type")), _credits(event.get("credits") or limits.get("credits"))
    label = text(event.get("limit_name"))
    name = text(event.get("metered_limit_name")) or label or OWN
    if _id(name) != OWN:
        return _told(Quota(now, plan=plan, credits=credits, others=_families([(name, label, windows)])))
    return _told(Quota(now, windows, plan, credits, _decision(limits)))


def of_events(events: Iterable[Any], now: float) -> list[Quota]:
    """Of a whole stream. Upstream tells it at the begin and at the end, as a rule the same: that is one thing told."""
    told, before = [], None
    for event in events:
        if event != before and (quota := of_event(event, now)):
            told.append(quota)
        before = event
    return told


def of_usage(document: Any, now: float) -> Quota | None:
    document = _object(document)
    limits = _object(document.get("rate_limit"))
    additional = document.get("additional_rate_limits")
    others = [
        (
            text(entry.get("metered_feature")) or text(entry.get("limit_name")),
            text(entry.get("limit_name")),
            _windows([_object(entry.get("rate_limit")).get(f"{slot}_window") for slot in SLOTS], now),
        )
        for entry in (additional if isinstance(additional, list) else [])
        if isinstance(entry, dict)
    ]
    return _told(
        Quota(
            heard_at=now,
            windows=_windows([limits.get(f"{slot}_window") for slot in SLOTS], now),
            plan=text(document.get("plan_type")),
            credits=_credits(document.get("credits")),
            limit_reached=_decision(limits),
            others=_families(others),
        )
    )


def of_refusal(body: Any, now: float) -> Quota | None:
    """The parsed body, or the error in it. None for every other error: a 429 about the pace says nothing about the plan."""
    body = _object(body)
    error = _object(body.get("error")) or body
    if "usage_limit_reached" not in (error.get("type"), error.get("code")):
        return None
    return Quota(now, plan=text(error.get("plan_type")), limit_reached=True, back_at=_reset(error, now))


def number(value: Any) -> float | None:
    """Finite and within the bounds that all of these numbers have; also written as text, as in a header."""
    if type(value) not in _NUMBERS:
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if 0 <= found <= MAX_NUMBER else None


def text(value: Any) -> str | None:
    """Printable: half a surrogate pair could not be written as JSON again."""
    return value[:MAX_TEXT] if isinstance(value, str) and value and value.isprintable() else None


def _told(quota: Quota) -> Quota | None:
    return quota if quota.tells_use or quota.plan or quota.credits or quota.others else None


def _windows(told: Iterable[Any], now: float) -> dict[str, Window]:
    found = [window for entry in told if isinstance(entry, dict) and (window := _window(entry, now))]
    # Two of one kind were never seen; the fuller one would be what counts.
    return {window.kind: window for window in sorted(found, key=lambda window: (window.minutes, window.used_percent))}


def _window(told: Mapping[str, Any], now: float) -> Window | None:
    """One that does not tell its length is no use: nothing else says which one it is. A slot without a window is all zeros."""
    used, minutes = number(told.get("used_percent")), number(told.get("window_minutes"))
    if minutes is None and (seconds := number(told.get("limit_window_seconds"))) is not None:
        minutes = seconds / 60
    if used is None or minutes is None or not 1 <= minutes <= MAX_MINUTES:
        return None
    resets_at = _reset(told, now)
    if resets_at is not None:
        resets_at = min(resets_at, now + minutes * 60)  # whatever the two clocks think
    return Window(int(minutes), min(used, FULL), resets_at, now)


def _reset(told: Mapping[str, Any], now: float) -> float | None:
    """In this machine's time. The distance is preferred: it is right also where this machine's clock is not."""
    distance = number(told.get("reset_after_seconds", told.get("resets_in_seconds")))
    if distance is not None:
        return min(now + distance, MAX_NUMBER)
    return number(told.get("reset_at", told.get("resets_at")))


def _decision(limits: Mapping[str, Any]) -> bool | None:
    """`allowed` counts for more: with credits an account is served beyond its limit."""
    allowed, reached = limits.get("allowed"), limits.get("limit_reached")
    if isinstance(allowed, bool):
        return not allowed
    return reached if isinstance(reached, bool) else None


_CREDITS = ("has_credits", "unlimited", "balance")
_CREDIT_HEADERS = {name: f"x-codex-credits-{name.replace('_', '-')}" for name in _CREDITS}
_BESIDE_WINDOWS = frozenset({"x-codex-rate-limit-reached-type", "x-codex-plan-type", *_CREDIT_HEADERS.values()})
_FLAGS = {"true": True, "false": False}


def _credits(told: Any) -> Credits | None:
    if not isinstance(told, dict):
        return None
    has, unlimited, balance = _flag(told.get("has_credits")), _flag(told.get("unlimited")), told.get("balance")
    if has is None and unlimited is None:
        return None
    amount = None if isinstance(balance, str) else number(balance)
    return Credits(bool(has), bool(unlimited), text(balance) if amount is None else f"{amount:g}")


def _flag(value: Any) -> bool | None:
    """JSON has booleans, headers have Python's `True` and `False`."""
    return _FLAGS.get(value.lower()) if isinstance(value, str) else value if isinstance(value, bool) else None


def _families(told: Iterable[tuple[str | None, str | None, dict[str, Window]]]) -> dict[str, Family]:
    found = {_id(limit): Family(name or limit, windows) for limit, name, windows in told if limit and windows}
    return dict(list(found.items())[:MAX_FAMILIES])


def _id(limit: str) -> str:
    """As the CLI writes it: `x-codex-other-...` is about `codex_other`."""
    return limit.lower().replace("-", "_")


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
