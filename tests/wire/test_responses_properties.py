"""Whatever a client sends to /v1/responses: the backend takes what is made of it, nothing is lost, and every change is told."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from addons.wire.models import Resolved
from addons.wire.responses_request import PARAMETERS, plan
from tests.wire.asking import BOTH, PLAIN, Object, call, edits_of, heard, message, normal, planned, result

text = st.text(st.characters(codec=None), max_size=20) | st.sampled_from(["a\u2028b", "\ud800", "👩‍🚀", "json", ""])
name = st.text("ab_-.é\ud800", min_size=1, max_size=90)
parts = st.lists(st.builds(heard, text), min_size=1, max_size=3)
messages = st.builds(
    lambda role, content, extra: {"role": role, "content": content, **extra},
    st.sampled_from(["user", "system", "developer"]),
    parts | text,
    st.sampled_from([{}, {"type": "message"}, {"type": "message", "id": "msg_1"}, {"type": "message", "status": None}]),
)
calls = st.builds(
    lambda call_id, name, output, arguments: [
        {"type": "function_call", "id": "fc_1", "call_id": call_id, "name": name, **arguments},
        {"type": "function_call_output", "call_id": call_id, "output": output},
    ],
    st.text(min_size=1, max_size=90),
    name,
    text | parts,
    st.sampled_from([{}, {"arguments": "{}"}, {"arguments": None}, {"arguments": ""}]),
)
others = st.sampled_from(
    [
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "gAAA"},
        {"type": "web_search_call", "id": "ws_1"},
    ]
)
runs = st.lists(st.one_of(messages.map(lambda item: [item]), calls, others.map(lambda item: [item])), max_size=6)
inputs = runs.map(lambda runs: [item for run in runs for item in run])
bodies = st.fixed_dictionaries(
    {"model": st.just("m")},
    optional={
        "input": inputs | st.none() | text,
        "instructions": text | st.none(),
        "tools": st.lists(name.map(lambda name: {"type": "function", "name": name}), max_size=4) | st.none(),
        "reasoning": st.sampled_from([None, {}, {"effort": "minimal"}, {"effort": "max", "context": "auto"}]),
        "parallel_tool_calls": st.booleans() | st.none(),
        "text": st.sampled_from([None, {}, {"verbosity": "low"}]),
        "tool_choice": st.sampled_from([None, "auto", {}]),
        "store": st.booleans() | st.none(),
        "stream": st.booleans() | st.none(),
        "temperature": st.floats(0, 2) | st.none(),
        "stop": st.none() | st.text(max_size=3),
        "made_up": st.integers() | st.none(),
    },
)


@BOTH
@settings(deadline=None)
@given(body=bodies)
def test_the_backend_takes_it_and_there_is_nothing_left_to_change(model: Resolved, body: Object) -> None:
    made = planned(plan, body, model)
    again = planned(plan, made.body, model)
    assert (again.body, again.edits, again.headers) == (made.body, (), made.headers)


def without_nulls(value: Any) -> Any:
    """A member that is null is one that is not given, to the backend too."""
    if isinstance(value, dict):
        return {name: without_nulls(member) for name, member in value.items() if member is not None}
    return [without_nulls(each) for each in value] if isinstance(value, list) else value


# What an edit may change besides the member that it names.
FURTHER = {
    "tools": {"input"},
    "instructions": {"input"},
    "tool names": {"tools", "input", "tool_choice"},
    "call ids": {"input"},
}


@BOTH
@settings(deadline=None)
@given(body=bodies)
def test_every_change_is_told(model: Resolved, body: Object) -> None:
    made = plan(body, model=model)
    told = {"model"}
    for edit in made.edits:
        member = edit.what.split("[")[0].split(".")[0]
        told |= {member} | FURTHER.get(member, set())
    for name, value in body.items():
        idle = PARAMETERS[name].idle if name in PARAMETERS else ()
        assert name in told or value is None or value in idle or without_nulls(made.body[name]) == without_nulls(value)


def told(items: Any, names: Any, ids: Any) -> list[Any]:
    """Everything that is said, in the client's names, without what is noise."""
    found: list[Any] = []
    for item in [message("user", heard(items))] if isinstance(items, str) else items or []:
        match item.get("type", "message"):
            case "message":
                found.append((item["role"].replace("system", "developer"), item["content"]))
            case "function_call":
                call_id, name = item["call_id"], item["name"]
                arguments = "{}" if item.get("arguments") is None else item["arguments"]
                found.append((ids.get(call_id, call_id), names.get(name, name), arguments))
            case "function_call_output":
                found.append((ids.get(item["call_id"], item["call_id"]), item["output"]))
            case kind if kind != "reasoning" or item.get("encrypted_content"):
                found.append(kind)
    return found


@settings(deadline=None)
@given(body=bodies)
def test_every_text_call_id_and_argument_is_kept_in_order(body: Object) -> None:
    made = planned(plan, body)
    answering = made.answering
    assert told(made.body["input"], answering.tool_names, answering.call_ids) == told(body.get("input"), {}, {})


@BOTH
def test_five_hundred_tools_with_names_of_any_length(model: Resolved) -> None:
    names = [f"{'n' * (i % 70)}_{i}" for i in range(500)]
    history = [call(f"c{i}", name) for i, name in enumerate(names)] + [result(call_id=f"c{i}") for i in range(500)]
    made = planned(plan, normal(tools=[{"type": "function", "name": name} for name in names], input=history), model)
    offered = made.body["tools"] if model is PLAIN else made.body["input"][0]["tools"]
    sent = [tool["name"] for tool in offered]
    assert [made.answering.tool_names.get(name, name) for name in sent] == names
    assert [item["name"] for item in made.body["input"] if item.get("type") == "function_call"] == sent


def test_call_ids_are_shortened_in_both_places_and_back() -> None:
    long = "call_" + "x" * 100
    made = planned(plan, normal(input=[call(long), result(call_id=long)]))
    short = made.body["input"][0]["call_id"]
    assert len(short) == 64 and made.body["input"][1]["call_id"] == short
    assert made.answering.call_ids == {short: long}
    assert edits_of(made) == ["mapped call ids"]
