"""Responses Lite: the dialect that the newer models want on a ChatGPT plan, with a header that goes with it.

Tools stand in the first item instead of `tools`, instructions in a developer message, and there are none of OpenAI's own tools.
Seen from the Codex CLI 0.169; it puts its functions into a namespace besides, which the backend does not ask for, and which
would come back in every call.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from addons.wire.input_items import item_type, message
from addons.wire.parameters import Edits
from addons.wire.plan import BadRequest

HEADERS = {"x-openai-internal-codex-responses-lite": "true"}

# `tool_search` only where the client does the searching.
CLIENT_TOOLS = ("function", "custom", "namespace", "tool_search")


def speaks_lite(items: Sequence[Mapping[str, Any]]) -> bool:
    """The Codex CLI knows its models, also those that the catalog does not show."""
    return bool(items) and item_type(items[0]) == "additional_tools"


def to_lite(body: Mapping[str, Any], edits: Edits) -> dict[str, Any]:
    """The same request in this dialect; one that is in it already is not changed."""
    lite = {name: value for name, value in body.items() if name != "tools"}
    spoke_lite = speaks_lite(body["input"])
    head, said = (body["input"][:1], body["input"][1:]) if spoke_lite else ([], body["input"])
    if tools := body.get("tools"):
        _check(tools, str(body["model"]))
        edits.add("mapped", "tools", "this model takes them as an item of the input")
        offered = head[0] if head else {"type": "additional_tools", "role": "developer", "tools": []}
        head = [{**offered, "tools": [*offered["tools"], *tools]}]
    if body.get("instructions") and not spoke_lite:
        edits.add("mapped", "instructions", "this model takes them as a developer message of the input")
        said = [message("developer", [{"type": "input_text", "text": lite.pop("instructions")}]), *said]
    lite["input"] = [*head, *said]
    reasoning = body.get("reasoning") or {}
    if reasoning.get("context") != "all_turns":
        edits.add("forced" if reasoning.get("context") else "added", "reasoning.context", "this model wants all_turns")
        lite["reasoning"] = {**reasoning, "context": "all_turns"}
    if body.get("parallel_tool_calls") is not False:
        edits.add("forced", "parallel_tool_calls", "this model makes one call at a time")
        lite["parallel_tool_calls"] = False
    return lite


def _check(tools: Sequence[Mapping[str, Any]], model: str) -> None:
    for index, tool in enumerate(tools):
        kind = tool.get("type")
        if kind not in CLIENT_TOOLS or (kind == "tool_search" and tool.get("execution") != "client"):
            words = f"Invalid value: '{str(kind)[:100]}'. On a ChatGPT plan '{model}' takes only function and custom tools."
            raise BadRequest(words, f"tools[{index}].type", "unsupported_value")
