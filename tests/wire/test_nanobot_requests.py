"""What nanobot v0.0.77 really sends, 22 requests of it: what is changed in each, and that the backend takes them."""

import json
from pathlib import Path
from typing import Any

import pytest

from addons.wire import chat_request, responses_request
from addons.wire.aliases import validate_aliases
from addons.wire.models import resolve
from tests.wire.asking import CATALOG, Object, edits_of, planned

REQUESTS: dict[str, Object] = json.loads(Path(__file__).with_name("nanobot_requests.json").read_text())
PLAN = {"/v1/responses": responses_request.plan, "/v1/chat/completions": chat_request.plan}
PLAIN, _ = validate_aliases({"/gpt-.*/": "gpt-5.5"})
LITE, _ = validate_aliases({"/gpt-.*/": "@smallest"})

TUNED = ["emulated max_output_tokens", "dropped temperature", "dropped top_p", "dropped truncation", "added include"]
NO_IDS = ["added include", "dropped input[].id"]

EDITS = {
    "plain_chat": ["added include"],
    "chat_second_turn": ["added include"],
    "chat_with_tools_nonreasoning_model": ["added include"],
    "chat_with_tools_reasoning_model": [],
    "tool_result_followup": ["dropped input[].id"],
    "tool_result_followup_model_without_reasoning": NO_IDS,
    "tool_result_image": NO_IDS,
    "parallel_tool_results": NO_IDS,
    "function_call_without_arguments": [*NO_IDS, "added input[].arguments"],
    "image_attachment": ["added include"],
    "pdf_attachment": ["added include"],
    "structured_output": ["added include"],
    "tuned_params": TUNED,
    "mcp_sampling": TUNED,
    "tool_choice_empty_object": ["added include", "mapped tool_choice"],
    "input_null": ["added include", "added input"],
    "compaction_summary": ["added include", "added instructions"],
    "after_compaction": ["added include"],
    "title_generation": ["added include"],
    "title_generation_with_attachment": ["added include"],
    "cli_call": ["added include", "added instructions"],
    "chat_completions_dialect": ["emulated max_completion_tokens", "dropped temperature"],
}


def sent(name: str, aliases: Any = PLAIN) -> Any:
    request = REQUESTS[name]
    return planned(PLAN[request["path"]], request["body"], resolve(request["body"]["model"], aliases, CATALOG))


def test_every_request_is_here() -> None:
    assert list(REQUESTS) == list(EDITS) and len(EDITS) == 22


@pytest.mark.parametrize("name", EDITS)
def test_what_is_changed(name: str) -> None:
    made = sent(name)
    assert edits_of(made) == ["mapped model", *EDITS[name]]
    assert made.answering.model == REQUESTS[name]["body"]["model"]
    assert made.answering.stream is True


@pytest.mark.parametrize("name", EDITS)
def test_the_smallest_model_takes_it_too(name: str) -> None:
    body = sent(name, LITE).body
    assert body["model"] == "gpt-6-luna"
    assert "tools" not in body


@pytest.mark.parametrize("name", [name for name in EDITS if EDITS[name] in ([], ["added include"])])
def test_what_needs_no_change_has_none(name: str) -> None:
    given = REQUESTS[name]["body"]
    assert sent(name).body == given | {"model": "gpt-5.5", "include": ["reasoning.encrypted_content"]}


@pytest.mark.parametrize("name", [name for name in EDITS if "followup" in name or "result" in name])
def test_history_goes_without_ids_and_loses_nothing_else(name: str) -> None:
    given = REQUESTS[name]["body"]["input"]
    assert sent(name).body["input"] == [{k: v for k, v in item.items() if k != "id"} for item in given]


def test_tools_and_structured_output_go_word_for_word() -> None:
    for name, member in ("chat_with_tools_reasoning_model", "tools"), ("structured_output", "text"):
        assert sent(name).body[member] == REQUESTS[name]["body"][member]


def test_a_call_without_arguments_gets_an_empty_object() -> None:
    [called] = [item for item in sent("function_call_without_arguments").body["input"] if item["type"] == "function_call"]
    assert called == {"type": "function_call", "call_id": "call_n", "name": "pic", "arguments": "{}"}


def test_the_tool_that_was_meant_is_chosen() -> None:
    assert sent("tool_choice_empty_object").body["tool_choice"] == {"type": "function", "name": "echo"}


def test_an_empty_prompt_and_no_instructions() -> None:
    assert sent("input_null").body["input"] == []
    assert [sent(name).body["instructions"] for name in ("compaction_summary", "cli_call")] == ["", ""]


def test_limits_are_remembered_for_the_answer() -> None:
    limits = [sent(name).answering.max_output_tokens for name in ("tuned_params", "mcp_sampling", "chat_completions_dialect")]
    assert limits == [512, 77, 99]


def test_the_older_dialect() -> None:
    made = sent("chat_completions_dialect")
    assert [(item["role"], item["content"][0]["text"]) for item in made.body["input"]] == [
        ("developer", "[agent instructions]"),
        ("user", "hello chat"),
    ]
    assert made.answering.dialect == "chat" and made.answering.include_usage
