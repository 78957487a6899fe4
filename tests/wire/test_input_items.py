from typing import Any

import pytest

from addons.wire.responses_request import plan
from tests.wire.asking import PLAIN, call, edits_of, function, heard, message, normal, planned, refusal, result, without

USER = message("user", heard())
SEALED = {"type": "reasoning", "summary": [], "encrypted_content": "gAAA"}
UNSEALED = {"type": "reasoning", "id": "rs_1", "summary": []}
SEARCH = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
MARKED = heard("a", prompt_cache_breakpoint={"mode": "explicit"})

# What is given, what is sent, and what is told.
ITEMS: dict[str, tuple[Any, list[Any], list[str]]] = {
    "text": ("hi", [USER], ["mapped input"]),
    "empty text": ("", [message("user", heard(""))], ["mapped input"]),
    "null": (None, [], ["added input"]),
    "nothing": ([], [], []),
    "message without type": ([{"role": "user", "content": "hi"}], [{"role": "user", "content": "hi"}], []),
    "system": ([message("system", heard())], [message("developer", heard())], ["mapped input[].role"]),
    "system later": ([USER, message("system", heard())], [USER, message("developer", heard())], ["mapped input[].role"]),
    "id and null": ([{**USER, "id": "msg_1", "status": None}], [USER], ["dropped input[].id"]),
    "id null": ([{**USER, "id": None, "phase": "commentary"}], [{**USER, "phase": "commentary"}], []),
    "sealed reasoning": ([{**SEALED, "id": "rs_1", "content": None}], [SEALED], ["dropped input[].id"]),
    "unsealed reasoning": ([UNSEALED, USER], [USER], ["dropped input[].id", "dropped input[].reasoning"]),
    "unsealed reasoning without id": ([{**SEALED, "encrypted_content": ""}], [], ["dropped input[].reasoning"]),
    "item that needs its id": ([SEARCH], [SEARCH], []),
    "call without arguments": ([without(call(), "arguments"), result()], [call(), result()], ["added input[].arguments"]),
    "call with null for arguments": ([{**call(), "arguments": None}, result()], [call(), result()], ["added input[].arguments"]),
    "call with empty arguments": ([call(arguments=""), result()], [call(arguments=""), result()], []),
    "message between call and result": ([call(), USER, result()], [call(), USER, result()], []),
    "call id used again": ([call(), result(), call(), result()], [call(), result(), call(), result()], []),
    "result of parts": ([call(), result([heard("a")])], [call(), result([heard("a")])], []),
    "cache mark in a message": (
        [message("user", MARKED, heard("b"))],
        [message("user", heard("a"), heard("b"))],
        ["dropped prompt_cache_breakpoint"],
    ),
    "cache mark in a result": (
        [call(), result([heard("a", cache_control={"type": "ephemeral"})])],
        [call(), result([heard("a")])],
        ["dropped cache_control"],
    ),
}


@pytest.mark.parametrize(("given", "sent", "edits"), ITEMS.values(), ids=ITEMS)
def test_what_becomes_of_items(given: Any, sent: list[Any], edits: list[str]) -> None:
    made = planned(plan, normal(input=given))
    assert made.body["input"] == sent
    assert edits_of(made) == edits


def test_what_a_server_gave_out_may_come_back_in_strict_mode() -> None:
    made = planned(plan, normal(input=[{**USER, "id": "msg_1"}, UNSEALED]), strict=True)
    assert made.body["input"] == [USER]
    assert refusal(plan, normal(input=[message("user", MARKED)]), strict=True).param == "prompt_cache_breakpoint"


ORPHAN = "No tool call found for function call output with call_id c1."

REFUSED: dict[str, tuple[Any, str, str]] = {
    "number": (1, "input", "Invalid type for 'input'"),
    "text as item": (["a"], "input[0]", "Invalid type for 'input[0]': expected an object"),
    "result alone": ([result()], "input", ORPHAN),
    "result before its call": ([result(), call()], "input", ORPHAN),
    "two results": ([call(), result(), result()], "input", ORPHAN),
    "call alone": ([call()], "input", "No tool output found for function call c1."),
    "result of another kind": (
        [call(), result(type="custom_tool_call_output")],
        "input",
        "No tool call found for custom tool call output with call_id c1.",
    ),
    "reference": ([{"type": "item_reference", "id": "msg_1"}], "input[0]", "Item with id 'msg_1' not found."),
    "reference without type": ([USER, {"id": "msg_1"}], "input[1]", "Item with id 'msg_1' not found."),
    "call without name": ([call(name=None)], "input[0].name", "Missing required parameter: 'input[0].name'."),  # type: ignore[arg-type]
    "call without id": ([without(call(), "call_id")], "input[0].call_id", "Missing required parameter: 'input[0].call_id'."),
    "arguments as an object": ([{**call(), "arguments": {}}], "input[0].arguments", "Invalid type for 'input[0].arguments'"),
    "result without output": ([call(), result(None)], "input[1].output", "Missing required parameter: 'input[1].output'."),
    "part as text": ([message("user", "x")], "input[0].content[0]", "Invalid type for 'input[0].content[0]'"),
    "message without content": ([{"role": "user"}], "input[0].content", "Missing required parameter: 'input[0].content'."),
    "custom call without input": (
        [{"type": "custom_tool_call", "call_id": "c1", "name": "a"}],
        "input[0].input",
        "Missing required parameter: 'input[0].input'.",
    ),
}


@pytest.mark.parametrize(("items", "param", "words"), REFUSED.values(), ids=REFUSED)
def test_items_that_the_backend_would_refuse(items: Any, param: str, words: str) -> None:
    refused = refusal(plan, normal(input=items))
    assert refused.param == param
    assert refused.message.startswith(words)


def test_a_result_may_answer_a_call_of_another_kind() -> None:
    shell = {"type": "local_shell_call", "id": "lsh_1", "call_id": "c1", "action": {}, "status": "completed"}
    assert plan(normal(input=[shell, result()]), model=PLAIN).body["input"] == [shell, result()]


def test_types_that_are_not_known_go_as_they_are() -> None:
    strange = [{"type": "compaction_trigger"}, {"type": {"a": 1}}, {"a": None}]
    assert plan(normal(input=strange), model=PLAIN).body["input"] == [{"type": "compaction_trigger"}, {"type": {"a": 1}}, {}]


@pytest.mark.parametrize("word", ["json", "JSON", "a Json b"])
def test_json_mode_wants_its_literal_word_in_a_message(word: str) -> None:
    planned(plan, normal(input=word, text={"format": {"type": "json_object"}}))
    planned(plan, normal(input=[{"role": "user", "content": word}], text={"format": {"type": "json_object"}}))
    refused = refusal(plan, normal(input=[call(name=word), result(word)], text={"format": {"type": "json_object"}}))
    assert refused.message.startswith("Response input messages must contain the word 'json'")


def test_what_is_not_changed_is_shared() -> None:
    items = [USER, call(arguments="y" * 2_000_000), result("x" * 2_000_000)]
    body = normal(input=items, tools=[function()])
    sent = planned(plan, body).body
    assert all(mine is yours for mine, yours in zip(sent["input"], items, strict=True))
    assert sent["tools"] is body["tools"]
