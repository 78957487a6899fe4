"""What one server-sent event of the Codex backend says, as a dict whose members are what the machines rely on.

Not every event is for the client. Those of the backend's own kind break the stream helpers of both official SDKs when they
come before `response.created`, so only OpenAI's own namespace passes; see FATES.

JSON is read by orjson, which refuses half a surrogate pair (`\\ud83d` alone), the one thing that servers do send when they cut a
text into deltas by UTF-16 units. Such an event is read again by the slower `json`, the two halves of a pair are brought
together over two deltas, and a half that stays alone becomes U+FFFD: no encoder and few clients would take it.
"""

import json
from enum import Enum
from typing import Any, NamedTuple

import orjson

from addons.wire.sse import ServerEvent

type Event = dict[str, Any]  # "type", and what belongs to it


class Fate(Enum):
    TOLD = "translated for the client"
    ALIVE = "a sign of life and nothing else"
    ASIDE = "handed out beside the answer: rate limits, metadata"


# The first prefix that fits decides. What belongs to no namespace that is known is for no client either.
FATES = {
    "response.": Fate.TOLD,
    "error": Fate.TOLD,
    "keepalive": Fate.ALIVE,
    "ping": Fate.ALIVE,
    "codex.": Fate.ASIDE,
    "responsesapi.": Fate.ASIDE,
    "": Fate.ASIDE,
}


class Family(NamedTuple):
    """A kind of text that comes in pieces: `<stem>.delta` many times, then `<stem>.done` with the whole."""

    stem: str
    item: str
    """The type of the item it is in."""
    home: str
    """The member of the item with the list of parts it is one of; empty if the text itself is a member of the item."""
    place: str
    """Where the events say which part of the list it is."""
    part: str
    """The type of the part."""
    whole: str
    """The member of the part, the item and the `.done` event that holds the text."""


OUTPUT_TEXT = Family("response.output_text", "message", "content", "content_index", "output_text", "text")
REFUSAL = Family("response.refusal", "message", "content", "content_index", "refusal", "refusal")
SUMMARY = Family("response.reasoning_summary_text", "reasoning", "summary", "summary_index", "summary_text", "text")
THOUGHT = Family("response.reasoning_text", "reasoning", "content", "content_index", "reasoning_text", "text")
ARGUMENTS = Family("response.function_call_arguments", "function_call", "", "", "", "arguments")
CUSTOM_INPUT = Family("response.custom_tool_call_input", "custom_tool_call", "", "", "", "input")
MCP_ARGUMENTS = Family("response.mcp_call_arguments", "mcp_call", "", "", "", "arguments")
CODE = Family("response.code_interpreter_call_code", "code_interpreter_call", "", "", "", "code")
FAMILIES = (OUTPUT_TEXT, REFUSAL, SUMMARY, THOUGHT, ARGUMENTS, CUSTOM_INPUT, MCP_ARGUMENTS, CODE)

DELTAS = {f"{family.stem}.delta": family for family in FAMILIES}
DONES = {f"{family.stem}.done": family for family in FAMILIES}

# The calls that are the client's to answer, and the member with what they are called with.
CALLS = {ARGUMENTS.item: ARGUMENTS, CUSTOM_INPUT.item: CUSTOM_INPUT}

# A part is announced and closed by events of its own, which do not say of which family it is: its type does.
PART_EVENTS = {"content": "response.content_part", "summary": "response.reasoning_summary_part"}
PARTS = {(family.home, family.part): family for family in FAMILIES if family.home}

# What the machines take for granted: an object of that name, which says its type if it is an item or a part. And the types of what
# may also be null or not there.
NEEDED = {
    "response.created": "response",
    "response.completed": "response",
    "response.incomplete": "response",
    "response.failed": "response",
    "response.output_item.added": "item",
    "response.output_item.done": "item",
} | {f"{stem}.{moment}": "part" for stem in PART_EVENTS.values() for moment in ("added", "done")}
TYPES: dict[str, type] = {
    "delta": str,
    "text": str,
    "refusal": str,
    "arguments": str,
    "input": str,
    "code": str,
    "item_id": str,
    "output_index": int,
    "content_index": int,
    "summary_index": int,
}


class Malformed(ValueError):
    """Upstream sent what is no event. Passing over it could lose a piece of the answer, so the answer ends here."""


def fate_of(kind: str) -> Fate:
    return next(fate for prefix, fate in FATES.items() if kind.startswith(prefix))


class Reader:
    """Reads the events of one stream; it remembers the halves of surrogate pairs that wait for the next delta."""

    def __init__(self) -> None:
        self._halves: dict[tuple[Any, ...], str] = {}

    def read(self, event: ServerEvent) -> Event | None:
        """The event, with a string as its `type`; None for `[DONE]`, which says nothing that the terminal event has not said.

        Raises Malformed.
        """
        if not event.data:
            return _empty(event.name)
        again = False
        try:
            parsed = orjson.loads(event.data)
        except orjson.JSONDecodeError:
            parsed, again = _read_again(event.data)
        if not isinstance(parsed, dict):
            if parsed == "[DONE]":
                return None
            raise Malformed("an event that is no JSON object")
        kind = parsed.get("type")
        if not isinstance(kind, str):
            kind = parsed["type"] = _type_of(parsed, event.name)
        if kind.startswith("response."):
            for member, value in parsed.items():
                if member in TYPES and type(value) is not TYPES[member] and value is not None:
                    raise Malformed(f"{kind}: {member} of another type")
            if kind in NEEDED:
                _check_needed(kind, NEEDED[kind], parsed)
        if (again or self._halves) and kind in DELTAS:
            self._join_halves(parsed)
        return _paired(parsed) if again else parsed

    def _join_halves(self, event: Event) -> None:
        place = (event["type"], *map(event.get, ("output_index", "item_id", "content_index", "summary_index")))
        delta = self._halves.pop(place, "") + (event.get("delta") or "")
        if "\ud800" <= delta[-1:] <= "\udbff":
            self._halves[place] = delta[-1]
            delta = delta[:-1]
        event["delta"] = _paired(delta)


def _empty(name: bytes) -> Event:
    """Some servers keep a stream alive with an event that has a name at most."""
    kind = name.decode("utf-8", "replace") or "keepalive"
    if fate_of(kind) is Fate.TOLD:
        raise Malformed(f"{kind} without data")
    return {"type": kind}


def _read_again(data: bytes) -> tuple[Any, bool]:
    """What the data is that is no JSON to orjson, and whether it may hold halves of surrogate pairs."""
    if data.strip() == b"[DONE]":
        return "[DONE]", False
    try:
        # Numbers by orjson, so that none is read that it could not write. A mangled byte is no reason to lose the event.
        text, number = data.decode("utf-8", "replace"), orjson.loads
        parsed = json.loads(text, parse_int=number, parse_float=number, parse_constant=number)
        orjson.dumps(_paired(parsed))  # deeper than orjson writes is as good as no JSON
        return parsed, True
    except (ValueError, TypeError, RecursionError) as e:
        raise Malformed("an event that is no JSON") from e


def written(value: Any) -> bytes:
    """As JSON. What orjson cannot write goes as it came: half a pair among the client's own words, more than 254 levels."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, separators=(",", ":")).encode()


def _type_of(parsed: Event, name: bytes) -> str:
    """OpenAI writes the type into the data. Others leave it to the event's name, or send a bare error."""
    if "error" in parsed or "detail" in parsed:
        return "error"
    if name:
        return name.decode("utf-8", "replace")
    raise Malformed("an event without a type")


def _check_needed(kind: str, member: str, event: Event) -> None:
    if not isinstance(event.get(member), dict):
        raise Malformed(f"{kind} without its {member}")
    if member != "response" and not isinstance(event[member].get("type"), str):
        raise Malformed(f"{kind}: {member} without a type")


def _paired(value: Any) -> Any:
    """The same with every surrogate pair joined and every half that is alone replaced."""
    match value:
        case str():
            return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        case dict():
            return {_paired(key): _paired(inner) for key, inner in value.items()}
        case list():
            return [_paired(inner) for inner in value]
    return value
