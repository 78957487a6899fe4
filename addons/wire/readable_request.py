"""A request's body as a person reads it: the conversation, the tools by name, and what else is asked for."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from addons.wire.readable import compact, content, objects, one_line, page, parsed, piece, raw, text_of

# Shown on their own; all else is a parameter.
SHOWN = {"model", "input", "messages", "instructions", "tools", "functions", "stream"}


def request_text(body: bytes, edits: Sequence[str] = ()) -> str:
    """`edits` is what it says and its client did not."""
    asked = parsed(body)
    if not isinstance(asked, dict) or not ({"input", "messages"} & asked.keys()):
        return raw(body)
    sections: list[tuple[str, Iterable[str]]] = [("", [_head(asked)])]
    if edits:
        sections.append(("changed by codex-mitm", edits))
    if isinstance(asked.get("instructions"), str) and asked["instructions"]:
        sections.append(("instructions", [piece(asked["instructions"])]))
    sections += _conversation(asked)
    if tools := [*objects(asked.get("tools")), *objects(asked.get("functions"))]:
        sections.append(_tools(tools))
    others = {name: value for name, value in asked.items() if name not in SHOWN}
    if others:
        sections.append(("parameters", (f"{name}: {one_line(compact(value))}" for name, value in others.items())))
    return page(sections)


def _head(asked: dict[str, Any]) -> str:
    dialect = "chat" if "messages" in asked else "responses"
    return (
        f"{one_line(text_of(asked.get('model')) or 'no model')} · {dialect}{' · streamed' if asked.get('stream') is True else ''}"
    )


def _conversation(asked: dict[str, Any]) -> list[tuple[str, Iterable[str]]]:
    said = asked.get("messages", asked.get("input"))
    if isinstance(said, str):
        return [("user", [piece(said)])]
    return [turn for item in objects(said) for turn in _turn(item)]


def _turn(item: dict[str, Any]) -> Iterator[tuple[str, Iterable[str]]]:
    """One message of a chat, or one item of Responses."""
    kind, role = text_of(item.get("type")), text_of(item.get("role"))
    if kind == "additional_tools":
        yield _tools(objects(item.get("tools")))
    elif role:
        call = item.get("tool_call_id")
        about = f" {call}" if call else f" {item['name']}" if isinstance(item.get("name"), str) else ""
        calls = [_call(call) for call in objects(item.get("tool_calls"))]
        if isinstance(item.get("function_call"), dict):
            calls.append(_call({"function": item["function_call"]}))
        yield f"{role}{about}", [*content(item.get("content")), *calls]
    elif kind in ("function_call", "custom_tool_call"):
        yield "assistant", [_call(item)]
    elif kind.endswith("_output"):
        yield f"tool {item.get('call_id', '')}", content(item.get("output"))
    elif kind == "reasoning":
        yield "reasoning", [*content(item.get("summary")), *content(item.get("content"))] or ["[encrypted]"]
    else:
        yield kind or "item", [one_line(compact(item))]


def _call(call: dict[str, Any]) -> str:
    function = call.get("function", call.get("custom"))
    told = function if isinstance(function, dict) else call
    given = told.get("arguments", told.get("input"))
    return f"→ {told.get('name')}  {call.get('call_id') or call.get('id') or ''}\n  {one_line(text_of(given) or compact(given))}"


def _tools(tools: list[dict[str, Any]]) -> tuple[str, Iterable[str]]:
    return f"{len(tools)} tool{'' if len(tools) == 1 else 's'}", map(_tool, tools)


def _tool(tool: dict[str, Any]) -> str:
    function = tool.get("function")
    told = function if isinstance(function, dict) else tool
    name = text_of(told.get("name")) or text_of(tool.get("type")) or "?"
    schema = told.get("parameters")
    properties = schema.get("properties") if isinstance(schema, dict) else None
    given = ", ".join(map(str, properties)) if isinstance(properties, dict) else ""
    about = one_line(text_of(told.get("description")), 100)
    return f"{name}({one_line(given, 100)}){': ' if about else ''}{about}"
