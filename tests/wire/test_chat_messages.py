from typing import Any

import pytest

from addons.wire.chat_request import plan
from tests.wire.asking import Object, call, edits_of, heard, message, planned, refusal, result, said
from tests.wire.talking import CALL, CALLING, PICTURE, RESULT, calling, chat, picture, text, user

SEEN = {"type": "input_image", "image_url": PICTURE, "detail": "auto"}
REFUSAL = {"type": "refusal", "refusal": "no"}
FILE = {"type": "file", "file": {"file_data": "data:,x", "filename": "a.pdf"}}

# What one message becomes, and what is told of it.
MESSAGES: dict[str, tuple[Object, Object, list[str]]] = {
    "system": ({"role": "system", "content": "a"}, message("developer", heard("a")), []),
    "developer": ({"role": "developer", "content": [text("a")]}, message("developer", heard("a")), []),
    "user": ({"role": "user", "content": "a"}, message("user", heard("a")), []),
    "user, empty": ({"role": "user", "content": ""}, message("user", heard("")), []),
    "user, in parts": (user(text("a"), text("")), message("user", heard("a"), heard("")), []),
    "picture": (user(picture()), message("user", SEEN), []),
    "picture with detail": (user(picture(detail="low")), message("user", {**SEEN, "detail": "low"}), []),
    "picture with null for detail": (user(picture(detail=None)), message("user", SEEN), []),
    "picture without its object": (user({"type": "image_url", "image_url": PICTURE}), message("user", SEEN), []),
    "file": (user(FILE), message("user", {"type": "input_file", "filename": "a.pdf", "file_data": "data:,x"}), []),
    "nameless file": (
        user({"type": "file", "file": {"file_data": "data:,x"}}),
        message("user", {"type": "input_file", "file_data": "data:,x"}),
        [],
    ),
    "cache mark": (
        user({**text("a"), "prompt_cache_breakpoint": {"mode": "explicit"}}),
        message("user", heard("a")),
        ["dropped messages[].content[].prompt_cache_breakpoint"],
    ),
    "name": ({**user(text("a")), "name": "ada"}, message("user", heard("a")), ["dropped messages[].name"]),
    "no name": ({**user(text("a")), "name": None}, message("user", heard("a")), []),
    "assistant": ({"role": "assistant", "content": "a"}, message("assistant", said("a")), []),
    "assistant, empty": ({"role": "assistant", "content": ""}, message("assistant", said("")), []),
    "assistant, in parts": (
        {"role": "assistant", "content": [text("a"), REFUSAL]},
        message("assistant", said("a"), REFUSAL),
        [],
    ),
    "refusal": ({"role": "assistant", "content": None, "refusal": "no"}, message("assistant", REFUSAL), []),
    "text and refusal": ({"role": "assistant", "content": "a", "refusal": "no"}, message("assistant", said("a"), REFUSAL), []),
    "our answer, empty members": (
        {"role": "assistant", "content": "a", "refusal": None, "annotations": [], "audio": None, "tool_calls": None},
        message("assistant", said("a")),
        [],
    ),
    "our answer, reasoning": (
        {"role": "assistant", "content": "a", "reasoning_content": "hm"},
        message("assistant", said("a")),
        ["dropped messages[].reasoning_content"],
    ),
}


@pytest.mark.parametrize(("given", "item", "edits"), MESSAGES.values(), ids=MESSAGES)
def test_messages_become_items(given: Object, item: Object, edits: list[str]) -> None:
    made = planned(plan, chat(given))
    assert made.body["input"] == [item]
    assert edits_of(made) == edits


def test_system_messages_stay_where_they_are() -> None:
    roles = ["user", "system", "assistant", "developer", "system", "user"]
    sent = planned(plan, chat(*({"role": role, "content": role} for role in roles))).body["input"]
    assert [item["content"][0]["text"] for item in sent] == roles
    assert [item["role"] for item in sent] == ["user", "developer", "assistant", "developer", "developer", "user"]


def calls(arguments: str) -> Object:
    return {**CALL, "function": {"name": "weather", "arguments": arguments}}


SECOND = {**CALL, "id": "c2"}
PATCH = {"id": "c1", "type": "custom", "custom": {"name": "patch", "input": "*** x"}}
PATCHED = {"type": "custom_tool_call", "call_id": "c1", "name": "patch", "input": "*** x"}

CALLS: dict[str, tuple[list[Object], list[Object]]] = {
    "without text": ([CALLING, RESULT], [call(), result()]),
    "with empty text": ([{**CALLING, "content": ""}, RESULT], [call(), result()]),
    "with no parts": ([{**CALLING, "content": []}, RESULT], [call(), result()]),
    "after text": ([{**CALLING, "content": "wait"}, RESULT], [message("assistant", said("wait")), call(), result()]),
    "answered later": ([CALLING, user(text("hm")), RESULT], [call(), message("user", heard("hm")), result()]),
    "as a stream's deltas have it": ([calling({**CALL, "type": None, "index": 0}), RESULT], [call(), result()]),
    "without arguments": ([calling(calls("")), RESULT], [call(), result()]),
    "with arguments that are no JSON": ([calling(calls("{a")), RESULT], [call(arguments="{a"), result()]),
    "in parallel": (
        [calling(CALL, SECOND), {**RESULT, "tool_call_id": "c2"}, RESULT],
        [call(), call("c2"), result(call_id="c2"), result()],
    ),
    "with the same id again": ([CALLING, RESULT, CALLING, RESULT], [call(), result(), call(), result()]),
    "with a name in the result": ([CALLING, {**RESULT, "name": "weather"}], [call(), result()]),
    "with an empty result": ([CALLING, {**RESULT, "content": ""}], [call(), result("")]),
    "with a result of no parts": ([CALLING, {**RESULT, "content": []}], [call(), result("")]),
    "with a picture for a result": ([CALLING, {**RESULT, "content": [text("a"), picture()]}], [call(), result([heard("a"), SEEN])]),
    "of a custom tool": ([calling(PATCH), RESULT], [PATCHED, result(type="custom_tool_call_output")]),
    "of 2023": (
        [
            {"role": "assistant", "content": None, "function_call": {"name": "weather", "arguments": ""}},
            {"role": "function", "name": "weather", "content": "18 C"},
            {"role": "assistant", "content": "so", "function_call": {"name": "weather", "arguments": "[]"}},
            {"role": "function", "name": "weather", "content": "19 C"},
        ],
        [
            call("call_function_0"),
            result(call_id="call_function_0"),
            message("assistant", said("so")),
            call("call_function_1", arguments="[]"),
            result("19 C", "call_function_1"),
        ],
    ),
}


@pytest.mark.parametrize(("messages", "items"), CALLS.values(), ids=CALLS)
def test_calls_and_their_results(messages: list[Object], items: list[Object]) -> None:
    made = planned(plan, chat(*messages), strict=True)
    assert made.body["input"] == items
    assert made.edits == ()


UNANSWERED = "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'."
NOT_CALLED = "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'."
NO_CONTENT = "Invalid value for 'content': expected a string, got null."
PART = "messages[0].content[0]"

REFUSED: dict[str, tuple[list[Any], str, str]] = {
    "no role": ([{"content": "a"}], "messages[0].role", "Missing required parameter"),
    "unknown role": ([{"role": "alien", "content": "a"}], "messages[0].role", "Invalid value: 'alien'."),
    "no content": ([{"role": "user"}], "messages[0].content", NO_CONTENT),
    "null for content": ([{"role": "user", "content": None}], "messages[0].content", NO_CONTENT),
    "content of no parts": ([user()], "messages[0].content", "Invalid 'messages[0].content': empty array."),
    "number for content": ([{"role": "user", "content": 1}], "messages[0].content", "Invalid type for 'messages[0].content'"),
    "text for a part": ([user("a")], PART, f"Invalid type for '{PART}'"),
    "text part without text": ([user({"type": "text"})], f"{PART}.text", "Missing required parameter"),
    "unknown part": ([user({"type": "video"})], f"{PART}.type", "Invalid value: 'video'."),
    "audio": ([user({"type": "input_audio", "input_audio": {}})], f"{PART}.type", "Content blocks are expected to be"),
    "picture without url": ([user(picture(url=None))], f"{PART}.image_url.url", "Missing required parameter"),
    "file id": ([user({"type": "file", "file": {"file_id": "file-1"}})], f"{PART}.file.file_id", "Invalid value"),
    "assistant who says nothing": ([{"role": "assistant"}], "messages[0].content", NO_CONTENT),
    "picture of the assistant": ([{"role": "assistant", "content": [picture()]}], f"{PART}.type", "Invalid value: 'image_url'."),
    "call alone": ([CALLING], "messages", f"{UNANSWERED} The following tool_call_ids did not have response messages: c1"),
    "call twice": ([CALLING, CALLING, RESULT], "messages[1].tool_calls[0]", UNANSWERED),
    "result alone": ([RESULT], "messages[0].role", NOT_CALLED),
    "result twice": ([CALLING, RESULT, RESULT], "messages[2].role", NOT_CALLED),
    "result of no call": ([CALLING, {"role": "tool", "content": "a"}], "messages[1].tool_call_id", "Missing required parameter"),
    "result of nothing": ([CALLING, {**RESULT, "content": None}], "messages[1].content", NO_CONTENT),
    "call without id": ([calling({**CALL, "id": None})], "messages[0].tool_calls[0].id", "Missing required parameter"),
    "type as an object": ([calling({**CALL, "type": {"a": 1}})], "messages[0].tool_calls[0].type", "Invalid type"),
    "unknown call": ([calling({**CALL, "type": "mcp"})], "messages[0].tool_calls[0].type", "Invalid value: 'mcp'."),
    "arguments as an object": (
        [calling({**CALL, "function": {"name": "a", "arguments": {"b": 1}}})],
        "messages[0].tool_calls[0].function.arguments",
        "Invalid type",
    ),
    "function result alone": (
        [{"role": "function", "name": "weather", "content": "a"}],
        "messages[0].role",
        "Invalid parameter: messages with role 'function'",
    ),
    "function call alone": (
        [{"role": "assistant", "function_call": {"name": "weather"}}],
        "messages",
        "An assistant message with 'function_call'",
    ),
}


@pytest.mark.parametrize(("messages", "param", "words"), REFUSED.values(), ids=REFUSED)
def test_messages_that_openai_would_refuse(messages: list[Any], param: str, words: str) -> None:
    refused = refusal(plan, chat(*messages))
    assert refused.param == param
    assert refused.message.startswith(words)


def test_our_own_answer_may_come_back_in_strict_mode() -> None:
    echoed = {**CALLING, "refusal": None, "annotations": [], "reasoning_content": "hm", "reasoning_details": [{"a": 1}]}
    made = planned(plan, chat(echoed, RESULT), strict=True)
    assert edits_of(made) == ["dropped messages[].reasoning_content", "dropped messages[].reasoning_details"]
    assert refusal(plan, chat({**user(text("a")), "name": "ada"}), strict=True).param == "messages[].name"


def test_two_megabytes_of_arguments_and_of_results() -> None:
    arguments, output = '{"a": "' + "x" * 2_000_000 + '"}', "y" * 2_000_000
    items = planned(plan, chat(calling(calls(arguments)), {**RESULT, "content": output})).body["input"]
    assert (items[0]["arguments"], items[1]["output"]) == (arguments, output)
