"""What a request told the model, read out of either dialect. The request has been checked."""

from collections.abc import Iterable, Mapping
from typing import Any

from .items import item_type, offered_tools, texts
from .speech import Prompt, pieces

type Body = Mapping[str, Any]


def responses_prompt(body: Body) -> Prompt:
    items = body["input"]
    text, tool_result = "", None
    for item in items:
        kind = item_type(item)
        if kind == "message" and item.get("role") == "user":
            text, tool_result = " ".join(texts(item)), None
        elif kind in ("function_call_output", "custom_tool_call_output"):
            tool_result = " ".join(texts({"content": item["output"]}))
    heard = [body.get("instructions") or "", *(t for item in items if item_type(item) == "message" for t in texts(item))]
    return Prompt(
        text=text,
        tool_result=tool_result,
        tools={tool["name"]: tool["type"] for tool in offered_tools(body) if tool["type"] in ("function", "custom")},
        wants_json=((body.get("text") or {}).get("format") or {}).get("type") in ("json_object", "json_schema"),
        length=_words(heard),
    )


def chat_prompt(body: Body) -> Prompt:
    text, tool_result = "", None
    for message in body["messages"]:
        if message["role"] == "user":
            text, tool_result = " ".join(texts(message)), None
        elif message["role"] in ("tool", "function"):
            tool_result = " ".join(texts(message))
    return Prompt(
        text=text,
        tool_result=tool_result,
        tools={tool[tool["type"]]["name"]: tool["type"] for tool in body.get("tools") or ()},
        wants_json=(body.get("response_format") or {}).get("type") in ("json_object", "json_schema"),
        length=_words(t for message in body["messages"] for t in texts(message)),
    )


def _words(heard: Iterable[str]) -> int:
    return sum(len(pieces(text)) for text in heard)
