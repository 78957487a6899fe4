"""Which conversation a request belongs to, told from its beginning: the plan's prompt cache is kept per key, and clients send none.

A conversation is sent anew with each turn and only grows at its end. So what stands before the first answer names it: the
instructions, the tools and the first of the client's messages. The client is part of the name, so that no two of them ever share
a key.
"""

import uuid
from collections.abc import Mapping
from hashlib import sha256
from itertools import takewhile
from typing import Any

from addons.wire.events import written


def conversation_key(client: str, body: Mapping[str, Any]) -> str:
    """A UUID, as the Codex CLI's keys are, for a body that is on its way to the backend."""
    opening = list(takewhile(_is_before_the_first_answer, body.get("input", [])))
    name = written([client, body.get("instructions"), body.get("tools"), _up_to_first_question(opening)])
    return str(uuid.UUID(bytes=sha256(name).digest()[:16], version=4))


def _is_before_the_first_answer(item: Mapping[str, Any]) -> bool:
    return item.get("role") != "assistant" and item.get("type", "message") in ("message", "additional_tools")


def _up_to_first_question(opening: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    for index, item in enumerate(opening):
        if item.get("role") == "user":
            return opening[: index + 1]
    return opening
