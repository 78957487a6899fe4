"""What becomes of each input item of a Responses request, and which items the backend would not take together."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from addons.wire.parameters import Edits
from addons.wire.plan import BadRequest
from addons.wire.refusals import expect, require

type Item = dict[str, Any]

# Types that go without the id they were given. Nothing is stored that it could name, and one of a foreign form is refused
# ("Expected an ID that begins with 'fc'"). The types that are left out are not whole without theirs: an mcp_approval_request.
ID_IS_NOISE = {
    "message",
    "reasoning",
    "function_call",
    "function_call_output",
    "custom_tool_call",
    "custom_tool_call_output",
    "tool_search_call",
    "tool_search_output",
    "additional_tools",
    "compaction",
}
# Marks of prompt caching: OpenAI's, which the backend refuses, and Anthropic's, which some clients send to everybody.
CACHE_MARKS = ("prompt_cache_breakpoint", "cache_control")

OUTPUT_OF = {"function_call": "function_call_output", "custom_tool_call": "custom_tool_call_output"}
CALL_OF = {output: call.replace("_", " ") for call, output in OUTPUT_OF.items()}

NOT_STORED = (
    "Item with id '{}' not found. Items are not persisted when `store` is set to false. "
    "Try again with `store` set to true, or remove this item from your input."
)
NO_JSON = "Response input messages must contain the word 'json' in some form to use 'text.format' of type 'json_object'."


def items_of(given: Any, edits: Edits, *, verbatim: bool) -> list[Item]:
    """The `input` as the backend takes it. `verbatim` leaves ids where they are: the Codex CLI's are its own, and accepted."""
    if given is None:
        edits.add("added", "input", "the backend wants a list, if an empty one")
        return []
    if isinstance(given, str):
        edits.add("mapped", "input", "the backend wants a list: the text is one user message")
        return [message("user", [{"type": "input_text", "text": given}])]
    items = []
    for index, item in enumerate(expect(given, (str, list), "input")):
        at = f"input[{index}]"
        kind = item_type(expect(item, (dict,), at))
        if not verbatim:
            item = _without_noise(item, kind, edits)
        treat = _TREATMENTS.get(kind)
        treated = treat(item, at, edits) if treat else item
        if treated is not None:
            items.append(treated)
    check_pairs(items)
    return items


def item_type(item: Mapping[str, Any]) -> str:
    """A message may leave its type out, and so may a reference."""
    kind = item.get("type")
    if kind is None:
        return "message" if "role" in item else "item_reference" if "id" in item else ""
    return kind if isinstance(kind, str) else ""


def message(role: str, content: list[dict[str, Any]]) -> Item:
    return {"type": "message", "role": role, "content": content}


def check_pairs(items: Sequence[Mapping[str, Any]]) -> None:
    """Every result belongs to a call before it, and every call has its result: raises BadRequest where the backend would refuse."""
    unanswered: dict[str, str] = {}
    others: set[str] = set()
    for item in items:
        kind = item_type(item)
        if kind in OUTPUT_OF:
            unanswered[item["call_id"]] = OUTPUT_OF[kind]
        elif kind in CALL_OF:
            # The CLI answers a local_shell_call with a function_call_output.
            if unanswered.pop(item["call_id"], None) != kind and item["call_id"] not in others:
                raise BadRequest(f"No tool call found for {CALL_OF[kind]} output with call_id {item['call_id']}.", "input")
        elif isinstance(item.get("call_id"), str):
            others.add(item["call_id"])
    for call_id in unanswered:
        raise BadRequest(f"No tool output found for function call {call_id}.", "input")


def check_says_json(items: Sequence[Mapping[str, Any]]) -> None:
    """OpenAI's rule for `json_object`, without which a model may go on with blanks for ever. `instructions` do not count."""
    if not any(says_json(item.get("content")) for item in items):
        raise BadRequest(NO_JSON, "input")


def says_json(content: Any) -> bool:
    """Whether the word is in the content of a message, in either dialect."""
    if isinstance(content, str):
        return "json" in content.lower()
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    return any("json" in text.lower() for text in texts if isinstance(text, str))


def leads_with_developer(items: Sequence[Mapping[str, Any]]) -> bool:
    spoken = next((item for item in items if item_type(item) != "additional_tools"), {})
    return spoken.get("role") == "developer"


def _without_noise(item: Item, kind: str, edits: Edits) -> Item:
    noise = kind in ID_IS_NOISE and item.get("id") is not None
    if noise:
        edits.drop_echo("input[].id", "nothing is stored that it could name")
    if not noise and None not in item.values():
        return item
    return {name: value for name, value in item.items() if value is not None and not (noise and name == "id")}


def _message(item: Item, at: str, edits: Edits) -> Item:
    content = require(item, "content", (str, list), at)
    role = item.get("role")
    if role == "system":
        edits.add("mapped", "input[].role", "the backend takes no system messages: it is developer here")
        role = "developer"
    clean = _parts(content, f"{at}.content", edits)
    return item if clean is content and role is item.get("role") else {**item, "role": role, "content": clean}


def _function_call(item: Item, at: str, edits: Edits) -> Item:
    require(item, "call_id", (str,), at)
    require(item, "name", (str,), at)
    if item.get("arguments") is None:
        edits.add("added", "input[].arguments", "a function call without arguments has an empty object")
        return {**item, "arguments": "{}"}
    expect(item["arguments"], (str,), f"{at}.arguments")
    return item


def _custom_tool_call(item: Item, at: str, edits: Edits) -> Item:
    require(item, "call_id", (str,), at)
    require(item, "name", (str,), at)
    require(item, "input", (str,), at)
    return item


def _output(item: Item, at: str, edits: Edits) -> Item:
    require(item, "call_id", (str,), at)
    output = require(item, "output", (str, list), at)
    clean = _parts(output, f"{at}.output", edits)
    return item if clean is output else {**item, "output": clean}


def _reasoning(item: Item, at: str, edits: Edits) -> Item | None:
    if item.get("encrypted_content"):
        return item
    edits.drop_echo("input[].reasoning", "without encrypted_content it is only a reference to what is not stored")
    return None


def _reference(item: Item, at: str, edits: Edits) -> Item:
    raise BadRequest(NOT_STORED.format(str(item.get("id"))[:100]), at, "unsupported_parameter")


_TREATMENTS: dict[str, Callable[[Item, str, Edits], Item | None]] = {
    "message": _message,
    "function_call": _function_call,
    "custom_tool_call": _custom_tool_call,
    "function_call_output": _output,
    "custom_tool_call_output": _output,
    "reasoning": _reasoning,
    "item_reference": _reference,
}


def _parts(content: Any, at: str, edits: Edits) -> Any:
    """The same content, unless a part of it bears a mark."""
    if isinstance(content, str):
        return content
    marked = False
    for index, part in enumerate(content):
        for mark in CACHE_MARKS:
            if mark in expect(part, (dict,), f"{at}[{index}]"):
                edits.drop(mark, "the backend caches by itself")
                marked = True
    return [{k: v for k, v in part.items() if k not in CACHE_MARKS} for part in content] if marked else content
