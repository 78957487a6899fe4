from typing import Any, get_args

import pytest

from addons.wire.chat_request import PARAMETERS, plan
from addons.wire.parameters import Treatment
from tests.wire.asking import LITE, Object, call, edits_of, function, heard, message, planned, refusal, result
from tests.wire.talking import CALLING, RESULT, TOOL, chat

# Of openai-python 3.52, `CompletionCreateParams`.
OPENAI = """
    audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens max_tokens messages metadata
    modalities model moderation n parallel_tool_calls prediction presence_penalty prompt_cache_key prompt_cache_options
    prompt_cache_retention reasoning_effort response_format safety_identifier seed service_tier stop store stream stream_options
    temperature tool_choice tools top_logprobs top_p user verbosity web_search_options
""".split()

# A value of each that asks for something.
ASKING: Object = {
    "temperature": 0,
    "top_p": 0.5,
    "frequency_penalty": 1,
    "presence_penalty": 1,
    "logit_bias": {"50256": -100},
    "seed": 1,
    "prediction": {"type": "content", "content": "x"},
    "moderation": {"model": "omni"},
    "metadata": {"a": "b"},
    "user": "u",
    "safety_identifier": "s",
    "prompt_cache_retention": "24h",
    "prompt_cache_options": {"ttl": "30m"},
    "max_completion_tokens": 100,
    "max_tokens": 100,
    "stop": "END",
    "n": 2,
    "logprobs": True,
    "top_logprobs": 1,
    "modalities": ["text", "audio"],
    "audio": {"voice": "alloy", "format": "wav"},
}
# One that asks for what happens anyway.
IDLE: Object = {
    "temperature": 1.0,
    "top_p": 1,
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "logit_bias": {},
    "metadata": {},
    "n": 1,
    "logprobs": False,
    "top_logprobs": 0,
    "modalities": ["text"],
    "service_tier": "default",
    "store": False,
    "tools": [],
    "functions": [],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "response_format": {"type": "text"},
    "stop": [],
    "stream": False,
    "stream_options": {"include_obfuscation": False},
}
# The least request, sent.
LEAST: Object = {
    "model": "gpt-5.5",
    "instructions": "",
    "input": [message("user", heard("hi"))],
    "reasoning": {"summary": "auto"},
    "store": False,
    "stream": True,
    "include": ["reasoning.encrypted_content"],
}


def by(*treatments: str) -> list[str]:
    return [name for name, row in PARAMETERS.items() if row.treatment in treatments]


def test_every_parameter_of_the_api_has_its_row() -> None:
    assert set(OPENAI) <= set(PARAMETERS)
    assert {row.treatment for row in PARAMETERS.values()} == set(get_args(Treatment))
    assert set(by("dropped", "emulated", "refused")) == set(ASKING)


def test_the_least_request() -> None:
    made = planned(plan, chat())
    assert (made.body, made.edits, made.headers) == (LEAST, (), {})


@pytest.mark.parametrize("name", by("dropped"))
def test_a_drop_is_told_or_in_strict_mode_refused(name: str) -> None:
    made = planned(plan, chat(**{name: ASKING[name]}))
    assert (made.body, edits_of(made)) == (LEAST, [f"dropped {name}"])
    refused = refusal(plan, chat(**{name: ASKING[name]}), strict=True)
    assert (refused.param, refused.code) == (name, "unsupported_parameter")


@pytest.mark.parametrize("name", by("emulated"))
def test_what_is_emulated_stays_here(name: str) -> None:
    made = planned(plan, chat(**{name: ASKING[name]}), strict=True)
    assert (made.body, edits_of(made)) == (LEAST, [f"emulated {name}"])
    assert made.answering.max_output_tokens == 100 or made.answering.stop == ("END",)


@pytest.mark.parametrize("name", by("refused"))
def test_what_cannot_be_had_is_refused(name: str) -> None:
    refused = refusal(plan, chat(**{name: ASKING[name]}))
    assert (refused.param, refused.code) == (name, PARAMETERS[name].code)


@pytest.mark.parametrize("name", IDLE)
def test_what_asks_for_nothing_is_left_out_without_a_word(name: str) -> None:
    made = planned(plan, chat(**{name: IDLE[name]}), strict=True)
    assert (made.body, made.edits) == (LEAST, ())


@pytest.mark.parametrize("name", sorted(set(PARAMETERS) - {"model", "messages"}))
def test_null_is_as_good_as_not_given(name: str) -> None:
    assert planned(plan, chat(**{name: None}), strict=True) == planned(plan, chat())


def test_unknown_parameters_are_dropped_by_name() -> None:
    made = planned(plan, chat(chat_template_kwargs={}, top_k=3))
    assert (made.body, edits_of(made)) == (LEAST, ["dropped chat_template_kwargs", "dropped top_k"])
    assert refusal(plan, chat(top_k=3), strict=True).param == "top_k"


def formatted(**definition: Any) -> Object:
    return {"response_format": {"type": "json_schema", "json_schema": definition}}


def schema(name: str = "response", schema: Any = None, strict: bool = False) -> Object:
    return {"type": "json_schema", "name": name, "schema": schema or {}, "strict": strict}


# What is asked for, what is sent besides the least, and what is told.
CHANGED: dict[str, tuple[Object, Object, list[str]]] = {
    "store": ({"store": True}, {}, ["forced store"]),
    "fast": ({"service_tier": "fast"}, {"service_tier": "priority"}, ["mapped service_tier"]),
    "flex": ({"service_tier": "flex"}, {}, ["dropped service_tier"]),
    "cache key": ({"prompt_cache_key": "k"}, {"prompt_cache_key": "k"}, []),
    "usage": ({"stream_options": {"include_usage": True}}, {}, []),
    "obfuscation": ({"stream_options": {"include_obfuscation": True}}, {}, ["dropped stream_options.include_obfuscation"]),
    "verbosity": ({"verbosity": "low"}, {"text": {"verbosity": "low"}}, []),
    "schema": (formatted(name="a", schema={"type": "object"}), {"text": {"format": schema("a", {"type": "object"})}}, []),
    "strict schema": (formatted(name="a", strict=True, schema={}), {"text": {"format": schema("a", strict=True)}}, []),
    "nameless schema": (formatted(schema=None), {"text": {"format": schema()}}, []),
    "schema with verbosity": (
        {**formatted(name="a"), "verbosity": "low"},
        {"text": {"format": schema("a"), "verbosity": "low"}},
        [],
    ),
    "effort": ({"reasoning_effort": "high"}, {"reasoning": {"effort": "high", "summary": "auto"}}, []),
    "effort of other models": (
        {"reasoning_effort": "minimal"},
        {"reasoning": {"effort": "low", "summary": "auto"}},
        ["mapped reasoning.effort"],
    ),
    "no effort": ({"reasoning_effort": "none"}, {"reasoning": {"effort": "none"}}, []),
    "two efforts": (
        {"reasoning_effort": "low", "reasoning": {"effort": "high"}},
        {"reasoning": {"effort": "low", "summary": "auto"}},
        [],
    ),
    "summary": ({"reasoning": {"summary": "detailed"}}, {"reasoning": {"summary": "detailed"}}, []),
    "reasoning excluded": ({"reasoning": {"effort": "high", "exclude": True}}, {"reasoning": {"effort": "high"}}, []),
    "reasoning off": ({"reasoning": {"enabled": False}}, {"reasoning": {"effort": "none"}}, []),
    "reasoning limit": ({"reasoning": {"max_tokens": 9}}, {}, ["dropped reasoning.max_tokens"]),
    "x_codex": (
        {"x_codex": {"reasoning_effort": "low"}},
        {"reasoning": {"effort": "low", "summary": "auto"}},
        [],
    ),
    "tools": (
        {"tools": [TOOL], "parallel_tool_calls": False, "tool_choice": "required"},
        {"tools": [function()], "parallel_tool_calls": False, "tool_choice": "required"},
        [],
    ),
    "functions": (
        {"functions": [TOOL["function"]], "function_call": {"name": "weather"}},
        {
            "tools": [function()],
            "parallel_tool_calls": False,
            "tool_choice": {"type": "function", "name": "weather"},
        },
        ["mapped functions"],
    ),
}


@pytest.mark.parametrize(("changes", "sent", "edits"), CHANGED.values(), ids=CHANGED)
def test_what_is_mapped(changes: Object, sent: Object, edits: list[str]) -> None:
    made = planned(plan, chat(**changes))
    assert {name: value for name, value in made.body.items() if value is not None} == LEAST | sent
    assert edits_of(made) == edits


WRONG: dict[str, tuple[Object, str, str | None]] = {
    "no messages": ({"messages": None}, "messages", "missing_required_parameter"),
    "empty messages": ({"messages": []}, "messages", "missing_required_parameter"),
    "messages as text": ({"messages": "hi"}, "messages", "invalid_type"),
    "message as text": ({"messages": ["hi"]}, "messages[0]", "invalid_type"),
    "no model": ({"model": None}, "model", "missing_required_parameter"),
    "too hot": ({"temperature": 3}, "temperature", "integer_above_max_value"),
    "top_p": ({"top_p": -0.1}, "top_p", "decimal_below_min_value"),
    "presence_penalty": ({"presence_penalty": 2.5}, "presence_penalty", "decimal_above_max_value"),
    "no tokens": ({"max_tokens": 0}, "max_tokens", "integer_below_min_value"),
    "tokens true": ({"max_completion_tokens": True}, "max_completion_tokens", "invalid_type"),
    "n": ({"n": 0}, "n", "integer_below_min_value"),
    "five stops": ({"stop": ["a"] * 5}, "stop", "array_above_max_length"),
    "verbosity": ({"verbosity": "shrill"}, "verbosity", "invalid_value"),
    "effort": ({"reasoning": {"effort": 5}}, "reasoning_effort", "invalid_type"),
    "sandbox": ({"x_codex": {"sandbox": "danger-full-access"}}, "x_codex.sandbox", "unknown_parameter"),
    "format": ({"response_format": {"type": "yaml"}}, "response_format.type", "invalid_value"),
    "json without the word": ({"response_format": {"type": "json_object"}}, "messages", None),
    "no schema": (
        {"response_format": {"type": "json_schema"}},
        "response_format.json_schema",
        "missing_required_parameter",
    ),
    "schema name": (formatted(name="a b"), "response_format.json_schema.name", "invalid_value"),
    "schema as text": (formatted(schema="x"), "response_format.json_schema.schema", "invalid_type"),
}


@pytest.mark.parametrize(("changes", "param", "code"), WRONG.values(), ids=WRONG)
def test_wrong_values_are_refused(changes: Object, param: str, code: str | None) -> None:
    refused = refusal(plan, chat(**changes))
    assert (refused.param, refused.code) == (param, code)


@pytest.mark.parametrize("word", ["json", "JSON", "Json"])
@pytest.mark.parametrize("role", ["system", "user"])
def test_json_mode_keeps_its_literal_word_in_the_input(role: str, word: str) -> None:
    speaks = {"role": role, "content": [{"type": "text", "text": f"Answer in {word}."}]}
    made = planned(plan, chat(speaks, {"role": "user", "content": "hi"}, response_format={"type": "json_object"}))
    assert made.body["text"] == {"format": {"type": "json_object"}}


def test_summaries_are_asked_for_where_reasoning_is_shown() -> None:
    shown, hidden, excluded = (
        planned(plan, chat()),
        planned(plan, chat(), show_reasoning=False),
        planned(plan, chat(reasoning={"exclude": True})),
    )
    assert (shown.answering.show_reasoning, shown.body["reasoning"]) == (True, {"summary": "auto"})
    for quiet in hidden, excluded:
        assert not quiet.answering.show_reasoning and "reasoning" not in quiet.body


def test_what_the_answer_has_to_know() -> None:
    body = chat(
        stream=True,
        stream_options={"include_usage": True},
        tools=[{"type": "custom", "custom": {"name": "patch"}}],
        max_tokens=5,
        max_completion_tokens=7,
        stop=["a", "b"],
    )
    answering = planned(plan, body).answering
    assert (answering.dialect, answering.stream, answering.model, answering.echo) == ("chat", True, "gpt-5.5", {})
    assert (answering.max_output_tokens, answering.stop, answering.prompt_tokens) == (7, ("a", "b"), 0)
    assert (answering.include_usage, answering.custom_tools, answering.legacy_functions) == (True, True, False)
    old = planned(plan, chat(functions=[TOOL["function"]])).answering
    assert (old.include_usage, old.custom_tools, old.legacy_functions) == (False, False, True)
    assert not planned(plan, chat(functions=[TOOL["function"]], tools=[TOOL])).answering.legacy_functions


def test_a_lite_model_gets_the_same_in_its_own_dialect() -> None:
    made = planned(plan, chat({"role": "system", "content": "Be brief."}, CALLING, RESULT, tools=[TOOL]), LITE)
    assert made.body == LEAST | {
        "model": "gpt-6-luna",
        "input": [
            {"type": "additional_tools", "role": "developer", "tools": [function()]},
            message("developer", heard("Be brief.")),
            call(),
            result(),
        ],
        "parallel_tool_calls": False,
        "reasoning": {"summary": "auto", "context": "all_turns"},
    }
    assert refusal(plan, chat(web_search_options={}), LITE).code == "unsupported_value"
