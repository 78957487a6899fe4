import pytest

from addons.wire import lite
from addons.wire.models import Resolved
from addons.wire.responses_request import plan
from tests.wire.asking import LITE, PLAIN, Object, call, edits_of, function, heard, message, normal, planned, refusal, result, said

CUSTOM = {"type": "custom", "name": "patch"}
NAMESPACE = {"type": "namespace", "name": "functions", "description": "", "tools": [function(), CUSTOM]}
HEAD = {"id": "at_1", "type": "additional_tools", "role": "developer", "tools": [NAMESPACE]}


def test_a_lite_model_gets_the_body_that_it_demands() -> None:
    tools = [function(), CUSTOM]
    made = planned(plan, normal(tools=tools, tool_choice="required", reasoning={"effort": "low"}), LITE)
    assert made.headers == lite.HEADERS
    assert made.body == {
        "model": "gpt-6-luna",
        "input": [
            {"type": "additional_tools", "role": "developer", "tools": tools},
            message("developer", heard("Be brief.")),
            message("user", heard()),
        ],
        "tool_choice": "required",
        "reasoning": {"effort": "low", "context": "all_turns"},
        "parallel_tool_calls": False,
        "store": False,
        "stream": True,
        "include": ["reasoning.encrypted_content"],
    }
    assert edits_of(made) == ["mapped tools", "mapped instructions", "added reasoning.context", "forced parallel_tool_calls"]


@pytest.mark.parametrize(
    ("changes", "instructions", "roles"),
    [
        ({"instructions": None}, "", ["user"]),
        ({"instructions": ""}, "", ["user"]),
        ({"instructions": None, "input": [message("system", heard())]}, None, ["developer"]),
        ({"instructions": "a"}, None, ["developer", "user"]),
    ],
    ids=["none", "empty", "a system message instead", "some"],
)
def test_instructions_of_a_lite_model(changes: Object, instructions: str | None, roles: list[str]) -> None:
    sent = planned(plan, normal(**changes), LITE).body
    assert sent.get("instructions") == instructions
    assert [item["role"] for item in sent["input"]] == roles


def test_another_reasoning_context_is_overruled() -> None:
    made = planned(plan, normal(reasoning={"context": "auto"}, instructions="", parallel_tool_calls=False), LITE)
    assert made.body["reasoning"] == {"context": "all_turns"}
    assert edits_of(made) == ["forced reasoning.context"]


@pytest.mark.parametrize("tool", [{"type": "web_search"}, {"type": "mcp"}, {"type": "tool_search"}], ids=lambda tool: tool["type"])
def test_a_lite_model_takes_no_hosted_tools(tool: Object) -> None:
    refused = refusal(plan, normal(tools=[function(), tool]), LITE)
    assert (refused.param, refused.code) == ("tools[1].type", "unsupported_value")
    assert "gpt-6-luna" in refused.message


def test_the_clients_own_search_among_tools_is_not_hosted() -> None:
    search = {"type": "tool_search", "execution": "client"}
    assert planned(plan, normal(tools=[search]), LITE).body["input"][0]["tools"] == [search]


def test_tools_join_those_that_are_an_item_already() -> None:
    sent = planned(plan, normal(input=[HEAD, message("user", heard())], tools=[function("other")]), LITE).body
    assert sent["input"][0]["tools"] == [NAMESPACE, function("other")]
    assert sent["instructions"] == "Be brief."


def cli_body(**changes: object) -> Object:
    """What the Codex CLI 0.169 sends, by its key set: ids of its own, and instructions that are a message."""
    return {
        "input": [
            message("developer", heard("You are Codex"), id="msg_1"),
            message("user", heard(), id="msg_2", internal_chat_message_metadata_passthrough={"a": 1}),
            {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "gAAA"},
            message("assistant", said("a"), id="msg_3", phase="commentary"),
            call(id="fc_1"),
            result(),
        ],
        "tool_choice": "auto",
        "store": False,
        "stream": True,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "0199",
        "text": {
            "verbosity": "low",
            "format": {"type": "json_schema", "name": "codex_output_schema", "schema": {}, "strict": False},
        },
        "service_tier": "priority",
        "stream_options": {"reasoning_summary_delivery": "sequential_cutoff"},
        "client_metadata": {"x-codex-turn-metadata": "{}"},
        "parallel_tool_calls": False,
        "reasoning": {"effort": "medium", "summary": "auto"},
        **changes,
    }


def lite_cli_body(slug: str) -> Object:
    reasoning = {"effort": "high", "context": "all_turns"}
    return cli_body(model=slug, input=[HEAD, *cli_body()["input"]], reasoning=reasoning)


def test_a_codex_cli_is_understood_as_it_is() -> None:
    body = cli_body(model="gpt-5.5", tools=[function()], parallel_tool_calls=True)
    made = planned(plan, body, PLAIN, strict=True)
    assert (made.body, made.edits, made.headers) == (body, (), {})


def test_a_codex_cli_with_a_lite_model_too() -> None:
    made = planned(plan, lite_cli_body("gpt-6-luna"), LITE, strict=True)
    assert (made.body, made.edits, made.headers) == (lite_cli_body("gpt-6-luna"), (), lite.HEADERS)


def test_a_codex_cli_knows_models_that_the_list_does_not_have() -> None:
    made = plan(lite_cli_body("gpt-7"), model=Resolved("gpt-7"), strict=True)
    assert (made.body, made.edits, made.headers) == (lite_cli_body("gpt-7"), (), lite.HEADERS)


def test_names_that_only_a_codex_cli_may_use_are_its_own_affair() -> None:
    body = cli_body(model="gpt-5.5", tools=[function("functions.exec")])
    assert plan(body, model=PLAIN).body == body


def test_without_the_clis_mark_ids_go_even_so() -> None:
    body = {name: value for name, value in lite_cli_body("gpt-6-luna").items() if name != "client_metadata"}
    made = planned(plan, body, LITE)
    assert edits_of(made) == ["dropped input[].id"]
    assert not any("id" in item for item in made.body["input"])
