"""Messages in a row that are a text each and nothing else, written as JSON while they are read.

A conversation that goes on for days has thousands. As items each would be three objects, which whoever looks for something in the
items would look at, and which would be written in the end after all: 4000 messages cost 2.7 ms so, and 1.3 like this.

A passage stands among the items for those that are in it. The calls and results that others look for are never in one, nor is what
stands before the first answer, by which a conversation is known (conversation.py). Who needs to see every item asks `in_full`.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

type Item = dict[str, Any]

# Whose words they are, and the type of the part that they are in.
SPEAKERS = {
    "system": ("developer", "input_text"),
    "developer": ("developer", "input_text"),
    "user": ("user", "input_text"),
    "assistant": ("assistant", "output_text"),
}


def spoken(role: str, text: str) -> Item:
    """What such a message is as an item."""
    speaker, part = SPEAKERS[role]
    return {"type": "message", "role": speaker, "content": [{"type": part, "text": text}]}


# By the role, what stands in JSON before the text; and what stands behind it.
_BEHIND = b"}]}"
_BEFORE = {role: orjson.dumps(spoken(role, "")).removesuffix(b'""' + _BEHIND) for role in SPEAKERS}
_BETWEEN = {role: _BEHIND + b"," + before for role, before in _BEFORE.items()}

# Characters. A longer text takes longer to copy than its item takes to make.
LONG = 1000
# Messages. Their bytes are still in the processor's cache when they are joined.
MOST = 256


class Passage:
    __slots__ = ("json", "length")

    def __init__(self, json: bytes, length: int) -> None:
        self.json = json
        """The items, with commas between them."""
        self.length = length

    def get(self, member: str, default: Any = None) -> Any:
        """To those who go through the items it is one more message, with nothing in it that they look for."""
        return "message" if member == "type" else default


def passage_of(messages: Sequence[Any], start: int) -> Passage | None:
    """Of those from `start` on; None if the first is none for it. Its end is the first that is not."""
    written: list[bytes] = []
    write, words_of = written.append, orjson.dumps
    try:
        for said in messages[start : start + MOST]:
            text = said["content"]
            if type(text) is not str or len(said) != 2 or len(text) > LONG:
                break
            words, between = words_of(text), _BETWEEN[said["role"]]
            write(between)
            write(words)
    except (KeyError, TypeError):
        pass  # it says something else, or is no message at all, or has half a surrogate pair, of which orjson makes no JSON
    if not written:
        return None
    written[0] = _BEFORE[messages[start]["role"]]
    write(_BEHIND)
    return Passage(b"".join(written), len(written) // 2)


def in_full(items: Iterable[Any]) -> list[Item]:
    """The items, those of the passages among them."""
    full: list[Item] = []
    for item in items:
        full += orjson.loads(b"[%b]" % item.json) if type(item) is Passage else [item]
    return full


def as_json(item: Any) -> orjson.Fragment:
    """For orjson, which knows all other items."""
    if type(item) is Passage:
        return orjson.Fragment(item.json)
    raise TypeError(f"no JSON: {type(item).__name__}")
