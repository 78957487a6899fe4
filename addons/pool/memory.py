"""What of the pool survives a restart: as a JSON document without secrets, and back from whatever is found in its place.

Not what was under way; and not that a sign-in is dead, which may have been mended while nobody watched. The first request that
asks for that account's token finds out, and costs nothing upstream.
"""

from collections.abc import Mapping
from itertools import islice
from typing import Any, get_args

from addons.pool import DEFAULT_RULES, MAX_ACCOUNTS, Pool, Rules
from addons.pool.affinity import SIZE
from addons.pool.health import COOLDOWNS, Account, Cooling, Failure
from addons.pool.strategies import MAX_TURN
from addons.wire.quota import FULL, MAX_FAMILIES, MAX_WINDOWS, Credits, Family, Quota, Window
from addons.wire.quota_reports import MAX_MINUTES, number, text
from addons.wire.verdict import Blame

# Another number is another shape, which is not read: what is lost are a few minutes' knowledge and the caches' whereabouts.
VERSION = 1

MAX_REASON = 500
BLAMES: tuple[Blame, ...] = get_args(Blame)


def dump(pool: Pool) -> dict[str, Any]:
    return {
        "version": VERSION,
        "accounts": {account.name: written(account) for account in pool.accounts.values()},
        "homes": [list(entry) for entry in pool.homes.entries()],
    }


def load(document: Any, now: float, rules: Rules = DEFAULT_RULES) -> Pool:
    """A pool that decides as the dumped one would. What cannot be read, or lies in the future, is as if it had not been there."""
    pool = Pool(rules)
    document = _object(document)
    if document.get("version") != VERSION:
        return pool
    for name, told in islice(_object(document.get("accounts")).items(), MAX_ACCOUNTS):
        if isinstance(name, str) and isinstance(told, dict):
            pool.accounts[name] = account_of(name, told, now)
    homes = document.get("homes")
    for entry in homes[-SIZE:] if isinstance(homes, list) else []:
        match entry:
            case [str(mark), str(name), float() | int() as used_at] if len(mark) == 16 and _past(used_at, now) is not None:
                pool.homes.restore(mark, name, used_at)
    return pool


def written(account: Account) -> dict[str, Any]:
    return {
        "cooling": account.cooling and account.cooling._asdict(),
        "failures": account.failures,
        "told_at": account.told_at,
        "last_failure": account.last_failure and account.last_failure._asdict(),
        "quota": account.quota and plain(account.quota),
        "turn": account.turn,
        "probed_at": account.probed_at,
    }


def plain(quota: Quota) -> dict[str, Any]:
    return quota._asdict() | {
        "windows": _plain_windows(quota.windows),
        "credits": quota.credits and quota.credits._asdict(),
        "others": {
            limit: {"name": family.name, "windows": _plain_windows(family.windows)} for limit, family in quota.others.items()
        },
    }


def _plain_windows(windows: Mapping[str, Window]) -> dict[str, Any]:
    return {kind: window._asdict() for kind, window in windows.items()}


def account_of(name: str, told: Mapping[str, Any], now: float) -> Account:
    """As `written` told of it."""
    failures, turn = told.get("failures"), told.get("turn")
    return Account(
        name,
        cooling=_cooling(_object(told.get("cooling")), now),
        failures=min(failures, 1000) if type(failures) is int and failures > 0 else 0,
        told_at=_past(told.get("told_at"), now) or 0.0,
        last_failure=_failure(_object(told.get("last_failure")), now),
        quota=_quota(_object(told.get("quota")), now),
        turn=min(max(turn, -MAX_TURN), MAX_TURN) if type(turn) is int else 0,
        probed_at=_past(told.get("probed_at"), now) or 0.0,
    )


def _cooling(told: Mapping[str, Any], now: float) -> Cooling | None:
    blame, since, until, rests = _blame(told), _past(told.get("since"), now), number(told.get("until")), told.get("rests")
    if blame is None or blame not in COOLDOWNS or since is None or until is None or not isinstance(rests, bool):
        return None
    return Cooling(blame, _reason(told), since, min(until, now + COOLDOWNS[blame].longest), rests)


def _failure(told: Mapping[str, Any], now: float) -> Failure | None:
    blame, at = _blame(told), _past(told.get("at"), now)
    return None if blame is None or at is None else Failure(blame, _reason(told), at)


def _quota(told: Mapping[str, Any], now: float) -> Quota | None:
    heard_at = _past(told.get("heard_at"), now)
    if heard_at is None:
        return None
    credits, reached = _object(told.get("credits")), told.get("limit_reached")
    others = {
        limit: Family(text(family.get("name")) or limit, _windows(family.get("windows"), now))
        for limit, family in islice(_object(told.get("others")).items(), MAX_FAMILIES)
        if text(limit) == limit and isinstance(family, dict)
    }
    return Quota(
        heard_at=heard_at,
        windows=_windows(told.get("windows"), now),
        plan=text(told.get("plan")),
        credits=Credits(credits.get("has") is True, credits.get("unlimited") is True, text(credits.get("balance")))
        if credits
        else None,
        limit_reached=reached if isinstance(reached, bool) else None,
        back_at=number(told.get("back_at")),
        others=others,
    )


def _windows(told: Any, now: float) -> dict[str, Window]:
    found = [_window(_object(entry), now) for entry in islice(_object(told).values(), MAX_WINDOWS)]
    return {window.kind: window for window in found if window}


def _window(told: Mapping[str, Any], now: float) -> Window | None:
    minutes, used, heard_at = told.get("minutes"), number(told.get("used_percent")), _past(told.get("heard_at"), now)
    if type(minutes) is not int or not 1 <= minutes <= MAX_MINUTES or used is None or heard_at is None:
        return None
    return Window(minutes, min(used, FULL), number(told.get("resets_at")), heard_at)


def _past(value: Any, now: float) -> float | None:
    found = None if isinstance(value, str) else number(value)
    return found if found is not None and found <= now else None


def _blame(told: Mapping[str, Any]) -> Blame | None:
    return next((blame for blame in BLAMES if blame == told.get("blame")), None)


def _reason(told: Mapping[str, Any]) -> str:
    reason = told.get("reason")
    return reason[:MAX_REASON] if isinstance(reason, str) and reason.isprintable() else ""


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
