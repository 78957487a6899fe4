from typing import Any

from addons.traffic.vocabulary import LOOKED_AT, MAX_FIELDS, MAX_LETTERS, MAX_TYPES, EventNames, _known_fields_of


def fields(event: dict[str, Any]) -> frozenset[str]:
    names = EventNames()
    names.note("x", event)
    return names.fields


def test_paths_have_three_names_at_most_and_say_where_a_list_is() -> None:
    event = {"type": "x", "response": {"usage": {"input": {"deeper": 1}}, "output": [{"id": 1}, {"role": 2}, 3]}}
    assert fields(event) == {
        "x: type",
        "x: response",
        "x: response.usage",
        "x: response.usage.input",
        "x: response.output",
        "x: response.output[].id",
        "x: response.output[].role",
    }


def test_the_clients_own_names_are_not_upstreams() -> None:
    said = {"metadata": {"mine": 1}, "response": {"metadata": {"mine": 1}}}
    assert fields(said) == {"x: metadata", "x: response", "x: response.metadata"}


def test_the_same_names_in_another_event_and_with_other_things_in_them() -> None:
    assert fields({"item": None, "other": 1}) == {"x: item", "x: other"}
    assert fields({"item": {"id": 1}, "other": [{"id": 1}]}) == {"x: item", "x: item.id", "x: other", "x: other[].id"}
    assert fields({"item": {"item": None, "other": 1}}) == {"x: item", "x: item.item", "x: item.other"}


def test_what_is_new_deep_within_a_shape_that_is_known() -> None:
    known = {"response": {"usage": {"total": 1}, "output": [{"id": 1}]}}
    for _ in range(2):
        assert fields(known) == {
            "x: response",
            "x: response.usage",
            "x: response.usage.total",
            "x: response.output",
            "x: response.output[].id",
        }
    assert "x: response.usage.new" in fields({"response": {"usage": {"total": 1, "new": 1}, "output": [{"id": 1}]}})
    assert "x: response.output[].new" in fields({"response": {"usage": {"total": 1}, "output": [{"id": 1}, {"new": 1}]}})


def test_events_are_counted_and_the_first_of_a_type_looked_at() -> None:
    names = EventNames()
    for _ in range(LOOKED_AT):
        names.note("delta", {"delta": "x"})
    names.note("delta", {"late": 1})
    assert names.counts == {"delta": LOOKED_AT + 1}
    assert names.fields == {"delta: delta"}


def test_an_upstream_that_makes_up_names_without_end() -> None:
    names = EventNames()
    for number in range(MAX_TYPES + 50):
        names.note(f"type {number}", {f"field {number}.{n}": 1 for n in range(100)})
    assert len(names.counts) == MAX_TYPES
    assert len(names.fields) <= MAX_FIELDS + 100


def test_what_an_upstream_has_made_up_is_forgotten_with_its_answer() -> None:
    assert fields({"usual": 1}) is fields({"usual": 1})
    kept = _known_fields_of.cache_info().currsize
    assert fields({"x" * MAX_LETTERS: 1}) == {"x: " + "x" * MAX_LETTERS}
    assert _known_fields_of.cache_info().currsize == kept
