from addons.traffic.vocabulary import LOOKED_AT, MAX_FIELDS, MAX_TYPES, EventNames, paths


def test_paths_have_three_names_at_most_and_say_where_a_list_is() -> None:
    event = {"type": "x", "response": {"usage": {"input": {"deeper": 1}}, "output": [{"id": 1}, {"role": 2}, 3]}}
    assert sorted(paths(event)) == [
        "response",
        "response.output",
        "response.output[].id",
        "response.output[].role",
        "response.usage",
        "response.usage.input",
        "type",
    ]


def test_the_clients_own_names_are_not_upstreams() -> None:
    said = {"metadata": {"mine": 1}, "response": {"metadata": {"mine": 1}}}
    assert sorted(paths(said)) == ["metadata", "response", "response.metadata"]


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
