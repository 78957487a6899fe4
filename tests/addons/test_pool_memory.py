"""A restart: what the pool knew is there again, and nothing that lies in its place does harm."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from addons.pool import MAX_ACCOUNTS, Choice
from addons.pool.affinity import SIZE
from addons.pool.memory import VERSION, dump, load
from addons.wire.quota import Credits, Family, Quota
from tests.addons.pooling import ALICE, BOB, DAY, HOUR, NOW, THREE, choose, fail, nobody, plan, pool_with, state, used, verdict


def restarted(pool: Any, at: float = NOW) -> Any:
    return load(json.loads(json.dumps(dump(pool))), at, pool.rules)


def test_conversations_are_where_they_were() -> None:
    pool = pool_with("round-robin")
    home = {key: choose(pool, at=NOW, keys=[key]).name for key in ("one", "two", "three", "four")}
    again = restarted(pool)
    assert {key: choose(again, at=NOW + 1, keys=[key]).name for key in home} == home
    assert choose(again, at=NOW, keys=["five"]).name == choose(pool, at=NOW, keys=["five"]).name, "and whose turn it is"


def test_what_rests_goes_on_resting_and_is_probed_when_it_would_have_been() -> None:
    pool = pool_with()
    fail(pool, "alice", plan(NOW + HOUR), at=NOW)
    fail(pool, "bob", verdict("pace", wait=100), at=NOW)
    again = restarted(pool, NOW + 10)
    assert [state(again, name, NOW + 10) for name in ("alice", "bob", "carol")] == ["resting", "resting", "serving"]
    assert not choose(again, at=NOW + 29).probe
    assert choose(again, at=NOW + 30).probe
    assert [state(again, name, NOW + HOUR) for name in ("alice", "bob")] == ["serving", "serving"]


def test_all_that_is_known_of_a_plan_is_kept() -> None:
    pool = pool_with()
    quota = Quota(
        NOW, used(40, NOW).windows, "plus", Credits(True, False, "3"), True, NOW + DAY, {"spark": Family("S", used(9, NOW).windows)}
    )
    pool.heard("alice", quota, NOW)
    assert restarted(pool).accounts["alice"].quota == quota


def test_failures_in_a_row_are_still_in_a_row() -> None:
    pool = pool_with()
    for _ in range(4):
        fail(pool, "alice", verdict("network"), at=NOW)
    again = restarted(pool)
    fail(again, "alice", verdict("network"), at=NOW)
    assert again.view([ALICE], NOW)[0].until == NOW + 16
    assert again.view([ALICE], NOW)[0].last_failure == pool.view([ALICE], NOW)[0].last_failure


def test_a_dead_sign_in_is_looked_at_again() -> None:
    pool = pool_with()
    fail(pool, "alice", verdict("sign_in"), at=NOW)
    assert choose(restarted(pool), [ALICE], at=NOW).name == "alice", "it may have been mended meanwhile"


def test_what_was_under_way_is_not() -> None:
    pool = pool_with("least-used")
    fail(pool, "bob", plan(NOW + DAY), at=NOW)
    pool.started(choose(pool, [ALICE], at=NOW))
    assert choose(pool, [BOB], at=NOW + 60).probe
    again = restarted(pool, NOW + 60)
    assert again.view([ALICE], NOW + 60)[0].in_flight == 0
    assert choose(again, [BOB], at=NOW + 91).probe, "its end will not be reported"


def test_a_probe_is_remembered() -> None:
    pool = pool_with()
    fail(pool, "alice", plan(NOW + DAY), at=NOW)
    pool.ended(choose(pool, [ALICE], at=NOW + 60))
    nobody(restarted(pool, NOW + 61), [ALICE], at=NOW + 61)


def test_nothing_that_a_client_said_is_in_it() -> None:
    pool = pool_with()
    choose(pool, at=NOW, keys=["the client's own words", "sk-secret"])
    written = json.dumps(dump(pool))
    assert "words" not in written and "secret" not in written


@pytest.mark.parametrize(
    "document",
    [
        None,
        5,
        [],
        {},
        {"version": VERSION + 1, "accounts": {"alice": {"failures": 3}}},
        {"version": VERSION, "accounts": 5, "homes": {}},
    ],
    ids=str,
)
def test_no_memory(document: Any) -> None:
    pool = load(document, NOW)
    assert not pool.accounts and not len(pool.homes)


FUTURE = {
    "cooling": {"blame": "plan", "reason": "", "since": NOW + DAY, "until": NOW + 9 * DAY, "rests": True},
    "probed_at": NOW + DAY,
    "quota": {"heard_at": NOW + DAY, "windows": {}},
}


def test_what_lies_in_the_future_is_not_believed() -> None:
    pool = load({"version": VERSION, "accounts": {"alice": FUTURE}, "homes": [["0" * 16, "alice", NOW + 1]]}, NOW)
    alice = pool.accounts["alice"]
    assert (alice.cooling, alice.probed_at, alice.quota, len(pool.homes)) == (None, 0.0, None, 0)


def test_nor_is_a_rest_without_end() -> None:
    forever = {"blame": "pace", "reason": "", "since": NOW, "until": 1e10, "rests": True}
    pool = load({"version": VERSION, "accounts": {"alice": {"cooling": forever}}}, NOW)
    assert nobody(pool, [ALICE], at=NOW).until == NOW + 300


def test_it_is_bounded() -> None:
    accounts: dict[str, Any] = {f"account {n}": {} for n in range(MAX_ACCOUNTS + 500)}
    homes = [[f"{n:016x}", "alice", NOW] for n in range(SIZE + 500)]
    pool = load({"version": VERSION, "accounts": accounts, "homes": homes}, NOW)
    assert len(pool.accounts) == MAX_ACCOUNTS and len(pool.homes) == SIZE


numbers = st.integers() | st.floats() | st.sampled_from([NOW, NOW - 1, NOW + DAY, 0, 1, 10**400])
leaf = st.none() | st.booleans() | numbers | st.text(max_size=5) | st.sampled_from(["plan", "pace", "client", "\ud83d"])
thing = st.recursive(
    leaf, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3), max_leaves=6
)
window = st.fixed_dictionaries({}, optional={name: leaf for name in ("minutes", "used_percent", "resets_at", "heard_at")}) | thing
windows = st.dictionaries(st.text(max_size=3), window, max_size=3) | thing
times = leaf | st.just(NOW - 1)
accounts = st.fixed_dictionaries(
    {},
    optional={
        "cooling": st.fixed_dictionaries({"blame": leaf, "since": times, "until": times}, optional={"reason": leaf, "rests": leaf})
        | thing,
        "failures": leaf,
        "last_failure": st.fixed_dictionaries({"blame": leaf, "reason": leaf, "at": times}) | thing,
        "quota": st.fixed_dictionaries(
            {"heard_at": times},
            optional={
                "windows": windows,
                "credits": thing,
                "limit_reached": leaf,
                "plan": leaf,
                "back_at": times,
                "others": st.dictionaries(
                    st.text(max_size=3), st.fixed_dictionaries({"name": leaf, "windows": windows}) | thing, max_size=2
                ),
            },
        )
        | thing,
        "turn": leaf,
        "probed_at": times,
    },
)
documents = st.fixed_dictionaries(
    {"version": st.just(VERSION)},
    optional={
        "accounts": st.dictionaries(st.sampled_from(["alice", "bob", "carol", "", "zoe"]), accounts | thing, max_size=4) | thing,
        "homes": st.lists(st.tuples(st.just("0" * 16) | leaf, st.just("alice") | leaf, times).map(list) | thing, max_size=3)
        | thing,
    },
)


@settings(deadline=None, max_examples=150)
@given(document=documents, later=st.floats(0, 40 * DAY))
def test_garbage_makes_a_pool_that_works_and_loses_no_account(document: Any, later: float) -> None:
    pool = load(document, NOW)
    for now in (NOW, NOW + later):
        found = pool.choose(THREE, keys=["one"], now=now, roll=0.5)
        if isinstance(found, Choice):
            fail(pool, found.name, verdict("upstream"), at=now)
        json.dumps([standing.document(now) for standing in pool.view(THREE, now)])
        json.dumps(dump(pool))
    for member in THREE:
        assert not choose(pool, [member], at=NOW + later + 32 * DAY).probe
