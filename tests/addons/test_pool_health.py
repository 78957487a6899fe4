"""What a verdict does to an account: for how long it is left alone, by whom, and how the pool finds out that it is back."""

import pytest

from addons.pool import PROBE_LATEST, PROBE_SOON, Choice, Nobody, Pool
from addons.pool.health import PROBE_LOST
from addons.pool.strategies import Member
from addons.wire.quota import Credits, Family, Quota
from addons.wire.verdict import SIGN_IN_DEAD, Blame, Verdict, of_answer
from tests.addons.pooling import (
    ALICE,
    BOB,
    DAY,
    HOUR,
    MINUTE,
    NOW,
    choose,
    fail,
    nobody,
    plan,
    pool_with,
    state,
    succeed,
    used,
    verdict,
)

TWO = (ALICE, BOB)


# -- trouble that may be over by now


@pytest.mark.parametrize("blame", ["upstream", "network"])
def test_a_single_account_with_one_502_serves_the_next_request(blame: Blame) -> None:
    pool = pool_with()
    for n in range(50):
        assert choose(pool, [ALICE], at=NOW + n / 10).name == "alice"
        fail(pool, "alice", verdict(blame), at=NOW + n / 10)


@pytest.mark.parametrize("blame", ["upstream", "network"])
def test_it_serves_too_when_the_others_cannot(blame: Blame) -> None:
    pool = pool_with()
    fail(pool, "alice", verdict(blame), at=NOW)
    assert choose(pool, TWO, at=NOW).name == "bob"
    fail(pool, "bob", plan(NOW + DAY), at=NOW)
    assert str(choose(pool, TWO, at=NOW)) == f"alice: no other serves, although {blame} trouble"


def away_for(pool: Pool, name: str, since: float) -> float:
    """Seconds until it serves again, as far as anybody can see."""
    until = pool.view([Member(name)], since)[0].until
    return 0.0 if until is None else until - since


@pytest.mark.parametrize(
    ("blame", "first", "longest"), [("upstream", 1, 60), ("network", 1, 60), ("pace", 2, 300), ("blocked", 60, 900)]
)
def test_failures_in_a_row_keep_it_away_for_longer_each_time(blame: Blame, first: float, longest: float) -> None:
    pool, now, times = pool_with(), NOW, []
    for _ in range(40):
        fail(pool, "alice", verdict(blame), at=now)
        times.append(away_for(pool, "alice", now))
        assert state(pool, "alice", now + times[-1] - 0.01) != "serving"
        now += times[-1]
        assert state(pool, "alice", now) == "serving"
    assert times[:3] == [first, 2 * first, 4 * first] and times[-1] == max(times) == longest
    succeed(pool, "alice", at=now)
    fail(pool, "alice", verdict(blame), at=now)
    assert away_for(pool, "alice", now) == first


def test_requests_that_fail_together_are_one_failure() -> None:
    pool = pool_with()
    for n in range(20):
        fail(pool, "alice", verdict("network"), sent_at=NOW - 5, at=NOW + n / 100)
    assert away_for(pool, "alice", NOW + 0.2) <= 1


def test_the_client_s_own_faults_cool_nothing() -> None:
    pool = pool_with()
    for n in range(10):
        fail(pool, "alice", verdict("client"), at=NOW + n)
    assert state(pool, "alice", NOW + 10) == "serving"
    assert pool.view([ALICE], NOW + 10)[0].last_failure is None


@pytest.mark.parametrize(
    ("blame", "then"), [("network", "serving"), ("upstream", "serving"), ("blocked", "serving"), ("plan", "resting")]
)
def test_but_to_be_told_so_shows_that_the_account_is_reached(blame: Blame, then: str) -> None:
    pool = pool_with()
    fail(pool, "alice", verdict(blame), at=NOW)
    fail(pool, "alice", verdict("client"), sent_at=NOW - 1, at=NOW + 0.1)
    assert state(pool, "alice", NOW + 0.1) != "serving", "it was sent before"
    fail(pool, "alice", verdict("client"), at=NOW + 0.2)
    assert state(pool, "alice", NOW + 0.2) == then


# -- pace


def test_who_is_to_wait_waits() -> None:
    pool = pool_with()
    fail(pool, "alice", verdict("pace", wait=20), at=NOW)
    assert choose(pool, TWO, at=NOW).name == "bob"
    for seconds in (0, PROBE_SOON - 15, 19.9):
        found = nobody(pool, [ALICE], at=NOW + seconds)
        assert found.until == NOW + 20
    assert choose(pool, [ALICE], at=NOW + 20).name == "alice"


def test_a_wait_is_believed_up_to_a_point() -> None:
    pool = pool_with()
    fail(pool, "alice", verdict("pace", wait=DAY), at=NOW)
    assert nobody(pool, [ALICE], at=NOW).until == NOW + 300


def test_a_wait_of_our_own_making_is_no_outage() -> None:
    pool = pool_with()
    fail(pool, "alice", verdict("pace"), at=NOW)
    assert choose(pool, TWO, at=NOW).name == "bob"
    assert choose(pool, [ALICE], at=NOW).name == "alice"


# -- the plan


def told(verdict: Verdict, quota: Quota | None = None) -> float | None:
    pool = pool_with()
    if quota:
        pool.heard("alice", quota, NOW)
    fail(pool, "alice", verdict, at=NOW)
    return nobody(pool, [ALICE], at=NOW + 1).until


def test_a_plan_that_is_used_up_rests_until_it_is_back() -> None:
    assert told(plan(NOW + 5 * DAY)) == NOW + 5 * DAY
    assert told(verdict("plan", wait=HOUR)) == NOW + HOUR
    assert told(plan(), used(100, NOW, NOW + 2 * HOUR)) == NOW + 2 * HOUR, "as the window said"
    assert told(plan()) == NOW + 15 * MINUTE, "nobody knows"
    assert told(plan(NOW - HOUR)) == NOW + 15 * MINUTE, "nor here"
    assert told(plan(NOW * 1000)) == NOW + 31 * DAY, "no plan is away for as long as that"


def test_a_window_that_reads_100_is_avoided_but_used_where_there_is_no_other() -> None:
    pool = pool_with()
    pool.heard("alice", used(100, NOW, NOW + HOUR), NOW)
    assert choose(pool, TWO, at=NOW).name == "bob"
    assert choose(pool, [ALICE], at=NOW).name == "alice", "upstream may be kinder than its numbers"
    fail(pool, "alice", plan(NOW + HOUR), at=NOW + 1)
    assert nobody(pool, [ALICE], at=NOW + 2).until == NOW + HOUR, "it was not"


def test_a_plan_that_serves_although_it_reads_100_is_not_lost() -> None:
    pool = pool_with()
    for n in range(100):
        choice = choose(pool, [ALICE], at=NOW + n)
        pool.heard("alice", used(100, NOW + n), NOW + n, choice.at)
        pool.succeeded(choice, NOW + n + 0.5)


def test_a_probe_that_is_served_although_all_is_used_up_leaves_the_account_to_those_who_have_no_other() -> None:
    pool = pool_with()
    fail(pool, "alice", plan(NOW + DAY), at=NOW)
    probe = choose(pool, TWO, at=NOW + 60)
    pool.heard("alice", used(100, NOW + 61, NOW + DAY), NOW + 61, probe.at)
    pool.succeeded(probe, NOW + 61)
    assert state(pool, "alice", NOW + 61) == "avoided"
    assert choose(pool, [ALICE], at=NOW + 62).name == "alice"


def test_once_served_a_full_window_is_known_to_be_wrong() -> None:
    pool = pool_with("least-used")
    pool.heard("alice", used(100, NOW, NOW + DAY), NOW)
    probe = choose(pool, TWO, at=NOW + 60)
    assert probe.probe
    pool.succeeded(probe, NOW + 61)
    assert str(choose(pool, [ALICE, Member("spare", priority=-1)], at=NOW + 62)) == "alice: nothing known of its plan yet"


def test_credits_are_used_when_the_plan_is() -> None:
    pool = pool_with()
    pool.heard("alice", Quota(NOW, used(100, NOW).windows, credits=Credits(True, False, "5")), NOW)
    assert state(pool, "alice", NOW) == "serving"


def test_another_model_s_limit_does_not_concern_the_account() -> None:
    pool = pool_with()
    pool.heard("alice", Quota(NOW, others={"spark": Family("Spark", used(100, NOW).windows)}), NOW)
    assert state(pool, "alice", NOW) == "serving"


def test_headroom_that_is_told_ends_the_rest() -> None:
    pool = pool_with()
    fail(pool, "alice", plan(NOW + 5 * DAY), at=NOW)
    pool.heard("alice", used(3, NOW + 10), NOW + 10)
    assert state(pool, "alice", NOW + 10) == "serving"


def test_to_be_told_again_of_what_is_known_does_not_weaken_it() -> None:
    pool = pool_with()
    fail(pool, "alice", plan(NOW + HOUR), at=NOW)
    pool.heard("alice", used(100, NOW, NOW + HOUR), NOW)
    fail(pool, "alice", verdict("network"), at=NOW + 1)
    fail(pool, "alice", verdict("pace", wait=5), at=NOW + 1)
    assert nobody(pool, [ALICE], at=NOW + 10).until == NOW + HOUR


def test_a_refusal_of_the_plan_outlasts_one_of_the_pace() -> None:
    pool = pool_with()
    fail(pool, "alice", verdict("pace", wait=30), at=NOW)
    fail(pool, "alice", plan(NOW + HOUR), sent_at=NOW - 5, at=NOW + 1)
    assert nobody(pool, [ALICE], at=NOW + 2).until == NOW + HOUR


# -- news that come late


def test_an_answer_that_began_before_the_rest_does_not_end_it() -> None:
    pool = pool_with()
    fail(pool, "alice", plan(NOW + HOUR), at=NOW)
    succeed(pool, "alice", sent_at=NOW - 20, at=NOW + 5)
    pool.heard("alice", used(99, NOW + 5), NOW + 5, asked_at=NOW - 20)
    assert state(pool, "alice", NOW + 5) == "resting"
    fail(pool, "bob", verdict("network"), at=NOW)
    succeed(pool, "bob", sent_at=NOW - 20, at=NOW + 0.1)
    assert state(pool, "bob", NOW + 0.1) == "avoided"


def test_the_request_that_uses_the_plan_up_succeeds_and_the_next_one_goes_elsewhere() -> None:
    pool = pool_with()
    choice = choose(pool, TWO, at=NOW)
    assert choice.name == "alice"
    pool.heard("alice", used(100, NOW + 1), NOW + 1, choice.at)
    pool.succeeded(choice, NOW + 9)
    assert choose(pool, TWO, at=NOW + 10).name == "bob"


# -- probes


def ask(pool: Pool, members: tuple[Member, ...], now: float, exhausted: set[str], key: str = "") -> str | None:
    """A client's request, which goes on to the next account until one serves; upstream knows the truth. Who served it."""
    tried: list[str] = []
    while True:
        choice = pool.choose(members, keys=[key] if key else [], tried=tried, now=now, roll=0.0)
        if isinstance(choice, Nobody):
            return None
        pool.started(choice)
        if choice.name in exhausted:
            pool.failed(choice, plan(NOW + 5 * DAY), now)
        else:
            pool.succeeded(choice, now)
        pool.ended(choice)
        if choice.name not in exhausted:
            return choice.name
        tried.append(choice.name)


RESETS = {
    "a single account": ((ALICE,), ""),
    "others serve": ((ALICE, BOB), ""),
    "others serve one long conversation": ((ALICE, BOB), "one"),
}


@pytest.mark.parametrize(("members", "key"), RESETS.values(), ids=RESETS)
@pytest.mark.parametrize("reset_after", [1, 29, 31, 54, 60, 61, 89, 1000, 86399])
def test_a_plan_that_is_reset_early_serves_again_within_a_minute(members: tuple[Member, ...], key: str, reset_after: int) -> None:
    pool, exhausted = pool_with(), {"alice"}
    for second in range(max(0, reset_after - 300), reset_after):
        served = ask(pool, members, NOW + second, exhausted, key)
        assert served == (None if len(members) == 1 else "bob"), "a probe that fails costs nothing where there is another account"
    exhausted.clear()
    for second in range(reset_after, reset_after + 61):
        ask(pool, members, NOW + second, exhausted, key)
    assert state(pool, "alice", NOW + reset_after + 60) == "serving"
    assert ask(pool, members, NOW + reset_after + 61, exhausted, "another") == "alice"


def test_probes_are_few() -> None:
    pool = pool_with()
    fail(pool, "alice", plan(NOW + 5 * DAY), at=NOW)
    probes = 0
    for tenth in range(36_000):
        choice = choose(pool, TWO, at=NOW + tenth / 10)
        probes += choice.probe
        assert choice.probe == (choice.name == "alice")
        if choice.probe:
            pool.failed(choice, plan(NOW + 5 * DAY), NOW + tenth / 10)
    assert HOUR / 60 <= probes <= HOUR / PROBE_SOON


def test_a_conversation_that_is_elsewhere_is_the_last_to_be_taken_for_a_probe_and_stays_there() -> None:
    pool = pool_with()
    fail(pool, "alice", plan(NOW + 5 * DAY), at=NOW)
    assert choose(pool, TWO, at=NOW, keys=["one"]).name == "bob"
    assert choose(pool, TWO, at=NOW + PROBE_SOON, keys=["one"]).name == "bob"
    probe = choose(pool, TWO, at=NOW + PROBE_LATEST, keys=["one"])
    assert probe.name == "alice" and probe.probe
    assert str(probe) == "alice: to see whether it serves again, although plan trouble"
    pool.succeeded(probe, NOW + PROBE_LATEST)
    assert str(choose(pool, TWO, at=NOW + PROBE_LATEST + 1, keys=["one"])) == "bob: the conversation is here"


def test_a_conversation_without_a_home_is_taken_first_and_finds_one() -> None:
    pool = pool_with()
    fail(pool, "alice", plan(NOW + 5 * DAY), at=NOW)
    probe = choose(pool, TWO, at=NOW + PROBE_SOON, keys=["new"])
    assert probe.probe
    pool.succeeded(probe, NOW + PROBE_SOON)
    assert str(choose(pool, TWO, at=NOW + PROBE_SOON + 1, keys=["new"])) == "alice: the conversation is here"


def test_one_probe_at_a_time() -> None:
    pool = pool_with()
    fail(pool, "alice", plan(NOW + DAY), at=NOW)
    probe = choose(pool, [ALICE], at=NOW + 60)
    for seconds in (0, 1, 30, 120, PROBE_LOST - 1):
        nobody(pool, [ALICE], at=NOW + 60 + seconds)
    another = choose(pool, [ALICE], at=NOW + 60 + PROBE_LOST)
    assert another.probe, "nobody ever said what had become of the first"
    pool.ended(probe)
    nobody(pool, [ALICE], at=NOW + 60 + PROBE_LOST + 40)  # for the second is still under way


def test_a_client_that_leaves_takes_its_probe_along() -> None:
    pool = pool_with()
    fail(pool, "alice", plan(NOW + DAY), at=NOW)
    probe = choose(pool, [ALICE], at=NOW + 60)
    pool.started(probe)
    pool.ended(probe)
    nobody(pool, [ALICE], at=NOW + 61)
    assert choose(pool, [ALICE], at=NOW + 60 + PROBE_SOON).probe


def test_a_probe_that_was_never_sent_is_not_waited_for() -> None:
    pool = pool_with()
    fail(pool, "alice", plan(NOW + DAY), at=NOW)
    on_its_way = Choice("alice", "", NOW - 1)
    pool.started(on_its_way)
    pool.not_sent(choose(pool, [ALICE], at=NOW + 60))
    assert pool.view([ALICE], NOW + 60)[0].in_flight == 1, "the others are on their way as before"
    assert choose(pool, [ALICE], at=NOW + 60 + PROBE_SOON).probe


def test_a_probe_is_a_first_try_only() -> None:
    pool = pool_with()
    members = (ALICE, BOB, Member("carol"))
    for name in ("alice", "bob"):
        fail(pool, name, plan(NOW + DAY), at=NOW)
    probe = choose(pool, members, at=NOW + 90)
    pool.failed(probe, plan(NOW + DAY), NOW + 90)
    assert choose(pool, members, at=NOW + 90, tried={probe.name}).name == "carol", "of two that are due a request tries one"


def test_with_nobody_left_even_a_second_try_may_be_one() -> None:
    pool = pool_with()
    fail(pool, "alice", plan(NOW + DAY), at=NOW)
    choice = choose(pool, TWO, at=NOW + 40)
    assert choice.probe
    pool.failed(choice, plan(NOW + DAY), NOW + 40)
    choice = choose(pool, TWO, at=NOW + 40, tried={"alice"})
    assert choice.name == "bob" and not choice.probe
    fail(pool, "bob", plan(NOW + DAY), at=NOW + 41)
    probe = choose(pool, TWO, at=NOW + 75, tried={"bob"})
    assert probe.name == "alice" and probe.probe


def test_a_poll_is_as_good_as_a_probe() -> None:
    pool = pool_with()
    fail(pool, "alice", plan(NOW + DAY), at=NOW)
    for minute in range(10):
        now = NOW + minute * 25
        pool.heard("alice", used(100, now, NOW + DAY), now)
        assert not choose(pool, TWO, at=now + 24).probe


def test_what_would_not_be_used_is_not_probed() -> None:
    pool = pool_with()
    members = (Member("spare"), Member("alice", priority=1))
    fail(pool, "spare", plan(NOW + DAY), at=NOW)
    assert not any(choose(pool, members, at=NOW + seconds).probe for seconds in range(1000))
    fail(pool, "alice", plan(NOW + DAY), at=NOW + 1000)
    assert choose(pool, members, at=NOW + 1001, tried={"alice"}).probe, "as soon as it is needed it is"


PROBED: list[tuple[Verdict, bool]] = [
    (plan(NOW + DAY), True),
    (verdict("blocked"), True),
    (verdict("pace", wait=300), False),
    (verdict("sign_in"), False),
]


@pytest.mark.parametrize(("why", "probed"), PROBED, ids=lambda value: value.blame if isinstance(value, Verdict) else None)
def test_what_is_probed(why: Verdict, probed: bool) -> None:
    pool = pool_with()
    for _ in range(5):
        fail(pool, "alice", why, at=NOW)
    assert isinstance(pool.choose([ALICE], now=NOW + 59, roll=0.0), Choice) == probed


# -- the sign-in


def test_a_dead_sign_in_is_out_until_its_file_changes() -> None:
    pool = pool_with()
    fail(pool, "alice", verdict("sign_in"), at=NOW)
    assert choose(pool, TWO, at=NOW).name == "bob"
    found = nobody(pool, [ALICE], at=NOW + 1000 * DAY)
    assert found.until is None and "run `python -m auth login --account alice`" in str(found)
    pool.sign_in_changed("alice", NOW + 1001 * DAY)
    assert choose(pool, [ALICE], at=NOW + 1001 * DAY).name == "alice"


def test_a_token_that_is_refused_is_renewed_and_no_reason_to_go() -> None:
    pool = pool_with()
    fail(pool, "alice", of_answer(401, {}, b'{"error": {"message": "no", "code": "token_expired"}}', NOW), at=NOW)
    assert choose(pool, TWO, at=NOW).name == "alice"
    fail(pool, "alice", SIGN_IN_DEAD, at=NOW)
    assert state(pool, "alice", NOW) == "out"


def test_what_is_refused_to_the_sign_in_before_is_not_the_new_one_s_fault() -> None:
    pool = pool_with()
    pool.sign_in_changed("alice", NOW)
    fail(pool, "alice", verdict("sign_in"), sent_at=NOW - 1, at=NOW + 1)
    assert state(pool, "alice", NOW + 1) == "serving"


# -- clocks


def test_a_clock_that_is_set_back_keeps_no_account_away() -> None:
    pool = pool_with()
    fail(pool, "alice", verdict("pace", wait=300), at=NOW)
    fail(pool, "bob", plan(NOW + DAY), at=NOW)
    assert [state(pool, name, NOW - DAY) for name in ("alice", "bob")] == ["serving", "serving"]
    assert state(pool, "alice", NOW - 1) == "resting", "a second is no change of the clock"
