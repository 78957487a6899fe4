import pytest

from addons.wire import delays
from addons.wire.delays import LONGEST

NOW = 1_763_700_000.0  # Fri, 21 Nov 2025 04:40:00 GMT

DURATIONS = {
    "1.2s": 1.2,
    "300ms": 0.3,
    "4ms": 0.004,
    "6m0s": 360,
    "1h2m3s": 3723,
    "2 seconds": 2,
    "5 minutes": 300,
    "1 minute": 60,
    "2 Minutes and 3 seconds": 123,
    "1 hour, 30 minutes": 5400,
    "3 days": 259200,
    "3 months": None,
    "5": None,
    "s": None,
    "": None,
    "1s later": None,
    "1.2.3s": None,
    "-1s": None,
    "999999999d": None,
    "٣s": None,
}


@pytest.mark.parametrize(("text", "seconds"), DURATIONS.items(), ids=DURATIONS)
def test_durations(text: str, seconds: float | None) -> None:
    assert delays.duration(text) == (seconds if seconds is None else pytest.approx(seconds))


MESSAGES = {
    "Rate limit reached on tokens per min. Limit: 30000. Please try again in 1.2s. Visit https://...": 1.2,
    "Please try again in 300ms.": 0.3,
    "Try again in 6m0s.": 360,
    "try again in 2 minutes": 120,
    "try again in5s": 5,
    "try again in 1m and see": 60,
    "try again in 3 months": None,
    "try again in a few seconds": None,
    "try again at 11:40 PM": None,
    "": None,
}


@pytest.mark.parametrize(("message", "seconds"), MESSAGES.items(), ids=MESSAGES)
def test_messages(message: str, seconds: float | None) -> None:
    assert delays.in_message(message) == (seconds if seconds is None else pytest.approx(seconds))


HEADERS: dict[str, tuple[dict[str, str], float | None]] = {
    "seconds": ({"retry-after": "7"}, 7),
    "seconds with blanks": ({"retry-after": " 7 "}, 7),
    "parts of a second": ({"retry-after": "1.5"}, 1.5),
    "milliseconds come first": ({"retry-after": "2", "retry-after-ms": "1200"}, 1.2),
    "milliseconds that are none": ({"retry-after": "2", "retry-after-ms": "soon"}, 2),
    "at once": ({"retry-after": "0"}, 0),
    "a date": ({"retry-after": "Fri, 21 Nov 2025 04:41:00 GMT"}, 60),
    "a date by upstream's clock": (
        {"retry-after": "Fri, 21 Nov 2025 09:00:30 GMT", "date": "Fri, 21 Nov 2025 09:00:00 GMT"},
        30,
    ),
    "a date that has passed": ({"retry-after": "Fri, 21 Nov 2025 04:00:00 GMT"}, 0),
    "a date far away": ({"retry-after": "Fri, 21 Nov 2059 04:00:00 GMT"}, None),
    "a date that is none": ({"retry-after": "Fri, 99 Nov 2025 04:00:00 GMT"}, None),
    "a year that is none": ({"retry-after": "Fri, 21 Nov 999999999999 04:00:00 GMT"}, None),
    "negative": ({"retry-after": "-7"}, None),
    "infinite": ({"retry-after": "inf"}, None),
    "not a number": ({"retry-after": "nan"}, None),
    "Python's own numbers": ({"retry-after": "1_0"}, None),
    "too long to make sense": ({"retry-after": str(int(LONGEST) + 1)}, None),
    "none": ({}, None),
}


@pytest.mark.parametrize(("headers", "seconds"), HEADERS.values(), ids=HEADERS)
def test_headers(headers: dict[str, str], seconds: float | None) -> None:
    assert delays.in_headers(headers, NOW) == seconds


RATE_LIMITS: dict[str, tuple[dict[str, str], float | None]] = {
    "of requests": ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1m0s"}, 60),
    "one with something left says nothing": ({"x-ratelimit-remaining-tokens": "15", "x-ratelimit-reset-tokens": "1s"}, None),
    "the longer of two": (
        {
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-reset-requests": "4ms",
            "x-ratelimit-remaining-tokens": "0",
            "x-ratelimit-reset-tokens": "6s",
        },
        6,
    ),
    "seconds": ({"x-ratelimit-reset": "30"}, 30),
    "unix seconds": ({"x-ratelimit-reset": f"{NOW + 9:.0f}"}, 9),
    "unix milliseconds": ({"x-ratelimit-reset": f"{(NOW + 9) * 1000:.0f}"}, 9),
    "long ago": ({"x-ratelimit-reset": "1000000001"}, 0),
    "nonsense": ({"x-ratelimit-reset": "tomorrow"}, None),
    "none": ({}, None),
}


@pytest.mark.parametrize(("headers", "seconds"), RATE_LIMITS.values(), ids=RATE_LIMITS)
def test_rate_limits(headers: dict[str, str], seconds: float | None) -> None:
    assert delays.until_rate_resets(headers, NOW) == seconds


PLAN_REFUSALS: dict[str, tuple[dict[str, object], float | None]] = {
    "in seconds": ({"resets_in_seconds": 7200}, 7200),
    "a moment": ({"resets_at": int(NOW) + 60}, 60),
    "seconds come first": ({"resets_in_seconds": 7200, "resets_at": NOW + 60}, 7200),
    "a moment that has passed": ({"resets_at": NOW - 60}, 0),
    "a moment in milliseconds": ({"resets_at": NOW * 1000}, None),
    "a moment that no float holds": ({"resets_at": 10**400}, None),
    "not a number": ({"resets_at": float("nan"), "resets_in_seconds": float("nan")}, None),
    "negative": ({"resets_in_seconds": -1}, None),
    "a boolean": ({"resets_in_seconds": True, "resets_at": True}, None),
    "texts": ({"resets_in_seconds": "60", "resets_at": "soon"}, None),
    "none": ({}, None),
}


@pytest.mark.parametrize(("error", "seconds"), PLAN_REFUSALS.values(), ids=PLAN_REFUSALS)
def test_plan_refusals(error: dict[str, object], seconds: float | None) -> None:
    assert delays.in_plan_refusal(error, NOW) == seconds
