"""Which account is chosen, and why: order, affinity, and the three strategies."""

from collections import Counter

import pytest

from addons.pool import MAX_ACCOUNTS, Choice, Nobody, Rules
from addons.pool.affinity import KEEP_FOR, SIZE, Homes
from addons.pool.strategies import Member, Strategy
from tests.addons.pooling import (
    ALICE,
    BOB,
    CAROL,
    DAY,
    HOUR,
    NOW,
    THREE,
    choose,
    fail,
    nobody,
    plan,
    pool_with,
    state,
    used,
    verdict,
)


def test_there_is_no_account() -> None:
    found = pool_with().choose([], now=NOW, roll=0.0)
    assert found == Nobody(()) and isinstance(found, Nobody) and found.until is None and str(found) == "there is no account"


@pytest.mark.parametrize("strategy", ["round-robin", "fill-first", "least-used"])
def test_a_single_account_is_always_chosen(strategy: Strategy) -> None:
    pool = pool_with(strategy)
    assert [str(choose(pool, [ALICE], at=NOW + n)) for n in range(3)] == ["alice: the only account"] * 3


def names(strategy: Strategy, members: list[Member], count: int) -> str:
    pool = pool_with(strategy)
    return "".join(choose(pool, members, at=NOW + n).name[0] for n in range(count))


def test_round_robin_goes_round() -> None:
    assert names("round-robin", [ALICE, BOB, CAROL], 7) == "abcabca"


def test_round_robin_goes_by_weight_and_not_in_bursts() -> None:
    order = names("round-robin", [Member("alice", weight=3), Member("bob"), Member("carol", weight=2)], 60)
    assert Counter(order) == {"a": 30, "b": 10, "c": 20}
    assert "aaa" not in order


def test_round_robin_gives_nothing_afterwards_to_who_was_away() -> None:
    pool = pool_with("round-robin")
    fail(pool, "alice", plan(NOW + 1000), at=NOW)
    while_away = [choose(pool, at=NOW + n / 10).name for n in range(200)]
    assert Counter(while_away) == {"bob": 100, "carol": 100}
    back = [choose(pool, at=NOW + 2000 + n).name for n in range(30)]
    assert Counter(back) == {"alice": 10, "bob": 10, "carol": 10}


def test_fill_first_uses_one_up_and_then_the_next() -> None:
    pool = pool_with("fill-first")
    assert {choose(pool, at=NOW).name for _ in range(5)} == {"alice"}
    fail(pool, "alice", plan(NOW + HOUR), at=NOW)
    choice = choose(pool, at=NOW + 1)
    assert str(choice) == "bob: the first in order that serves"
    fail(pool, "bob", plan(NOW + HOUR), at=NOW + 1)
    assert str(choose(pool, at=NOW + 2)) == "carol: the only one that serves"
    assert choose(pool, at=NOW + HOUR + 1).name == "alice", "and back to the first as soon as it can"


def test_least_used_goes_by_the_tightest_window() -> None:
    pool = pool_with("least-used")
    for name, percent in (("alice", 60), ("bob", 38), ("carol", 70)):
        pool.heard(name, used(percent, NOW), NOW)
    assert str(choose(pool, at=NOW)) == "bob: 62 % of its 5h left, the most"
    assert choose(pool, at=NOW, tried={"bob"}).name == "alice"


def test_least_used_then_goes_by_what_is_under_way() -> None:
    pool = pool_with("least-used")
    for member in THREE:
        pool.heard(member.name, used(50.2 if member == BOB else 50.7, NOW), NOW)
    under_way: list[Choice] = []
    for _ in range(6):
        under_way.append(choose(pool, at=NOW))
        pool.started(under_way[-1])
    assert Counter(choice.name for choice in under_way) == {"alice": 2, "bob": 2, "carol": 2}
    for choice in under_way:
        if choice.name == "carol":
            pool.ended(choice)
    assert choose(pool, at=NOW).name == "carol"


def test_least_used_then_draws_lots_by_weight() -> None:
    members = [Member("alice", weight=3), Member("bob")]
    drawn = Counter(choose(pool_with("least-used"), members, at=NOW, roll=n / 100).name for n in range(100))
    assert drawn == {"alice": 75, "bob": 25}


def test_an_account_of_which_nothing_is_known_is_tried_once_and_then_known() -> None:
    pool = pool_with("least-used")
    pool.heard("alice", used(5, NOW), NOW)
    assert str(choose(pool, [ALICE, BOB], at=NOW)) == "bob: nothing known of its plan yet"
    pool.heard("bob", used(50, NOW), NOW)
    assert choose(pool, [ALICE, BOB], at=NOW).name == "alice"


@pytest.mark.parametrize("strategy", ["round-robin", "fill-first", "least-used"])
def test_priority_comes_before_any_strategy(strategy: Strategy) -> None:
    pool = pool_with(strategy)
    members = [Member("spare", priority=-1), Member("alice", priority=5), Member("bob", priority=5)]
    pool.heard("alice", used(98, NOW), NOW)
    pool.heard("bob", used(99, NOW), NOW)
    assert "spare" not in {choose(pool, members, at=NOW + n).name for n in range(10)}
    fail(pool, "alice", plan(NOW + HOUR), at=NOW + 10)
    assert choose(pool, members, at=NOW + 11).name == "bob"
    fail(pool, "bob", plan(NOW + HOUR), at=NOW + 11)
    assert choose(pool, members, at=NOW + 12).name == "spare"


def test_the_rules_may_change_at_any_time() -> None:
    pool = pool_with("fill-first")
    assert choose(pool, at=NOW).name == choose(pool, at=NOW).name == "alice"
    pool.rules = Rules("round-robin")
    assert {choose(pool, at=NOW).name for _ in range(3)} == {"alice", "bob", "carol"}


# -- affinity


def test_a_conversation_stays_where_it_is() -> None:
    pool = pool_with("round-robin")
    home = {key: choose(pool, at=NOW, keys=[key]).name for key in ("one", "two", "three")}
    assert set(home.values()) == {"alice", "bob", "carol"}
    for n in range(10):
        for key, name in home.items():
            assert str(choose(pool, at=NOW + n, keys=[key])) == f"{name}: the conversation is here"


def test_it_moves_when_its_account_cannot_serve_and_stays_there() -> None:
    pool = pool_with("fill-first")
    assert choose(pool, at=NOW, keys=["one"]).name == "alice"
    fail(pool, "alice", plan(NOW + 20), at=NOW)
    moved = choose(pool, at=NOW, keys=["one"], tried={"alice"})
    assert moved.name == "bob"
    pool.succeeded(moved, NOW)
    assert choose(pool, at=NOW + 21, keys=["one"]).name == "bob", "its cache is there now"


def test_it_does_not_move_to_an_account_that_fails_too() -> None:
    pool = pool_with("fill-first")
    assert choose(pool, at=NOW, keys=["one"]).name == "alice"
    for tried in ([], ["alice"], ["alice", "bob"]):
        choice = choose(pool, at=NOW, keys=["one"], tried=tried)
        pool.failed(choice, verdict("network"), NOW)
    assert choose(pool, at=NOW + 2, keys=["one"]).name == "alice", "its cache is there still"


def test_what_a_new_conversation_sends_at_once_goes_to_one_account() -> None:
    pool = pool_with("round-robin")
    assert {choose(pool, at=NOW, keys=["one"]).name for _ in range(5)} == {"alice"}


def test_it_does_not_wait_for_an_account_that_was_tried() -> None:
    pool = pool_with("fill-first")
    assert choose(pool, at=NOW, keys=["one"]).name == "alice"
    assert choose(pool, at=NOW, keys=["one"], tried={"alice"}).name == "bob"


def test_it_stays_with_a_lower_priority() -> None:
    pool = pool_with()
    members = [Member("spare"), Member("alice", priority=1)]
    fail(pool, "alice", plan(NOW + 20), at=NOW)
    assert choose(pool, members, at=NOW + 1, keys=["one"]).name == "spare"
    assert choose(pool, members, at=NOW + 21, keys=["one"]).name == "spare"
    assert choose(pool, members, at=NOW + 21, keys=["two"]).name == "alice"


def test_the_first_key_that_is_known_decides() -> None:
    pool = pool_with("round-robin")
    assert choose(pool, at=NOW, keys=["cache"]).name == "alice"
    assert choose(pool, at=NOW, keys=["client"]).name == "bob"
    assert choose(pool, at=NOW, keys=["cache", "conversation", "client"]).name == "alice"
    assert choose(pool, at=NOW, keys=["conversation"]).name == "alice", "all of them belong together now"
    assert choose(pool, at=NOW, keys=["new", "client"]).name == "alice"


def test_when_upstream_is_down_for_all_conversations_stay_where_they_are() -> None:
    pool = pool_with("round-robin")
    home = {key: choose(pool, at=NOW, keys=[key]).name for key in ("one", "two", "three")}
    for member in THREE:
        fail(pool, member.name, verdict("network"), at=NOW)
    for key, name in home.items():
        assert choose(pool, at=NOW + 0.1, keys=[key]).name == name


def test_affinity_can_be_off() -> None:
    pool = pool_with("round-robin", affinity=False)
    assert {choose(pool, at=NOW, keys=["one"]).name for _ in range(3)} == {"alice", "bob", "carol"}


def test_a_conversation_that_was_silent_for_long_has_no_cache_left() -> None:
    pool = pool_with("round-robin")
    assert choose(pool, at=NOW, keys=["one"]).name == "alice"
    assert choose(pool, at=NOW + KEEP_FOR - 1, keys=["one"]).name == "alice"
    assert choose(pool, at=NOW + 2 * KEEP_FOR - 2, keys=["one"]).name == "alice", "from its last turn on"
    assert choose(pool, at=NOW + 3 * KEEP_FOR, keys=["one"]).name == "bob"


def test_homes_are_bounded_and_the_least_used_one_goes() -> None:
    homes = Homes(size=3)
    for n, key in enumerate("abcad"):
        homes.settle([key], "alice", NOW + n)
    assert [homes.find([key], {"alice"}, NOW + 9) for key in "abcd"] == ["alice", None, "alice", "alice"]


def test_a_pool_keeps_no_more_than_that() -> None:
    pool = pool_with()
    for n in range(SIZE + 500):
        choose(pool, [ALICE], at=NOW + n / 100, keys=[f"key {n}"])
        pool.heard(f"made up {n}", used(5, NOW), NOW)
    assert len(pool.homes) == SIZE and len(pool.accounts) <= MAX_ACCOUNTS


def test_any_text_is_a_key() -> None:
    pool = pool_with("round-robin")
    for key in ("", "half \ud83d", "x" * 100_000):
        assert choose(pool, at=NOW, keys=[key]).name == choose(pool, at=NOW, keys=[key]).name


# -- what is left


def test_an_account_that_was_tried_is_not_chosen_again() -> None:
    pool = pool_with()
    tried: list[str] = []
    for _ in THREE:
        tried.append(choose(pool, at=NOW, tried=tried).name)
    assert sorted(tried) == ["alice", "bob", "carol"]
    found = nobody(pool, at=NOW, tried=tried)
    assert [(absence.name, absence.until, absence.blame) for absence in found.absences] == [
        (name, NOW, None) for name in sorted(tried)
    ]


def test_nobody_says_who_is_back_first_and_why_each_one_is_out() -> None:
    pool = pool_with()
    fail(pool, "alice", plan(NOW + DAY), at=NOW)
    fail(pool, "bob", verdict("pace", wait=20), at=NOW)
    fail(pool, "carol", verdict("sign_in"), at=NOW)
    found = nobody(pool, at=NOW + 1)
    assert found.first and (found.first.name, found.first.blame, found.until) == ("bob", "pace", NOW + 20)
    assert {absence.name: absence.until for absence in found.absences} == {"alice": NOW + DAY, "bob": NOW + 20, "carol": None}
    assert str(found) == (
        "alice: plan trouble; bob: pace trouble; carol: sign_in trouble: run `python -m auth login --account carol`"
    )


def test_who_was_tried_is_waited_for_only_if_there_is_no_other() -> None:
    pool = pool_with()
    fail(pool, "alice", verdict("pace", wait=5), at=NOW)
    fail(pool, "bob", verdict("pace", wait=20), at=NOW)
    first = nobody(pool, [ALICE, BOB], at=NOW, tried={"alice"}).first
    assert first and (first.name, first.until, first.tried) == ("bob", NOW + 20, False)
    first = nobody(pool, [ALICE, BOB], at=NOW, tried={"alice", "bob"}).first
    assert first and (first.name, first.until, first.tried) == ("alice", NOW + 5, True)


def test_accounts_that_vanish_are_forgotten() -> None:
    pool = pool_with("round-robin")
    for n, member in enumerate(THREE):
        choose(pool, at=NOW, keys=[f"key {n}"])
        pool.heard(member.name, used(50, NOW), NOW)
    late = choose(pool, [BOB], at=NOW)
    pool.started(late)
    pool.keep({"alice"})
    assert set(pool.accounts) == {"alice"} and len(pool.homes) == 1
    pool.failed(late, plan(NOW + DAY), NOW)
    pool.ended(late)
    assert set(pool.accounts) == {"alice"}, "also when news of it come late"
    assert state(pool, "bob", NOW) == "serving", "whoever comes back is new"


def test_the_view() -> None:
    pool = pool_with()
    choice = choose(pool, at=NOW)
    pool.started(choice)
    pool.heard("alice", used(25, NOW), NOW)
    fail(pool, "bob", plan(NOW + HOUR), at=NOW)
    fail(pool, "carol", verdict("sign_in"), at=NOW)
    alice, bob, carol = (standing.document(NOW) for standing in pool.view(THREE, NOW))
    assert (alice["state"], alice["until"], alice["in_flight"], alice["last_failure"]) == ("serving", None, 1, None)
    assert alice["quota"]["windows"][0]["left_percent"] == 75
    assert (bob["state"], bob["reason"], bob["until"]) == ("resting", "plan trouble", "2027-01-15T09:00:00Z")
    assert bob["last_failure"] == {"blame": "plan", "reason": "plan trouble", "at": "2027-01-15T08:00:00Z"}
    assert (carol["state"], carol["until"], carol["quota"]) == ("out", None, None)
    assert "python -m auth login --account carol" in carol["reason"]
