"""In which order the events of output items are told: one item after the other, as far as a client needs it.

Upstream's own order is nearly always right. What this file promises to those behind it, whatever upstream does:

- Every event of an item says its `output_index`, and stands between the item's one `output_item.added` and its one
  `output_item.done`. An item that was never added is added when its first event comes, one that was never done is done at the end.
- A call has the floor from `added` to `done`: events of other items wait until then. nanobot dies of a piece of arguments that does
  not belong to the item added last. Items that are no calls flow side by side, so a missing `done` holds up no text.
- A call has a name and a call id when it is added. Pieces of its arguments that come earlier wait for the item.

What comes after an item's `done` is left out: `done` had everything.
"""

from collections.abc import Sequence
from typing import Any

from addons.wire.events import CALLS, DELTAS, DONES, Event, Malformed

ADDED = "response.output_item.added"
DONE = "response.output_item.done"

# The type of the item that an event belongs to, where the event alone tells.
OWNERS = {kind: family.item for kind, family in (DELTAS | DONES).items()} | {
    "response.content_part.added": "message",
    "response.content_part.done": "message",
    "response.reasoning_summary_part.added": "reasoning",
    "response.reasoning_summary_part.done": "reasoning",
    "response.output_text.annotation.added": "message",
}
BOUNDS = {ADDED, DONE}
# What an item looks like before anything has been said.
NOTHING_YET: dict[str, Any] = {"content": [], "summary": [], "arguments": "", "input": "", "status": "in_progress"}
BLANKS: dict[str, Event] = {"message": {"role": "assistant", "content": []}, "reasoning": {"summary": []}}


class Turns:
    def __init__(self) -> None:
        self._open: dict[int, Event] = {}  # the items as they were added
        self._done: set[int] = set()
        self._ids: dict[str, int] = {}
        self._floor: int | None = None
        self._waiting: dict[int, list[Event]] = {}  # for the floor, in the order in which their items came
        self._nameless: dict[int, list[Event]] = {}  # pieces of calls that have not been added

    def take(self, event: Event) -> list[Event]:
        """The events whose turn it is now. Raises Malformed."""
        index = event.get("output_index")
        if index in self._open and (self._floor is None or self._floor == index) and event["type"] not in BOUNDS:
            return [event]  # as nearly all of them: a piece of an item that is being told
        out: list[Event] = []
        self._place(event, out)
        if self._waiting:
            self._hand_on(out)
        return out

    def finish(self, final: Sequence[Any], complete: bool) -> list[Event]:
        """Everything that waits, and a `done` for what is open: out of `final`, upstream's last word, or else an empty one.

        Raises Malformed.
        """
        out: list[Event] = []
        for position, value in enumerate(final):
            if isinstance(value, dict) and isinstance(value.get("type"), str):
                index = self._ids.get(str(value.get("id")), position)
                out += self.take({"type": DONE, "output_index": index, "item": value})
        while self._open:
            index = min(self._open) if self._floor is None else self._floor
            item = self._open[index] | {"status": "completed" if complete else "incomplete"}
            out += self.take({"type": DONE, "output_index": index, "item": item})
        if self._nameless and complete:
            raise Malformed("the arguments of a call that it never named")
        return out

    def _place(self, event: Event, out: list[Event]) -> None:
        index = event.get("output_index")
        if index is None:
            index = self._guess(event)
            if index is None:  # about the answer, not about an item
                out.append(event)
                return
            event["output_index"] = index
        if self._floor is None or self._floor == index:
            self._tell(index, event, out)
        else:
            self._waiting.setdefault(index, []).append(event)

    def _guess(self, event: Event) -> int | None:
        kind = event["type"]
        item_id = event["item"].get("id") if kind in (ADDED, DONE) else event.get("item_id")
        if isinstance(item_id, str) and item_id in self._ids:
            return self._ids[item_id]
        if kind == ADDED:
            return max([*self._open, *self._done, *self._waiting, *self._nameless], default=-1) + 1
        return max(self._open, default=0) if kind == DONE or kind in OWNERS else None

    def _hand_on(self, out: list[Event]) -> None:
        while self._waiting and self._floor is None:
            index = next(iter(self._waiting))
            for event in self._waiting.pop(index):
                self._tell(index, event, out)

    def _tell(self, index: int, event: Event, out: list[Event]) -> None:
        kind = event["type"]
        if index in self._open:
            if kind == DONE:
                self._end(index, event["item"])
            if kind != ADDED:
                out.append(event)
        elif index in self._done:
            return
        elif kind == ADDED:
            self._begin(index, event, out)
        elif kind == DONE:
            item = {key: NOTHING_YET.get(key, value) for key, value in event["item"].items() if key != "encrypted_content"}
            self._begin(index, {"type": ADDED, "output_index": index, "item": item}, out)
            self._end(index, event["item"])
            out.append(event)
        elif OWNERS.get(kind) in CALLS:
            self._nameless.setdefault(index, []).append(event)
        else:
            if owner := OWNERS.get(kind):
                item = {"id": event.get("item_id"), "type": owner, "status": "in_progress", **BLANKS.get(owner, {})}
                self._begin(index, {"type": ADDED, "output_index": index, "item": item}, out)
            out.append(event)

    def _begin(self, index: int, added: Event, out: list[Event]) -> None:
        item = added["item"]
        if not _has_id(item):
            item["id"] = f"item_{index}"
        if item["type"] in CALLS:
            if not all(isinstance(item.get(name), str) and item[name] for name in ("name", "call_id")):
                raise Malformed("a call without a name or without a call id")
            self._floor = index
        self._open[index] = item
        self._ids[item["id"]] = index
        out.append(added)
        out += self._nameless.pop(index, ())

    def _end(self, index: int, item: Event) -> None:
        if item["type"] != self._open[index]["type"]:
            raise Malformed("an item that became another")
        if not _has_id(item):
            item["id"] = self._open[index]["id"]
        self._ids[item["id"]] = index
        del self._open[index]
        self._done.add(index)
        if self._floor == index:
            self._floor = None


def _has_id(item: Event) -> bool:
    return isinstance(item.get("id"), str) and item["id"] != ""
