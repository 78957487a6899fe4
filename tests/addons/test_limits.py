"""What a key may use in a minute, for any order of requests: exact to one request, never below nothing, in bounded memory."""

import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.limits import GRAIN, PERIOD, SOON, Allowance, Limits, Over, Wanted, Window, expected_tokens, in_gos_words

# Seconds between two requests: often none, often a part of a second, now and then most of a minute. Eighths are exact in floats.
GAPS = st.one_of(st.just(0.0), st.integers(0, 16).map(lambda n: n / 8), st.integers(0, 8 * 70).map(lambda n: n / 8))


@dataclass(eq=False)
class Request:
    expected: int = 1


def moments(gaps: list[float]) -> list[float]:
    at, found = 1000.0, []
    for gap in gaps:
        at += gap
        found.append(at)
    return found


@given(st.lists(GAPS, max_size=200), st.integers(1, 12))
def test_a_request_is_refused_if_and_only_if_the_last_minute_is_full(gaps: list[float], limit: int) -> None:
    allowance, let_in = Allowance[Request](), []
    for now in moments(gaps):
        of_the_last_minute = [at for at in let_in if now < at + PERIOD]
        over = allowance.ask(Request(), Wanted(1), Limits(limit, None), now)
        assert (over is None) == (len(of_the_last_minute) < limit)
        if over is None:
            let_in.append(now)
        else:
            assert over.again_in == min(of_the_last_minute) + PERIOD - now and over.gauge.left == 0
        assert len(allowance.requests.entries) <= limit
        (gauge,) = allowance.gauges(Limits(limit, None), now)
        assert 0 <= gauge.left <= limit


@given(st.lists(GAPS, min_size=1, max_size=60), st.integers(1, 6))
def test_whoever_waits_as_long_as_told_is_let_in(gaps: list[float], limit: int) -> None:
    allowance = Allowance[Request]()
    for now in moments(gaps):
        over = allowance.ask(Request(), Wanted(1), Limits(limit, None), now)
        if over:
            again = now + over.again_in
            if over.again_in > 0.125:
                assert allowance.ask(Request(), Wanted(1), Limits(limit, None), again - 0.125) is not None
            assert allowance.ask(Request(), Wanted(1), Limits(limit, None), again) is None
            return


STEPS = st.lists(st.tuples(GAPS, st.integers(0, 40), st.integers(0, 60), st.booleans()), max_size=120)


@given(STEPS, st.integers(1, 100))
def test_tokens_of_a_minute_stay_within_the_limit_as_far_as_they_are_known(
    steps: list[tuple[float, int, int, bool]], limit: int
) -> None:
    """Each step is a request, and perhaps the end of one that is under way, with what it came to."""
    allowance, under_way = Allowance[Request](), list[Request]()
    now, used = 1000.0, list[tuple[float, int]]()
    for gap, expected, actual, ends in steps:
        now += gap
        request = Request(min(expected, limit))
        known = sum(tokens for at, tokens in used if now < at + PERIOD) + sum(each.expected for each in under_way)
        over = allowance.ask(request, Wanted(expected), Limits(None, limit), now)
        if over is None:
            assert known + request.expected <= limit, "let in only where there is room"
            under_way.append(request)
        else:
            # Entries of one second end together, so the room that is left may be told up to a second late.
            still = sum(tokens for at, tokens in used if now < at + PERIOD + GRAIN) + sum(each.expected for each in under_way)
            assert still + request.expected > limit, "refused only where there is none"
            assert over.again_in > 0
        if ends and under_way:
            allowance.settle(under_way[0], actual, now)
            allowance.settle(under_way.pop(0), actual, now)
            used.append((now, actual))
        (gauge,) = allowance.gauges(Limits(None, limit), now)
        assert 0 <= gauge.left <= limit and gauge.full_in >= 0
        assert len(allowance.tokens.entries) <= PERIOD / GRAIN + 2


def test_so_many_are_under_way_at_a_time_and_look_ups_are_none_of_them() -> None:
    allowance, limits = Allowance[Request](), Limits(parallel=2)
    first, *_ = under_way = [Request(), Request()]
    assert not any(allowance.ask(request, Wanted(5), limits, 0.0) for request in under_way)
    over = allowance.ask(Request(), Wanted(5), limits, 100.0)
    assert over and (over.gauge.of, over.gauge.limit, over.gauge.left, over.again_in) == ("parallel", 2, 0, SOON)
    assert allowance.ask(Request(), Wanted(5, slot=False), limits, 100.0) is None
    assert allowance.settle(first, None, 100.0) and not allowance.settle(first, None, 100.0)
    assert allowance.ask(Request(), Wanted(5), limits, 100.0) is None
    assert allowance.gauges(limits, 100.0) == (), "OpenAI's answers have no header for it"


def test_what_is_over_takes_nothing_whichever_limit_it_is() -> None:
    allowance, limits, held = Allowance[Request](), Limits(10, 100, 1), Request()
    assert allowance.ask(held, Wanted(10), limits, 0.0) is None
    for _ in range(5):
        assert allowance.ask(Request(), Wanted(10), limits, 0.0) is not None
    assert [gauge.left for gauge in allowance.gauges(limits, 0.0)] == [9, 90]


def test_a_request_that_looks_too_large_waits_for_an_empty_minute() -> None:
    allowance, first, second = Allowance[Request](), Request(), Request()
    assert allowance.ask(first, Wanted(10_000), Limits(None, 100), 0.0) is None
    assert isinstance(allowance.ask(second, Wanted(1), Limits(None, 100), 0.0), Over)
    allowance.settle(first, 30, 1.0)
    assert allowance.ask(second, Wanted(1), Limits(None, 100), 1.0) is None


def test_a_request_that_is_lost_without_a_word_is_under_way_no_more() -> None:
    allowance, request = Allowance[Request](), Request()
    assert allowance.ask(request, Wanted(100), Limits(None, 100), 0.0) is None
    del request
    assert allowance.ask(Request(), Wanted(100), Limits(None, 100), 0.0) is None


def test_what_nobody_knows_counts_as_expected_and_a_refusal_as_nothing() -> None:
    allowance, unknown, refused = Allowance[Request](), Request(), Request()
    allowance.ask(unknown, Wanted(60), Limits(None, 100), 0.0)
    allowance.settle(unknown, None, 0.0)
    allowance.ask(refused, Wanted(40), Limits(None, 100), 0.0)
    allowance.settle(refused, 0, 0.0)
    assert allowance.gauges(Limits(None, 100), 0.0)[0].left == 40


def test_neither_limit_takes_where_the_other_refuses() -> None:
    allowance, request = Allowance[Request](), Request()
    assert allowance.ask(request, Wanted(10), Limits(1, 10), 0.0) is None
    for _ in range(5):
        assert allowance.ask(Request(), Wanted(10), Limits(2, 10), 1.0) is not None
    assert [gauge.left for gauge in allowance.gauges(Limits(2, 10), 1.0)] == [1, 0]


def test_a_limit_that_is_changed_holds_for_what_was_taken_before() -> None:
    allowance = Allowance[Request]()
    for _ in range(5):
        assert allowance.ask(Request(), Wanted(1), Limits(5, None), 0.0) is None
    assert allowance.ask(Request(), Wanted(1), Limits(3, None), 1.0) is not None
    assert allowance.gauges(Limits(3, None), 1.0)[0].left == 0
    assert allowance.ask(Request(), Wanted(1), Limits(6, None), 1.0) is None


def test_a_clock_that_goes_nowhere_costs_no_memory() -> None:
    window = Window(GRAIN)
    for n in range(100_000):
        window.take(1, n / 100_000)
    assert len(window.entries) == 1 and window.used(60.5) == 100_000 and window.used(61.0) == 0


def test_the_headers_are_openais() -> None:
    allowance = Allowance[Request]()
    allowance.ask(request := Request(), Wanted(1000), Limits(60, 200_000), 0.0)
    headers = {name: value for gauge in allowance.gauges(Limits(60, 200_000), 0.5) for name, value in gauge.headers().items()}
    assert headers == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "59.5s",
        "x-ratelimit-limit-tokens": "200000",
        "x-ratelimit-remaining-tokens": "199000",
        "x-ratelimit-reset-tokens": "1m0s",
    }
    assert request in allowance.held


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-1, "0ms"), (0, "0ms"), (0.0031, "4ms"), (0.9999, "1s"), (1, "1s"), (1.5, "1.5s"), (59.999, "59.999s"), (60, "1m0s")]
    + [(61.25, "1m1.25s"), (360, "6m0s")],
)
def test_a_time_in_gos_words(seconds: float, words: str) -> None:
    assert in_gos_words(seconds) == words


@given(st.integers(0, 1 << 30))
def test_every_request_is_expected_to_use_something(size: int) -> None:
    assert expected_tokens(size) == max(1, math.ceil(size / 4))
