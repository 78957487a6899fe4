"""Which conversation a request belongs to, told from its beginning: the plan's prompt cache is kept per key, and clients send none.

A conversation is sent anew with each turn and only grows at its end. So what stands before the first answer names it: the
instructions, the tools and the first of the client's messages. The client is part of the name, so that no two of them ever share
a key. A question that was a string at first and is a message later, as in OpenAI's own examples, is the same question.
"""

import uuid
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from typing import Any

from addons.wire.events import written


def conversation_key(client: str, body: Mapping[str, Any]) -> str:
    """A UUID, as the Codex CLI's keys are, for a body that is on its way to the backend."""
    opening = _up_to_first_question(body.get("input", []))
    name = written([client, body.get("instructions"), body.get("tools"), *map(_said, opening)])
    return str(uuid.UUID(bytes=sha256(name).digest()[:16], version=4))


# What the Codex CLI, and whoever does as it does, calls its conversation.
NAMED_BY = ("session-id", "thread-id")


def conversation_keys(headers: Mapping[str, str], body: Callable[[], Mapping[str, Any]], client: str) -> list[str]:
    """What a client's own request is called by, the surest name first: with these the same account serves the next turn too.

    `body` is asked for only if the headers name nothing.
    """
    if name := next((headers[name] for name in NAMED_BY if headers.get(name)), ""):
        return [f"session {name}"]
    asked, keys = body(), []
    if isinstance(previous := asked.get("previous_response_id"), str):
        keys.append(response_key(previous))
    if isinstance(key := asked.get("prompt_cache_key"), str):
        return [*keys, f"cache {client} {key}"]
    said = asked.get("messages") or asked.get("input")
    turns = [{"role": "user", "content": said}] if isinstance(said, str) else said
    if isinstance(turns, list) and turns and all(isinstance(turn, dict) for turn in turns):
        keys.append(conversation_key(client, {**asked, "input": turns}))
    return keys or [f"client {client}"]


def response_key(response_id: str) -> str:
    return f"response {response_id}"


def _up_to_first_question(items: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Or to what stands before the first answer, if nobody has asked."""
    opening: list[Mapping[str, Any]] = []
    for item in items:
        role = item.get("role")
        if role == "assistant" or item.get("type", "message") not in ("message", "additional_tools"):
            break
        opening.append(item)
        if role == "user":
            break
    return opening


def _said(item: Mapping[str, Any]) -> Any:
    """A message is who speaks and what is said: it may leave its type out, and write its only text as a string."""
    if item.get("type", "message") != "message":
        return item
    content = item.get("content")
    return [item.get("role"), [{"type": "input_text", "text": content}] if isinstance(content, str) else content]
