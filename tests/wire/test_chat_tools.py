from typing import Any

import pytest

from addons.wire.chat_request import plan
from addons.wire.models import Resolved
from tests.wire.asking import BOTH, PLAIN, Object, edits_of, function, planned, refusal
from tests.wire.talking import TOOL, chat

CUSTOM = {"type": "custom", "custom": {"name": "patch"}}
GRAMMAR = {"definition": "start: /x/", "syntax": "lark"}
PLACE = {"type": "approximate", "approximate": {"city": "Rome"}}


def offered(name: str = "a", **more: Any) -> Object:
    return {"type": "function", "function": {"name": name, **more}}


# `strict` is false by default in Chat and true in Responses: it is never left to either.
TOOLS: dict[str, tuple[Object, Object, list[str]]] = {
    "function": (TOOL, function(), []),
    "function with description": (offered(description="d"), function("a", description="d"), []),
    "function that is strict": (offered(strict=True, parameters={}), {**function("a"), "parameters": {}, "strict": True}, []),
    "function with nulls": (offered(strict=None, parameters=None, description=None), function("a"), []),
    "function with more": (offered(cache=1), function("a"), ["dropped tools[].function.cache"]),
    "custom": (CUSTOM, {"type": "custom", "name": "patch"}, []),
    "custom of text": (
        {"type": "custom", "custom": {"name": "p", "format": {"type": "text"}}},
        {"type": "custom", "name": "p", "format": {"type": "text"}},
        [],
    ),
    "custom with a grammar": (
        {"type": "custom", "custom": {"name": "p", "format": {"type": "grammar", "grammar": GRAMMAR}}},
        {"type": "custom", "name": "p", "format": {"type": "grammar", **GRAMMAR}},
        [],
    ),
    "hosted": ({"type": "web_search"}, {"type": "web_search"}, []),
}


@pytest.mark.parametrize(("tool", "sent", "edits"), TOOLS.values(), ids=TOOLS)
def test_tools_lose_one_level(tool: Object, sent: Object, edits: list[str]) -> None:
    made = planned(plan, chat(tools=[tool]))
    assert made.body["tools"] == [sent]
    assert edits_of(made) == edits


CHOICES: dict[str, tuple[Any, Any]] = {
    "word": ("none", "none"),
    "function": ({"type": "function", "function": {"name": "weather"}}, {"type": "function", "name": "weather"}),
    "custom": ({"type": "custom", "custom": {"name": "patch"}}, {"type": "custom", "name": "patch"}),
    "hosted": ({"type": "web_search"}, {"type": "web_search"}),
    "allowed": (
        {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [offered("weather"), {"type": "web_search"}]}},
        {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "weather"}, {"type": "web_search"}]},
    ),
}


@pytest.mark.parametrize(("choice", "sent"), CHOICES.values(), ids=CHOICES)
def test_the_choice_among_them_does_too(choice: Any, sent: Any) -> None:
    made = planned(plan, chat(tools=[TOOL, CUSTOM, {"type": "web_search"}], tool_choice=choice))
    assert made.body["tool_choice"] == sent
    assert made.edits == ()


@pytest.mark.parametrize(
    ("options", "sent"),
    [({}, {}), ({"search_context_size": "low", "user_location": None}, {"search_context_size": "low"})],
    ids=["as it is", "with a size"],
)
def test_search_options_are_a_tool(options: Object, sent: Object) -> None:
    assert planned(plan, chat(web_search_options=options)).body["tools"] == [{"type": "web_search", **sent}]


def test_search_options_have_their_place_one_level_up() -> None:
    tools = planned(plan, chat(web_search_options={"user_location": PLACE}, tools=[TOOL])).body["tools"]
    assert tools == [function(), {"type": "web_search", "user_location": {"type": "approximate", "city": "Rome"}}]


@pytest.mark.parametrize(
    ("choice", "sent"),
    [(None, None), ("auto", "auto"), ("none", "none"), ({"name": "weather"}, {"type": "function", "name": "weather"})],
    ids=["none given", "auto", "none", "by name"],
)
def test_the_functions_of_2023(choice: Any, sent: Any) -> None:
    made = planned(plan, chat(functions=[TOOL["function"]], function_call=choice))
    assert (made.body["tools"], made.body.get("tool_choice")) == ([function()], sent)
    assert made.body["parallel_tool_calls"] is False


WRONG: dict[str, tuple[Object, str, str | None]] = {
    "as text": ({"tools": ["a"]}, "tools[0]", "invalid_type"),
    "no type": ({"tools": [{"function": {"name": "a"}}]}, "tools[0].type", "missing_required_parameter"),
    "no function": ({"tools": [{"type": "function"}]}, "tools[0].function", "missing_required_parameter"),
    "no name": ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name", "missing_required_parameter"),
    "unknown type": ({"tools": [{"type": "retrieval"}]}, "tools[0].type", "invalid_value"),
    "unknown choice": ({"tools": [TOOL], "tool_choice": "any"}, "tool_choice", "invalid_value"),
    "choice of nobody": (
        {"tools": [TOOL], "tool_choice": {"type": "function"}},
        "tool_choice.function",
        "missing_required_parameter",
    ),
    "choice among none": ({"tool_choice": "required"}, "tool_choice", None),
    "function_call among none": ({"function_call": {"name": "weather"}}, "tool_choice", None),
    "function without name": ({"functions": [{}]}, "functions[0].name", "missing_required_parameter"),
    "place as text": ({"web_search_options": {"user_location": "Rome"}}, "web_search_options.user_location", "invalid_type"),
    "allowed in allowed": (
        {"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": ["a"]}}},
        "tool_choice.allowed_tools.tools[0]",
        "invalid_type",
    ),
}


@pytest.mark.parametrize(("changes", "param", "code"), WRONG.values(), ids=WRONG)
def test_wrong_tools_are_refused(changes: Object, param: str, code: str | None) -> None:
    refused = refusal(plan, chat(**changes))
    assert (refused.param, refused.code) == (param, code)


@BOTH
def test_five_hundred_tools(model: Resolved) -> None:
    names = [f"{'n' * (i % 80)}_{i}" for i in range(500)]
    choice = {"type": "function", "function": {"name": names[79]}}
    made = planned(plan, chat(tools=[offered(name) for name in names], tool_choice=choice), model)
    sent = [tool["name"] for tool in (made.body["tools"] if model is PLAIN else made.body["input"][0]["tools"])]
    assert [made.answering.tool_names.get(name, name) for name in sent] == names
    assert made.body["tool_choice"] == {"type": "function", "name": sent[79]}
    assert edits_of(made)[-1] == "mapped tool names"
