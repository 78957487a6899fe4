from typing import get_args

import pytest

from addons.wire.models import Resolved
from addons.wire.parameters import Treatment
from addons.wire.plan import Edit
from addons.wire.responses_request import PARAMETERS, plan
from tests.wire.asking import BOTH, PLAIN, Object, edits_of, function, heard, message, normal, planned, refusal, without

# Of openai-python 3.52, `ResponseCreateParams`.
OPENAI = """
    access_programs background context_management conversation image include input instructions max_output_tokens max_tool_calls
    metadata model moderation parallel_tool_calls previous_response_id prompt prompt_cache_key prompt_cache_options
    prompt_cache_retention reasoning safety_identifier service_tier store stream stream_options temperature text tool_choice tools
    top_logprobs top_p truncation user
""".split()

# A value of each that asks for something.
ASKING: Object = {
    "temperature": 0.2,
    "top_p": 0.9,
    "frequency_penalty": 0.5,
    "presence_penalty": -0.5,
    "truncation": "auto",
    "context_management": [{"type": "compaction"}],
    "max_tool_calls": 3,
    "image": {"context_compression": "enabled"},
    "moderation": {"model": "omni"},
    "access_programs": {"cyber": "standard"},
    "user": "u",
    "safety_identifier": "s",
    "prompt_cache_retention": "24h",
    "prompt_cache_options": {"ttl": "30m"},
    "max_output_tokens": 100,
    "max_completion_tokens": 100,
    "max_tokens": 100,
    "stop": ["END"],
    "metadata": {"a": "b"},
    "store": True,
    "top_logprobs": 2,
    "background": True,
    "conversation": "conv_1",
    "prompt": {"id": "pmpt_1"},
    "previous_response_id": "resp_1",
}
# One that asks for what happens anyway.
IDLE: Object = {
    "temperature": 1,
    "top_p": 1.0,
    "frequency_penalty": 0,
    "presence_penalty": 0.0,
    "truncation": "disabled",
    "top_logprobs": 0,
    "background": False,
    "service_tier": "auto",
    "metadata": {},
    "stop": [],
    "context_management": [],
    "prompt_cache_options": {},
    "stream_options": {"include_obfuscation": False},
    "reasoning": {},
    "text": {"format": None},
    "tools": [],
}


def by(*treatments: str) -> list[str]:
    return [name for name, row in PARAMETERS.items() if row.treatment in treatments]


def test_every_parameter_of_the_api_has_its_row() -> None:
    assert set(OPENAI) <= set(PARAMETERS)
    assert {row.treatment for row in PARAMETERS.values()} == set(get_args(Treatment))
    assert all(row.why for row in PARAMETERS.values())


def test_every_row_that_changes_something_is_tested() -> None:
    assert set(by("dropped", "emulated", "refused")) == set(ASKING)


@pytest.mark.parametrize("name", by("dropped"))
def test_a_drop_is_told(name: str) -> None:
    made = planned(plan, normal(**{name: ASKING[name]}))
    assert [(edit.verb, edit.what, edit.why) for edit in made.edits] == [("dropped", name, PARAMETERS[name].why)]
    assert made.body == normal()


@pytest.mark.parametrize("name", by("dropped"))
def test_a_drop_is_refused_in_strict_mode(name: str) -> None:
    refused = refusal(plan, normal(**{name: ASKING[name]}), strict=True)
    assert (refused.param, refused.code) == (name, "unsupported_parameter")
    assert name in refused.message


@pytest.mark.parametrize("strict", [False, True], ids=["lenient", "strict"])
@pytest.mark.parametrize("name", by("emulated"))
def test_what_is_emulated_stays_here(name: str, strict: bool) -> None:
    made = planned(plan, normal(**{name: ASKING[name]}), strict=strict)
    assert edits_of(made) == [f"emulated {name}"]
    assert made.body == normal()


@pytest.mark.parametrize("name", by("refused"))
def test_what_cannot_be_had_is_refused(name: str) -> None:
    refused = refusal(plan, normal(**{name: ASKING[name]}))
    assert (refused.param, refused.code) == (name, PARAMETERS[name].code)


def test_a_previous_response_is_not_found_in_openai_words() -> None:
    refused = refusal(plan, normal(previous_response_id="resp_1"))
    assert refused.message == "Previous response with id 'resp_1' not found."
    assert refused.code == "previous_response_not_found"


@pytest.mark.parametrize("name", IDLE)
def test_what_asks_for_nothing_is_left_out_without_a_word(name: str) -> None:
    made = planned(plan, normal(**{name: IDLE[name]}), strict=True)
    assert (made.body, made.edits) == (normal(), ())


@pytest.mark.parametrize("name", sorted(set(PARAMETERS) - {"model"}))
def test_null_is_as_good_as_not_given(name: str) -> None:
    assert planned(plan, normal(**{name: None})) == planned(plan, without(normal(), name))


def test_unknown_parameters_are_dropped_by_name_and_the_edits_have_an_end() -> None:
    made = planned(plan, normal(top_k=1, **{"a\r\nb: c": 1, "x" * 1000: 1}))
    assert edits_of(made) == ["dropped top_k", "dropped a??b??c", f"dropped {'x' * 64}"]
    many = planned(plan, normal(**{f"k{i}": i for i in range(1000)}))
    assert len(many.edits) == 21 and many.body == normal()
    assert refusal(plan, normal(top_k=1), strict=True).param == "top_k"


WRONG: dict[str, tuple[Object, str, str | None]] = {
    "too hot": ({"temperature": 2.1}, "temperature", "decimal_above_max_value"),
    "too cold": ({"temperature": -1}, "temperature", "integer_below_min_value"),
    "no temperature": ({"temperature": float("nan")}, "temperature", "decimal_below_min_value"),
    "temperature as text": ({"temperature": "0"}, "temperature", "invalid_type"),
    "temperature true": ({"temperature": True}, "temperature", "invalid_type"),
    "top_p": ({"top_p": 1.5}, "top_p", "decimal_above_max_value"),
    "no tokens": ({"max_output_tokens": 0}, "max_output_tokens", "integer_below_min_value"),
    "half a token": ({"max_output_tokens": 1.5}, "max_output_tokens", "invalid_type"),
    "truncation": ({"truncation": "maybe"}, "truncation", "invalid_value"),
    "five stops": ({"stop": ["a"] * 5}, "stop", "array_above_max_length"),
    "stop at a number": ({"stop": [1]}, "stop[0]", "invalid_type"),
    "stream as text": ({"stream": "yes"}, "stream", "invalid_type"),
    "instructions": ({"instructions": ["a"]}, "instructions", "invalid_type"),
    "tools": ({"tools": {}}, "tools", "invalid_type"),
    "tool as text": ({"tools": ["a"]}, "tools[0]", "invalid_type"),
    "tool without type": ({"tools": [{}]}, "tools[0].type", "missing_required_parameter"),
    "tool as Chat has it": ({"tools": [{"type": "function", "function": {}}]}, "tools[0].name", "missing_required_parameter"),
    "effort": ({"reasoning": {"effort": 1}}, "reasoning.effort", "invalid_type"),
    "format": ({"text": {"format": "json"}}, "text.format", "invalid_type"),
    "logprobs": ({"include": ["message.output_text.logprobs"]}, "include", "unsupported_parameter"),
    "json without the word": ({"text": {"format": {"type": "json_object"}}, "instructions": "json"}, "input", None),
    "no model": ({"model": None}, "model", "missing_required_parameter"),
    "empty model": ({"model": ""}, "model", "missing_required_parameter"),
    "model as a number": ({"model": 5}, "model", "invalid_value"),
    "endless model": ({"model": "x" * 201}, "model", "invalid_value"),
}


@pytest.mark.parametrize(("changes", "param", "code"), WRONG.values(), ids=WRONG)
def test_wrong_values_are_refused(changes: Object, param: str, code: str | None) -> None:
    refused = refusal(plan, normal(**changes))
    assert (refused.param, refused.code) == (param, code)


def test_complaints_are_worded_as_openai_words_them() -> None:
    assert refusal(plan, normal(temperature="0")).message == (
        "Invalid type for 'temperature': expected a decimal, but got a string instead."
    )
    assert refusal(plan, normal(input=1)).message == (
        "Invalid type for 'input': expected one of a string or an array, but got an integer instead."
    )
    assert refusal(plan, normal(top_p=2)).message == (
        "Invalid 'top_p': integer above maximum value. Expected a value <= 1, but got 2 instead."
    )
    assert refusal(plan, normal(truncation="x")).message == "Invalid value: 'x'. Supported values are: 'auto' and 'disabled'."


NAMED = {"type": "function", "name": "weather"}
TWO = [function("a"), function("b")]

# What is changed, what is sent besides the normal body, and what is told.
CHANGED: dict[str, tuple[Object, Object, list[str]]] = {
    "no store": ({"store": None}, {}, ["emulated store"]),
    "no stream": ({"stream": False}, {}, ["forced stream"]),
    "no include": ({"include": None}, {}, ["added include"]),
    "empty include": ({"include": []}, {}, ["added include"]),
    "other include": ({"include": ["web_search_call.action.sources"]}, {}, ["added include", "dropped include"]),
    "no instructions": ({"instructions": None}, {"instructions": ""}, ["added instructions"]),
    "empty instructions": ({"instructions": ""}, {"instructions": ""}, []),
    "priority": ({"service_tier": "priority"}, {"service_tier": "priority"}, []),
    "fast": ({"service_tier": "fast"}, {"service_tier": "priority"}, ["mapped service_tier"]),
    "flex": ({"service_tier": "flex"}, {}, ["dropped service_tier"]),
    "obfuscation": (
        {"stream_options": {"include_obfuscation": True}},
        {},
        ["dropped stream_options.include_obfuscation"],
    ),
    "effort": ({"reasoning": {"effort": "high", "summary": None}}, {"reasoning": {"effort": "high"}}, []),
    "effort of other models": (
        {"reasoning": {"effort": "minimal"}},
        {"reasoning": {"effort": "low"}},
        ["mapped reasoning.effort"],
    ),
    "no effort": ({"reasoning": {"effort": "none"}}, {"reasoning": {"effort": "none"}}, []),
    "old summary": (
        {"reasoning": {"generate_summary": "auto"}},
        {"reasoning": {"summary": "auto"}},
        ["mapped reasoning.generate_summary"],
    ),
    "reasoning mode": ({"reasoning": {"mode": "pro"}}, {}, ["dropped reasoning.mode"]),
    "verbosity": ({"text": {"verbosity": "low", "format": None}}, {"text": {"verbosity": "low"}}, []),
    "choice of nothing, one tool": (
        {"tool_choice": {}, "tools": [function()]},
        {"tool_choice": NAMED, "tools": [function()]},
        ["mapped tool_choice"],
    ),
    "choice of nothing, two tools": (
        {"tool_choice": {}, "tools": TWO},
        {"tool_choice": "auto", "tools": TWO},
        ["mapped tool_choice"],
    ),
    "choice of nothing, no tools": ({"tool_choice": {}}, {"tool_choice": "auto"}, ["mapped tool_choice"]),
    "hosted tool": ({"tools": [{"type": "web_search"}]}, {"tools": [{"type": "web_search"}]}, []),
    "one call at a time": ({"parallel_tool_calls": False}, {"parallel_tool_calls": False}, []),
    "cache key": ({"prompt_cache_key": "k"}, {"prompt_cache_key": "k"}, []),
}


@pytest.mark.parametrize(("changes", "sent", "edits"), CHANGED.values(), ids=CHANGED)
def test_what_is_forced_added_and_mapped(changes: Object, sent: Object, edits: list[str]) -> None:
    made = planned(plan, normal(**changes))
    assert made.body == normal() | sent
    assert edits_of(made) == edits


def test_a_developer_message_is_no_instructions_for_the_older_models() -> None:
    made = planned(plan, normal(instructions=None, input=[message("developer", heard())]))
    assert made.body["instructions"] == ""


def test_the_effort_in_the_models_name_holds() -> None:
    named = Resolved("gpt-5.5", effort="high", efforts=PLAIN.efforts)
    assert planned(plan, normal(), named).body["reasoning"] == {"effort": "high"}
    made = planned(plan, normal(reasoning={"effort": "low", "summary": "auto"}), named)
    assert made.body["reasoning"] == {"effort": "high", "summary": "auto"}
    assert edits_of(made) == ["mapped reasoning.effort"]


def test_edits_of_the_model_come_first() -> None:
    named = Resolved("gpt-5.5", edits=(Edit("mapped", "model"),))
    assert edits_of(planned(plan, normal(top_p=0.5), named)) == ["mapped model", "dropped top_p"]


def test_the_limits_are_for_the_answer() -> None:
    made = planned(plan, normal(max_tokens=5, max_output_tokens=7, stop=["a", "", "a", "b"], stream=False))
    answering = made.answering
    assert (answering.dialect, answering.stream, answering.model) == ("responses", False, "gpt-5.5")
    assert (answering.max_output_tokens, answering.stop) == (7, ("a", "b"))
    assert answering.prompt_tokens == len("Be brief.hi") // 4


def test_every_response_repeats_the_defaults() -> None:
    assert planned(plan, {"model": "gpt-5.5", "input": "x"}).answering.echo == {
        "instructions": None,
        "previous_response_id": None,
        "tools": [],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "max_output_tokens": None,
        "max_tool_calls": None,
        "temperature": 1.0,
        "top_p": 1.0,
        "top_logprobs": 0,
        "frequency_penalty": 0.0,
        "presence_penalty": 0.0,
        "truncation": "disabled",
        "metadata": {},
        "background": False,
        "user": None,
        "safety_identifier": None,
        "prompt_cache_key": None,
        "prompt_cache_retention": None,
        "reasoning": {"effort": None, "summary": None},
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "store": True,
    }


@BOTH
def test_every_response_repeats_the_clients_word_and_not_the_backends(model: Resolved) -> None:
    custom = {"type": "custom", "name": "b"}
    own: Object = {
        "instructions": "Be brief.",
        "tools": [{"type": "function", "name": "a" * 80, "parameters": None}, custom],
        "tool_choice": {},
        "parallel_tool_calls": True,
        "temperature": 0,
        "metadata": {"k": "v"},
        "truncation": "auto",
        "max_output_tokens": 9,
        "user": "u",
        "text": {"verbosity": "low"},
        "reasoning": {"effort": "minimal"},
    }
    echo = planned(plan, normal(**own), model, previous_response_id="resp_0").answering.echo
    assert {name: echo[name] for name in own} == own | {
        "tools": [{"type": "function", "name": "a" * 80, "description": None, "parameters": None, "strict": True}, custom],
        "tool_choice": "auto",
        "text": {"format": {"type": "text"}, "verbosity": "low"},
        "reasoning": {"effort": "minimal", "summary": None},
    }
    assert (echo["store"], echo["previous_response_id"]) == (False, "resp_0")
