"""The turns of conversations as this process remembers them: so many, and so many bytes. In memory only, as JSON.

A turn holds what it added, and a link to the turn that it went on from: a hundred turns of a conversation cost a hundred turns and
not five thousand. Who asks for a turn uses all that led to it, and the conversation that was not used for longest goes first.

A turn that had to go or was deleted cannot be asked for any more, nor can its items. It stays a part of what was said after it,
and its memory is free when the last turn that came after it has gone too.
"""

import json
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

import orjson

from addons.wire.continuity import Said
from addons.wire.events import written
from addons.wire.input_items import Item
from addons.wire.response_object import BULKY

MAX_TURNS = 1000
MAX_BYTES = 64 * 1024 * 1024

# Bytes besides the JSON (CPython 3.12): of a turn, and of an item that can be found by its id.
PER_TURN = 1000
PER_ITEM = 500


class Turn:
    """What one response added to its conversation. `asked` is what the client brought, each item with an id."""

    def __init__(self, owner: str, previous: "Turn | None", asked: Iterable[Item], response: Mapping[str, Any]) -> None:
        items, output = list(asked), list(response["output"])
        self.owner = owner
        self.previous = previous
        self.id = str(response["id"])
        self.whole = response["status"] == "completed"
        self.item_ids = tuple(str(item["id"]) for item in (*items, *output) if "id" in item)
        self.asked = _packed(items)
        self.output = _packed(output)
        # What is kept elsewhere leaves its place, so that the members have the order that they came in.
        self.response = _packed({name: None if name == "output" or name in BULKY else value for name, value in response.items()})
        self.echoes = _packed({name: response[name] for name in BULKY})
        self._weigh()

    def _weigh(self) -> None:
        previous, own_echoes = self.previous, len(self.echoes)
        if previous and previous.echoes == self.echoes:  # the same tools in every turn
            self.echoes, own_echoes = previous.echoes, 0
        said = len(self.asked) + len(self.output)
        self.size = said + len(self.response) + own_echoes + PER_TURN + PER_ITEM * len(self.item_ids)
        self.length: int = said + (previous.length if previous else 0)
        """Of all that was said up to its end, in bytes of JSON."""
        self.holders = 0

    def parts(self) -> list[bytes]:
        """What it takes to have it again elsewhere, beside its owner and the turn before it; each is one line."""
        told = {"id": self.id, "whole": self.whole, "item_ids": self.item_ids}
        return [_packed(told), self.asked, self.output, self.response, self.echoes]

    @classmethod
    def of_parts(cls, owner: str, previous: "Turn | None", parts: Sequence[bytes]) -> Self:
        """Raises ValueError, KeyError or TypeError for what are none."""
        turn = cls.__new__(cls)
        head, turn.asked, turn.output, turn.response, turn.echoes = parts
        told = _read(head)
        turn.owner, turn.previous = owner, previous
        turn.id, turn.whole, turn.item_ids = told["id"], told["whole"], tuple(told["item_ids"])
        turn._weigh()
        return turn

    def and_before(self) -> Iterator["Turn"]:
        """The conversation backwards."""
        turn: Turn | None = self
        while turn:
            yield turn
            turn = turn.previous

    def said(self) -> Said:
        return Said(_read(self.asked), _read(self.output), self.whole)

    def document(self) -> dict[str, Any]:
        """The response as the client got it."""
        return {**_read(self.response), **_read(self.echoes), "output": _read(self.output)}


class Kept:
    def __init__(self, max_turns: int = MAX_TURNS, max_bytes: int = MAX_BYTES) -> None:
        self.max_turns = max_turns
        self.max_bytes = max_bytes
        self.promise = f"the last {max_turns} turns in memory until it ends"
        """What it is good for, for clients."""
        self.bytes = 0
        """Of everything that is held, also of turns that are only part of later ones."""
        self._turns: OrderedDict[tuple[str, str], Turn] = OrderedDict()  # the next to go first
        self._homes: dict[tuple[str, str], dict[Turn, None]] = {}  # by owner and item id, the latest last

    def __len__(self) -> int:
        return len(self._turns)

    def keep(self, turn: Turn) -> bool:
        """False for a conversation that is too long to be kept: it would push out everybody else's, and then itself."""
        if sum(each.size for each in turn.and_before()) > self.max_bytes:
            return False
        self.forget(turn.owner, turn.id)
        self._turns[turn.owner, turn.id] = turn
        for item_id in turn.item_ids:
            self._homes.setdefault((turn.owner, item_id), {})[turn] = None
        self._hold(turn)
        self._use(turn)
        while len(self._turns) > self.max_turns or self.bytes > self.max_bytes:
            self.forget(*next(iter(self._turns)))
        return True

    def find(self, owner: str, response_id: str) -> Turn | None:
        turn = self._turns.get((owner, response_id))
        if turn:
            self._use(turn)
        return turn

    def peek(self, owner: str, response_id: str) -> Turn | None:
        """Without using it."""
        return self._turns.get((owner, response_id))

    def home_of(self, owner: str, item_id: str) -> Turn | None:
        """The latest turn with that item."""
        return next(reversed(self._homes.get((owner, item_id), {})), None)

    def has_all(self, owner: str, responses: Iterable[str], items: Iterable[str]) -> bool:
        return all(self.peek(owner, each) for each in responses) and all(self.home_of(owner, each) for each in items)

    def forget(self, owner: str, response_id: str) -> bool:
        """Whether there was one to forget."""
        turn = self._turns.pop((owner, response_id), None)
        if turn is None:
            return False
        for item_id in dict.fromkeys(turn.item_ids):
            homes = self._homes[owner, item_id]
            del homes[turn]
            if not homes:
                del self._homes[owner, item_id]
        self._let_go(turn)
        return True

    def _use(self, turn: Turn) -> None:
        for each in reversed([*turn.and_before()]):
            if self._turns.get((each.owner, each.id)) is each:
                self._turns.move_to_end((each.owner, each.id))

    def _hold(self, turn: Turn) -> None:
        """A turn is held by its place here and by each turn that went on from it."""
        for each in turn.and_before():
            each.holders += 1
            if each.holders > 1:
                break
            self.bytes += each.size

    def _let_go(self, turn: Turn) -> None:
        for each in turn.and_before():
            each.holders -= 1
            if each.holders:
                break
            self.bytes -= each.size


class OwnMemory:
    """What one client may remember. Every turn is read once, however many items of it are referred to."""

    def __init__(self, kept: Kept, owner: str) -> None:
        self.kept = kept
        self.owner = owner
        self._read: dict[Turn, Said] = {}

    @property
    def keeps(self) -> str:
        return self.kept.promise

    def turns(self, response_id: str) -> list[Said] | None:
        turn = self.kept.find(self.owner, response_id)
        return [self._said(each) for each in turn.and_before()][::-1] if turn else None

    def item(self, item_id: str) -> Item | None:
        turn = self.kept.home_of(self.owner, item_id)
        if turn is None:
            return None
        said = self._said(turn)
        return next(item for item in (*said.input, *said.output) if item.get("id") == item_id)

    def _said(self, turn: Turn) -> Said:
        if turn not in self._read:
            self._read[turn] = turn.said()
        return self._read[turn]


def _packed(value: Any) -> bytes:
    # A copy, because what orjson gives has room for 8 KiB at least, and for eight times a long text.
    return bytes(memoryview(written(value)))


def _read(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:  # half a surrogate pair among the client's own words
        return json.loads(text)
