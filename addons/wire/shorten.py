"""Tool names and call ids that the backend would not take, replaced by ones that it does, and the way back.

The backend takes 64 characters of both, and of a name only letters, digits, `_` and `-`. A replacement begins like the original and
ends with a hash of it, so that the same name is replaced alike in every turn and the prompt cache is not missed.
"""

import hashlib
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from addons.wire.input_items import CALL_OF, OUTPUT_OF, item_type
from addons.wire.parameters import Edits

MAX_LENGTH = 64
HASH = 12  # hex digits

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]")

NAMED = ("function", "custom")
# The types of the items with names and call ids; nearly all of the others are messages.
NAMING = (*OUTPUT_OF, "additional_tools")
DEPTH = 2  # an additional_tools item has namespaces, which have tools


class Shortened(NamedTuple):
    """A body that fits, and what the backend's words stand for."""

    body: dict[str, Any]
    tool_names: Mapping[str, str] = {}
    call_ids: Mapping[str, str] = {}


def shorten(body: dict[str, Any], edits: Edits) -> Shortened:
    """`body` is a Responses request, its items checked. It is not changed; if all of it fits it is given back as it is."""
    items, tools, choice = body["input"], body.get("tools") or [], body.get("tool_choice")
    named = [item for item in items if item.get("type") in NAMING]
    if not named and not tools:
        return Shortened(body)
    names = replacements([*_names_of(tools), *_names_in(named)], lambda name: bool(NAME.fullmatch(name)))
    ids = replacements(_call_ids(named), lambda call_id: len(call_id) <= MAX_LENGTH)
    if not names and not ids:
        return Shortened(body)
    if names:
        edits.add("mapped", "tool names", "the backend takes 64 characters of A-Z a-z 0-9 _ -; the answer has yours again")
    if ids:
        edits.add("mapped", "call ids", "the backend takes 64 characters; the answer has yours again")
    short = {**body, "input": [_item(item, names, ids) for item in items]}
    if tools:
        short["tools"] = [_tool(tool, names) for tool in tools]
    if isinstance(choice, dict):
        short["tool_choice"] = _tool(choice, names)
    return Shortened(short, _reverse(names), _reverse(ids))


def replacements(words: Iterable[str], fits: Callable[[str], bool]) -> dict[str, str]:
    """For each that does not fit one that does, is no other's replacement and no word of the request."""
    words = dict.fromkeys(words)
    long = [word for word in words if word and not fits(word)]
    taken = set(words)
    replaced: dict[str, str] = {}
    for word in long:
        replaced[word] = next(candidate for candidate in _candidates(word) if candidate not in taken)
        taken.add(replaced[word])
    return replaced


def _candidates(word: str) -> Iterator[str]:
    start = NOT_IN_NAMES.sub("_", word)[: MAX_LENGTH - HASH - 1]
    for salt in itertools.count():
        # A lone surrogate is a character of JSON, though not of UTF-8.
        digest = hashlib.sha256(f"{word}{salt or ''}".encode("utf-8", "surrogatepass")).hexdigest()
        yield f"{start}_{digest[:HASH]}"


def _names_of(tools: Iterable[Any], depth: int = DEPTH) -> Iterator[str]:
    """Of the tools that the client runs, also those in a namespace."""
    for tool in tools:
        if not isinstance(tool, dict):
            continue
        if tool.get("type") in NAMED and isinstance(tool.get("name"), str):
            yield tool["name"]
        if depth and isinstance(tool.get("tools"), list):
            yield from _names_of(tool["tools"], depth - 1)


def _names_in(items: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for item in items:
        kind = item_type(item)
        if kind in OUTPUT_OF:
            yield item["name"]
        elif kind == "additional_tools":
            yield from _names_of([item])


def _call_ids(items: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    return (item["call_id"] for item in items if item_type(item) in OUTPUT_OF)


def _item(item: dict[str, Any], names: Mapping[str, str], ids: Mapping[str, str]) -> dict[str, Any]:
    kind = item_type(item)
    if kind in OUTPUT_OF:
        return _renamed(item, {"name": names, "call_id": ids})
    if kind in CALL_OF:
        return _renamed(item, {"call_id": ids})
    return _tool(item, names) if kind == "additional_tools" else item


def _tool(tool: Any, names: Mapping[str, str], depth: int = DEPTH) -> Any:
    if not isinstance(tool, dict):
        return tool
    if depth and isinstance(tool.get("tools"), list):
        return {**tool, "tools": [_tool(inner, names, depth - 1) for inner in tool["tools"]]}
    return _renamed(tool, {"name": names}) if tool.get("type") in NAMED else tool


def _renamed(thing: dict[str, Any], by: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    found = {key: words[thing[key]] for key, words in by.items() if isinstance(thing.get(key), str) and thing[key] in words}
    return {**thing, **found} if found else thing


def _reverse(replaced: Mapping[str, str]) -> dict[str, str]:
    return {short: word for word, short in replaced.items()}
