"""Input items and tools as the Responses API checks them, behind the Codex backend and on the platform alike.

The answers are those of api.openai.com, word for word where they are on record: a translator that leaves a chat field in its
chat shape meets the same complaint here as there.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .errors import refuse
from .shapes import (
    each_object,
    expect,
    expect_length,
    expect_members,
    expect_one_of,
    expect_strict_schema,
    refuse_missing,
    refuse_type,
    require,
    require_name,
)

MAX_CALL_ID = 64

INPUT_PARTS = ("input_text", "input_image", "input_file")
PARTS = {
    "assistant": ("output_text", "refusal"),
    "user": INPUT_PARTS,
    "developer": INPUT_PARTS,
    "system": INPUT_PARTS,
}
# Item types and what their ids begin with; None where ids of any form have been seen.
ITEM_IDS = {
    "message": "msg",
    "function_call": "fc",
    "function_call_output": None,
    "custom_tool_call": "ctc",
    "custom_tool_call_output": None,
    "reasoning": "rs",
    "additional_tools": "at",
    "web_search_call": "ws",
    "image_generation_call": "ig",
    "local_shell_call": "lsh",
    "local_shell_call_output": None,
    "tool_search_call": "tsc",
    "tool_search_output": None,
    "compaction": "cmp",
}
OUTPUT_OF = {"function_call": "function_call_output", "custom_tool_call": "custom_tool_call_output"}
OUTPUTS = tuple(OUTPUT_OF.values())
OWN_TOOLS = ("function", "custom")
HOSTED_TOOLS = ("web_search", "file_search", "code_interpreter", "image_generation", "local_shell", "mcp", "tool_search")
NOT_STORED = (
    "Item with id '{}' not found. Items are not persisted when `store` is set to false. "
    "Try again with `store` set to true, or remove this item from your input."
)
NO_JSON = "Response input messages must contain the word 'json' in some form to use 'text.format' of type 'json_object'."


def check_items(items: Any) -> None:
    """Refuses the first item that is not in the form, or refers to what is not there."""
    for at, item in each_object(items, "input"):
        kind = item_type(item)
        if kind == "item_reference" or (kind == "reasoning" and not item.get("encrypted_content")):
            refuse(404, None, NOT_STORED.format(item.get("id")), "input")
        kind = expect_one_of(kind, ITEM_IDS, f"{at}.type")
        _check_id(item, ITEM_IDS[kind], at)
        if kind == "message":
            _check_message(item, at)
        elif kind in OUTPUT_OF:
            _check_call(item, "arguments" if kind == "function_call" else "input", at)
        elif kind in OUTPUTS:
            _check_output(item, at)
        elif kind == "additional_tools":
            check_tools(item.get("tools"), f"{at}.tools")
    _check_pairs(items)


def check_tools(tools: Any, at: str = "tools") -> None:
    for here, tool in each_object(tools, at):
        if tool.get("type") == "namespace":
            check_tools(tool.get("tools"), f"{here}.tools")
        elif tool.get("type") in OWN_TOOLS:
            name = require_name(tool, here)
            expect_members(tool, {"parameters": dict, "strict": bool, "description": str}, here)
            if tool.get("strict"):
                expect_strict_schema(tool.get("parameters"), f"function '{name}'", f"{here}.parameters")
        else:
            expect_one_of(tool.get("type"), (*OWN_TOOLS, *HOSTED_TOOLS), f"{here}.type")


def check_tool_choice(choice: Any, tools: Sequence[dict[str, Any]]) -> None:
    if isinstance(choice, str):
        expect_one_of(choice, ("none", "auto", "required"), "tool_choice")
        return
    kind, name = expect(choice, dict, "tool_choice").get("type"), choice.get("name")
    if kind == "allowed_tools":
        for _, tool in each_object(choice.get("tools"), "tool_choice.tools"):
            check_tool_choice(tool, tools)
    elif kind in OWN_TOOLS and name is None:
        refuse_missing("tool_choice.name")
    elif not any(tool.get("type") == kind and tool.get("name") == name for tool in tools):
        refuse(400, None, f"Tool choice '{name or kind}' not found in 'tools' parameter.", "tool_choice")


def check_text_format(text: Any, items: Sequence[Any]) -> None:
    expect_members(text, {"format": dict, "verbosity": str}, "text")
    format_ = text.get("format") or {"type": "text"}
    expect_one_of(format_.get("type"), ("json_object", "json_schema", "text"), "text.format.type")
    if format_["type"] == "json_schema":
        name = require_name(format_, "text.format")
        schema = require(format_, "schema", dict, "text.format")
        if format_.get("strict"):
            expect_strict_schema(schema, f"response_format '{name}'", "text.format.schema")
    elif format_["type"] == "json_object" and not any("json" in text.lower() for item in items for text in texts(item)):
        refuse(400, None, NO_JSON, "input")


def item_type(item: dict[str, Any]) -> str | None:
    """A message may leave its `type` out."""
    kind = item.get("type", "message" if "role" in item else None)
    return kind if isinstance(kind, str) else None


def offered_tools(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The tools of a checked request, wherever it carries them: at the top, in `additional_tools`, inside a namespace."""
    tools = list(body.get("tools") or ())
    for item in body["input"]:
        if item_type(item) == "additional_tools":
            tools += item["tools"]
    namespaces = [tool for tool in tools if tool["type"] == "namespace"]
    return [tool for tool in tools if tool not in namespaces] + [tool for space in namespaces for tool in space["tools"]]


def texts(message: Mapping[str, Any]) -> Iterator[str]:
    """All text of a checked message, of either dialect."""
    content = message.get("content") or ()
    if isinstance(content, str):
        yield content
    else:
        yield from (part["text"] for part in content if "text" in part)


def _check_id(item: dict[str, Any], prefix: str | None, at: str) -> None:
    expect_members(item, {"id": str}, at)
    if prefix and not (item.get("id") or prefix).startswith(prefix):
        message = f"Invalid '{at}.id': '{item['id']}'. Expected an ID that begins with '{prefix}'."
        refuse(400, "invalid_value", message, f"{at}.id")


def _check_message(item: dict[str, Any], at: str) -> None:
    role = expect_one_of(item.get("role"), PARTS, f"{at}.role")
    content = item.get("content")
    if content is None:
        refuse_missing(f"{at}.content")
    if not isinstance(content, str):
        _check_parts(content, PARTS[role], f"{at}.content")


def _check_parts(parts: Any, kinds: Sequence[str], at: str) -> None:
    for here, part in each_object(parts, at):
        expect_one_of(part.get("type"), kinds, here)
        if part["type"].endswith("_text"):
            require(part, "text", str, here)
        # The chat shape, an object with `url`, is the usual mistake.
        elif part["type"] == "input_image" and not isinstance(part.get("image_url"), str | None):
            refuse_type(part["image_url"], "an image URL", f"{here}.image_url")


def _check_call(item: dict[str, Any], argument: str, at: str) -> None:
    expect_length(require(item, "call_id", str, at), MAX_CALL_ID, f"{at}.call_id")
    require_name(item, at)
    require(item, argument, str, at)


def _check_output(item: dict[str, Any], at: str) -> None:
    expect_length(require(item, "call_id", str, at), MAX_CALL_ID, f"{at}.call_id")
    if item.get("output") is None:
        refuse_missing(f"{at}.output")
    if not isinstance(item["output"], str):
        _check_parts(item["output"], INPUT_PARTS, f"{at}.output")


def _check_pairs(items: Sequence[dict[str, Any]]) -> None:
    """Every result belongs to a call before it, and every call has its result."""
    unanswered: dict[str, str] = {}
    for item in items:
        kind = item_type(item)
        if kind in OUTPUT_OF:
            unanswered[item["call_id"]] = OUTPUT_OF[kind]
        elif kind in OUTPUTS and unanswered.pop(item["call_id"], None) != kind:
            call = "function call" if kind == "function_call_output" else "custom tool call"
            refuse(400, None, f"No tool call found for {call} output with call_id {item['call_id']}.", "input")
    for call_id in unanswered:
        refuse(400, None, f"No tool output found for function call {call_id}.", "input")
