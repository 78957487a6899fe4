"""The words of Chat Completions, as the tests of the request side say them."""

from typing import Any

from tests.wire.asking import Object

PICTURE = "data:image/png;base64,iVBORw0KGgo="

TOOL: Object = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
CALL: Object = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
CALLING: Object = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT: Object = {"role": "tool", "tool_call_id": "c1", "content": "18 C"}


def chat(*messages: Any, **more: Any) -> Object:
    return {"model": "gpt-5.5", "messages": list(messages) or [{"role": "user", "content": "hi"}], **more}


def user(*parts: Any) -> Object:
    return {"role": "user", "content": list(parts)}


def text(text: str) -> Object:
    return {"type": "text", "text": text}


def picture(**image: Any) -> Object:
    return {"type": "image_url", "image_url": {"url": PICTURE, **image}}


def calling(*calls: Object, **more: Any) -> Object:
    return {**CALLING, "tool_calls": list(calls), **more}
