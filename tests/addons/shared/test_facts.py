"""News may come in any order, any number of times and by any way: who has heard the same knows the same."""

from hypothesis import given
from hypothesis import strategies as st

from addons.shared.facts import Fact, after, merge

facts = st.builds(Fact, st.sampled_from([0.0, 1.0, 1.5, 2.0]), st.sampled_from(["a", "b"]), st.sampled_from([b"null", b"1", b"2"]))
heard = st.dictionaries(st.sampled_from(["one", "two", "three"]), facts)


@given(heard, heard)
def test_it_does_not_matter_who_hears_it_first(a: dict[str, Fact], b: dict[str, Fact]) -> None:
    assert merge(a, b) == merge(b, a)


@given(heard)
def test_to_hear_it_twice_is_to_hear_it_once(a: dict[str, Fact]) -> None:
    assert merge(a, a) == a


@given(heard, heard, heard)
def test_it_does_not_matter_by_which_way_it_came(a: dict[str, Fact], b: dict[str, Fact], c: dict[str, Fact]) -> None:
    assert merge(merge(a, b), c) == merge(a, merge(b, c))


@given(heard, heard)
def test_an_older_fact_never_takes_the_place_of_a_newer_one(a: dict[str, Fact], b: dict[str, Fact]) -> None:
    merged = merge(a, b)
    assert merged.keys() == a.keys() | b.keys()
    assert all(merged[name].at >= fact.at for known in (a, b) for name, fact in known.items())


@given(facts, st.floats(0, 4))
def test_whoever_changes_what_it_knows_is_heard_even_if_its_clock_is_behind(known: Fact, at: float) -> None:
    mine = Fact(after(known, at), "", b"3")
    assert merge({"one": known}, {"one": mine})["one"] is mine
    assert mine.at == at or mine.at - known.at < 1e-9
