"""How long upstream asks to wait, in each of its ways to say it: seconds, or None where it does not say or makes no sense.

Names of headers are in lower case here.
"""

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

# Plans come back within a week, spend limits within a month. More than a year is a unit mistaken for another, or garbage.
LONGEST = 366 * 86400.0

UNITS = {
    "ms": 0.001,
    "millisecond": 0.001,
    "s": 1.0,
    "sec": 1.0,
    "second": 1.0,
    "m": 60.0,
    "min": 60.0,
    "minute": 60.0,
    "h": 3600.0,
    "hr": 3600.0,
    "hour": 3600.0,
    "d": 86400.0,
    "day": 86400.0,
}

# At most nine digits: enough for each of the units, and no float that is infinite.
_NUMBER = r"\d{1,9}(?:\.\d{1,9})?"
_PIECE = rf"({_NUMBER})\s*({'|'.join(sorted(UNITS, key=len, reverse=True))})s?(?![a-z])"
_PIECES = rf"(?:{_PIECE}(?:[\s,]|and\b)*)+"
_FLAGS = re.ASCII | re.IGNORECASE

NUMBER = re.compile(r"\d{1,15}(?:\.\d{1,9})?", re.ASCII)
PIECE = re.compile(_PIECE, _FLAGS)
DURATION = re.compile(_PIECES, _FLAGS)
# On a stream there is no header for it. The Codex CLI reads "1.2s", "300ms" and "2 seconds"; api.openai.com says "6m0s" as well.
TRY_AGAIN_IN = re.compile(rf"try again in\s*({_PIECES})", _FLAGS)

# OpenAI has one for requests and one for tokens, other gateways a single one.
RATE_LIMITS = ("", "-requests", "-tokens")

# Numbers from here on are a point in time, in unix seconds (September 2001) or milliseconds.
UNIX_SECONDS, UNIX_MILLISECONDS = 1e9, 1e12


def in_headers(headers: Mapping[str, str], now: float) -> float | None:
    """`retry-after-ms` before `retry-after`, as in the SDKs: it is the finer of the two. A date is compared with upstream's own."""
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return sensible(milliseconds / 1000)
    told = headers.get("retry-after", "")
    seconds = _number(told)
    if seconds is not None:
        return sensible(seconds)
    moment, upstreams_now = _date(told), _date(headers.get("date", ""))
    return None if moment is None else sensible(max(0.0, moment - (now if upstreams_now is None else upstreams_now)))


def in_message(message: str) -> float | None:
    """As in: Rate limit reached. Please try again in 1.2s."""
    found = TRY_AGAIN_IN.search(message)
    return duration(found[1]) if found else None


def in_plan_refusal(error: Mapping[str, Any], now: float) -> float | None:
    """`resets_in_seconds` before `resets_at`: it does not depend on this machine's clock."""
    seconds = sensible(error.get("resets_in_seconds"))
    if seconds is not None:
        return seconds
    moment: Any = error.get("resets_at")
    is_moment = type(moment) in (int, float) and UNIX_SECONDS <= moment < UNIX_MILLISECONDS
    return sensible(max(0.0, moment - now)) if is_moment else None


def until_rate_resets(headers: Mapping[str, str], now: float) -> float | None:
    """From `x-ratelimit-*`, which is on every answer: only a limit with nothing left says anything about a refusal."""
    used_up = [limit for limit in RATE_LIMITS if _number(headers.get(f"x-ratelimit-remaining{limit}", "0")) == 0]
    told = [_until(headers.get(f"x-ratelimit-reset{limit}", ""), now) for limit in used_up]
    return max((seconds for seconds in told if seconds is not None), default=None)


def duration(text: str) -> float | None:
    """Go's way ("6m0s", "4ms") or in words ("2 minutes and 3 seconds")."""
    if not DURATION.fullmatch(text.strip()):
        return None
    return sensible(sum(float(number) * UNITS[unit.lower()] for number, unit in PIECE.findall(text)))


def sensible(seconds: Any) -> float | None:
    return float(seconds) if type(seconds) in (int, float) and 0 <= seconds <= LONGEST else None


def _until(text: str, now: float) -> float | None:
    number = _number(text)
    if number is None:
        return duration(text)
    if number >= UNIX_MILLISECONDS:
        number /= 1000
    return sensible(max(0.0, number - now) if number >= UNIX_SECONDS else number)


def _number(text: str) -> float | None:
    return float(text) if NUMBER.fullmatch(text := text.strip()) else None


def _date(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp() if text else None
    except (ValueError, OverflowError):
        return None
