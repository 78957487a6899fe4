"""A request that goes on from earlier ones becomes one that says everything itself, because the Codex backend remembers nothing.

`previous_response_id` is replaced by what was said up to that response, `item_reference` by the item that it names. Both are kept
in the client's own words (its names of tools, its call ids) and take the same way to the backend as what the client says itself:
whoever told the history, the backend hears the same.

- `instructions` are not carried over: OpenAI's rule.
- An answer that was cut off may end in a call that nobody can answer, or in reasoning that led to nothing. The backend takes
  neither, so they are left out, unless the call was answered all the same.
- What the client says twice is refused, as OpenAI does: an item of the history, and what it has referred to already.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple, Protocol

from addons.wire.input_items import CALL_OF, ID_IS_NOISE, OUTPUT_OF, Item, item_type, message
from addons.wire.plan import BadRequest, Edit
from addons.wire.refusals import expect, require

REMEMBERED = Edit("emulated", "previous_response_id", "what was said up to it is kept here, and sent before the input")
REPLACED = Edit("mapped", "input[].item_reference", "the item that it names is kept here, and sent in its place")
CUT_OFF = Edit(
    "dropped", "input[].incomplete", "how an answer ended that was cut off: a call that has no result, or mere reasoning"
)

# What ids begin with; types that are not here have had ids of several forms.
ID_PREFIXES = {
    "message": "msg",
    "reasoning": "rs",
    "function_call": "fc",
    "custom_tool_call": "ctc",
    "additional_tools": "at",
    "compaction": "cmp",
}

# Of items that are looked for beforehand. Clients refer to those of their last turn, a handful.
MAX_REFERRED = 1000

_PLACE = re.compile(r"\binput\[(\d+)\]")


class Said(NamedTuple):
    """One turn: what the client brought, and what came back."""

    input: Sequence[Item]
    output: Sequence[Item]
    whole: bool = True
    """False if the answer was cut off."""


class Memory(Protocol):
    """The earlier turns of one client."""

    @property
    def keeps(self) -> str:
        """How many turns are kept, and for how long: as the rest of a sentence."""

    def turns(self, response_id: str) -> Sequence[Said] | None:
        """What led to that response, the oldest first, and at the end its own turn. None if it is not kept."""

    def item(self, item_id: str) -> Item | None:
        """Brought by the client or said to it."""


class Expanded(NamedTuple):
    """A request that needs nobody's memory any more."""

    body: Mapping[str, Any]
    own: Sequence[Any] = ()
    """The items that the client brought, each reference replaced: what this turn adds to the conversation."""
    ahead: int = 0
    """How many items of the input stand before those."""
    edits: tuple[Edit, ...] = ()
    previous_response_id: str | None = None


def expand(body: Mapping[str, Any], memory: Memory) -> Expanded:
    """`body` is not changed. Raises BadRequest for what is not kept or said twice; all else is left to be checked with the rest."""
    previous = body.get("previous_response_id")
    turns = _turns_up_to(previous, memory) if isinstance(previous, str) else None
    given = _given(body.get("input"))
    own = _dereferenced(given, memory, {item.get("id") for turn in turns or () for item in (*turn.input, *turn.output)})
    # A reference may have stood for an item whose id means nothing to the backend.
    said = [mine if mine is yours else _without_id(mine) for mine, yours in zip(own, given, strict=True)]
    refers = any(mine is not yours for mine, yours in zip(own, given, strict=True))
    if turns is None:
        return Expanded({**body, "input": said}, own, edits=(REPLACED,)) if refers else Expanded(body, own)
    before, was_cut = conversation(turns, own)
    others = {name: value for name, value in body.items() if name != "previous_response_id"}
    return Expanded(
        {**others, "input": [*map(_without_id, before), *said]},
        own,
        ahead=len(before),
        edits=tuple(edit for edit, made in ((REMEMBERED, True), (REPLACED, refers), (CUT_OFF, was_cut)) if made),
        previous_response_id=previous,
    )


def referred(body: Mapping[str, Any]) -> tuple[set[str], set[str]]:
    """The ids of the response that a request goes on from, and of the items that it refers to."""
    previous, given = body.get("previous_response_id"), body.get("input")
    items = [item for item in given if isinstance(item, dict)] if isinstance(given, list) else []
    named = (item["id"] for item in items if item_type(item) == "item_reference" and isinstance(item.get("id"), str))
    return {previous} if isinstance(previous, str) else set(), set(islice(named, MAX_REFERRED))


def conversation(turns: Iterable[Said], following: Iterable[Any]) -> tuple[list[Item], bool]:
    """All that was said in these turns, in order, and whether something was left out. `following` is what the client says next."""
    turns = list(turns)
    answered = {item["call_id"] for turn in turns for item in turn.input if item_type(item) in CALL_OF}
    answered |= {item.get("call_id") for item in following if isinstance(item, dict) and item_type(item) in CALL_OF}
    items: list[Item] = []
    was_cut = False
    for turn in turns:
        output = list(turn.output)
        while output and not turn.whole and _leads_nowhere(output[-1], answered):
            output.pop()
        was_cut = was_cut or len(output) < len(turn.output)
        items += [*turn.input, *output]
    return items, was_cut


def as_the_client_counts(error: BadRequest, ahead: int) -> BadRequest:
    """The same complaint about the client's own items, which the planner has seen behind `ahead` others."""

    def its_own(place: re.Match[str]) -> str:
        return f"input[{int(place[1]) - ahead}]" if int(place[1]) >= ahead else "input"

    return BadRequest(_PLACE.sub(its_own, error.message), error.param and _PLACE.sub(its_own, error.param), error.code)


def with_ids(items: Iterable[Item], seed: str) -> list[Item]:
    """Each item with an id, made from `seed` (no other call's) if the client gave none: it can be listed and referred to."""
    return [
        item if isinstance(item.get("id"), str) else {**item, "id": f"{ID_PREFIXES.get(item_type(item), 'item')}_{seed}{index:04x}"}
        for index, item in enumerate(items)
    ]


def _turns_up_to(response_id: str, memory: Memory) -> Sequence[Said]:
    turns = memory.turns(response_id)
    if turns is None:
        raise BadRequest(
            f"Previous response with id '{response_id[:100]}' not found. {_keeps(memory)}",
            "previous_response_id",
            "previous_response_not_found",
        )
    return turns


def _given(value: Any) -> list[Any]:
    if isinstance(value, str):
        return [message("user", [{"type": "input_text", "text": value}])]
    return list(expect(value, (str, list), "input")) if value is not None else []


def _dereferenced(given: Iterable[Any], memory: Memory, told: set[Any]) -> list[Any]:
    """The items, each reference replaced. `told` are the ids of the history."""
    named, own, items = {*told}, set[str](), []
    for index, item in enumerate(given):
        if isinstance(item, dict) and item_type(item) == "item_reference":
            item_id = require(item, "id", (str,), f"input[{index}]")
            if item_id in named or item_id in own:
                raise _twice(item_id)
            named.add(item_id)
            item = _named_by(item_id, memory)
        elif isinstance(item, dict) and isinstance(item.get("id"), str):
            if item["id"] in named:
                raise _twice(item["id"])
            own.add(item["id"])
        items.append(item)
    return items


def _twice(item_id: str) -> BadRequest:
    words = f"Duplicate item found with id {item_id[:100]}. Remove duplicate items from your input and try again."
    return BadRequest(words, "input")


def _named_by(item_id: str, memory: Memory) -> Item:
    item = memory.item(item_id)
    if item is None:
        raise BadRequest(f"Item with id '{item_id[:100]}' not found. {_keeps(memory)}", "input")
    return item


def _keeps(memory: Memory) -> str:
    return f"This proxy keeps {memory.keeps}, and none that was sent with `store` set to false."


def _leads_nowhere(item: Item, answered: set[Any]) -> bool:
    kind = item_type(item)
    if kind in OUTPUT_OF:
        return item.get("status") == "incomplete" and item.get("call_id") not in answered
    return kind == "reasoning"


def _without_id(item: Item) -> Item:
    """As the planner would do, but without a word: the client never said it."""
    return {name: value for name, value in item.items() if name != "id"} if item_type(item) in ID_IS_NOISE else item
