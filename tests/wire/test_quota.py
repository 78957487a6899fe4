import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from addons.wire.quota import MAX_FAMILIES, MAX_WINDOWS, UNTOLD, Credits, Family, Quota, Window, document, kind_of, merge
from addons.wire.quota_reports import of_event, of_events, of_headers, of_refusal, of_usage
from tests.fakes.quota import Quotas
from tests.fakes.settings import Clock

NOW = 1_800_000_000.5
HOUR, DAY = 3600.0, 86400.0


class StoppedClock(Clock):
    def now(self) -> float:
        return NOW


def told(primary: float, secondary: float) -> dict[str, Quota | None]:
    """What is read from each of the four places, when the strict fake's account has used as much."""
    who: Any = SimpleNamespace(account_id="a", plan="plus")
    quotas = Quotas(StoppedClock())
    usage = quotas.of("a")
    usage.primary, usage.secondary = primary, secondary
    return {
        "headers": of_headers(dict(quotas.headers(who)), NOW),
        "event": of_event(quotas.event(who), NOW),
        "usage": of_usage(quotas.document(who), NOW),
        "refusal": of_refusal(quotas.refusal(who), NOW),
    }


@pytest.mark.parametrize("place", ["headers", "event", "usage"])
def test_the_places_tell_the_same(place: str) -> None:
    quota = told(12, 3)[place]
    assert quota and quota.plan == "plus" and quota.credits == Credits(False, False, None)
    assert {kind: window.used_percent for kind, window in quota.windows.items()} == {"5h": 12, "weekly": 3}
    assert all(NOW < window.ends_at <= NOW + window.minutes * 60 for window in quota.windows.values())
    assert quota.spent_until(NOW) is None


@pytest.mark.parametrize("place", ["headers", "event", "usage", "refusal"])
@pytest.mark.parametrize(("primary", "secondary", "within"), [(100, 3, 5 * HOUR), (12, 100, 7 * DAY)], ids=["5h", "weekly"])
def test_a_plan_that_is_used_up_is_seen_in_each_of_them(place: str, primary: float, secondary: float, within: float) -> None:
    quota = told(primary, secondary)[place]
    assert quota
    until = quota.spent_until(NOW)
    assert until and NOW < until <= NOW + within
    assert quota.spent_until(until + 1) is None, "and comes back by itself"


LENGTHS = [
    (300, "5h"),
    (299, "5h"),
    (10080, "weekly"),
    (10079, "weekly"),
    (43200, "monthly"),
    (60, "1h"),
    (1440, "1d"),
    (90, "90min"),
]


@pytest.mark.parametrize(("minutes", "kind"), LENGTHS)
def test_a_window_is_known_by_its_length(minutes: int, kind: str) -> None:
    assert kind_of(minutes) == kind


def headers(**slots: tuple[str, str]) -> dict[str, str]:
    """(used percent, minutes) by slot."""
    return {
        f"X-Codex-{slot.title()}-{name}": value
        for slot, values in slots.items()
        for name, value in zip(("Used-Percent", "Window-Minutes"), values, strict=True)
    }


SLOTS: dict[str, tuple[dict[str, str], dict[str, float]]] = {
    "as on most plans": (headers(primary=("7", "300"), secondary=("8.5", "10080")), {"5h": 7, "weekly": 8.5}),
    "the other way round": (headers(primary=("7", "10080"), secondary=("8.5", "300")), {"5h": 8.5, "weekly": 7}),
    "as on the free plan": (headers(primary=("7", "10080"), secondary=("0", "0")), {"weekly": 7}),
    "a length that no plan had yet": (headers(primary=("7", "120")), {"2h": 7}),
    "beyond its end": (headers(primary=("103", "300")), {"5h": 100}),
    "no length": ({"x-codex-primary-used-percent": "7"}, {}),
    "no percent": ({"x-codex-primary-window-minutes": "300"}, {}),
    "no numbers": (headers(primary=("nan", "300"), secondary=("7", "weekly")), {}),
    "below zero": (headers(primary=("-7", "300"), secondary=("7", "-300")), {}),
}


@pytest.mark.parametrize(("given_headers", "used"), SLOTS.values(), ids=SLOTS)
def test_windows_of_headers(given_headers: dict[str, str], used: dict[str, float]) -> None:
    quota = of_headers({**given_headers, "x-codex-plan-type": "plus"}, NOW)
    assert quota and {kind: window.used_percent for kind, window in quota.windows.items()} == used


RESETS: dict[str, tuple[dict[str, Any], float | None]] = {
    "a distance": ({"reset_after_seconds": 60}, NOW + 60),
    "a time": ({"reset_at": NOW + 60}, NOW + 60),
    "both, by clocks that disagree": ({"reset_after_seconds": 60, "reset_at": NOW - HOUR}, NOW + 60),
    "neither": ({}, None),
    "later than the window is long": ({"reset_at": NOW + 6 * HOUR}, NOW + 5 * HOUR),
    "in milliseconds": ({"reset_at": NOW * 1000}, None),
    "infinitely late": ({"reset_after_seconds": float("inf")}, None),
    "a word": ({"reset_at": "soon"}, None),
}


def test_a_stream_tells_the_same_once_and_what_has_changed_again() -> None:
    at_first, later = ({"type": "codex.rate_limits", "plan_type": plan} for plan in ("plus", "pro"))
    other = {"type": "codex.something"}
    assert [quota.plan for quota in of_events([at_first, dict(at_first)], NOW)] == ["plus"]
    assert [quota.plan for quota in of_events([at_first, later, at_first], NOW)] == ["plus", "pro", "plus"]
    assert of_events([other, other], NOW) == of_events([], NOW) == []


@pytest.mark.parametrize(("reset", "resets_at"), RESETS.values(), ids=RESETS)
def test_when_a_window_starts_anew(reset: dict[str, Any], resets_at: float | None) -> None:
    window = {"used_percent": 5, "window_minutes": 300, **reset}
    quota = of_event({"type": "codex.rate_limits", "rate_limits": {"primary": window}}, NOW)
    assert quota and quota.windows["5h"].resets_at == resets_at
    assert quota.windows["5h"].ends_at <= NOW + 5 * HOUR
    by_header = {f"x-codex-primary-{name.replace('_', '-')}": str(value) for name, value in window.items()}
    assert of_headers(by_header, NOW) == Quota(NOW, quota.windows)


def test_a_window_that_is_over_counts_as_unused() -> None:
    window = Window(300, 80, NOW + 60, NOW)
    assert [window.used(now) for now in (NOW, NOW + 59, NOW + 60)] == [80, 80, 0]
    assert Window(300, 80, None, NOW).used(NOW + 5 * HOUR) == 0, "at the latest after its length"


CREDITS = [
    ({"x-codex-credits-has-credits": "True", "x-codex-credits-unlimited": "False"}, Credits(True, False, None)),
    ({"x-codex-credits-has-credits": "true", "x-codex-credits-balance": "12.50"}, Credits(True, False, "12.50")),
    ({"x-codex-credits-unlimited": "True"}, Credits(False, True, None)),
    ({"x-codex-credits-has-credits": "maybe", "x-codex-plan-type": "pro"}, None),
]


@pytest.mark.parametrize(("given_headers", "credits"), CREDITS)
def test_credits(given_headers: dict[str, str], credits: Credits | None) -> None:
    quota = of_headers(given_headers, NOW)
    assert quota and quota.credits == credits


def test_families_are_beside_the_plan() -> None:
    spark = {"spark": Family("Spark", {"5h": Window(300, 100, None, NOW)})}
    by_header = {
        "x-spark-primary-used-percent": "100",
        "x-spark-primary-window-minutes": "300",
        "x-spark-limit-name": "Spark",
        **headers(primary=("7", "300")),
    }
    slot = {"used_percent": 100, "window_minutes": 300}
    event = {
        "type": "codex.rate_limits",
        "metered_limit_name": "spark",
        "limit_name": "Spark",
        "rate_limits": {"allowed": False, "limit_reached": True, "primary": slot},
    }
    usage = {
        "additional_rate_limits": [
            {
                "limit_name": "Spark",
                "metered_feature": "spark",
                "rate_limit": {"primary_window": {"limit_window_seconds": 18000} | slot},
            }
        ]
    }
    for quota in (of_headers(by_header, NOW), of_event(event, NOW), of_usage(usage, NOW)):
        assert quota and quota.others == spark
        assert quota.spent_until(NOW) is None, "the account serves every other model"


NOTHING: dict[str, Callable[[], Quota | None]] = {
    "headers of another kind": lambda: of_headers(
        {"x-ratelimit-remaining-requests": "5", "x-codex-primary-over-secondary-limit-percent": "7"}, NOW
    ),
    "another event": lambda: of_event({"type": "response.completed", "rate_limits": {}}, NOW),
    "an event without numbers": lambda: of_event({"type": "codex.rate_limits", "rate_limits": None}, NOW),
    "a page": lambda: of_usage("<html>", NOW),
    "a 429 about the pace": lambda: of_refusal({"error": {"code": "rate_limit_exceeded", "resets_in_seconds": 5}}, NOW),
    "a sentence": lambda: of_refusal({"detail": "Too Many Requests"}, NOW),
}


@pytest.mark.parametrize("read", NOTHING.values(), ids=NOTHING)
def test_where_nothing_is_told(read: Callable[[], Quota | None]) -> None:
    assert read() is None


def test_the_refusal_is_told_by_its_type_or_code_and_by_the_inner_error_too() -> None:
    for error in ({"type": "usage_limit_reached"}, {"code": "usage_limit_reached"}):
        for body in ({"error": error}, error):
            assert of_refusal(body, NOW) == Quota(NOW, limit_reached=True)


@pytest.mark.parametrize(
    ("decision", "spent"),
    [
        ({"allowed": True, "limit_reached": True}, False),
        ({"allowed": False, "limit_reached": False}, True),
        ({"limit_reached": True}, True),
        ({"limit_reached": False}, False),
        ({"allowed": "no"}, True),
    ],
    ids=str,
)
def test_what_upstream_allows_counts_for_more_than_any_number(decision: dict[str, Any], spent: bool) -> None:
    limits = {**decision, "primary": {"used_percent": 100, "window_minutes": 300}}
    usage = {**decision, "primary_window": {"used_percent": 100, "limit_window_seconds": 18000}}
    for quota in (of_event({"type": "codex.rate_limits", "rate_limits": limits}, NOW), of_usage({"rate_limit": usage}, NOW)):
        assert quota and (quota.spent_until(NOW) is not None) == spent


def test_a_refusal_names_its_reason_in_a_header() -> None:
    for reason in ("rate_limit_reached", "workspace_owner_credits_depleted"):
        quota = of_headers({"x-codex-rate-limit-reached-type": reason}, NOW)
        assert quota and quota.limit_reached
    assert of_headers({"x-codex-rate-limit-reached-type": ""}, NOW) is None


FULL, HALF = Window(300, 100, NOW + HOUR, NOW), Window(10080, 50, NOW + DAY, NOW)
FULL_WEEK = Window(10080, 100, NOW + DAY, NOW)
SPENT: dict[str, tuple[Quota, float | None]] = {
    "nothing known": (Quota(NOW), None),
    "half": (Quota(NOW, {"weekly": HALF}), None),
    "one window full": (Quota(NOW, {"5h": FULL, "weekly": HALF}), NOW + HOUR),
    "both full": (Quota(NOW, {"5h": FULL, "weekly": FULL_WEEK}), NOW + DAY),
    "full, with credits": (Quota(NOW, {"5h": FULL}, credits=Credits(True, False, "3")), None),
    "full, unlimited": (Quota(NOW, {"5h": FULL}, credits=Credits(False, True, None)), None),
    "full, and allowed all the same": (Quota(NOW, {"5h": FULL}, limit_reached=False), None),
    "refused with credits": (Quota(NOW, {"5h": FULL}, credits=Credits(True, False, "0"), limit_reached=True), NOW + HOUR),
    "refused with a time": (Quota(NOW, {"5h": FULL}, limit_reached=True, back_at=NOW + DAY), NOW + DAY),
    "refused without any": (Quota(NOW, {"weekly": HALF}, limit_reached=True), NOW + UNTOLD),
    "refused until just now": (Quota(NOW - 10, limit_reached=True, back_at=NOW), None),
}


@pytest.mark.parametrize(("quota", "until"), SPENT.values(), ids=SPENT)
def test_until_when_it_is_used_up(quota: Quota, until: float | None) -> None:
    assert quota.spent_until(NOW) == until


def test_upstream_may_prove_it_wrong() -> None:
    quota = Quota(NOW, {"5h": FULL, "weekly": HALF}, plan="plus", limit_reached=True, back_at=NOW + DAY).disproved(NOW)
    assert quota == Quota(NOW, {"weekly": HALF}, plan="plus")


def test_newer_facts_win_and_what_is_not_told_stays() -> None:
    old = Quota(
        NOW, {"5h": FULL, "weekly": HALF}, "plus", Credits(True, False, "3"), True, NOW + DAY, {"spark": Family("Spark", {})}
    )
    newer = Window(300, 1, NOW + 5 * HOUR, NOW + 5)
    assert merge(old, Quota(NOW + 5, {"5h": newer})) == Quota(
        NOW + 5, {"5h": newer, "weekly": HALF}, "plus", old.credits, None, None, old.others
    ), "the decision was about the windows of then"
    assert merge(old, Quota(NOW + 5, plan="pro")) == Quota(NOW + 5, old.windows, "pro", old.credits, True, NOW + DAY, old.others), (
        "and stays where nothing is said of them"
    )
    assert merge(None, old) is old


def test_of_an_answer_that_was_long_under_way_only_what_is_news_counts() -> None:
    known = Quota(NOW, {"5h": FULL}, plan="pro")
    late = Quota(NOW - 5, {"5h": Window(300, 99, NOW + HOUR, NOW - 5), "weekly": HALF}, plan="plus")
    assert merge(known, late) == Quota(NOW, {"5h": FULL, "weekly": HALF}, plan="pro")
    again = merge(merge(known, Quota(NOW + 9, plan="pro")), Quota(NOW + 5, {"5h": Window(300, 2, NOW + HOUR, NOW + 5)}))
    assert again.windows["5h"].used_percent == 2, "window by window"
    assert merge(again, Quota(NOW + 10, late.windows)).windows["5h"].used_percent == 2


def test_the_document() -> None:
    quota = Quota(
        NOW, {"5h": FULL, "weekly": HALF}, "plus", Credits(True, False, "3"), True, None, {"spark": Family("Spark", {"5h": FULL})}
    )
    full = {"name": "5h", "minutes": 300, "used_percent": 100, "left_percent": 0} | {
        "resets_at": "2027-01-15T09:00:00Z",
        "resets_in_seconds": 3600,
    }
    assert document(quota, NOW) == {
        "plan": "plus",
        "limit_reached": True,
        "windows": [
            full,
            {"name": "weekly", "minutes": 10080, "used_percent": 50, "left_percent": 50}
            | {"resets_at": "2027-01-16T08:00:00Z", "resets_in_seconds": 86400},
        ],
        "credits": {"has": True, "unlimited": False, "balance": "3"},
        "others": [{"id": "spark", "name": "Spark", "windows": [full]}],
        "heard_at": "2027-01-15T08:00:00Z",
    }
    later = document(quota, NOW + 2 * HOUR)
    assert later["windows"][0] == full | {"used_percent": 0, "left_percent": 100, "resets_at": None, "resets_in_seconds": None}
    assert later["limit_reached"] is False
    assert document(Quota(NOW), NOW)["limit_reached"] is None


KEYS = """
    type rate_limits rate_limit primary secondary primary_window secondary_window used_percent window_minutes limit_window_seconds
    reset_at reset_after_seconds resets_at allowed limit_reached credits has_credits unlimited balance plan_type error code
    metered_limit_name limit_name additional_rate_limits metered_feature
""".split()
numbers = st.integers() | st.floats() | st.just(10**400) | st.sampled_from([0, 5, 100, 300, 18000, 10080, NOW + HOUR])
leaf = (
    st.none() | st.booleans() | numbers | st.text(max_size=5) | numbers.map(str) | st.sampled_from(["codex.rate_limits", "\ud83d"])
)
anything = st.recursive(
    leaf, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6), max_leaves=25
)
slots = st.dictionaries(
    st.sampled_from(["used_percent", "window_minutes", "limit_window_seconds", "reset_at", "reset_after_seconds"]), leaf
)
limits = st.dictionaries(
    st.sampled_from(["primary", "secondary", "primary_window", "secondary_window", "allowed", "limit_reached"]), slots | leaf
)
reports = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["codex.rate_limits", "usage_limit_reached"]),
        "rate_limits": limits | anything,
        "rate_limit": limits | anything,
        "additional_rate_limits": st.lists(st.fixed_dictionaries({"limit_name": leaf, "rate_limit": limits}) | anything, max_size=3)
        | anything,
        "plan_type": leaf,
        "credits": st.dictionaries(st.sampled_from(["has_credits", "unlimited", "balance"]), leaf) | anything,
        "metered_limit_name": leaf,
        "error": anything,
        "resets_at": leaf,
    },
)
header_names = st.builds(
    "x-{}-{}-{}".format,
    st.sampled_from(["codex", "spark", "", "-", "Codex-Other"]),
    st.sampled_from(["primary", "secondary", "credits", "limit"]),
    st.sampled_from(
        ["used-percent", "window-minutes", "reset-at", "reset-after-seconds", "has-credits", "unlimited", "balance", "name"]
    ),
)
report = st.one_of(
    st.builds(of_headers, st.dictionaries(header_names, leaf.map(str), max_size=8), st.just(NOW)),
    *(st.builds(read, reports | anything, st.just(NOW)) for read in (of_event, of_usage, of_refusal)),
)


@settings(deadline=None, max_examples=150)
@given(told=st.lists(st.tuples(report, st.floats(-DAY, DAY)), max_size=6), now=st.floats(NOW - DAY, NOW + DAY))
def test_garbage_is_never_raised_and_what_is_made_of_it_can_be_used(told: list[tuple[Quota | None, float]], now: float) -> None:
    quota = None
    for quota in (merge(quota, news) for news, _ in told if news):
        assert all(0 <= window.used(now) <= 100 for window in quota.windows.values())
        until = quota.spent_until(now)
        assert until is None or until > now
        json.dumps(document(quota, now)).encode()
        assert len(quota.windows) <= MAX_WINDOWS and len(quota.others) <= MAX_FAMILIES
        assert quota.disproved(now).spent_until(now) is None


def test_families_and_windows_are_bounded() -> None:
    quota = Quota(NOW)
    for n in range(100):
        name = f"x-f{n}-primary"
        more = of_headers(
            {f"{name}-used-percent": "5", f"{name}-window-minutes": "300", **headers(primary=("5", str(1000 + n)))}, NOW + n
        )
        assert more
        quota = merge(quota, more)
    assert len(quota.windows) == MAX_WINDOWS and len(quota.others) == MAX_FAMILIES
    assert "f99" in quota.others and "1099min" in quota.windows, "those heard last"
